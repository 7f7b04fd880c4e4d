"""Records of requential codes: whole, recomputed when read, and refused when a number was altered."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from contradictions import failing, relative, shift
from projects import SMALL, bare_project

from gengap.errors import UserError
from gengap.paths import published_results_dir
from gengap.records.requential import (
    RequentialFile,
    RequentialRecord,
    lengths_of,
    load_requential,
    publish_requential,
    read_costs,
    write_costs,
    write_requential,
    write_requential_file,
)
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


# The published ones, which are read in milliseconds.

RUNG = published_results_dir() / "ladder" / "50k"
KINDS = ("paper", "tight", "companion", "hedged_little", "hedged")


@pytest.fixture(scope="module")
def published():
    return RequentialRecord.read(RUNG / "requential-smoothing-seed0.json", recompute=False)


@pytest.fixture(scope="module")
def sent():
    return RequentialFile.read(RUNG / "requential-file.json", recompute=False)


FOLLOWS = [
    *(f"code lengths: lengths.{which}.{part}" for which in ("expected", "certain", "path") for part in ("divergence", "overhead", "fluctuation")),
    "code lengths: prequential_nats",
    "counts: teaching.n_steps",
    *(f"code lengths: bounds.{which}.{kind}.code_length_bits" for which in ("expected", "path") for kind in KINDS),
    *(f"risks: bounds.certain.{kind}.train_risk" for kind in KINDS),
    *(f"complexity: bounds.{which}.{kind}.complexity" for which in ("expected", "path") for kind in ("paper", "tight")),
]  # fmt: skip


@pytest.mark.parametrize("where", FOLLOWS)
def test_a_published_number_that_follows_from_others_is_that_number(published, where):
    assert failing(published) == set()
    for by in (3e-9, -3e-9):
        assert where in failing(published, {where.partition(": ")[2]: relative(by)})


def test_a_published_record_counts_the_teacher_s_steps(published):
    """With half the rows at twice the steps, so that its name and its costs are the same."""
    rows, steps = published.teaching.rows_per_step, published.teaching.n_teacher_steps
    other = {"teaching.n_teacher_steps": 2 * steps, "teaching.rows_per_step": rows // 2}
    assert failing(published, other) >= {"counts: teaching.n_teacher_steps", "code lengths: prequential_nats"}


@pytest.mark.parametrize("kind", KINDS)
def test_no_published_number_is_infinite(published, kind):
    assert f"counts: bounds.path.{kind}" in failing(published, {f"bounds.path.{kind}.sampling": math.inf})


@pytest.mark.parametrize("part", ["settings", "evidence", "online", "bounds"])
def test_published_bounds_go_with_what_they_were_measured_on(published, part):
    without = {part: {} if part == "bounds" else None}
    if part != "settings":  # which the bounds need
        assert "counts: bounds" in failing(published, without)
    nothing = {"settings": None, "evidence": None, "online": None, "bounds": {}}
    assert failing(published, nothing) == set()
    del nothing[part]
    if part != "bounds":
        assert failing(published, nothing) == {"counts: bounds"}


@pytest.mark.parametrize(
    ("where", "right", "wrong"),
    [
        ("code lengths: file_sha256", lambda digest: digest, "0" * 64),
        ("code lengths: file_bits", 20080, 20081),
        ("code lengths: delta_bits", 22653, 22652),
        ("counts: n_steps", 40, 41),
        ("counts: seq_len", 256, 255),
        ("counts: most_proposals", shift(1), 1),
    ],
)
def test_a_published_file_is_what_its_record_says(sent, where, right, wrong):
    assert failing(sent) == set()
    place = where.partition(": ")[2]
    assert where not in failing(sent, {place: right})
    assert where in failing(sent, {place: wrong})


def test_published_lengths_are_those_of_their_costs(published):
    costs = published.costs
    assert set(costs) >= {"kl", "row_variance", "log_ratio", "teacher_loss", "teacher_step"}
    found = lengths_of(costs, 0.001)
    for which, length in published.lengths.items():
        assert found[which].total == pytest.approx(length.total, rel=1e-12)
        assert length.total == length.divergence + length.overhead + length.fluctuation
    looser = lengths_of(costs, 0.1)
    assert looser["expected"].fluctuation == pytest.approx(found["expected"].fluctuation / 10)
    assert looser["certain"].fluctuation == pytest.approx(math.log2(10))
    assert published.bits_per_param() == pytest.approx(published.lengths["path"].total / 52944)
    assert published.bits_per_param("certain") == pytest.approx(published.lengths["certain"].total / 52944)


def test_names_of_published_records(published):
    assert (published.name, str(published.place)) == (
        "requential-smoothing-seed0",
        "ladder/50k/requential-smoothing-seed0.json",
    )
    fewer = published.teaching.model_copy(update={"rows_per_step": 2})
    assert published.model_copy(update={"teaching": fewer, "seed": 3}).name == "requential-smoothing-rows2-seed3"
    assert published.model_copy(update={"control": "random"}).name == "requential-smoothing-random-seed0"


def test_published_records_are_found_in_order():
    found = load_requential("ladder")
    assert found == sorted(found, key=lambda r: (r.control or "", r.identity.n_params, r.recipe, r.name))
    assert {r.recipe for r in found} == {"smoothing", "plain", "projection"}
    assert [r.name for r in load_requential("ladder", "plain")] == ["requential-plain-seed0"]
    assert load_requential("llama") == []
    assert load_requential(recipe="plain") == load_requential("ladder", "plain")
    assert found[-1].control


def test_records_are_written_and_published_with_their_costs_and_files(published, sent, tmp_path, monkeypatch):
    costs, file = np.stack(list(published.costs.values()), 1), sent.file
    assert file == RUNG / "requential-file.grq"
    root = bare_project(tmp_path / "project")
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    with pytest.raises(
        UserError, match="the costs of ladder-50k, requential-smoothing-seed0, are missing: delete it and run"
    ):
        _ = published.costs
    with pytest.raises(UserError, match="the requential file of ladder-50k is missing: delete it and run"):
        _ = sent.file
    path = write_requential(published, costs)
    assert path == root / "build" / "results" / published.place
    assert published.costs["kl"].tolist() == costs[:, 0].tolist()
    with pytest.raises(UserError, match="are missing"):
        _ = published.model_copy(update={"run_key": "1" * 64}).costs
    assert write_requential_file(sent, file) == root / "build" / "results" / "ladder" / "50k" / "requential-file.json"
    assert sent.file.read_bytes() == file.read_bytes()
    there = root / "results" / "ladder" / "50k"
    names = (
        "requential-smoothing-seed0.csv.gz",
        "requential-smoothing-seed0.json",
        "requential-file.grq",
        "requential-file.json",
    )
    assert publish_requential() == [there / name for name in names]
    assert publish_requential() == []
    shutil.rmtree(root / "build")
    assert sent.file == there / "requential-file.grq"
    assert [r.name for r in load_requential()] == ["requential-smoothing-seed0"]


def test_costs_of_another_order_are_no_costs(tmp_path):
    path = tmp_path / "costs.csv.gz"
    write_costs(path, "a" * 64, np.arange(7.0)[None])
    assert {name: values.tolist() for name, values in read_costs(path)[1].items()}["kl"] == [0.0]
    import gzip

    from gengap import files

    body, sealed = files.unseal(gzip.decompress(path.read_bytes()))
    assert sealed
    for content in (body, files.seal(body.replace(b"kl", b"lk")), files.seal(b"# run=a\n")):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(
            UserError, match=r"holds no costs of a training .*: delete it and run `gengap requential` again"
        ):
            read_costs(path)
