"""What belongs together: archives and checkpoints, records and settings, revisions and weights."""

import json
import shutil
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from gengap import models
from gengap.errors import UserError
from gengap.paths import published_results_dir
from gengap.records.bound import same_weights
from gengap.records.survey import QuantizationSurvey, SurveySettings
from gengap.statistics.evaluation import weights_sha256
from gengap.workflow import artefacts
from gengap.workflow.graph import command, made_again
from gengap.workflow.jobs import Job
from gengap.workflow.settings import Settings

PUBLISHED = published_results_dir()
RUNG = models.get("ladder-50k")
CODE = ("gptq", 4)


@pytest.fixture
def published_rung(empty_project):
    """A project where one rung is published: checkpoint, archive and record."""
    target = empty_project / "results" / "ladder" / "50k"
    shutil.copytree(PUBLISHED / "ladder" / "50k" / "checkpoint", target / "checkpoint")
    for name in ("main-gptq-4bit.ggq", "main-gptq-4bit.json", "main-quantization.json"):
        shutil.copy(PUBLISHED / "ladder" / "50k" / name, target)
    return target


def train_anew(factor: float = 1.3):
    """Another checkpoint of the rung on this machine."""
    folder = RUNG.results_dir() / "checkpoint"
    shutil.copytree(PUBLISHED / "ladder" / "50k" / "checkpoint", folder, dirs_exist_ok=True)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: weight * factor for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )


def test_the_published_archive_goes_with_the_published_checkpoint(published_rung):
    assert Job(RUNG).archive == published_rung / "main-gptq-4bit.ggq"
    assert artefacts.archive_of(RUNG, *CODE, RUNG.load()) == Job(RUNG).archive
    train_anew(1.0)  # the same bytes on this machine
    assert Job(RUNG).archive == published_rung / "main-gptq-4bit.ggq"


def test_an_own_checkpoint_never_meets_an_archive_of_another_training(published_rung):
    train_anew()
    assert Job(RUNG).archive is None  # so that a run quantizes it
    with pytest.raises(UserError, match="was not made from this checkpoint: run `gengap quantize ladder-50k"):
        artefacts.archive_of(RUNG, *CODE, RUNG.load())
    own = RUNG.results_dir() / "main-gptq-4bit.ggq"
    shutil.copy(published_rung / own.name, own)
    assert Job(RUNG).archive is None  # nobody knows from what it was made
    artefacts.keep_source(own, weights_sha256(RUNG.load()))
    assert Job(RUNG).archive == artefacts.archive_of(RUNG, *CODE, RUNG.load()) == own
    train_anew(1.1)  # once more: the archive is of the training before
    assert Job(RUNG).archive is None
    with pytest.raises(UserError, match="was not made from this checkpoint"):
        artefacts.archive_of(RUNG, *CODE, RUNG.load())
    artefacts.forget_source(own)
    assert artefacts.source_of(own) == ""


def test_without_any_archive_the_command_that_makes_it_is_named(published_rung):
    (published_rung / "main-gptq-4bit.ggq").unlink()
    with pytest.raises(UserError, match="is not quantized yet: run `gengap quantize ladder-50k"):
        artefacts.archive_of(RUNG, *CODE, RUNG.load())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"n_windows": 60}, "n_windows = 100 and not 60"),
        ({"n_pilot_windows": 5}, "n_pilot_windows = 20 and not 5"),
        ({"n_pairs": 7}, "n_pairs = 500 and not 7"),
        ({"seed": 1}, "seed = 0 and not 1"),
        ({"failure_prob": 0.05}, "failure_prob = 0.01 and not 0.05"),
        ({}, ""),
        ({"seed": 1, "n_pairs": 7}, "n_pairs = 500 and not 7, seed = 0 and not 1"),
    ],
)
def test_what_is_asked_is_compared_with_what_is_there(record, asked, said):
    made = {**asdict(Settings()), "n_windows": 100, "n_pilot_windows": 20, "n_pairs": 500}
    path = record.write()
    assert artefacts.other_settings(path, made | asked) == said
    n_rows = record.identity.n_train_tokens // record.identity.seq_len
    needed = Settings().on(n_rows).n_windows  # the default
    assert f"n_windows = 100 and not {needed}" in artefacts.other_settings(path, {})
    assert artefacts.other_settings(path.with_name("no.json"), asked) == ""
    path.write_text("{}")
    assert artefacts.other_settings(path, made | asked) == "it is no valid record"


def test_a_survey_with_other_settings_is_made_again(published_rung):
    path = published_rung / "main-quantization.json"
    assert not artefacts.is_other_survey(path.with_name("no.json"))
    survey = QuantizationSurvey.read(path)
    assert not artefacts.is_other_survey(survey.model_copy(update={"settings": SurveySettings()}).write())
    other = survey.model_copy(update={"settings": SurveySettings(n_seeds=1)}).write()
    assert artefacts.is_other_survey(other)
    other.write_text("{}")
    assert artefacts.is_other_survey(other)


def test_files_are_named_to_the_graph_as_it_knows_them(empty_project):
    assert made_again([]) == []
    words = made_again([empty_project / "build" / "a.ipynb"])
    assert words == ["--forcerun", "build/a.ipynb"]
    line = command("sweep", {"models": "ladder-50k"}, [*words, "--cores", "1"])
    assert line.index("build/a.ipynb") < line.index("--cores") < line.index("--config") < line.index("--")


def of_revision(record, revision: str, weights: str):
    identity = record.identity.model_copy(update={"family": "pythia", "size": "14m", "revision": revision})
    evidence = record.evidence.model_copy(update={"checkpoint_sha256": weights})
    return record.model_copy(update={"identity": identity, "evidence": evidence})


def test_a_revision_that_repeats_another_ones_weights_is_refused(record):
    path = of_revision(record, "step1000", "a" * 64).write()
    spec = models.get("pythia-14m", "step2000")
    with pytest.raises(UserError, match="pythia-14m at step2000 holds the same weights as at step1000"):
        artefacts.require_distinct(spec, "a" * 64)
    artefacts.require_distinct(spec, "b" * 64)
    artefacts.require_distinct(models.get("pythia-14m", "step1000"), "a" * 64)  # the same once more
    artefacts.require_distinct(models.get("pythia-31m", "step2000"), "a" * 64)
    path.write_text("{}")  # what is no record says nothing
    artefacts.require_distinct(spec, "a" * 64)


def test_equal_weights_under_several_names_are_told(record):
    first, again, other = (of_revision(record, f"step{n}", w * 64) for n, w in ((1, "a"), (2, "a"), (4, "b")))
    fewer = first.model_copy(update={"quantization": first.quantization.model_copy(update={"bits": 3})})
    said = same_weights([first, again, other, fewer])
    assert said == ["pythia-14m at step1 and pythia-14m at step2 hold the same weights, whatever their names say"]
    assert same_weights([first, fewer, other]) == []


def test_weights_that_differ_in_one_bit_are_others():
    model = torch.nn.Linear(3, 2)
    before = weights_sha256(model)
    with torch.no_grad():
        model.bias[0] = torch.nextafter(model.bias[0], torch.tensor(9.0))
    assert weights_sha256(model) != before


def test_the_record_beside_a_published_archive_says_whose_it_is(published_rung):
    archive = published_rung / "main-gptq-4bit.ggq"
    content = json.loads((published_rung / "main-gptq-4bit.json").read_text())
    assert artefacts.source_of(archive) == content["evidence"]["checkpoint_sha256"] == weights_sha256(RUNG.load())
    (published_rung / "main-gptq-4bit.json").unlink()
    assert artefacts.source_of(archive) == ""
    assert Job(RUNG).archive is None
