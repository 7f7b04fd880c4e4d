"""Records as lists of gaps: each the bound that its name says, over the training loss, and nothing made up where there is none."""

import json

import pytest
from commands import run

from gengap import models
from gengap.paths import published_results_dir
from gengap.records.bound import BoundRecord, load_records
from gengap.records.gaps import gaps, length_of

NAMES = ("paper_nominal_gap", "uniform_gap", "companion_gap", "hedged_gap_5_percent", "hedged_gap", "online_gap")


def test_the_gaps_of_one_record():
    record = BoundRecord.read(published_results_dir() / "ladder" / "50k" / "2x-gptq-4bit.json", recompute=False)
    archive, nominal, risk = record.bounds["archive"], record.bounds["nominal"], record.risks.train.mean
    expected = {
        "paper_nominal_gap": nominal.paper.value - risk,
        "uniform_gap": archive.tight.value - risk,
        "companion_gap": archive.companion.value - risk,
        "hedged_gap_5_percent": archive.hedged_little.value - risk,
        "hedged_gap": archive.hedged.value - risk,
        "online_gap": record.online.value - risk,
        "family": "ladder",
        "size": "50k",
        "revision": "2x",
        "length": 2.0,
        "n_params": 52944,
        "n_train_tokens": record.identity.n_train_tokens,
        "method": "gptq",
        "bits": 4,
    }
    assert gaps([record]) == [pytest.approx(expected)]
    lengths = record.quantization.code_length_bits
    longer = record.quantization.model_copy(update={"code_length_bits": lengths | {"archive": lengths["nominal"] + 1}})
    none = {"companion": None, "hedged_little": None, "hedged": None}
    bounds = record.bounds | {"archive": archive.model_copy(update=none)}
    (found,) = gaps([record.model_copy(update={"quantization": longer, "bounds": bounds, "online": None})])
    assert [name for name in NAMES if found[name] is not None] == ["uniform_gap"]


def test_lengths_of_any_training():
    record = BoundRecord.read(published_results_dir() / "ladder" / "50k" / "2x-gptq-4bit.json", recompute=False)

    def length(n_train_tokens, **identity):
        given = {"n_train_tokens": n_train_tokens} | identity
        return length_of(record.model_copy(update={"identity": record.identity.model_copy(update=given)}))

    own = {"family": "own", "n_params": 1000}  # 20 tokens a parameter
    found = [length(n, **own) for n in (20_000, 20_100, 31_000, 66_666, 9_980, 1_234)]
    assert found == [1.0, 1.0, 1.55, 3.33, 0.5, 0.062]
    assert type(found[0]) is float
    assert length(1058816) == 1.0
    assert length(1064131) == 1.01  # of the rung's own training; of 20 tokens a parameter it would be 1.00496


def test_gaps_are_those_of_the_bounds_that_their_names_say():
    records = load_records()
    for record, found in zip(records, gaps(records), strict=True):
        risk = record.risks.train.mean
        lengths = record.quantization.code_length_bits
        if lengths["archive"] <= lengths["nominal"]:
            assert found["paper_nominal_gap"] == pytest.approx(record.bounds["nominal"].paper.value - risk)
        else:
            assert found["paper_nominal_gap"] is None
        assert found["uniform_gap"] == pytest.approx(record.bounds["archive"].tight.value - risk)
        assert found["size"] == record.identity.size
        assert found["n_train_tokens"] == record.identity.n_train_tokens
        assert all((found[name] is None) == (record.online is None) for name in NAMES[2:])
        if record.online:
            archive = record.bounds["archive"]
            assert found["companion_gap"] == pytest.approx(archive.companion.value - risk)
            assert found["hedged_gap_5_percent"] == pytest.approx(archive.hedged_little.value - risk)
            assert found["hedged_gap"] == pytest.approx(archive.hedged.value - risk)
            assert found["online_gap"] == pytest.approx(record.online.value - risk)


def test_the_frontier_has_length_one():
    for record in load_records():
        revision = record.identity.revision  # other weights at the start do not make a training longer
        assert length_of(record) == (float(revision.removesuffix("x")) if revision.endswith("x") else 1)
    record = load_records("ladder", "gptq", 4)[0]
    longer = record.identity.model_copy(update={"n_train_tokens": 4 * record.identity.n_train_tokens})
    assert length_of(record.model_copy(update={"identity": longer})) == 4
    own = record.identity.model_copy(update={"family": "own", "n_params": 1000, "n_train_tokens": 5000})
    assert length_of(record.model_copy(update={"identity": own})) == 0.25  # of 20 tokens a parameter
    begun = record.identity.model_copy(update={"n_train_tokens": round(record.identity.n_train_tokens / 30_000)})
    assert length_of(record.model_copy(update={"identity": begun})) == pytest.approx(
        3.3e-5
    )  # not 0: it has a logarithm


def test_the_command_prints_a_list():
    done = run("report", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads(json.dumps(gaps(load_records())))
    assert {entry["size"] for entry in found} >= {spec.size for spec in models.REGISTRY.values() if spec.trained_here}
    assert set(NAMES) < set(found[0])
    refused = run("report", "--json", "--output", "x.html")
    assert refused.returncode == 1
    assert "leave --output out" in refused.stderr
