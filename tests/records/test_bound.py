"""Records: validated both ways, merged by key, and refused with the place of the fault."""

import json
from pathlib import Path

import pytest
from made_up import made_up_record

from gengap import files
from gengap.cli.certificates import headline
from gengap.errors import UserError
from gengap.paths import published_results_dir
from gengap.records.base import Identity
from gengap.records.bound import BoundRecord, load_records, publish_model
from gengap.records.forecast import observe


def test_a_record_survives_its_file_exactly(record):
    path = record.write()
    assert path.name == "main-gptq-4bit.json"
    assert BoundRecord.read(path) == record
    assert BoundRecord.read(path).bounds["nominal"].tight.value == record.bounds["nominal"].tight.value
    assert record.provenance.packages["torch"].startswith("2.")


@pytest.mark.parametrize(
    "path", sorted(published_results_dir().glob("*/*/*bit.json")), ids=lambda path: path.parent.name
)
def test_a_published_record_is_written_back_byte_for_byte(path, tmp_path):
    written = BoundRecord.read(path).write(tmp_path)
    assert written.read_bytes() == path.read_bytes()
    assert written.relative_to(tmp_path) == path.relative_to(published_results_dir())


def test_what_a_record_does_not_say_is_not_in_its_file(record):
    content = json.loads(record.write().read_text())
    assert "not_certified" not in content
    assert "archive_sha256" not in content["evidence"]
    risks = record.risks.model_copy(update={"heldout": None, "heldout_quantized": None})
    evidence = record.evidence.model_copy(update={"heldout_sha256": None, "archive_sha256": "5" * 64})
    own = record.model_copy(update={"risks": risks, "evidence": evidence})
    content = json.loads(own.write().read_text())
    assert list(content["risks"]) == ["train", "quantized"]
    assert "heldout_sha256" not in content["evidence"]
    assert content["evidence"]["archive_sha256"] == "5" * 64
    assert BoundRecord.read(own.write()) == own
    assert observe([own]) == ()
    assert len(observe([record])) == 1


def test_a_nominal_bound_is_certified_by_a_file_that_is_no_longer(record):
    """Equal lengths suffice, a bit more does not, and the line that a run ends with says so."""
    nominal = record.quantization.bits * record.identity.n_params
    for archive, met in ((nominal - 1, True), (nominal, True), (nominal + 1, False)):
        lengths = record.quantization.code_length_bits | {"nominal": nominal, "archive": archive}
        code = record.quantization.model_copy(update={"code_length_bits": lengths})
        assert code.nominal_is_met is met
        both = dict.fromkeys(("nominal", "archive"), record.bounds["nominal"])
        said = headline(record.model_copy(update={"quantization": code, "bounds": both}))
        assert ("only its own length certifies" in said) is not met


def test_the_papers_code_has_a_file_below_its_nominal_length_on_every_rung():
    published = load_records("ladder", "gptq", 4)
    assert len(published) >= 8
    assert all(record.quantization.nominal_is_met for record in published)


def test_arithmetic_has_a_name_of_its_own_and_is_no_certificate(record, empty_project):
    arithmetic = record.model_copy(update={"not_certified": "these are not its training rows"})
    path = arithmetic.write()
    assert path.name == "main-gptq-4bit-arithmetic.json"
    assert BoundRecord.read(path) == arithmetic
    assert load_records() == []
    path.rename(path.with_name("main-gptq-4bit.json"))  # under the name of a certificate it is none either
    assert load_records() == []
    record.write()
    assert load_records() == [record]
    with pytest.raises(ValueError, match="at least 1 character"):
        BoundRecord.model_validate(record.model_dump() | {"not_certified": ""})


@pytest.mark.parametrize("name", ["", "<b>", "a b", "../up", ".hidden", "a/b", "ü", "main\n"])
def test_names_are_parts_of_file_names_without_markup(record, name):
    for part in ("family", "size", "revision"):
        with pytest.raises(ValueError, match="pattern"):
            Identity.model_validate(record.identity.model_dump() | {part: name})


def test_this_machines_record_replaces_the_published_one(record, empty_project):
    published = record.model_copy(update={"provenance": record.provenance.model_copy(update={"device": "cuda"})})
    published.write(empty_project / "results")
    assert [r.provenance.device for r in load_records()] == ["cuda"]
    record.write()
    assert [r.provenance.device for r in load_records()] == ["cpu"]


def test_records_of_a_family_are_those_of_its_final_models_and_of_a_code_only_its_own(record, empty_project):
    early = record.identity.model_copy(update={"revision": "step64"})
    record.write()
    record.model_copy(update={"identity": early}).write()
    made_up_record(bits=3).write()
    asked = [(), ("test",), ("test", "gptq", 4), ("test", "gptq", 2), ("other",)]
    found = [[(r.identity.revision, r.quantization.bits) for r in load_records(*which)] for which in asked]
    assert found == [[("main", 3), ("main", 4), ("step64", 4)], [("main", 3), ("main", 4)], [("main", 4)], [], []]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("settings", "failure_prob"), 1.5, "settings.failure_prob"),
        (("risks", "train", "mean"), None, "risks.train.mean"),
        (("identity", "surprise"), 1, "identity.surprise"),
        (("bounds", "nominal", "paper", "sigma"), "many", "bounds.nominal.paper.sigma"),
        (("schema_version",), 1, "schema_version"),
        (("evidence", "windows_sha256"), "abc", "evidence.windows_sha256"),
    ],
)
def test_invalid_records_are_refused_with_the_place(record, place, value, said):
    path = record.write()
    content = json.loads(path.read_text())
    node = content
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        BoundRecord.read(path)


@pytest.mark.parametrize(
    "place",
    [
        ("bounds", "archive", "tight", "complexity"),
        ("bounds", "nominal", "paper", "smoothing"),
        ("bounds", "nominal", "azuma", "train_risk"),
        ("risks", "quantized", "mean"),
        ("quantization", "code_length_bits", "archive"),
        ("identity", "n_train_tokens"),
    ],
)
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_record_that_contradicts_itself_is_refused_with_the_place(record, place, factor):
    path = record.write()
    content = json.loads(path.read_text())
    *inner, last = place
    node = content
    for key in inner:
        node = node[key]
    node[last] = int(node[last] * factor) if isinstance(node[last], int) else node[last] * factor
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="contradicts itself"):
        BoundRecord.read(path)
    assert BoundRecord.read(path, recompute=False) != record  # for those who list what is wrong


def test_a_published_record_is_the_one_that_is_listed(record, empty_project):
    published = record.write(empty_project / "results")
    assert load_records() == [record]  # another machine's, put there
    files.list_files(empty_project / "results", [published])
    assert load_records() == [record]
    other = record.model_copy(update={"provenance": record.provenance.model_copy(update={"device": "gpu"})})
    published.write_text(other.model_dump_json(indent=1) + "\n")
    with pytest.raises(UserError, match="is not the file that SHA256SUMS lists"):
        load_records()
    published.unlink()
    files.list_files(empty_project / "results", [published])
    assert files.published() == {}


def test_truncated_record_is_refused(record):
    path = record.write()
    path.write_text(path.read_text()[:200])
    with pytest.raises(UserError, match="is no valid record"):
        load_records()


def test_publishing_copies_valid_results_and_nothing_else(record, empty_project):
    with pytest.raises(UserError, match="nothing to publish"):
        publish_model("test", "9k")
    path = record.write()
    (path.parent / "loss_log.csv").write_text("log")
    (path.parent / "training_state.safetensors").write_text("half a run")
    assert [copy.name for copy in publish_model("test", "9k")] == [path.name, "loss_log.csv"]
    for name in ("checkpoint", "runs/grid-4x/checkpoint", "runs/grid-8x/checkpoint"):
        (path.parent / name).mkdir(parents=True)
        (path.parent / name / "model.safetensors").write_text(name)
    longer = record.model_copy(update={"identity": record.identity.model_copy(update={"revision": "4x"})}).write()
    published = [copy.relative_to(empty_project / "results" / "test" / "9k") for copy in publish_model("test", "9k")]
    checkpoints = [Path(name, "model.safetensors") for name in ("checkpoint", "runs/grid-4x/checkpoint")]
    assert sorted(published) == sorted([Path(longer.name), *checkpoints])  # of trainings that have a record
    assert load_records("test") == [record]  # the frontier's alone
    (empty_project / "results" / "test" / "9k" / longer.name).unlink()
    longer.unlink()
    path.unlink()
    assert load_records() == [record]  # the published one
    path.write_text("{}")
    with pytest.raises(UserError, match="is no valid record"):
        publish_model("test", "9k")
