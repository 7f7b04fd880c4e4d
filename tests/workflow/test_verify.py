"""A record checked without trust: what is published passes, and every tampering is refused by its name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import tiny_companion, tiny_config, tiny_model, token_rows
from transformers import GPT2Config, GPT2LMHeadModel

from gengap.compression import archive
from gengap.compression.methods import compress
from gengap.errors import UserError
from gengap.paths import file_sha256, published_results_dir
from gengap.records.bound import BoundRecord
from gengap.tokens.rows import TokenRows
from gengap.workflow import certify
from gengap.workflow.own import OwnModel, certify_own
from gengap.workflow.settings import Settings
from gengap.workflow.verify import verify
from gengap.workflow.verify_file import own_files, verify_file

PUBLISHED = published_results_dir()
FEW = Settings(n_pilot_windows=6, n_windows=40, n_pairs=60, seed=3)
NO = "0" * 64


def wrong(findings) -> list[str]:
    return [f"{finding.name}: {finding.what}" for finding in findings if finding.fine is False]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A certified model that nobody published: its record, and everything that it was made from."""
    model = tiny_model(tiny_config())
    rows, heldout = (TokenRows(token_rows(n, seq_len=17, seed=seed), NO) for n, seed in ((80, 0), (40, 1)))
    hypothesis = compress(model, rows, n_calibration_rows=16)
    folder = tmp_path_factory.mktemp("own")
    path = folder / "main-gptq-4bit.ggq"
    assert archive.write(hypothesis.quantized, model.config, path) == hypothesis.code_length_bits["archive"]
    companion = tiny_companion(model)
    record = certify.certify(model, rows, heldout, hypothesis=hypothesis, settings=FEW, companion=companion)
    evidence = record.evidence.model_copy(update={"archive_sha256": file_sha256(path)})
    return record.model_copy(update={"evidence": evidence}), path, model, rows, heldout, companion


def kinds() -> list[Path]:
    return sorted(PUBLISHED.rglob("*.json"))


def test_every_published_record_is_accepted_as_far_as_it_goes():
    records = [p for p in kinds() if p.parent.name != "checkpoint" and p.name != "manifest.json"]
    assert len(records) >= 107
    small = [p for p in records if p.parent.name not in ("800k", "1.5m", "3m", "4.5m") or p.name.startswith("main-q")]
    for path in small:  # the larger ones' arithmetic is checked below, and all of them by `gengap verify`
        findings = verify_file(path, share=0)
        assert not wrong(findings), path
        assert sum(finding.fine is True for finding in findings) >= 2, path


@pytest.mark.parametrize("size", ["800k", "1.5m", "3m", "4.5m"])
def test_the_larger_records_contradict_nothing(size):
    for path in sorted((PUBLISHED / "ladder" / size).glob("*bit.json")):
        findings = verify(BoundRecord.read(path))
        assert not wrong(findings)
        assert {f.name for f in findings if f.fine is None} > {
            "archive",
            "checkpoint weights",
            "training rows",
            "losses",
        }


def test_what_is_no_record_is_told_in_a_sentence(tmp_path):
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "half.json").write_text('{"bounds": ')
    for path, said in (
        (PUBLISHED / "ladder" / "50k" / "checkpoint" / "config.json", "is no record of this project"),
        (PUBLISHED / "corpus" / "manifest.json", "is no record of this project"),
        (tmp_path / "list.json", "is no record of this project"),
        (tmp_path / "half.json", "is no record of this project"),
        (tmp_path / "no.json", "there is no file"),
        (tmp_path / "*.json", "no file matches"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(UserError, match=said):
            verify_file(path)


def test_a_true_record_passes_every_check_that_can_be_made(example):
    findings = verify(*example)
    assert not wrong(findings)
    assert {finding.name for finding in findings if finding.fine is None} == {"training"}
    made = {finding.name for finding in findings if finding.fine}
    assert made >= {
        "companion",
        "companion weights",
        "archive",
        "quantized weights",
        "checkpoint weights",
        "windows",
        "held-out windows",
    }
    assert made >= {"losses", "terms", "certified means", "choices", "complexity", "closed forms", "grids"}


@pytest.mark.parametrize("seed", range(4))
def test_a_part_of_the_windows_agrees_within_its_error(example, seed):
    findings = verify(*example, share=0.6, seed=seed)
    assert not wrong(findings)
    assert any("random 60 %" in finding.what for finding in findings if finding.fine)


def test_another_machines_rounding_is_no_tampering(example):
    record, *rest = example
    content = json.loads(record.model_dump_json())
    for risk in content["risks"].values():
        risk["mean"] *= 1 + 2e-8
    for bounds in content["bounds"].values():
        for kind in MEASURED:
            bounds[kind]["train_risk"] *= 1 + 2e-8
        for bound in bounds.values():
            bound["quantization_gap"] = content["risks"]["quantized"]["mean"] - content["risks"]["train"]["mean"]
    content["online"]["train_risk"] *= 1 + 2e-8
    content["online"]["information"] -= 2e-8 * content["risks"]["train"]["mean"]
    del bounds
    findings = verify(BoundRecord.model_validate(content), *rest)
    assert [
        finding for finding in findings if finding.fine is False and finding.name not in ("accountings", "terms")
    ] == []


def test_arithmetic_says_that_it_is_none(example):
    record, *rest = example
    mere = record.model_copy(update={"not_certified": "these are not its training rows"})
    findings = verify(mere, *rest, share=0)
    assert not wrong(findings)
    assert any("these are not its training rows" in f.what for f in findings if f.name == "certificate")


def _set(content: dict, place: str, value) -> None:
    *path, last = place.split(".")
    for key in path:
        content = content[key]
    content[last] = value(content[last]) if callable(value) else value


def shift(by: float):
    return lambda value: value + by


def times(by: float):
    return lambda value: value * by


WITH_COMPANION = ("companion", "hedged_little", "hedged")
MEASURED = ("paper", "azuma", "tight", *WITH_COMPANION)  # on the windows
EVERY = [f"bounds.{accounting}" for accounting in ("nominal", "honest", "archive")]
TAMPERED = {  # what was done to the record, and what the findings have to name
    "a closed form": ({"bounds.nominal.paper.parameters": shift(-0.1)}, "bounds.nominal.paper.parameters"),
    "another term": ({"bounds.honest.paper.smoothing": times(0.9)}, "bounds.honest.paper.smoothing"),
    "a complexity": ({"bounds.archive.tight.complexity": times(0.5)}, "bounds.archive.tight.complexity"),
    "a measured term": ({"bounds.archive.tight.deviation": shift(-0.01)}, "bounds.archive.tight.deviation"),
    "a cost of smoothing": ({"bounds.archive.tight.smoothing": shift(-0.01)}, "bounds.archive.tight.smoothing"),
    "a variation with its sigma": (
        {"bounds.nominal.paper.loss_variation": times(1.1), "bounds.nominal.paper.sigma": times(1.1)},
        "bounds.nominal.paper.loss_variation",
    ),
    "sigma alone": ({"bounds.nominal.paper.sigma": times(0.9)}, "bounds.nominal.paper.loss_variation"),
    "an error of the sample": ({"bounds.nominal.tight.sampling": times(0.5)}, "bounds.nominal.tight.sampling"),
    "no error of the sample": ({"bounds.honest.paper.sampling": 0.0}, "bounds.honest.paper.sampling"),
    "an error of the pairs": ({"bounds.honest.paper_mode.sampling": times(0.5)}, "bounds.honest.paper_mode.sampling"),
    "the training loss, everywhere": (
        {"risks.train.mean": shift(-0.1), **{f"{e}.{k}.train_risk": shift(-0.1) for e in EVERY for k in MEASURED},
         **{f"{e}.{k}.quantization_gap": shift(0.1) for e in EVERY for k in MEASURED},
         "online.train_risk": shift(-0.1), "online.information": shift(0.1)},
        "risks.train.mean",
    ),
    "the training loss of one bound": ({"bounds.nominal.azuma.train_risk": shift(-0.1)}, "bounds.nominal.azuma.train_risk"),
    "a quantization gap": ({"bounds.nominal.tight.quantization_gap": shift(-0.1)}, "bounds.nominal.tight.quantization_gap"),
    "the pairs' training loss": ({f"{e}.paper_mode.train_risk": shift(-0.1) for e in EVERY}, "paper_mode.train_risk"),
    "a held-out loss": ({"risks.heldout.mean": shift(-0.1)}, "risks.heldout.mean"),
    "a standard error": ({"risks.train.standard_error": times(0.5)}, "risks.train.standard_error"),
    "a length": ({"quantization.code_length_bits.archive": shift(-800.0)}, "archive"),
    "a length, everywhere": (
        {"quantization.code_length_bits.archive": shift(-8.0),
         **{f"bounds.archive.{k}.code_length_bits": shift(-8.0) for k in (*MEASURED, "paper_mode")}},
        "quantization.code_length_bits.archive",
    ),
    "bits": ({"quantization.bits": 3}, "quantization.code_length_bits.nominal"),
    "a group size": ({"quantization.group_size": 7}, "quantization.group_size"),
    "the seed": ({"settings.seed": 4}, "evidence.windows_sha256"),
    "the number of windows": ({"settings.n_windows": 41}, "risks.train.n_tokens"),
    "the pilot and the certificate": ({"settings.n_pilot_windows": 5, "settings.n_windows": 41}, "sampling"),
    "the number of pairs": ({"settings.n_pairs": 61}, "paper_mode.n_tokens_evaluated"),
    "more windows than rows": ({"settings.n_windows": 75}, "81 windows cannot be drawn from 80 training rows"),
    "delta": ({"settings.failure_prob": 0.05}, "failure_prob"),
    "delta of one bound": ({"bounds.nominal.tight.failure_prob": 0.01}, "bounds.nominal.tight.failure_prob"),
    "the sample's delta": ({"bounds.nominal.tight.sampling_failure_prob": 0.1}, "sampling_failure_prob"),
    "the grid of s": ({"settings.s_grid_size": 10}, "settings.s_grid_size"),
    "the windows' hash": ({"evidence.windows_sha256": NO}, "evidence.windows_sha256"),
    "the held-out windows' hash": ({"evidence.heldout_sha256": NO}, "evidence.heldout_sha256"),
    "the archive's hash": ({"evidence.archive_sha256": NO}, "evidence.archive_sha256"),
    "the quantized weights' hash": ({"evidence.quantized_sha256": NO}, "evidence.quantized_sha256"),
    "the checkpoint's hash": ({"evidence.checkpoint_sha256": NO}, "evidence.checkpoint_sha256"),
    "the text's hash": ({"identity.data_sha256": "1" * 64}, "identity.data_sha256"),
    "training tokens": ({"identity.n_train_tokens": times(10)}, "complexity"),
    "training tokens of no whole rows": ({"identity.n_train_tokens": shift(1)}, "no whole rows"),
    "the vocabulary": ({"identity.vocab_size": 95}, "bounds.nominal.paper.parameters"),
    "parameters": ({"identity.n_params": shift(1)}, "identity.n_params"),
    "a tilt": ({"bounds.archive.tight.rate": times(1.01)}, "bounds.archive.tight.rate"),
    "a safety": ({"bounds.archive.tight.alpha": 2e-3}, "bounds.archive.tight.alpha"),
    "a floor": ({"bounds.archive.tight.baseline_floor": shift(0.01)}, "bounds.archive.tight.baseline_floor"),
    "a range": ({"bounds.archive.tight.s": times(0.9)}, "bounds.archive.tight.s"),
    "a free grid": ({f"bounds.{a}.tight.grid_size": 1 for a in ("nominal", "honest", "archive")}, "tight.grid_size"),
    "a smoother": ({"bounds.archive.tight.smoother": "magic"}, "bounds.archive.tight.smoother"),
    "an s outside its grid": ({"bounds.nominal.paper.s": 0.12345}, "bounds.nominal.paper.s"),
    "an impossible s": ({"bounds.nominal.paper.s": 0.0}, "bounds.nominal.paper"),
    "an impossible rate": ({"bounds.nominal.tight.rate": 0.0}, "bounds.nominal.tight"),
    "an alpha": ({"bounds.nominal.azuma.alpha": 500 / 1001}, "bounds.nominal.azuma"),
    "a companion's price": ({"bounds.archive.companion.deviation": shift(-0.01)}, "bounds.archive.companion.deviation"),
    "a price below its least": ({"bounds.archive.hedged.deviation": -0.1}, "bounds.archive.hedged.deviation"),
    "a hedge that costs less": ({"bounds.archive.hedged.smoothing": shift(-0.01)}, "bounds.archive.hedged.smoothing"),
    "a companion's error of the sample": ({"bounds.honest.companion.sampling": times(0.5)}, "bounds.honest.companion.sampling"),
    "a companion's complexity": ({"bounds.honest.companion.complexity": times(0.9)}, "bounds.honest.companion.complexity"),
    "a companion's rate": ({"bounds.nominal.companion.rate": times(1.01)}, "bounds.nominal.companion.rate"),
    "a companion's share": ({"bounds.nominal.companion.s": 0.6}, "bounds.nominal.companion.s"),
    "a companion's alpha": ({"bounds.nominal.companion.alpha": 0.06}, "bounds.nominal.companion.alpha"),
    "a hedge of more": ({"bounds.nominal.hedged_little.alpha": 0.1}, "bounds.nominal.hedged_little.alpha"),
    "a hedge that is none": ({"bounds.nominal.hedged.hedged": False}, "bounds.nominal.hedged"),
    "a free grid of predictors": ({"bounds.nominal.hedged.grid_size": 1}, "bounds.nominal.hedged.grid_size"),
    "a companion of no code": ({"bounds.nominal.companion.companion_code_length_bits": 0.0}, "bounds.nominal.companion.companion_code_length_bits"),
    "a companion of no code, everywhere": (
        {"online.companion_code_length_bits": 0.0, **{f"{e}.{k}.companion_code_length_bits": 0.0 for e in EVERY for k in WITH_COMPANION}},
        "bounds.nominal.companion.complexity",
    ),
    "another floor": ({"online.floor": 0.02}, "floor"),
    "information": ({"online.information": shift(-0.1)}, "online.information"),
    "the companion's loss, everywhere": (
        {"online.information": shift(-0.1), **{f"{e}.{k}.companion_risk": shift(-0.1) for e in EVERY for k in WITH_COMPANION}},
        "online.information",
    ),
    "eps": ({"online.companion": times(0.5)}, "online.companion"),
    "eps of one bound": ({"bounds.honest.hedged.companion": times(2)}, "bounds.honest.hedged.companion"),
    "the companion's delta": ({"online.failure_prob": 0.001}, "online.failure_prob"),
    "the companion's error of the sample": ({"online.sampling": times(0.5)}, "online.sampling"),
    "what the companion was": ({"companion": None}, "go together"),
    "tokens evaluated": ({"bounds.nominal.tight.n_tokens_evaluated": times(2)}, "bounds.nominal.tight.n_tokens_evaluated"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_named(example, what):
    record, *rest = example
    changes, named = TAMPERED[what]
    content = json.loads(record.model_dump_json())
    for place, value in changes.items():
        _set(content, place, value)
    assert content != json.loads(record.model_dump_json())
    found = wrong(verify(BoundRecord.model_validate(content), *rest))
    assert any(named in line for line in found), found


def test_swapped_accountings_are_named(example):
    record, *rest = example
    for first, second in (("nominal", "archive"), ("honest", "nominal")):
        bounds, lengths = dict(record.bounds), dict(record.quantization.code_length_bits)
        bounds[first], bounds[second] = bounds[second], bounds[first]
        found = wrong(verify(record.model_copy(update={"bounds": bounds}), *rest))
        assert any(f"bounds.{name}.paper.code_length_bits" in line for line in found for name in (first, second))
        lengths[first], lengths[second] = lengths[second], lengths[first]
        code = record.quantization.model_copy(update={"code_length_bits": lengths})
        found = wrong(verify(record.model_copy(update={"bounds": bounds, "quantization": code}), *rest))
        assert any(f"quantization.code_length_bits.{name}" in line for line in found for name in (first, second))
    del bounds["honest"]
    assert any(
        "needed: nominal, honest, archive" in line
        for line in wrong(verify(record.model_copy(update={"bounds": bounds}), *rest))
    )


def test_constants_that_were_chosen_on_the_certificate_are_named(example):
    """A tilt of the grid, measured and certified as it should be, that the pilot does not choose."""
    record, path, model, rows, heldout, companion = example
    from gengap.bounds.grids import Tilt, TiltGrid
    from gengap.bounds.theorems import tight_bound
    from gengap.records.arithmetic import coded_model
    from gengap.statistics.per_token import tilted_statistics, token_statistics

    quantized = archive.read(path).build(model.config)
    sample, _ = certify.draw(len(rows), 16, FEW)
    drawn, tight = rows[sample.windows], record.bounds["archive"].tight
    other = next(rate for rate in TiltGrid().rates if abs(rate / tight.rate - 1) > 0.3)
    tilt, nll = Tilt(other, 0.03, 0.0, TiltGrid().size, 96), token_statistics(quantized, drawn).nll
    found = tilted_statistics(quantized, drawn, tilt)
    forged = tight_bound(
        coded_model(record, "archive"), nll, found.entropy, tilt, record.risks.train.mean, sample, found.loss
    )
    bounds = record.bounds | {"archive": record.bounds["archive"].model_copy(update={"tight": forged})}
    said = wrong(verify(record.model_copy(update={"bounds": bounds}), path, model, rows, heldout, companion))
    assert len(said) == 1
    assert "bounds.archive.tight.rate" in said[0]
    assert "it was not chosen there" in said[0]


def test_other_files_than_the_records_are_named(example, tmp_path):
    record, path, model, rows, heldout, companion = example
    content = path.read_bytes()
    code = archive.decode(content)[0]
    name = next(iter(code.tensors))
    code.tensors[name].codes[0, 0] ^= 1  # one weight, in an archive that is whole again
    (other := tmp_path / "other.ggq").write_bytes(archive.encode(code, archive.decode(content)[1]))
    damaged, missing = tmp_path / "damaged.ggq", tmp_path / "missing.ggq"
    damaged.write_bytes(content[:-3] + b"abc")
    unnamed = record.model_copy(update={"evidence": record.evidence.model_copy(update={"archive_sha256": None})})
    for given, named in (
        ({"archive": other}, "evidence.quantized_sha256"),
        ({"archive": damaged}, "damaged"),
        ({"archive": missing}, "missing.ggq"),
        ({"checkpoint": tiny_model(tiny_config(), seed=1)}, "evidence.checkpoint_sha256"),
        ({"rows": TokenRows(rows.rows[::-1], NO)}, "evidence.windows_sha256"),
        ({"rows": TokenRows(rows.rows[:70], NO)}, "80 of 16 predicted tokens, here are 70 of 16"),
        ({"rows": TokenRows(rows.rows, "1" * 64)}, "identity.data_sha256"),
        ({"heldout": TokenRows(heldout.rows[::-1], NO)}, "evidence.heldout_sha256"),
    ):
        all_of_it = {
            "archive": path,
            "checkpoint": model,
            "rows": rows,
            "heldout": heldout,
            "companion": companion,
        } | given
        findings = verify(unnamed, **all_of_it)
        assert any(named in line for line in wrong(findings)), (named, wrong(findings))


def test_snapshots_of_another_training_are_told_and_not_compared(example):
    record, path, model, rows, heldout, _ = example
    findings = verify(record, path, model, rows, heldout, tiny_companion(model, (0, 20, 30)))
    (told,) = (finding for finding in findings if finding.name == "companion weights")
    assert told.fine is None
    assert "another training than the record's" in told.what
    assert not wrong(findings)


def test_gross_tampering_shows_on_a_part(example):
    record, *rest = example
    content = json.loads(record.model_dump_json())
    for accounting in content["bounds"].values():
        accounting["tight"]["smoothing"] -= 0.5
    found = wrong(verify(BoundRecord.model_validate(content), *rest, share=0.5, seed=0))
    assert any("tight.smoothing" in line for line in found)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(example, share):
    with pytest.raises(UserError, match="choose a number between 0"):
        verify(*example, share=share)


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("identity.size", "100k", "of ladder-100k it is"),
        ("identity.size", "60k", "unknown model size 'ladder-60k'"),
        ("identity.revision", "step8", "ladder-50k has no training of length"),
        ("identity.n_params", 52945, "identity.n_params"),
        ("identity.value", 1.0, "identity.value"),
        ("bounds.nominal.tight.value", 1.0, "bounds.nominal.tight.value"),
        ("settings.seed", 1, "evidence.windows_sha256"),
        ("bounds.nominal.paper.alpha", 2.0, "bounds.nominal.paper"),
    ],
)
def test_a_published_record_that_is_changed_is_refused(tmp_path, place, value, named):
    """A total is in no record: it is the sum of the terms, and a file that states one breaks the schema."""
    for file in ("main-gptq-4bit.json", "main-gptq-4bit.ggq"):
        shutil.copy(PUBLISHED / "ladder" / "50k" / file, tmp_path)
    path = tmp_path / "main-gptq-4bit.json"
    content = json.loads(path.read_text())
    *parents, last = place.split(".")
    node = content
    for key in parents:
        node = node[key]
    node[last] = value
    path.write_text(json.dumps(content))
    if place == "settings.seed" and not Path(PUBLISHED.parent, "build", "corpus", "train.bin").exists():
        pytest.skip("the windows are drawn from the corpus, which is not built here")
    found = wrong(verify_file(path, share=0))
    assert any(named in line for line in found), found


@pytest.mark.parametrize(
    ("file", "place", "value", "named"),
    [
        ("main-quantization.json", "cells.3.paper_gap", 0.1, "paper_gap"),
        ("main-quantization.json", "cells.3.tight_gaps.archive", 0.1, "tight_gaps.archive"),
        ("main-quantization.json", "cells.3.code_length_bits.nominal", 1.0, "code_length_bits.nominal"),
        ("runs/grid-2x.json", "n_train_tokens", 100, "n_train_tokens"),
        ("runs/grid-2x.json", "seed", 1, "seed"),
        ("runs/grid-2x.json", "run_key", "1" * 64, "run_key"),
        ("runs/grid-2x.json", "name", "grid-3x", "no run grid-3x"),
        ("../forecast-2026-11-25.json", "predictions.0.value", 1.0, "predictions."),
    ],
)
def test_records_of_other_kinds_are_checked_as_far_as_they_go(tmp_path, file, place, value, named):
    source = PUBLISHED / "ladder" / "50k" / file
    content = json.loads(source.read_text())
    node, (*parents, last) = content, place.split(".")
    for key in parents:
        node = node[int(key) if key.isdigit() else key]
    node[last] = value
    (path := tmp_path / source.name).write_text(json.dumps(content))
    found = wrong(verify_file(path))
    assert any(named in line for line in found), found


def test_a_record_in_another_models_place_is_refused(empty_project):
    source = PUBLISHED / "ladder" / "50k" / "main-gptq-4bit.json"
    target = empty_project / "results" / "ladder" / "100k" / source.name
    target.parent.mkdir(parents=True)
    shutil.copy(source, target)
    findings = verify_file(target, share=0)
    assert [finding.name for finding in findings if finding.fine is False] == ["place"]
    unchecked = " ".join(finding.what for finding in findings if finding.fine is None)
    assert "there is no corpus yet" in unchecked
    assert "there is no archive at hand" in unchecked


def test_rows_that_cannot_be_had_are_told_with_the_reason(empty_project):
    path = PUBLISHED / "ladder" / "50k" / "main-gptq-4bit.json"
    findings = verify_file(path)
    assert not wrong(findings)
    assert any(f.name == "losses" and "training rows" in f.what for f in findings if f.fine is None)
    assert np.sum([f.fine is True for f in findings]) > 10


@pytest.mark.parametrize("training_rows", [True, False])
def test_a_model_of_ones_own_is_verified_from_its_folder_and_its_rows(empty_project, tmp_path, training_rows):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=96, n_embd=12, n_layer=1, n_head=2, n_positions=32)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "mine")
    for name, n_rows in (("rows", 80), ("heldout", 60)):
        np.save(tmp_path / f"{name}.npy", token_rows(n_rows, seq_len=17, seed=n_rows))
    model, rows, heldout = (str(tmp_path / name) for name in ("mine", "rows.npy", "heldout.npy"))
    n_train_tokens = None if training_rows else 100_000
    own = OwnModel(model, rows, heldout=heldout, training_rows=training_rows, n_train_tokens=n_train_tokens)
    record = certify_own(own, "rtn", 4, FEW)
    path = own.results_dir / record.place.name
    given = own_files(path, model, None, rows, heldout, {})
    findings = verify_file(path, **given)
    assert not wrong(findings)
    made = {finding.name for finding in findings if finding.fine}
    assert made >= {
        "companion",
        "archive",
        "quantized weights",
        "windows",
        "held-out windows",
        "losses",
        "terms",
        "choices",
    }
    assert ("certificate" in {finding.name for finding in findings}) is not training_rows
    alone = verify_file(path)
    assert not wrong(alone)
    assert any("its maker's word" in finding.what for finding in alone if finding.fine is None)
    np.save(tmp_path / "rows.npy", token_rows(80, seq_len=17, seed=1))
    found = wrong(verify_file(path, **own_files(path, model, None, rows, heldout, {})))
    assert any("evidence.windows_sha256" in line for line in found)
