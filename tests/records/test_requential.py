"""Records of requential codes: whole, recomputed when read, and refused when a number was altered."""

import json
from dataclasses import replace

import numpy as np
import pytest
from projects import SMALL

from gengap.errors import UserError
from gengap.records.requential import RequentialFile, RequentialRecord, load_requential, read_costs, write_costs
from gengap.requential.recipe import Requential
from gengap.workflow.requential import carry_out, send
from gengap.workflow.settings import Settings
from gengap.workflow.verify_file import verify_file

TINY = replace(SMALL, size="1k", hidden_size=4, batch_rows=16)
FEW = Settings(n_pilot_windows=10, n_windows=40, n_pairs=10)


@pytest.fixture(scope="module")
def made(small_project):
    """A record of a student, one of a control and one of a file, each made by the real thing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENGAP_ROOT", str(small_project))
        yield (
            carry_out(Requential(TINY, "projection", 1), FEW),
            carry_out(Requential(TINY, control="random"), FEW),
            send(Requential(TINY), 2, 256),
        )


def altered(path, tmp_path, change):
    fields = json.loads(path.read_text())
    change(fields)
    other = tmp_path / path.name
    other.write_text(json.dumps(fields))
    return other


def test_a_record_says_what_was_measured_and_bounds_the_student(made):
    record = RequentialRecord.read(made[0])
    assert made[0].name == "requential-projection-seed1.json"
    lengths = {which: length.total for which, length in record.lengths.items()}
    assert lengths["path"] < lengths["certain"] < lengths["expected"]
    bounds = record.bounds
    assert bounds["path"].paper.value < bounds["certain"].paper.value < bounds["expected"].paper.value
    for of_length in bounds.values():
        assert of_length.tight.value < of_length.paper.value
        assert record.student_train.mean < of_length.companion.value
    assert record.prequential_nats / record.identity.n_train_tokens > record.teacher_heldout.mean - 0.3
    assert [r.name for r in load_requential("test")] == [
        "requential-projection-seed1",
        "requential-smoothing-random-seed0",
    ]


def test_a_control_has_lengths_and_no_bounds(made):
    record = RequentialRecord.read(made[1])
    assert (record.control, record.bounds, record.online) == ("random", {}, None)
    assert "bounds" not in json.loads(made[1].read_text())


@pytest.mark.parametrize(
    ("place", "factor", "topic"),
    [
        (("lengths", "path", "divergence"), 0.9, "lengths.path.divergence"),
        (("lengths", "expected", "fluctuation"), 0.5, "lengths.expected.fluctuation"),
        (("bounds", "certain", "paper", "complexity"), 0.99, "complexity"),
        (("bounds", "path", "hedged", "code_length_bits"), 0.5, "code_length_bits"),
        (("prequential_nats",), 1.001, "prequential_nats"),
        (("bounds", "path", "tight", "train_risk"), 1.01, "train_risk"),
    ],
)
def test_an_altered_number_is_noticed(made, tmp_path, place, factor, topic):
    def change(fields):
        for key in place[:-1]:
            fields = fields[key]
        fields[place[-1]] *= factor

    with pytest.raises(UserError, match=f"contradicts itself: .*{topic}"):
        RequentialRecord.read(altered(made[0], tmp_path, change))
    RequentialRecord.read(altered(made[0], tmp_path, lambda fields: None))


def test_a_file_is_read_again_with_its_record(made, tmp_path):
    record = RequentialFile.read(made[2])
    assert record.file_bits == 8 * record.file.stat().st_size
    assert record.file_bits > record.divergence_bits
    with pytest.raises(UserError, match="contradicts itself: delta_bits"):
        RequentialFile.read(
            altered(made[2], tmp_path, lambda fields: fields.update(delta_bits=fields["delta_bits"] - 1))
        )


@pytest.mark.parametrize("i", [0, 1, 2])
def test_records_of_these_kinds_are_verified_like_others(made, i, tmp_path):
    findings = verify_file(made[i])
    assert [f.name for f in findings if f.fine is False] in ([], ["model"])  # the tests' own rung is in no registry
    assert any(f.name == "code lengths" and f.fine for f in findings)
    if i < 2:
        wrong = verify_file(altered(made[i], tmp_path, lambda fields: fields["lengths"]["path"].update(divergence=1.0)))
        assert "code lengths" in [f.name for f in wrong if f.fine is False]


def test_costs_come_back_as_they_were_and_a_cut_file_is_refused(tmp_path):
    costs = np.random.default_rng(0).random((20, 7))
    write_costs(tmp_path / "costs.csv.gz", "a" * 64, costs)
    key, found = read_costs(tmp_path / "costs.csv.gz")
    assert key == "a" * 64
    np.testing.assert_allclose(np.stack(list(found.values()), 1), costs, rtol=1e-6)
    content = (tmp_path / "costs.csv.gz").read_bytes()
    (tmp_path / "costs.csv.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError):
        read_costs(tmp_path / "costs.csv.gz")
