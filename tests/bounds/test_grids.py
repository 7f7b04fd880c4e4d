"""The search for constants, the ranges that they imply, and averages over windows: small cases that can be counted by hand."""

import math

import numpy as np
import pytest

from gengap.bounds import grids, smoothing, summands
from gengap.bounds.grids import ALONG, ALONG_AND_ACROSS, Choice, Grid, Tilt, TiltGrid, choose, choose_tilt, downhill
from gengap.bounds.summands import window_means

V = 7
RNG = np.random.default_rng(0)
NLL = RNG.exponential(1.5, (12, 3)).clip(0, 6)
ENTROPY = RNG.uniform(1.75, 1.94, NLL.shape)
LOSS = RNG.uniform(0.3, 4.0, NLL.shape)
NAN = np.where(NLL.max() == NLL, np.nan, NLL)


@pytest.mark.parametrize("steps", [ALONG, ALONG_AND_ACROSS])
@pytest.mark.parametrize("shape", [(4, 3), (2, 5)])
def test_downhill_walks_to_the_bottom_and_looks_at_no_place_twice(steps, shape):
    corners = [(i, j) for i in (0, shape[0] - 1) for j in (0, shape[1] - 1)]
    for bottom in corners:
        for start in corners:
            seen = []

            def evaluate(place, bottom=bottom, seen=seen):
                seen.append(place)
                return abs(place[0] - bottom[0]) + 1.5 * abs(place[1] - bottom[1]), f"at {place}"

            assert downhill(evaluate, start, shape, steps) == f"at {bottom}"
            assert len(seen) == len(set(seen))
            assert all(0 <= i < shape[0] and 0 <= j < shape[1] for i, j in seen)


def test_downhill_stops_where_no_neighbour_is_cheaper():
    costs = np.array([[3.0, 4.0, 0.0], [2.0, 4.0, 5.0], [4.0, 1.0, 5.0]])
    assert downhill(lambda place: (costs[place], place), (0, 0), (3, 3), ALONG) == (1, 0)
    assert downhill(lambda place: (costs[place], place), (0, 0), (3, 3), ALONG_AND_ACROSS) == (2, 1)


def test_the_default_grids():
    grid = grids.tight_grid([0.1, 0.3], V)
    assert grid.alphas == (0.1, 0.3)
    assert (grid.floors.shape, grid.s_grid.shape, grid.size) == ((2, 32), (1000,), 64_000)
    np.testing.assert_allclose(grid.floors[:, 0], smoothing.entropy_floor([0.1, 0.3], V), rtol=1e-15)
    np.testing.assert_allclose(grid.floors[:, -1], math.log(V), rtol=1e-15)
    assert np.ptp(np.diff(grid.floors[1])) < 1e-12
    assert grids.tight_grid(np.float32([0.1]), V).alphas == (float(np.float32(0.1)),)
    tilts = TiltGrid().tilts(V)
    assert len({tilt[:2] for tilt in tilts}) == len(tilts) == 125
    assert tilts[0] == (pytest.approx(0.06), 1e-3, 0.0, 8125, V)
    assert tilts[-1] == (pytest.approx(0.4), 6e-2, 0.0, 8125, V)


def test_constants_of_a_choice():
    choice = Choice(0.5, 1.0, 0.25, 3, 2)
    loss_range = math.log(4) - 1  # less than 1
    assert choice.loss_range == pytest.approx(loss_range)
    assert choice.rate == pytest.approx(0.25 / loss_range)
    assert choice.summand_range == pytest.approx((-math.log(0.75), 1 - math.log(0.75) / choice.rate))
    assert choice.constants() == {
        "rate": choice.rate,
        "alpha": 0.5,
        "baseline_floor": 1.0,
        "s": 0.25,
        "grid_size": 3,
        "smoother": "uniform mixing",
    }
    y = np.maximum(np.float32([0.5, 1.2]), 1.0, dtype=float)
    expected = y - np.log1p(choice.rate * (y - [0.3, 0.4])) / choice.rate
    np.testing.assert_allclose(choice.summand([0.3, 0.4], np.float32([0.5, 1.2])), expected, rtol=1e-14)
    tilt = Tilt(0.2, 0.05, 1.1, 3, 2)
    y = np.maximum(np.float32([0.5, 1.2]), 1.1, dtype=float)  # 1.1 is no float32
    expected = y - np.log1p(0.2 * (y - [0.3, 0.4])) / 0.2
    np.testing.assert_allclose(tilt.summand([0.3, 0.4], np.float32([0.5, 1.2])), expected, rtol=1e-14)


@pytest.mark.parametrize("s", [0.0, 1.0, 1.5, -0.1])
def test_a_share_of_the_range_is_one(s):
    with pytest.raises(ValueError, match=r"s must lie in \(0, 1\)"):
        _ = Choice(0.3, 1.0, s, 1, V).rate


def test_a_floor_lies_below_the_greatest_loss():
    top = float(smoothing.max_nll(0.3, V))
    assert Choice(0.3, top - 1e-3, 0.5, 1, V).loss_range == pytest.approx(1e-3)
    for floor in (top, top + 0.5):
        with pytest.raises(ValueError, match=r"must be below log\(V/alpha\)"):
            _ = Choice(0.3, floor, 0.5, 1, V).loss_range


@pytest.mark.parametrize("rate", [0.06, 0.2, 0.4])
@pytest.mark.parametrize("safety", [1e-3, 6e-2])
@pytest.mark.parametrize("floor", [0.0, 1.7, 3.0])
def test_no_prediction_leaves_the_range_of_a_tilt(rate, safety, floor):
    """One-hot predictions, with some of what is uniform over all tokens, or over all but the last; at a low rate some come near."""
    tilt, one_hot = Tilt(rate, safety, floor, 1, V), np.eye(V)
    weights = np.append(np.geomspace(1e-4, 1, 40), 0.0)[:, None]
    others = np.full(V, 1 / V), (1 - one_hot[-1]) / (V - 1)
    p = np.concatenate([(1 - weights) * one_hot[0] + weights * other for other in others])
    p = (1 - safety) * p + safety / V
    log_q, entropy = smoothing.maximum_entropy_smoothing(np.log(p), rate)
    f = tilt.summand(-log_q, np.tile(entropy[:, None], V))
    low, high = tilt.summand_range
    assert low == 0.0
    assert entropy.min() >= tilt.least_entropy - 1e-9
    assert f.max() <= high
    assert high <= f.max() + 0.02 or rate > 0.1 or floor > math.log(V)
    assert tilt.constants()["baseline_floor"] == max(floor, tilt.least_entropy)


# The search.


def cost(choice, nll, entropy, c, beta):
    x = smoothing.smoothed_nll(nll, choice.alpha, V)
    worst = round(beta * nll.size) / nll.size  # a whole number of worst tokens
    return c / choice.rate + choice.summand(x, entropy).mean() + worst * choice.summand_range[1]


@pytest.mark.parametrize("beta", [0.0, 0.2])
@pytest.mark.parametrize("alphas", [(0.1, 0.4), (0.3,)])
def test_choose_finds_the_cheapest_element(alphas, beta):
    entropies = np.stack([ENTROPY + alpha / 100 for alpha in alphas])
    lowest = smoothing.entropy_floor(np.array(alphas), V)
    grid = Grid(alphas, np.linspace(lowest, math.log(V), 4, axis=1), np.linspace(0.05, 0.95, 19))
    found = choose(NLL, entropies, grid, V, 0.05, beta)
    every = [
        (cost(choice, NLL, entropies[a], 0.05, beta), choice)
        for a, alpha in enumerate(alphas)
        for y0 in grid.floors[a]
        for s in grid.s_grid
        for choice in [Choice(alpha, float(y0), float(s), grid.size, V)]
    ]
    assert found == pytest.approx(min(every)[1], rel=1e-12)
    assert choose(NLL.ravel(), entropies.reshape(len(alphas), -1), grid, V, 0.05, beta) == found
    if not beta:
        assert choose(NLL, entropies, grid, V, 0.05) == found


@pytest.mark.parametrize("complexity", [0.003, 0.02, 0.2])
def test_choose_weighs_variation_as_the_bound_does(complexity):
    rng, alphas = np.random.default_rng(1), (0.02, 0.05, 0.1, 0.2, 0.4)
    nll = rng.gamma(1.0, 1.2, 400)
    entropies = np.stack([1.0 + 0.6 * alpha + rng.uniform(0, 0.5, 400) for alpha in alphas])
    grid = grids.tight_grid(alphas, V, n_floors=6, s_grid_size=50)
    every = [
        cost(Choice(alpha, float(y0), float(s), grid.size, V), nll, entropies[a], complexity, 0.0)
        for a, alpha in enumerate(alphas)
        for y0 in grid.floors[a]
        for s in grid.s_grid
    ]
    found = choose(nll, entropies, grid, V, complexity)
    assert cost(found, nll, entropies[alphas.index(found.alpha)], complexity, 0.0) == pytest.approx(
        min(every), rel=1e-12
    )


def test_the_first_pass_looks_at_few_tokens(monkeypatch):
    """The start is then that of few tokens, and the end the same."""
    grid = grids.tight_grid([0.1, 0.4], V, 4, 20)
    entropies = np.stack([ENTROPY, ENTROPY])
    sizes = []
    original = grids.loss_variation
    monkeypatch.setattr(grids, "loss_variation", lambda x, *rest: sizes.append(len(x)) or original(x, *rest))
    found = choose(NLL, entropies, grid, V, 0.05)
    assert set(sizes) == {36}
    sizes.clear()
    monkeypatch.setattr(grids, "SCAN_TOKENS", 12)
    assert choose(NLL, entropies, grid, V, 0.05) == found
    assert sizes[:8] == [12] * 8
    assert set(sizes[8:]) == {36}
    sizes.clear()
    one = Grid((0.1,), grid.floors[:1, :1], grid.s_grid)
    assert choose(NLL, entropies[:1], one, V, 0.05)[:2] == (0.1, one.floors[0, 0])
    assert sizes == [36]  # nothing to choose from


def test_choose_tilt_starts_in_the_middle_and_pays_for_the_range():
    grid, asked = TiltGrid((0.1, 0.15, 0.2, 0.25, 0.3), (0.01, 0.03, 0.06), (0.0, 2.5)), []

    def evaluate(tilt):
        asked.append(tilt)
        return LOSS / 2 * (1 + 4 * abs(tilt.rate - 0.15) + 10 * abs(tilt.safety - 0.03)), ENTROPY

    found = choose_tilt(evaluate, grid, V, 0.01)
    assert asked[0] == Tilt(0.2, 0.03, 0.0, 30, V)
    assert (found.rate, found.safety, found.grid_size, found.vocab_size) == (0.15, 0.03, 30, V)
    assert found == choose_tilt(evaluate, grid, V, 0.01, 0.0)
    dear = choose_tilt(evaluate, grid, V, 0.01, 10.0)
    assert dear.summand_range[1] < found.summand_range[1]


def test_averages_over_windows_do_not_depend_on_how_many_are_reduced_at_once(monkeypatch):
    choice, tilt = Choice(0.3, 1.83, 0.83, 1, V), Tilt(0.2, 0.05, 1.2, 1, V)
    whole = window_means(NLL, ENTROPY, choice), window_means(NLL, ENTROPY, tilt, LOSS)
    for size in (1, 6, 7, 30):
        monkeypatch.setattr(summands, "TOKENS_PER_CHUNK", size)
        for found, expected in zip(
            (window_means(NLL, ENTROPY, choice), window_means(NLL, ENTROPY, tilt, LOSS)), whole, strict=True
        ):
            for some, all_of_them in zip(found, expected, strict=True):
                np.testing.assert_array_equal(some, all_of_them)
    x = smoothing.smoothed_nll(NLL, 0.3, V)
    np.testing.assert_allclose(whole[0].nll, NLL.mean(axis=1), rtol=1e-14)
    np.testing.assert_allclose(whole[0].smoothed, x.mean(axis=1), rtol=1e-14)
    np.testing.assert_allclose(whole[0].summand, choice.summand(x, ENTROPY).mean(axis=1), rtol=1e-14)
    assert (float(whole[1].nll), float(whole[1].smoothed)) == pytest.approx((NLL.mean(), LOSS.mean()))
    np.testing.assert_allclose(whole[1].summand, tilt.summand(LOSS, ENTROPY).mean(axis=1), rtol=1e-14)
    for means in whole:
        assert means.deviation(0.25) == pytest.approx(0.25 + means.summand.mean() - np.mean(means.smoothed), rel=1e-13)


@pytest.mark.parametrize(("at_once", "sizes"), [(1, [3] * 12), (6, [6] * 6), (10**6, [36])])
def test_no_more_than_a_part_is_reduced_at_once(monkeypatch, at_once, sizes):
    found, original = [], smoothing.smoothed_nll
    monkeypatch.setattr(summands, "TOKENS_PER_CHUNK", at_once)
    monkeypatch.setattr(summands.smoothing, "smoothed_nll", lambda x, *rest: found.append(x.size) or original(x, *rest))
    window_means(NLL, ENTROPY, Choice(0.3, 1.83, 0.83, 1, V))
    assert found == sizes


def test_a_summand_may_be_the_least_of_its_range():
    nothing = np.zeros((2, 3))
    assert window_means(nothing, nothing, Tilt(0.2, 0.05, 0.0, 1, V), nothing).summand.tolist() == [0.0, 0.0]


def test_a_summand_outside_its_range_is_refused():
    tilt = Tilt(0.2, 0.05, 0.0, 1, V)
    top = tilt.summand_range[1]
    for loss, entropy in ((LOSS + top, ENTROPY + top - 1), (LOSS * 0 - 0.1, ENTROPY * 0)):
        with pytest.raises(ValueError, match=r"^f in \[.* leaves \[0, .*evaluate at Tilt"):
            window_means(NLL, entropy, tilt, loss)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: window_means(NAN, ENTROPY, Choice(0.3, 1.83, 0.83, 1, V)), "nll"),
        (lambda: window_means(NLL, NAN, Choice(0.3, 1.83, 0.83, 1, V)), "entropy"),
        (lambda: window_means(NLL, ENTROPY, Tilt(0.2, 0.05, 1.2, 1, V), NAN), "loss"),
        (lambda: choose(NAN, ENTROPY, grids.tight_grid([0.1], V), V, 0.1), "nll"),
        (lambda: choose(NLL, NAN, grids.tight_grid([0.1], V), V, 0.1), "entropies"),
        (lambda: grids.tight_grid([0.1, math.nan], V), "alphas"),
        (lambda: Choice(0.3, 1.83, 0.83, 1, V).summand(NLL, NAN), "entropy"),
    ],
)
def test_an_array_with_nan_is_named(call, name):
    with pytest.raises(ValueError, match=f"^{name} hold 1 NaN among"):
        call()


def test_entropies_belong_to_the_losses():
    with pytest.raises(ValueError, match="35 entropies per alpha for 36 losses"):
        choose(NLL, ENTROPY.ravel()[:35], grids.tight_grid([0.1], V), V, 0.1)
