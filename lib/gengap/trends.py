"""How a quantity goes with size: the exponent of a power law, and whether one exponent is enough.

A straight line in logarithms has one exponent; where the line is bent, that number mixes what happens at both ends of the
range and tells of neither. A parabola in the same logarithms shows the bend, and its tangents give an exponent for
each end.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gengap.intervals import resample_noise
from gengap.scaling import BentPowerLaw, PowerLaw, fit_bent_power_law, fit_power_law


class Exponent(NamedTuple):
    """k of y ~ x^k and its interval."""

    value: float
    low: float
    high: float

    @property
    def word(self) -> str:
        """What the interval says: the quantity falls, rises, or shows no trend."""
        return "falls" if self.high < 0 else "rises" if self.low > 0 else "shows no trend"


@dataclass(frozen=True)
class Trend:
    """How y goes with x."""

    line: PowerLaw
    parabola: BentPowerLaw
    overall: Exponent  # of the straight line through all of it
    first: Exponent  # of the parabola at the least x
    last: Exponent  # of the parabola at the greatest x
    bent: bool  # the interval of the parabola's curvature excludes zero

    @property
    def towards_larger(self) -> Exponent:
        """What the next, larger x is likely to see: the last exponent where the line is bent, else the overall one."""
        return self.last if self.bent else self.overall


def trend(x: ArrayLike, values: ArrayLike, level: float = 0.95, n_replicates: int = 400) -> Trend:
    """The trend of positive values, (n,) each, n >= 3, with central intervals of that level (`gengap.intervals.resample_noise`).

    Three values leave no error to see about a parabola: its intervals are then infinite. Raises ValueError as `fit_power_law`.
    """
    line = resample_noise(fit_power_law, x, values, n_replicates=n_replicates)
    overall = Exponent(-line.law.exponent, *line.interval(lambda law: -law.exponent, level))
    parabola, ends = fit_bent_power_law(x, values), (float(np.min(x)), float(np.max(x)))
    if np.size(x) == len(parabola):
        first, last = (Exponent(-parabola.exponent_at(end), -np.inf, np.inf) for end in ends)
        return Trend(line.law, parabola, overall, first, last, bent=False)
    curved = resample_noise(fit_bent_power_law, x, values, n_replicates=n_replicates)
    first, last = (
        Exponent(
            -parabola.exponent_at(end), *curved.interval(lambda law, end=end: -law.exponent_at(end), level)
        )
        for end in ends
    )
    bent = not curved.interval("bend", level).covers(0)
    return Trend(line.law, parabola, overall, first, last, bent)
