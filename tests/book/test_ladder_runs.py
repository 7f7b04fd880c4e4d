"""The table of trainings: what counts as the grid and as a rung's own run, and how the noise of a run is told."""

import math

import numpy as np
import pytest

from gengap.book.ladder_runs import ladder_runs
from gengap.records import load_runs

RECORDS = load_runs()
RUNS = ladder_runs(RECORDS)


def test_each_size_has_one_run_of_its_own_among_those_of_the_grid():
    assert list(RUNS.own["size"]) == RUNS.sizes
    assert RUNS.n_params.is_monotonic_increasing
    np.testing.assert_allclose(RUNS.own["D"] / RUNS.own["N"], 20, rtol=0.02)
    assert len(RUNS.grid) > 2 * len(RUNS.sizes)
    assert set(RUNS.colors) == set(RUNS.sizes)


def test_compute_is_six_operations_a_parameter_and_token():
    np.testing.assert_allclose(RUNS.table["F"], 6.0 * RUNS.table["N"] * RUNS.table["D"])


def test_curves_hold_the_runs_of_the_grid_in_order():
    curves = RUNS.curves()
    assert sum(len(curve.losses) for curve in curves) == len(RUNS.grid)
    assert all((np.diff(curve.n_tokens) > 0).all() for curve in curves)


def test_the_longest_run_of_a_size_is_of_the_grid():
    for size in RUNS.sizes:
        run = RUNS.longest(size)
        assert run.group == "grid"
        assert run.length == RUNS.grid.loc[RUNS.grid["size"] == size, "length"].max()


def test_the_noise_of_a_run_comes_from_other_seeds_alone():
    error = RUNS.seed_error()
    assert 1e-4 < error < 1e-2
    np.testing.assert_allclose(RUNS.doubt(0.95), 1.96 * math.sqrt(2) * error, rtol=1e-3)
    alone = ladder_runs([run for run in RECORDS if run.group != "seed"])
    assert math.isnan(alone.seed_error())


def test_the_law_is_that_of_the_grid():
    n, d, loss = RUNS.law_columns()
    assert np.std(np.log(loss / RUNS.law()(n, d))) < 0.1


def test_too_few_runs_are_refused_in_a_sentence():
    for few in (
        [],
        [run for run in RECORDS if run.group == "grid"][:7],
        [run for run in RECORDS if run.group == "seed"],
    ):
        with pytest.raises(ValueError, match="`make ladder`"):
            ladder_runs(few)
