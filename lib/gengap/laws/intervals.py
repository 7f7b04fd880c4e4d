"""How sure a fit is: the same fit to many data sets that might as well have been observed; and how a quantity goes with size.

Two ways to make data sets. `resample_runs` draws the runs again with replacement (the pairs bootstrap of Efron 1979), right
where runs are many and their errors need no model. `resample_noise` keeps the runs and draws their errors again, right where
runs are few. With nu = n - p degrees of freedom the size of the errors is itself uncertain and drawn too, from
s sqrt(nu/chi^2_nu). For a line or a parabola in logarithms nothing need be drawn: Student's interval is exact (`StudentFit`).

A straight line in logarithms has one exponent; where the line is bent, that number mixes both ends of the range and tells
of neither. A parabola in the same logarithms shows the bend, and its tangents give an exponent for each end (`trend`).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from gengap.arrays import real_array
from gengap.laws.fits import BentPowerLaw, Floats, PowerLaw, fit_bent_power_law, fit_power_law

Law = Any  # a record of constants that predicts when called (gengap.laws.fits)
Fit = Callable[..., Law]  # the columns of the runs, the observed values last, to a law


class Interval(NamedTuple):
    """A central interval."""

    low: float
    high: float

    def covers(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Ensemble:
    """A fit and its replicates."""

    law: Law  # fitted to the runs themselves
    replicates: tuple[Law, ...]  # (n_replicates,) fitted to what might have been observed
    noise: Floats  # (n_replicates,) standard deviation of log(observed / law) of one run

    def spread(self, quantity: str | Callable[[Law], float]) -> Floats:
        """A constant (by name) or a function of the law in every replicate, (n_replicates,)."""
        of = attrgetter(quantity) if isinstance(quantity, str) else quantity
        return np.array([of(law) for law in self.replicates], float)

    def interval(self, quantity: str | Callable[[Law], float], level: float = 0.95) -> Interval:
        """Where a constant, or a function of the law, lies."""
        return percentiles(self.spread(quantity), level)

    def prediction(self, *at: float, level: float = 0.95, seed: int = 0) -> Interval:
        """Where one more run at this place will fall: uncertainty of the law and a new run's own error."""
        values = self.spread(lambda law: float(law(*at)))
        with np.errstate(over="ignore"):  # few runs, wide noise: an infinite end says so
            errors = np.exp(self.noise * np.random.default_rng(seed).standard_normal(len(values)))
        return percentiles(values * errors, level)


def percentiles(values: ArrayLike, level: float) -> Interval:
    """The central interval of a sample that holds `level` of it."""
    if not 0 < level < 1:
        raise ValueError(f"the level must lie in (0, 1), got {level}")
    tail = (1 - level) / 2
    return Interval(*map(float, np.quantile(real_array(values), [tail, 1 - tail], method="closest_observation")))


def resample_runs(
    fit: Fit, *columns: ArrayLike, refit: Fit | None = None, n_replicates: int = 200, seed: int = 0
) -> Ensemble:
    """Replicates by drawing runs with replacement. `columns`, (n,) each, the observed values last.

    `refit` (default `fit`) makes the replicates: a fit that starts from the first one saves the search. A draw that
    does not fix the constants is drawn again; ValueError if that happens every other time.
    """
    *places, values = (real_array(column, "columns", float) for column in columns)
    law, rng, refit = fit(*places, values), np.random.default_rng(seed), refit or fit
    replicates: list[Law] = []
    for _ in range(2 * n_replicates):
        drawn = rng.integers(len(values), size=len(values))
        with suppress(ValueError):
            replicates.append(refit(*(place[drawn] for place in places), values[drawn]))
        if len(replicates) == n_replicates:
            return Ensemble(law, tuple(replicates), np.full(n_replicates, _noise(law, places, values)))
    raise ValueError(f"{len(values)} runs are too few to be resampled: use resample_noise")


def resample_noise(
    fit: Fit, *columns: ArrayLike, refit: Fit | None = None, n_replicates: int = 400, seed: int = 0
) -> Ensemble:
    """Replicates by drawing the errors of log values again, and their size too. ValueError unless n > constants."""
    *places, values = (real_array(column, "columns", float) for column in columns)
    law, rng, refit = fit(*places, values), np.random.default_rng(seed), refit or fit
    freedom = len(values) - len(law)
    noise = _noise(law, places, values) * np.sqrt(freedom / rng.chisquare(freedom, n_replicates))
    fitted = np.asarray(law(*places))
    with np.errstate(over="ignore"):
        drawn = fitted * np.exp(np.clip(noise[:, None] * rng.standard_normal((n_replicates, len(values))), -300, 300))
    return Ensemble(law, tuple(refit(*places, row) for row in drawn), noise)


def _noise(law: Law, places: list[Floats], values: Floats) -> float:
    """Standard deviation of log(observed / law), the constants counted."""
    freedom = len(values) - len(law)
    if freedom < 1:
        raise ValueError(f"{len(values)} runs leave no error to see beside {len(law)} constants")
    return float(np.sqrt(np.sum(np.log(values / law(*places)) ** 2) / freedom))


class Exponent(NamedTuple):
    """k of y ~ x^k and its interval."""

    value: float
    low: float
    high: float

    @property
    def word(self) -> str:
        """What the interval says: the quantity falls, rises, or may do either."""
        return "falls" if self.high < 0 else "rises" if self.low > 0 else "may fall or rise"


@dataclass(frozen=True)
class StudentFit:
    """A polynomial in log x through log y, whose errors are independent, normal and of one unknown size: exact intervals."""

    centre: float  # mean of log x
    coefficients: Floats  # (p,) of the powers of log x - centre
    covariance: Floats  # (p, p) of the coefficients
    variance: float  # of one error
    freedom: int  # n - p; with 0 every interval is infinite

    @classmethod
    def of(cls, x: ArrayLike, values: ArrayLike, degree: int) -> "StudentFit":
        """Least squares, (n,) positive values each, at `degree` + 1 places at least (else numpy's LinAlgError)."""
        log_x, log_y = np.log(real_array(x, "x", float)), np.log(real_array(values, dtype=float))
        powers = np.vander(log_x - log_x.mean(), degree + 1, increasing=True)  # (n, p)
        inverse = np.linalg.inv(powers.T @ powers)
        coefficients = inverse @ powers.T @ log_y
        freedom = len(log_y) - degree - 1
        variance = float(np.sum((log_y - powers @ coefficients) ** 2)) / freedom if freedom else 0.0
        return cls(float(log_x.mean()), coefficients, variance * inverse, variance, freedom)

    def __call__(self, x: float) -> float:
        """The fitted value."""
        return float(np.exp((np.log(x) - self.centre) ** np.arange(len(self.coefficients)) @ self.coefficients))

    def exponent_at(self, x: float, level: float = 0.95) -> "Exponent":
        """k of the power law that touches the fit at x, y ~ x^k: d log y / d log x."""
        powers = np.arange(len(self.coefficients))
        gradient = powers * (np.log(x) - self.centre) ** np.maximum(powers - 1, 0)
        return Exponent(float(gradient @ self.coefficients), *self._interval(gradient, 0.0, level))

    def prediction(self, x: float, level: float = 0.95) -> Interval:
        """Where one more run at x will fall, its own error included."""
        gradient = (np.log(x) - self.centre) ** np.arange(len(self.coefficients))
        with np.errstate(over="ignore"):  # few runs: an infinite end says so
            return Interval(*map(float, np.exp(self._interval(gradient, self.variance, level))))

    @property
    def last_p_value(self) -> float:
        """Of the two-sided test that the coefficient of the highest power is zero; 1 if there is no error to see."""
        if not self.freedom:
            return 1.0
        return float(2 * stats.t.sf(abs(self.coefficients[-1]) / np.sqrt(self.covariance[-1, -1]), self.freedom))

    def _interval(self, gradient: Floats, more: float, level: float) -> Interval:
        """Of gradient . coefficients and an error of the variance `more`."""
        if not self.freedom:
            return Interval(-np.inf, np.inf)
        half = stats.t.ppf((1 + level) / 2, self.freedom) * np.sqrt(gradient @ self.covariance @ gradient + more)
        return Interval(float(gradient @ self.coefficients - half), float(gradient @ self.coefficients + half))


@dataclass(frozen=True)
class Trend:
    """How y goes with x."""

    line: PowerLaw
    parabola: BentPowerLaw
    overall: Exponent  # of the straight line through all of it; where it is bent, of neither end
    first: Exponent  # of the parabola at the least x
    last: Exponent  # of the parabola at the greatest x
    bend_p_value: float  # of one two-sided test that the curvature is zero; 1 if three values leave no error to see
    bent: bool  # that test rejects at 1 - level: for one straight line in twenty at 95 %

    @property
    def towards_larger(self) -> Exponent:
        """What the next, larger x is likely to see: the last exponent where the line is bent, else the overall one."""
        return self.last if self.bent else self.overall


def trend(x: ArrayLike, values: ArrayLike, level: float = 0.95) -> Trend:
    """The trend of positive values, (n,) each, n >= 3, with Student's intervals: infinite for a parabola of three."""
    x, values = real_array(x, "x", float), real_array(values, dtype=float)
    line = fit_power_law(x, values)
    if len(x) < 3:
        raise ValueError(f"{len(x)} runs leave no error to see beside 2 constants")
    parabola, straight, curved = fit_bent_power_law(x, values), StudentFit.of(x, values, 1), StudentFit.of(x, values, 2)
    ends = (curved.exponent_at(float(end), level) for end in (np.min(x), np.max(x)))
    p_value = curved.last_p_value
    return Trend(line, parabola, straight.exponent_at(1.0, level), *ends, p_value, p_value < 1 - level)
