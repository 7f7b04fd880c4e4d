"""Do the bounds hold as often as they say? Simulated paths of sources whose conditional risks are known.

Predictors are wrong on purpose, since a predictor that knows its source seldom tests anything. X_k is the loss
of the predictor, Y_k the entropy of its distribution (so Y_k sees only the state), Delta the largest X - Y over
all states and tokens, which is known before any data. Processes are made for a sequence length, because the
worst sources have bad tokens of probability near C.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gengap.bounds import concentration, sources
from gengap.bounds.concentration import Floats
from gengap.bounds.smoothing import smoothed_nll

PROCESSES = (
    "iid Zipf",
    "Markov, order 2",
    "heavy tail",
    "near-deterministic",
    "rare token at C",
    "rare token at 3C",
    "rare token, certain otherwise",
    "adversarial drift",
    "language-like mixture",
    "change point",
)
INDEPENDENT_PROCESSES = (PROCESSES[0], PROCESSES[2], PROCESSES[4], PROCESSES[5], PROCESSES[6])
RUNNING_GRID = concentration.odds_s_grid(8, 300.0)
FLOORS = (0.0, 0.5, 1.0)  # y0 in nats, chosen among on the data
DIRECT_GRID = concentration.odds_s_grid(6, 30.0)
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
    return -smoothed_nll(-log_probs, alpha, log_probs.shape[-1])


def tempered(source: sources.Source, power: float) -> Floats:
    """(n_states, V) log q with q proportional to p^power: overconfident where power > 1."""
    with np.errstate(divide="ignore"):
        log_q = power * np.log(source.probs)
    return log_q - np.logaddexp.reduce(log_q, axis=1, keepdims=True)


def blind(source: sources.Source, alpha: float) -> Floats:
    """(n_states, V) log q of a predictor that holds the last token impossible, but for smoothing."""
    seen = source.probs.copy()
    seen[:, -1] = 0
    with np.errstate(divide="ignore"):
        return smoothed(np.log(seen / seen.sum(axis=1, keepdims=True)), alpha)


def process(name: str, n: int) -> tuple[sources.Source, Floats]:
    """A source and the log-probabilities (n_states, V) of its predictor, made for sequences of n tokens."""
    rng = np.random.default_rng(11)
    c = math.log(20) / n  # C of one statement at failure probability 0.05
    zipf = sources.zipf_probs(32)
    match name:
        case "iid Zipf":
            source = sources.iid(zipf)
            return source, smoothed(tempered(source, 1.5), 0.01)
        case "Markov, order 2":
            source = sources.markov(2, 6, 0.3, rng)
            return source, smoothed(tempered(source, 2.0), 0.02)
        case "heavy tail":
            source = sources.iid(sources.zipf_probs(64, 1.6))
            return source, smoothed(tempered(source, 4.0), 1e-6)
        case "near-deterministic":
            source = sources.near_deterministic(12, 0.01)
            return source, smoothed(tempered(source, 3.0), 1e-4)
        case "rare token at C":
            source = sources.rare_token(8, 1.02 * c)
            return source, blind(source, 1e-3)
        case "rare token at 3C":
            source = sources.rare_token(8, 3 * c)
            return source, blind(source, 1e-5)
        case "rare token, certain otherwise":
            source = sources.rare_token(2, 1.02 * c)
            return source, blind(source, 1e-4)
        case "adversarial drift":
            source = sources.adversarial_drift(np.geomspace(0.2 * c, 12 * c, 24), 5)
            return source, blind(source, 1e-3)
        case "language-like mixture":
            source = sources.language_like(48, rng)
            return source, smoothed(tempered(source, 1.7), 0.01)
        case "change point":
            source = sources.change_point(zipf, zipf[::-1], n // 2)
            return source, np.tile(smoothed(np.log(zipf), 0.01), (source.n_states, 1))
    raise ValueError(f"no process {name!r}; there are {', '.join(PROCESSES)}")


def simulate_losses(
    source: sources.Source, log_probs: Floats, n_paths: int, n: int, rng: np.random.Generator
) -> Simulation:
    """Draw paths and evaluate a predictor (n_states, V) on them; its entropy is the baseline."""
    paths = source.sample(n_paths, n, rng)
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
    rng = np.random.default_rng([seed, PROCESSES.index(name)] if name in PROCESSES else seed)
    return simulate_losses(*process(name, n), n_paths, n, rng)


def violations(simulation: Simulation, failure_prob: float) -> dict[str, int]:
    """On how many paths each bound fails, at the last step or at any step ("running").

    "paper": empirical Freedman, |K| = 1000 (8 for all steps); "tight": the direct form, baseline floor and rate
    chosen on the data from 18 pairs (24 for all steps); "mixture" over 8 s.
    """
    counts = dict.fromkeys(("paper", "mixture", "tight", "paper, running", "tight, running"), 0)
    n = simulation.observations.shape[1]
    for part in _blocks(simulation):
        risks = part.mean_risks
        counts["paper"] += int(np.sum(risks > _paper(part, concentration.complexity(n, failure_prob, 1000))))
        counts["mixture"] += int(np.sum(risks > _mixture(part, concentration.complexity(n, failure_prob))))
        size = len(FLOORS) * len(DIRECT_GRID)
        counts["tight"] += int(np.sum(risks > _tight(part, concentration.complexity(n, failure_prob, size))))
        counts["paper, running"] += _ever_below(part, failure_prob, FLOORS[:1])
        counts["tight, running"] += _ever_below(part, failure_prob, FLOORS)
    return counts


def _blocks(simulation: Simulation) -> Iterator[Simulation]:
    x, y, risks, *limits = simulation
    for start in range(0, len(x), _ROWS):
        rows = slice(start, start + _ROWS)
        yield Simulation(x[rows], y[rows], risks[rows], *limits)


def _paper(part: Simulation, c: float) -> Floats:
    bound = concentration.freedman(part.observations, part.baseline, part.loss_range, c)
    return part.observations.mean(axis=1) + bound.value


def _mixture(part: Simulation, c: float) -> Floats:
    bound = concentration.freedman_mixture(part.observations, part.baseline, part.loss_range, c, RUNNING_GRID)
    return part.observations.mean(axis=1) + bound.value


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


def _ever_below(part: Simulation, failure_prob: float, floors: tuple[float, ...]) -> int:
    """Paths on which some running bound, union over floors and s, falls below the running mean deviation."""
    n = part.observations.shape[1]
    excess = np.cumsum(part.risks - part.observations, axis=1) / np.arange(1, n + 1)
    failed = np.zeros(len(excess), dtype=bool)
    for floor in floors:
        bound = concentration.running_freedman(
            part.observations, *_raised(part, floor), failure_prob / len(floors), RUNNING_GRID
        )
        failed |= np.any(excess > bound + 1e-12, axis=1)
    return int(failed.sum())
