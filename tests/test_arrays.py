"""Array-likes at every door of the mathematics: read once; a mask, NaN, complex numbers, objects, text are refused by name."""

import inspect

import numpy as np
import pandas as pd
import pytest
import torch

from gengap.arrays import int_array, real_array, rounding
from gengap.bounds import classical, concentration, coverage, grids, sampling, smoothing, sources, summands, theorems
from gengap.bounds.streaming import LossVariationStream
from gengap.bounds.terms import CodedModel
from gengap.laws import curves, fits, frontier, information, intervals

RNG = np.random.default_rng(0)
N = 48
UNIT = RNG.random(N)  # observations in [0, 1]
NLL = RNG.gamma(2.0, 0.9, N)  # losses, nats
CODED = CodedModel(code_length_bits=40, n_train_tokens=N, vocab_size=64)
ENTROPY = np.full(N, 4.0)  # of smoothed predictors
GRID = grids.tight_grid([CODED.paper_alpha], 64, n_floors=4, s_grid_size=20)
CHOICE = grids.choose(NLL, ENTROPY[None], GRID, 64, CODED.complexity(GRID.size))
WINDOWS = sampling.draw_windows(100, 8, N - 8, 0.01, np.random.default_rng(1))
PAIRS = sampling.draw_pairs(100, 4, N, 0.01, np.random.default_rng(1))
N_PARAMS = np.geomspace(1e4, 1e7, N)
N_TOKENS = N_PARAMS[::-1] ** 0.9
LOSSES = 2.0 + 90 * N_PARAMS**-0.4 + 50 * N_TOKENS**-0.3
LAW = fits.ChinchillaLaw(2.0, 90, 50, 0.4, 0.3)
SOURCE = sources.iid(np.full(4, 0.25))
LOG_PROBS = np.log(np.full((1, 4), 0.25))


def _streamed(x, y):
    (stream := LossVariationStream(2.0)).update(x, y)
    return stream.freedman(0.1).value, stream.mean_observation


REAL = {  # name: function, its arrays
    **{
        f"{name}_{kind}": (lambda x, of=f"{name}_{kind}": getattr(classical, of)(x, 0, 1, 0.05), [UNIT])
        for name in ("hoeffding", "empirical_bernstein", "betting")
        for kind in ("upper", "excess")
    },
    **{
        name: (lambda x, of=name: getattr(classical, of)(x, None, 1.0, 0.1).value, [UNIT])
        for name in ("azuma", "hoeffding", "betting", "empirical_bernstein")
    },
    "known variance": (lambda x: classical.freedman_known_variance(x, None, 1.0, 0.1, 0.2).value, [UNIT]),
    "check_in_range": (lambda x: classical.check_in_range(x, 0, 1), [UNIT]),
    "scaled_gaps": (lambda x, y: concentration.scaled_gaps(x, y, 2.0), [UNIT, UNIT / 2]),
    "loss_variation": (lambda x, y: concentration.loss_variation(x, y, 2.0, 0.1), [UNIT, UNIT / 2]),
    "s_grid": (lambda s: concentration.loss_variation(UNIT, 0.5, 2.0, 0.1, s), [np.linspace(0.1, 0.9, N)]),
    "freedman": (lambda x, y: concentration.freedman(x, y, 2.0, 0.1).value, [UNIT, UNIT / 2]),
    "freedman_direct": (lambda x, y: concentration.freedman_direct(x, y, 2.0, 0.1, 0.2), [UNIT, UNIT / 2]),
    "freedman_mixture": (
        lambda x, y: concentration.freedman_mixture(x, y, 2.0, 0.1, [0.2, 0.5]).value,
        [UNIT, UNIT / 2],
    ),
    "running_freedman": (lambda x, y: concentration.running_freedman(x, y, 2.0, 0.1, [0.2, 0.5]), [UNIT, UNIT / 2]),
    "shifted_log": (lambda x, y: concentration.shifted_log(x, y, 0.2), [UNIT, UNIT / 2]),
    "stream": (_streamed, [UNIT, UNIT / 2]),
    "smoothed_nll": (lambda x: smoothing.smoothed_nll(x, 0.1, 64), [NLL]),
    "checked_nll": (smoothing.checked_nll, [NLL]),
    **{
        name: (lambda a, of=name: getattr(smoothing, of)(a, 64), [UNIT / 2 + 0.1])
        for name in ("min_nll", "max_nll", "loss_range", "entropy_floor", "worst_case_cost", "closed_form_cost")
    },
    "smoothing_cost": (smoothing.smoothing_cost, [UNIT / 2 + 0.1]),
    "optimal_alpha": (smoothing.optimal_alpha, [UNIT / 2 + 0.1]),
    "smoothed_entropy": (lambda p: smoothing.smoothed_entropy(p, 0.1), [np.log(UNIT / UNIT.sum())]),
    "maximum_entropy_smoothing": (
        lambda p: smoothing.maximum_entropy_smoothing(p, 0.3).log_probs,
        [np.log(UNIT / UNIT.sum())],
    ),
    "lambert_w_of_exp": (smoothing.lambert_w_of_exp, [UNIT]),
    "paper_bound": (lambda x, h: theorems.paper_bound(CODED, x, h, 1.8).value, [NLL, ENTROPY]),
    "azuma_bound": (lambda x: theorems.azuma_bound(CODED, x, 1.8).value, [NLL]),
    "alphas of azuma": (lambda a: theorems.azuma_bound(CODED, NLL, 1.8, alphas=a).value, [UNIT / 2 + 0.1]),
    "closed_form_azuma_gap": (lambda a: theorems.closed_form_azuma_gap(CODED, a), [UNIT / 2 + 0.1]),
    "tight_bound": (lambda x, h: theorems.tight_bound(CODED, x, h, CHOICE, 1.8).value, [NLL, ENTROPY]),
    "tightening_steps": (
        lambda x: theorems.tightening_steps(CODED, x, [ENTROPY], [CODED.paper_alpha], 1.8)["chosen"].value,
        [NLL],
    ),
    "window_means": (lambda x, h: summands.window_means(x, h, CHOICE).summand, [NLL, ENTROPY]),
    "choose": (lambda x, h: grids.choose(x, h, GRID, 64, 0.5), [NLL, ENTROPY]),
    "summand of a choice": (CHOICE.summand, [np.minimum(NLL, 4.0), ENTROPY]),
    "summand of a tilt": (grids.Tilt(0.1, 0.01, 0.5, 1, 64).summand, [np.minimum(NLL, 4.0), ENTROPY]),
    "tight_grid": (lambda a: grids.tight_grid(a, 64, 4, 20).floors, [UNIT / 2 + 0.1]),
    "upper_mean of windows": (lambda x: WINDOWS.upper_mean(x, 0, 1), [UNIT]),
    "upper_mean of pairs": (lambda x: PAIRS.upper_mean(x, 0, 1), [UNIT]),
    "pilot_part": (WINDOWS.pilot_part, [UNIT]),
    "iid": (lambda p: sources.iid(p).probs, [UNIT / UNIT.sum()]),
    "change_point": (lambda a, b: sources.change_point(a, b, 2).probs, [UNIT / UNIT.sum(), UNIT[::-1] / UNIT.sum()]),
    "adversarial_drift": (lambda p: sources.adversarial_drift(p, 8).probs, [UNIT / 10]),
    "smoothed": (lambda p: coverage.smoothed(p, 0.1), [np.log(UNIT / UNIT.sum())]),
    **{
        name: (getattr(fits, f"fit_{name}"), [N_PARAMS, LOSSES])
        for name in ("power_law", "bent_power_law", "offset_power_law")
    },
    "chinchilla": (lambda n, d, y: fits.fit_chinchilla(n, d, y, LAW), [N_PARAMS, N_TOKENS, LOSSES]),
    "a power law": (fits.PowerLaw(3.0, 0.2), [N_PARAMS]),
    "a bent one": (fits.BentPowerLaw(3.0, 0.2, 0.01), [N_PARAMS]),
    "an offset one": (fits.OffsetPowerLaw(1.0, 3.0, 0.2), [N_PARAMS]),
    "Kaplan's": (fits.KaplanLaw(30.0, 30.0, 0.1, 0.1), [N_PARAMS, N_TOKENS]),
    "Chinchilla's": (LAW, [N_PARAMS, N_TOKENS]),
    "optimum": (LAW.optimum, [N_PARAMS]),
    "percentiles": (lambda x: intervals.percentiles(x, 0.9), [UNIT]),
    "resample_runs": (
        lambda x, y: intervals.resample_runs(fits.fit_power_law, x, y, n_replicates=5).spread("exponent"),
        [N_PARAMS, LOSSES],
    ),
    "resample_noise": (
        lambda x, y: intervals.resample_noise(fits.fit_power_law, x, y, n_replicates=5).spread("exponent"),
        [N_PARAMS, LOSSES],
    ),
    "trend": (lambda x, y: intervals.trend(x, y).overall, [N_PARAMS, LOSSES]),
    "from_log": (lambda x: information.from_log(x, 8, 1.0, 100).nats, [NLL]),
    "from_checkpoints": (lambda x: information.from_checkpoints(np.arange(N), x, 100, 8, 1.0, 100).nats, [NLL]),
    "read_off": (lambda x: information.read_off(x, [1, 20]), [NLL]),
    "closed_form": (lambda d: information.closed_form(3.0, 0.3, d), [N_TOKENS]),
    "binned": (lambda x: curves.binned(x, 8).losses, [NLL]),
    "best_rate": (
        lambda r, y: curves.best_rate(r, y, 0.01),
        [np.geomspace(0.1, 10, N), np.geomspace(0.1, 10, N) ** 0 + np.linspace(-1, 1, N) ** 2],
    ),
    "loss_at": (frontier.Curve(1e5, N_PARAMS, LOSSES).loss_at, [6e5 * N_PARAMS[1:-1]]),
    "embedding_constant": (frontier.embedding_constant, [N_PARAMS, N_PARAMS + 90 * np.cbrt(N_PARAMS)]),
    "nonembedding_frontier": (lambda n: frontier.nonembedding_frontier(LAW, 90, n), [N_PARAMS]),
    "nonembedding_exponent": (lambda n: frontier.nonembedding_exponent(LAW, 90, n), [N_PARAMS]),
}
PLACES = [(name, place) for name, (_, arrays) in REAL.items() for place in range(len(arrays))]


class Once:
    """An array-like that gives its numbers a single time, and nothing at all the second."""

    def __init__(self, values):
        self.values, self.reads = values, 0

    def __array__(self, dtype=None, copy=None):
        self.reads += 1
        return self.values if self.reads == 1 else np.full_like(self.values, np.nan)


def with_one(name, place, change):
    """The function's answer with the array at `place` changed."""
    function, arrays = REAL[name]
    return function(*(change(array) if k == place else array for k, array in enumerate(arrays)))


def same(a, b):
    flat = (
        np.hstack([np.ravel(part) for part in answer]) if isinstance(answer, tuple) else answer for answer in (a, b)
    )
    np.testing.assert_allclose(*flat, rtol=1e-12)


LIKE = {
    "list": list,
    "tuple": tuple,
    "series": pd.Series,
    "tensor": torch.tensor,
    "read once": Once,
    "strided": lambda x: np.repeat(x, 2)[::2],
}
LIKE["series of another index"] = lambda x: pd.Series(x, index=range(len(x), 0, -1))


@pytest.mark.parametrize("kind", LIKE)
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_what_is_like_an_array_works_like_one(name, place, kind):
    function, arrays = REAL[name]
    same(with_one(name, place, LIKE[kind]), function(*arrays))


def _with(value):
    def change(array):
        array = array.astype(type(value) if isinstance(value, complex) else object)
        array[1] = value
        return array

    return change


BAD = {
    "mask": lambda x: np.ma.masked_array(x, np.arange(x.size) >= 5),
    "a mask that hides nothing": np.ma.masked_array,
    "masked rows in a list": lambda x: [np.ma.masked_array(x, np.arange(x.size) >= 5)],
    "NaN": lambda x: np.where(np.arange(x.size) == 1, np.nan, x),
    "missing in a series": lambda x: pd.Series(x, dtype="Float64").mask(pd.Series(np.arange(x.size) == 1)),
    "None": _with(None),
    "complex": lambda x: x + 1j,
    "text": lambda x: x.astype(str),
    "object": lambda x: x.astype(object),
    "ragged": lambda x: [x.tolist(), 1.0],
    "a generator": lambda x: (v for v in x.tolist()),
    "a gradient": lambda x: torch.tensor(x, requires_grad=True),
    "bfloat16": lambda x: torch.tensor(x, dtype=torch.bfloat16),
    "dates": lambda x: x.astype("datetime64[s]"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_what_is_no_array_of_numbers_is_refused_by_name(name, place, kind):
    with pytest.raises(
        ValueError, match=r"have a mask|hold \d+ NaN|must be (real numbers|integers)|cannot be read as an array"
    ):
        with_one(name, place, BAD[kind])


def test_a_mask_used_to_certify_a_mean_of_five_with_the_width_of_fifty():
    x = np.random.default_rng(0).random(50)
    masked = np.ma.masked_array(x, np.arange(50) >= 5)
    for bound in (classical.hoeffding_upper, classical.empirical_bernstein_upper, classical.betting_upper):
        with pytest.raises(ValueError, match="have a mask"):
            bound(masked, 0, 1, 0.05)
        assert bound(masked.compressed(), 0, 1, 0.05) > bound(x, 0, 1, 0.05)


INTEGER = {
    "states": (SOURCE.states, [np.zeros(N, dtype=int)]),
    "conditional_risk": (lambda s: SOURCE.conditional_risk(s, np.repeat(LOG_PROBS, N, 0)), [np.zeros(N, dtype=int)]),
    "token_loss": (lambda t, s: sources.token_loss(t, s, LOG_PROBS), [np.ones(N, dtype=int), np.zeros(N, dtype=int)]),
    "step_weights": (lambda s: information.step_weights(s, 200), [np.arange(N)]),
    "steps of read_off": (lambda s: information.read_off(NLL, s), [np.arange(N)]),
}


@pytest.mark.parametrize("name", INTEGER)
def test_integers_are_integers(name):
    function, arrays = INTEGER[name]
    for place, array in enumerate(arrays):

        def answer(changed, place=place):
            return function(*(changed if k == place else other for k, other in enumerate(arrays)))

        for like in (list, pd.Series, torch.tensor, Once, lambda a: a.astype(np.uint16)):
            same(answer(like(array)), answer(array))
        for bad in (np.ma.masked_array(array, array > 3), array + 0.5, array.astype(str), array > 0):
            with pytest.raises(ValueError, match=r"have a mask|must be integers"):
                answer(bad)


def test_every_public_function_that_takes_arrays_is_tried_here():
    tried = inspect.getsource(inspect.getmodule(test_every_public_function_that_takes_arrays_is_tried_here))
    modules = (
        classical,
        concentration,
        coverage,
        grids,
        sampling,
        smoothing,
        sources,
        theorems,
        fits,
        intervals,
        information,
        curves,
        frontier,
    )
    for module in modules:
        for name, function in vars(module).items():
            if not inspect.isfunction(function) or function.__module__ != module.__name__ or name.startswith("_"):
                continue
            if any("ArrayLike" in str(p.annotation) for p in inspect.signature(function).parameters.values()):
                assert name.removeprefix("fit_") in tried, f"{module.__name__}.{name}"


# --- rounding by type -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("vocab_size", "alpha"), [(50304, 0.013), (2048, 0.013), (50257, 0.013), (128256, 1e-4), (64, 0.5)]
)
def test_values_at_the_end_of_their_range_are_inside_it_in_every_type(dtype, vocab_size, alpha):
    upper = float(np.log(vocab_size / alpha))
    drawn = np.random.default_rng(0).random(100) * 30
    values = np.minimum(drawn, upper).astype(dtype)
    exact = np.minimum(drawn, upper)
    assert (values == dtype(upper)).any()
    for bound in (classical.hoeffding_upper, classical.empirical_bernstein_upper, classical.betting_upper):
        assert bound(values, 0.0, upper, 0.05) == pytest.approx(bound(exact, 0.0, upper, 0.05), rel=4e-3)
    sample = sampling.draw_windows(1000, 20, 80, 0.01, np.random.default_rng(0))
    assert sample.upper_mean(values, 0.0, upper) <= upper
    low = float(smoothing.min_nll(alpha, vocab_size))
    assert classical.check_in_range(np.maximum(values, dtype(low)), low, upper).min() >= low
    assert concentration.freedman(values, 0.0, upper, 0.1).value > 0
    assert concentration.freedman_direct(values, 0.0, upper, 0.1, 0.5 / upper) > 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_beyond_rounding_are_still_refused(dtype):
    step = 20 * float(np.finfo(dtype).eps) if dtype != np.float64 else 1e-6
    values = np.array([0.5, 1 + step], dtype=dtype)
    with pytest.raises(ValueError, match="leave their stated range"):
        classical.hoeffding_upper(values, 0, 1, 0.05)
    far = np.array([100.0, 100.5 + 100 * max(step, 1e-5)], dtype=dtype)
    with pytest.raises(ValueError, match="no bound holds for this range"):
        concentration.scaled_gaps(far, np.full(2, 100.0, dtype=dtype), 0.5)


def test_a_short_range_far_from_zero_is_held_to_the_rounding_of_its_values():
    y = np.float32(100.1)
    x = np.array([100.1, 100.1 + 0.3], dtype=np.float32)  # X - Y = 0.3 but for steps of 7.6e-6
    gaps = concentration.scaled_gaps(x, y, 0.3 - 8e-6)
    assert gaps.min() >= -(1 + concentration.RANGE_SLACK) * (1 + 1e-12)
    with pytest.raises(ValueError, match="no bound holds"):
        concentration.scaled_gaps(x.astype(np.float64), float(y), 0.3 - 8e-6)


def test_entropies_and_probabilities_of_short_types_are_held_to_their_rounding():
    log_probs = np.log(UNIT / UNIT.sum())
    assert smoothing.smoothed_entropy(log_probs.astype(np.float16), 0.1) == pytest.approx(
        smoothing.smoothed_entropy(log_probs, 0.1), abs=0.02
    )
    with pytest.raises(ValueError, match="normalized"):
        smoothing.smoothed_entropy(log_probs + 0.01, 0.1)
    top = np.full(N, np.float16(np.log(64) + 2e-3))
    assert theorems.paper_bound(CODED, NLL, top, 1.8).value > 0
    with pytest.raises(ValueError, match="not of a predictor"):
        theorems.paper_bound(CODED, NLL, top.astype(np.float64) + 2e-3, 1.8)


def test_helpers():
    x = np.random.default_rng(0).random(3, dtype=np.float32)
    assert real_array(x) is x
    assert real_array([1, 2]).dtype == np.float64
    assert real_array([True, False]).tolist() == [1.0, 0.0]
    assert real_array(np.inf) == np.inf
    assert int_array(np.array([3], dtype=np.uint16)).dtype == np.int64
    assert rounding(x) == 4 * 2.0**-23
    assert rounding(x.astype(np.float64)) == 4 * 2.0**-52
