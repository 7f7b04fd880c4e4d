"""Our bound without a companion in a certificate: for each accounting the smoothing that suits it, found on a few windows."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from gengap.bounds.grids import Tilt, TiltGrid, choose_tilt
from gengap.bounds.sampling import WindowSample
from gengap.bounds.terms import CodedModel, TightBound
from gengap.bounds.theorems import tight_bound
from gengap.statistics.per_token import TiltedStatistics

PILOT_TOKENS = 8192  # of at most 16 pilot windows, on which smoothings are compared


class Tightened(NamedTuple):
    """Our bound of one accounting, and the smoothing that it speaks of."""

    bound: TightBound
    tilt: Tilt
    tilted: TiltedStatistics  # on all windows drawn


def tight_bounds(
    evaluate: Callable[..., TiltedStatistics],
    model,
    drawn: np.ndarray,
    nll: np.ndarray,
    train_risk: float,
    sample: WindowSample,
    coded: dict[str, CodedModel],
) -> dict[str, Tightened]:
    """Our bound with maximum-entropy smoothing for each accounting: a tilt chosen on a few pilot windows, then evaluated on all."""
    few = min(16, len(sample.pilot), max(1, PILOT_TOKENS // nll.shape[1]))
    found = {}
    for name, (tilt, tilted) in best_tilts(evaluate, model, drawn, few, coded, sample.range_cost).items():
        bound = tight_bound(coded[name], nll, tilted.entropy, tilt, train_risk, sample, tilted.loss)
        found[name] = Tightened(bound, tilt, tilted)
    return found


def best_tilts(
    evaluate: Callable[..., TiltedStatistics],
    model,
    windows: np.ndarray,
    n_pilot: int,
    coded: dict[str, CodedModel],
    range_cost: float = 0.0,
) -> dict[str, tuple[Tilt, TiltedStatistics]]:
    """For each accounting the tilt that `choose_tilt` finds on the first `n_pilot` windows, and what it makes of all."""
    grid = TiltGrid()

    @cache  # the search asks for tilts with the first floor of the grid alone
    def on_pilot(tilt: Tilt) -> TiltedStatistics:
        return evaluate(model, windows[:n_pilot], tilt, "pilot")

    @cache
    def on_all(tilt: Tilt) -> TiltedStatistics:
        return evaluate(model, windows, tilt)

    found = {}
    for name, c in coded.items():
        tilt = choose_tilt(on_pilot, grid, c.vocab_size, c.complexity(grid.size), range_cost)
        found[name] = tilt, on_all(tilt._replace(baseline_floor=0.0))  # the floor changes no loss and no entropy
    return found
