"""The families beside the ladder: published certificates that say something, and forecasts that came before their outcomes."""

import math

import pytest

from gengap import models
from gengap.paths import file_sha256, published_results_dir
from gengap.records.bound import load_records
from gengap.records.forecast import load_forecasts, observe
from gengap.workflow import jobs

BESIDE = ("llama", "dictionary")
PUBLISHED = [r for r in load_records(method="gptq", bits=4) if r.identity.family in BESIDE]


def test_there_are_ten_and_more():
    assert len(PUBLISHED) >= 10
    assert len({r.evidence.checkpoint_sha256 for r in PUBLISHED}) == len(PUBLISHED)


@pytest.mark.parametrize("record", PUBLISHED, ids=lambda r: f"{r.identity.model_size}-{r.identity.revision}")
def test_a_certificate_says_something_about_the_rung_that_it_names(record):
    spec = models.get(record.identity.model_size, record.identity.revision)
    assert (record.identity.n_params, record.identity.n_train_tokens) == (spec.n_params, spec.n_train_tokens)
    for bounds in record.bounds.values():
        assert record.risks.train.mean < bounds.tight.value < bounds.paper.value < math.log(spec.vocab_size)
    if hedged := record.bounds["archive"].hedged_little:  # where snapshots were at hand
        assert hedged.value < record.bounds["archive"].tight.value
    assert record.settings.n_windows * spec.seq_len <= record.identity.n_train_tokens
    assert not record.provenance.commit.endswith("dirty")
    path = published_results_dir() / record.place
    assert file_sha256(path.with_suffix(".ggq")) == record.evidence.archive_sha256


@pytest.mark.parametrize("family", BESIDE)
def test_one_rung_is_certified_from_three_seeds(family):
    seeds = [r for r in PUBLISHED if r.identity.model_size == f"{family}-100k"]
    assert {r.identity.revision for r in seeds} == {"main", "seed1", "seed2"}
    losses = [r.risks.train.mean for r in seeds]
    assert 0 < max(losses) - min(losses) < 0.1  # nats: chance, and not another model


@pytest.mark.parametrize(("family", "largest"), [("llama", "800k"), ("dictionary", "400k")])
def test_the_largest_rung_was_forecast_from_those_below_it(family, largest):
    (forecast,) = load_forecasts(family)
    below = [r for r in load_records(family, "gptq", 4) if r.identity.size != largest]
    assert len(below) >= 4
    assert forecast.observed == observe(below)
    assert {p.size for p in forecast.predictions} == {largest}


def test_the_book_makes_none_of_them():
    made = {job.spec.family for job in [*jobs.book_jobs(), *jobs.shortest_jobs()]}
    assert made == {"ladder"}


def test_what_is_published_is_small():
    assert sum(p.stat().st_size for p in published_results_dir().rglob("*") if p.is_file()) < 40e6
