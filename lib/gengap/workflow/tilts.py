"""Our bound without a companion in a certificate: for each accounting the smoothing that suits it, found on a few windows."""

from collections.abc import Callable
from functools import cache

import numpy as np

from gengap.bounds.grids import Tilt, TiltGrid, choose_tilt
from gengap.bounds.sampling import WindowSample
from gengap.bounds.terms import CodedModel, TightBound
from gengap.bounds.theorems import tight_bound
from gengap.statistics.per_token import TokenStatistics

PILOT_TOKENS = 8192  # of at most 16 pilot windows, on which smoothings are compared


def n_pilot(sample: WindowSample, seq_len: int) -> int:
    """How many of the pilot's windows suffice to compare smoothings."""
    return min(16, len(sample.pilot), max(1, PILOT_TOKENS // seq_len))


def choose_tilts(
    evaluate: Callable[..., TokenStatistics],
    model,
    windows: np.ndarray,
    coded: dict[str, CodedModel],
    range_cost: float = 0.0,
) -> dict[str, Tilt]:
    """For each accounting the tilt that `choose_tilt` finds on these windows, which are read once for all tilts."""
    grid, vocab_size = TiltGrid(), next(iter(coded.values())).vocab_size
    tilted = cache(evaluate(model, windows, desc="pilot", tilts=grid.tilts(vocab_size)).tilted)
    return {
        name: choose_tilt(tilted, grid, vocab_size, c.complexity(grid.size), range_cost) for name, c in coded.items()
    }


def tight_bounds(
    statistics: TokenStatistics,
    tilts: dict[str, Tilt],
    train_risk: float,
    sample: WindowSample,
    coded: dict[str, CodedModel],
) -> dict[str, TightBound]:
    """Our bound with maximum-entropy smoothing for each accounting, from what all windows drawn say of its tilt."""
    bounds = {}
    for name, tilt in tilts.items():
        loss, entropy = statistics.tilted(tilt)
        bounds[name] = tight_bound(coded[name], statistics.nll, entropy, tilt, train_risk, sample, loss)
    return bounds
