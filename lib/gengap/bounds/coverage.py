"""Do the bounds hold as often as they say? Simulated paths of sources whose conditional risks are known.

Predictors are wrong on purpose: one that knows its source seldom tests anything. X_k is the predictor's loss, Y_k the
entropy of its distribution (which sees the state alone), Delta the largest X - Y over all states and tokens, known before
any data. Processes are made for a sequence length, because the worst sources have bad tokens of probability near C.
"""

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gengap.arrays import real_array
from gengap.bounds import concentration, sources
from gengap.bounds.concentration import Floats
from gengap.bounds.smoothing import smoothed_nll

RUNNING_GRID = concentration.odds_s_grid(8, 300.0)
DIRECT_GRID = concentration.odds_s_grid(6, 30.0)
FLOORS = (0.0, 0.5, 1.0)  # y0 in nats, chosen among on the data
_ROWS = 500  # paths in flight: they fit the cache


class Simulation(NamedTuple):
    """Losses along simulated paths, their baselines and their exact conditional expectations, nats."""

    observations: Floats  # (n_paths, n) X_k
    baseline: Floats  # (n_paths, n) Y_k
    risks: Floats  # (n_paths, n) E[X_k | F_{k-1}]
    largest_loss: float  # over all states and tokens
    loss_range: float  # Delta, the largest X - Y over all states and tokens

    @property
    def mean_risks(self) -> Floats:
        """(n_paths,) what every bound on the mean risk must exceed."""
        return self.risks.mean(axis=1)


def smoothed(log_probs: Floats, alpha: float) -> Floats:
    """Log-probabilities of the smoothed predictor (1 - alpha) q + alpha/V, same shape (..., V)."""
    log_probs = real_array(log_probs, "log_probs", np.float64)
    return -smoothed_nll(-log_probs, alpha, log_probs.shape[-1])


def tempered(source: sources.Source, power: float) -> Floats:
    """(n_states, V) log q with q proportional to p^power: overconfident where power > 1."""
    with np.errstate(divide="ignore"):
        log_q = power * np.log(source.probs)
    return log_q - np.logaddexp.reduce(log_q, axis=1, keepdims=True)


Process = tuple[sources.Source, Floats]  # a source and the log-probabilities (n_states, V) of its predictor


def _tempered(source: sources.Source, power: float, alpha: float) -> Process:
    return source, smoothed(tempered(source, power), alpha)


def _blind(source: sources.Source, alpha: float) -> Process:
    """The predictor holds the last token impossible, but for smoothing."""
    seen = source.probs.copy()
    seen[:, -1] = 0
    with np.errstate(divide="ignore"):
        return source, smoothed(np.log(seen / seen.sum(axis=1, keepdims=True)), alpha)


def _change_point(n: int) -> Process:
    source = sources.change_point(_ZIPF, _ZIPF[::-1], n // 2)
    return source, np.tile(smoothed(np.log(_ZIPF), 0.01), (source.n_states, 1))


_ZIPF = sources.zipf_probs(32)
PROCESSES: dict[str, Callable[[int, float], Process]] = {  # of the sequence length n and of C
    "iid Zipf": lambda n, c: _tempered(sources.iid(_ZIPF), 1.5, 0.01),
    "Markov, order 2": lambda n, c: _tempered(sources.markov(2, 6, 0.3, np.random.default_rng(11)), 2.0, 0.02),
    "heavy tail": lambda n, c: _tempered(sources.iid(sources.zipf_probs(64, 1.6)), 4.0, 1e-6),
    "near-deterministic": lambda n, c: _tempered(sources.near_deterministic(12, 0.01), 3.0, 1e-4),
    "rare token at C": lambda n, c: _blind(sources.rare_token(8, 1.02 * c), 1e-3),
    "rare token at 3C": lambda n, c: _blind(sources.rare_token(8, 3 * c), 1e-5),
    "rare token, certain otherwise": lambda n, c: _blind(sources.rare_token(2, 1.02 * c), 1e-4),
    "adversarial drift": lambda n, c: _blind(sources.adversarial_drift(np.geomspace(0.2 * c, 12 * c, 24), 5), 1e-3),
    "language-like mixture": lambda n, c: _tempered(sources.language_like(48, np.random.default_rng(11)), 1.7, 0.01),
    "change point": lambda n, c: _change_point(n),
}
INDEPENDENT_PROCESSES = ("iid Zipf", "heavy tail", *(name for name in PROCESSES if name.startswith("rare token")))


def process(name: str, n: int) -> Process:
    """One of the PROCESSES, made for sequences of n tokens."""
    if name not in PROCESSES:
        raise ValueError(f"no process {name!r}; there are {', '.join(PROCESSES)}")
    return PROCESSES[name](n, math.log(20) / n)  # C of one statement at failure probability 0.05


def simulate_losses(
    source: sources.Source, log_probs: Floats, n_paths: int, n: int, rng: np.random.Generator
) -> Simulation:
    """Draw paths and evaluate a predictor (n_states, V) on them; its entropy is the baseline."""
    paths, log_probs = source.sample(n_paths, n, rng), real_array(log_probs, "log_probs", np.float64)
    entropy = -np.sum(np.exp(log_probs) * log_probs, axis=1)  # (n_states,)
    return Simulation(
        sources.token_loss(paths.tokens, paths.states, log_probs),
        entropy[paths.states],
        source.state_risk(log_probs)[paths.states],
        float(-log_probs.min()),
        float(np.max(-log_probs - entropy[:, None])),
    )


def simulate(name: str, n_paths: int, n: int, seed: int) -> Simulation:
    """Paths of one of the PROCESSES; the same seed gives the same paths."""
    source, log_probs = process(name, n)
    rng = np.random.default_rng([seed, list(PROCESSES).index(name)])
    return simulate_losses(source, log_probs, n_paths, n, rng)


def violations(simulation: Simulation, failure_prob: float) -> dict[str, int]:
    """On how many paths each bound fails, at the last step or at any step ("running").

    "paper": empirical Freedman, |K| = 1000 (8 for all steps); "tight": the direct form, baseline floor and rate
    chosen on the data from 18 pairs (24 for all steps); "mixture" over 8 s.
    """
    counts = Counter()
    n_paths, n = simulation.observations.shape
    sizes = 1000, 1, len(FLOORS) * len(DIRECT_GRID)
    paper, mixture, tight = (concentration.complexity(n, failure_prob, size) for size in sizes)
    for start in range(0, n_paths, _ROWS):
        x, y, risks = (values[start : start + _ROWS] for values in simulation[:3])
        part = simulation._replace(observations=x, baseline=y, risks=risks)
        data, mean, risk = (x, y, part.loss_range), x.mean(axis=1), risks.mean(axis=1)
        failed = {
            "paper": risk > mean + concentration.freedman(*data, paper).value,
            "mixture": risk > mean + concentration.freedman_mixture(*data, mixture, RUNNING_GRID).value,
            "tight": risk > _tight(part, tight),
            "paper, running": _ever_below(part, failure_prob, FLOORS[:1]),
            "tight, running": _ever_below(part, failure_prob, FLOORS),
        }
        counts.update({name: int(np.sum(paths)) for name, paths in failed.items()})
    return counts


def _raised(part: Simulation, floor: float) -> tuple[Floats, float]:
    """The baseline max(Y, y0) and the range that it leaves."""
    return np.maximum(part.baseline, floor), min(part.loss_range, part.largest_loss - floor)


def _tight(part: Simulation, c: float) -> Floats:
    best = np.full(len(part.observations), np.inf)
    for floor in FLOORS:
        baseline, loss_range = _raised(part, floor)
        for s in DIRECT_GRID:
            bound = concentration.freedman_direct(part.observations, baseline, loss_range, c, s / loss_range)
            np.minimum(best, bound, out=best)
    return best


def _ever_below(part: Simulation, failure_prob: float, floors: tuple[float, ...]) -> NDArray[np.bool_]:
    """(n_paths,) whether some running bound, union over floors and s, falls below the running mean deviation."""
    x, failure_prob = part.observations, failure_prob / len(floors)
    excess = np.cumsum(part.risks - x, axis=1) / np.arange(1, x.shape[1] + 1)
    failed = np.zeros(len(x), dtype=bool)
    for floor in floors:
        bound = concentration.running_freedman(x, *_raised(part, floor), failure_prob, RUNNING_GRID)
        failed |= np.any(excess > bound + 1e-12, axis=1)
    return failed
