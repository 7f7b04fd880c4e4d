"""Published records of requential codes, which are read in milliseconds: what follows from what, number by number."""

import gzip
import math
import shutil

import numpy as np
import pytest
from contradictions import changed, failing, relative, shift
from projects import bare_project

from gengap import files
from gengap.errors import UserError
from gengap.paths import published_results_dir
from gengap.records import requential
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
        (wrong,) = (check for check in changed(published, nothing).checks() if not check.holds)
        assert wrong.said == "bounds, their settings, evidence and the teacher's bound go together"


@pytest.mark.parametrize(
    ("where", "right", "wrong"),
    [
        ("code lengths: file_sha256", lambda digest: digest, "0" * 64),
        ("code lengths: file_bits", 20080, 20081),
        ("code lengths: delta_bits", 22653, 22652),
        ("counts: n_steps", 40, 41),
        ("counts: seq_len", 256, 255),
        ("counts: most_proposals", shift(1), 1),
        ("counts: most_proposals", 298, 297),  # the greatest index that was sent
    ],
)
def test_a_published_file_is_what_its_record_says(sent, where, right, wrong):
    assert failing(sent) == set()
    place = where.partition(": ")[2]
    assert where not in failing(sent, {place: right})
    assert where in failing(sent, {place: wrong})
    if place == "file_sha256":
        (said,) = (check.said for check in changed(sent, {place: wrong}).checks() if not check.holds)
        assert said == "the file beside it is another one"


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
    assert {r.recipe for r in found} >= {"smoothing", "plain", "projection"}
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


def test_costs_are_written_in_seven_digits_and_without_the_time(tmp_path):
    path = tmp_path / "costs.csv.gz"
    costs = np.arange(7.0)[None] / 3
    write_costs(path, "a" * 64, costs)
    assert path.read_bytes()[4:8] == bytes(4)  # where gzip has the time
    assert b"\n0,0.3333333,0.6666667,1,1.333333,1.666667,2\n" in gzip.decompress(path.read_bytes())


def test_what_is_too_long_cut_short_or_of_fewer_columns_is_no_costs(tmp_path, monkeypatch):
    path = tmp_path / "costs.csv.gz"
    write_costs(path, "a" * 64, np.arange(70.0).reshape(10, 7))
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    with pytest.raises(UserError, match=r"is damaged or cut short .*: delete it and run `gengap requential` again$"):
        read_costs(path)
    body, _ = files.unseal(gzip.decompress(content))
    path.write_bytes(gzip.compress(files.seal(body.replace(b"0,1,2,3,4,5,6\n", b"0,1,2,3,4,5\n"))))
    with pytest.raises(UserError, match="holds no costs of a training"):
        read_costs(path)
    head, names, *lines = body.decode().splitlines()
    fewer = "\n".join([head, names, *(line.rpartition(",")[0] for line in lines)]) + "\n"
    path.write_bytes(gzip.compress(files.seal(fewer.encode())))
    with pytest.raises(UserError, match="holds no costs of a training"):
        read_costs(path)
    monkeypatch.setattr(requential, "_MOST", 100)
    path.write_bytes(content)
    with pytest.raises(UserError, match="has more than 100 bytes"):
        read_costs(path)


def test_costs_of_another_order_are_no_costs(tmp_path):
    path = tmp_path / "costs.csv.gz"
    write_costs(path, "a" * 64, np.arange(7.0)[None])
    assert {name: values.tolist() for name, values in read_costs(path)[1].items()}["kl"] == [0.0]
    body, sealed = files.unseal(gzip.decompress(path.read_bytes()))
    assert sealed
    for content in (body, files.seal(body.replace(b"kl", b"lk")), files.seal(b"# run=a\n")):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(
            UserError,
            match=r"holds no costs of a training \((it is not whole|not enough).*\): delete it and run `gengap requential` again",
        ):
            read_costs(path)
