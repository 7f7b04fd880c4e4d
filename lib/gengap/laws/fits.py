"""The laws of scale and their fits: Kaplan et al. (2020), Hoffmann et al. (2022), the paper's loss variation.

A law is a record of its constants; calling it gives the predicted loss (nats per token) of a model with N parameters
trained on D tokens, or of whatever its one variable counts. Fits work on log L, where errors of a few per cent mean the
same at every size; their uncertainty is the business of `gengap.laws.intervals`.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares, minimize_scalar

from gengap.arrays import real_array

Floats = NDArray[np.float64]
FLOPS_PER_PARAM_TOKEN = 6  # C = 6 N D: two for the forward, four for the backward pass of every weight
HUBER_DELTA = 1e-3  # of log L; Hoffmann et al. 2022, appendix D.3
EXPONENTS = (0.01, 3.0)  # where exponents are sought; every published one lies inside


class PowerLaw(NamedTuple):
    """L(x) = coefficient x^-exponent, in Kaplan's writing (x_c/x)^exponent; x counts N, D, or C."""

    coefficient: float  # nats at x = 1
    exponent: float

    def __call__(self, x: ArrayLike) -> Floats:
        return self.coefficient * real_array(x, "x", float) ** -self.exponent

    @property
    def scale(self) -> float:
        """x_c, where the law reaches one nat (Kaplan's N_c, D_c, C_c); infinite where floats end."""
        log_scale = math.log(self.coefficient) / self.exponent
        return math.exp(log_scale) if log_scale < 700 else math.inf


class BentPowerLaw(NamedTuple):
    """log y = log coefficient - exponent log x - bend (log x)^2: whether a line in logarithms is straight, and how it turns."""

    coefficient: float  # at x = 1
    exponent: float  # at x = 1
    bend: float  # above zero the law falls ever more steeply

    def __call__(self, x: ArrayLike) -> Floats:
        log_x = np.log(real_array(x, "x", float))
        return np.exp(math.log(self.coefficient) - (self.exponent + self.bend * log_x) * log_x)

    def exponent_at(self, x: float) -> float:
        """The exponent of the power law that touches this one at x, -d log y / d log x."""
        return self.exponent + 2 * self.bend * math.log(x)


class OffsetPowerLaw(NamedTuple):
    """y(x) = offset + coefficient x^-exponent: the paper's form of the loss variation, and of learning curves."""

    offset: float
    coefficient: float
    exponent: float

    def __call__(self, x: ArrayLike) -> Floats:
        return self.offset + self.coefficient * real_array(x, "x", float) ** -self.exponent


class KaplanLaw(NamedTuple):
    """L(N, D) = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D (Kaplan et al. 2020, equation 1.5)."""

    log_n_c: float  # log of N_c, parameters
    log_d_c: float  # log of D_c, tokens
    alpha_n: float
    alpha_d: float

    def __call__(self, n_params: ArrayLike, n_tokens: ArrayLike) -> Floats:
        n, d = real_array(n_params, "n_params", float), real_array(n_tokens, "n_tokens", float)
        size = self.alpha_n / self.alpha_d * (self.log_n_c - np.log(n))
        return np.exp(self.alpha_d * np.logaddexp(size, self.log_d_c - np.log(d)))

    @property
    def data_exponent(self) -> float:
        """D must grow as N to this power for both terms to keep their ratio; Kaplan: 0.74, so 8x asks for 5x."""
        return self.alpha_n / self.alpha_d


class ChinchillaLaw(NamedTuple):
    """L(N, D) = E + A N^-alpha + B D^-beta (Hoffmann et al. 2022, equation 2).

    With E = 0 and training steps for D it is Kaplan's law of training curves, (N_c/N)^alpha_N + (S_c/S)^alpha_S.
    """

    E: float  # nats: what no model of this kind can learn
    A: float
    B: float
    alpha: float
    beta: float

    def __call__(self, n_params: ArrayLike, n_tokens: ArrayLike) -> Floats:
        n, d = real_array(n_params, "n_params", float), real_array(n_tokens, "n_tokens", float)
        return self.E + self.A * n**-self.alpha + self.B * d**-self.beta

    @property
    def allocation_exponent(self) -> float:
        """a of N_opt ~ C^a for C = 6 N D: beta/(alpha + beta)."""
        return self.beta / (self.alpha + self.beta)

    def optimum(self, flops: ArrayLike) -> tuple[Floats, Floats]:
        """(N, D) with the least loss at C = 6 N D floating-point operations (Hoffmann et al. 2022, equation 4)."""
        product = real_array(flops, "flops", float) / FLOPS_PER_PARAM_TOKEN
        ratio = self.alpha * self.A / (self.beta * self.B)
        n_params = ratio ** (1 / (self.alpha + self.beta)) * product**self.allocation_exponent
        return n_params, product / n_params


def fit_power_law(x: ArrayLike, losses: ArrayLike) -> PowerLaw:
    """The straight line through log L against log x: least squares, (n,) positive values, two x at least (else ValueError)."""
    x, losses = _checked(2, x, losses)
    intercept, slope = np.polynomial.Polynomial.fit(np.log(x), np.log(losses), 1).convert().coef
    return PowerLaw(math.exp(intercept), -float(slope))


def fit_bent_power_law(x: ArrayLike, values: ArrayLike) -> BentPowerLaw:
    """The parabola through log y against log x: least squares, (n,) values each, n >= 3. Raises ValueError as `fit_power_law`."""
    x, values = _checked(3, x, values)
    constant, slope, bend = np.polynomial.Polynomial.fit(np.log(x), np.log(values), 2).convert().coef
    return BentPowerLaw(math.exp(constant), -float(slope), -float(bend))


def fit_offset_power_law(x: ArrayLike, values: ArrayLike) -> OffsetPowerLaw:
    """Least squares in the values themselves, (n,) each, n >= 3, by a search over the exponent; the offset may be negative."""
    x, values = _checked(3, x, values)
    centre = math.exp(np.log(x).mean())
    log_x = np.log(x / centre)

    def line(exponent: ArrayLike) -> tuple[Floats, Floats, Floats]:
        """(squared error, offset, slope) of the best line in (x/centre)^-exponent, for each exponent."""
        u = np.exp(-np.asarray(exponent)[..., None] * log_x)
        spread = u - u.mean(axis=-1, keepdims=True)
        slope = spread @ values / np.sum(spread**2, axis=-1)
        offset = values.mean() - slope * u.mean(axis=-1)
        return np.sum((offset[..., None] + slope[..., None] * u - values) ** 2, axis=-1), offset, slope

    grid = np.geomspace(*EXPONENTS, 80)
    near = int(np.argmin(line(grid)[0]))
    bounds = grid[max(near - 1, 0)], grid[min(near + 1, len(grid) - 1)]
    found = minimize_scalar(lambda k: line(k)[0], bounds=bounds, method="bounded", options={"xatol": 1e-10})
    exponent, (_, offset, slope) = float(found.x), map(float, line(found.x))
    return OffsetPowerLaw(offset, slope * centre**exponent, exponent)


def fit_kaplan(
    n_params: ArrayLike, n_tokens: ArrayLike, losses: ArrayLike, start: KaplanLaw | None = None
) -> KaplanLaw:
    """Least squares in log L over runs, (n,) each, n >= 4; from a grid of starts, or downhill from `start` alone."""
    n, d, losses = _checked(4, n_params, n_tokens, losses)
    log_n, log_d, log_loss = np.log(n), np.log(d), np.log(losses)
    n_mid, d_mid = float(log_n.mean()), float(log_d.mean())  # the centre, where constants are least entangled

    def residuals(p):
        size, data, ratio, alpha_d = p
        return alpha_d * np.logaddexp(size - ratio * (log_n - n_mid), data - (log_d - d_mid)) - log_loss

    if start is None:
        level = log_loss.mean()
        starts = [
            (level / alpha_d + split, level / alpha_d - split, ratio, alpha_d)
            for ratio, alpha_d in itertools.product((0.3, 0.7, 1.2, 2.0), (0.05, 0.1, 0.2, 0.4, 0.8))
            for split in (-2.0, -0.7, 0.7, 2.0)
        ]
    else:
        ratio = start.data_exponent
        starts = [(ratio * (start.log_n_c - n_mid), start.log_d_c - d_mid, ratio, start.alpha_d)]
    box = [-300, -300, *[EXPONENTS[0]] * 2], [300, 300, 10, EXPONENTS[1]]
    size, data, ratio, alpha_d = _descend(residuals, starts, box)
    return KaplanLaw(n_mid + size / ratio, d_mid + data, ratio * alpha_d, alpha_d)


def fit_chinchilla(
    n_params: ArrayLike,
    n_tokens: ArrayLike,
    losses: ArrayLike,
    start: ChinchillaLaw | None = None,
    *,
    delta: float = HUBER_DELTA,
    irreducible: bool = True,
) -> ChinchillaLaw:
    """Huber loss on log L, over runs, (n,) each (Hoffmann et al. 2022, appendix D.3).

    They fit log E; E itself can reach zero, where it goes when no floor is in sight (`irreducible=False` sets it there).
    From a grid of starts, or downhill from `start` alone. The errors are summed, not averaged, which made the original
    fit stop early (Besiroglu et al. 2024). Raises ValueError with fewer runs than constants.
    """
    n, d, losses = _checked(5 if irreducible else 4, n_params, n_tokens, losses)
    log_n, log_d, log_loss = np.log(n), np.log(d), np.log(losses)
    n_mid, d_mid = float(log_n.mean()), float(log_d.mean())
    log_n, log_d, least = log_n - n_mid, log_d - d_mid, float(losses.min())
    free = 0 if irreducible else 1  # without E its parameter and its column go

    def summands(p):
        """E, A N^-alpha and B D^-beta, (n,) each; A and B enter by the logarithm of their summand at the centre."""
        *E, a, b, alpha, beta = p
        return E[0] if E else 0.0, np.exp(a - alpha * log_n), np.exp(b - beta * log_d)

    def residuals(p):
        return np.log(sum(summands(p))) - log_loss

    def jacobian(p):
        E, size, data = summands(p)
        columns = np.stack([np.ones_like(size), size, data, -size * log_n, -data * log_d])[free:]
        return (columns / (E + size + data)).T

    if start is None:
        shares, exponents = (0.1, 0.3, 0.6), (0.1, 0.3, 0.6, 1.0)
        starts = [
            (E * least, math.log(a * least), math.log(b * least), alpha, beta)
            for E, a, b in itertools.product((0.05, 0.4, 0.8), shares, shares)
            for alpha, beta in itertools.product(exponents, repeat=2)
        ]
    else:
        a, b = math.log(start.A) - start.alpha * n_mid, math.log(start.B) - start.beta * d_mid
        starts = [(start.E, a, b, start.alpha, start.beta)]
    low, high = math.log(least) - 12, math.log(least) + 5  # of a summand at the centre
    box = [0, low, low, *[EXPONENTS[0]] * 2], [least, high, high, *[EXPONENTS[1]] * 2]
    starts, box = [start[free:] for start in starts], tuple(side[free:] for side in box)
    *E, a, b, alpha, beta = _descend(residuals, starts, box, jac=jacobian, loss="huber", f_scale=delta)
    return ChinchillaLaw(E[0] if E else 0.0, math.exp(a + alpha * n_mid), math.exp(b + beta * d_mid), alpha, beta)


def _descend(residuals: Callable[[Floats], Floats], starts: list, box: tuple[list, list], **how: Any) -> list[float]:
    """The best of the minima of scipy's `least_squares`, told `how`, from the eight lowest starts."""
    low, high = np.array(box)
    inside = [np.clip(start, low + 1e-9, high - 1e-9) for start in starts]
    inside.sort(key=lambda start: np.abs(residuals(start)).sum())
    how |= {"bounds": (low, high), "x_scale": "jac", "ftol": 1e-12, "xtol": 1e-10, "max_nfev": 200}
    found = [least_squares(residuals, start, **how) for start in inside[:8]]
    return [float(value) for value in min(found, key=lambda result: result.cost).x]


def _checked(n_constants: int, *columns: ArrayLike) -> list[Floats]:
    arrays = [real_array(column, "sizes, tokens or losses", float) for column in columns]
    if arrays[0].ndim != 1 or any(array.shape != arrays[0].shape for array in arrays):
        raise ValueError(f"columns of one length are needed, got shapes {[a.shape for a in arrays]}")
    if not all((array > 0).all() and np.isfinite(array).all() for array in arrays):
        raise ValueError("sizes, tokens and losses must be positive and finite")
    places = np.unique(np.stack(arrays[:-1]), axis=1)
    if places.shape[1] < n_constants or any(np.ptp(row) == 0 for row in places):
        raise ValueError(f"runs at {places.shape[1]} places do not fix {n_constants} constants: vary every scale")
    return arrays
