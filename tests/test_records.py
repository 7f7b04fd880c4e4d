"""Records: validated both ways, merged by key, and refused with the place of the fault."""

import json

import pytest

from gengap import records
from gengap.errors import UserError


def test_a_record_survives_its_file_exactly(record):
    path = records.write(record)
    assert path.name == "main-gptq-4bit.json"
    assert records.read(path) == record
    assert records.read(path).bounds["nominal"].tight.value == record.bounds["nominal"].tight.value
    assert record.provenance.packages["torch"].startswith("2.")


def test_this_machines_record_replaces_the_published_one(record, empty_project):
    published = record.model_copy(
        update={"provenance": record.provenance.model_copy(update={"device": "cuda"})}
    )
    records.write(published, empty_project / "results")
    assert [r.provenance.device for r in records.load_records()] == ["cuda"]
    records.write(record)
    assert [r.provenance.device for r in records.load_records()] == ["cpu"]


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
    path = records.write(record)
    content = json.loads(path.read_text())
    node = content
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        records.read(path)


def test_truncated_record_is_refused(record):
    path = records.write(record)
    path.write_text(path.read_text()[:200])
    with pytest.raises(UserError, match="is no valid record"):
        records.load_records()


def test_publishing_copies_valid_results_and_nothing_else(record, empty_project):
    with pytest.raises(UserError, match="nothing to publish"):
        records.publish("test", "9k")
    path = records.write(record)
    (path.parent / "loss_log.csv").write_text("log")
    (path.parent / "training_state.safetensors").write_text("half a run")
    assert [copy.name for copy in records.publish("test", "9k")] == [path.name, "loss_log.csv"]
    path.unlink()
    assert records.load_records() == [record]  # the published one
    path.write_text("{}")
    with pytest.raises(UserError, match="is no valid record"):
        records.publish("test", "9k")
