"""Do the bounds with a companion hold as often as they say? Simulated trainings on sources whose conditionals are known (chapter 11).

Token k of a path is drawn from a known source; a companion u predicts it from the tokens before it; a model h is the *worst* of
its code, chosen after a look at the path. A hypothesis picks one of m predictions in every context that it can tell apart, with
log2 m bits: what it loses is a sum over contexts, so the worst of all m^contexts of them is found exactly, context by
context. What is simulated stands in `gengap.bounds.companion_settings`.

Arrays that hold one number per token of the vocabulary have it first, (V, n_paths, n): sums over it are then fast.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gengap.bounds.companion_grids import Beside, CodedCompanion, CompanionChoice, Predictor
from gengap.bounds.concentration import Floats
from gengap.bounds.learners import Rule
from gengap.bounds.sources import Ints, Paths, Source
from gengap.units import nats_from_bits

FLOOR = 0.02  # eta
N_TIMES = 8  # at which a statement about all times is checked, the last one included
RATES, SHARES = (0.2, 0.8, 3.0), (0.7, 0.98)  # lambda in 1/nats and s, chosen among on the data
COMPANION_SHARES = (0.03, 0.1, 0.3, 0.9)  # lambda' log(V/eta), likewise
_ROWS = 500  # paths in flight: they fit the cache


class Setting(NamedTuple):
    """A source, a companion, and the code of the models beside it; the last three are mistakes, each with its own."""

    source: Source
    companion: Rule
    models: Floats  # (m, n_contexts, V) the predictions to pick from in each context
    contexts: Ints  # (n_states,) what a model sees of the state
    told: Rule | None = None  # X^u comes from another companion than Z
    keep: Callable[[Floats], Floats] | None = None  # X^u (n_paths, n) to weights 0 and 1 of the tokens that count
    peeks: bool = False  # Y = Z + 0.1

    @property
    def code_length_bits(self) -> float:
        """Of every hypothesis: log2 m for each context."""
        return self.models.shape[1] * math.log2(len(self.models))


class Companion(NamedTuple):
    """A companion along paths, with its floor, beside what the tokens were drawn from."""

    u: Floats  # (V, n_paths, n)
    log_u: Floats  # (V, n_paths, n) nats
    truth: Floats  # (V, n_paths, n) probabilities of the source
    loss: Floats  # (n_paths, n) X^u, nats
    entropy: Floats  # (n_paths, n) nats

    @classmethod
    def along(cls, setting: Setting, rule: Rule, paths: Paths, floor: float) -> "Companion":
        """What `rule` predicts along `paths`."""
        u = (1 - floor) * rule(setting.source, paths) + floor / setting.source.vocab_size
        log_u = np.log(u)
        loss = -np.take_along_axis(log_u, paths.tokens[None], axis=0)[0]
        return cls(u, log_u, setting.source.probs.T[:, paths.states], loss, -_mean(u, log_u))

    def beside(self, predictor: Predictor, model: Floats, contexts: Ints, paths: Paths) -> tuple[Beside, Floats]:
        """What a bound is told of it and of the predictor made of `model` (n_contexts, V); and E[Z | F], (n_paths, n) nats."""
        alpha, hedged = predictor
        if hedged:
            q = (1 - alpha) * model.T[:, contexts] + alpha * self.u
            z = self.log_u - np.log(q)
        else:
            table = (1 - alpha) * model.T + alpha / len(self.u)
            q, z = table[:, contexts], self.log_u - np.log(table)[:, contexts]
        excess = np.take_along_axis(z, paths.tokens[None], axis=0)[0]
        expected = (_mean(q, z) + _mean(self.u, z)) / 2
        return Beside(self.loss, self.entropy, excess, expected, z.max(axis=0)), _mean(self.truth, z)


class Deviations(NamedTuple):
    """By how much expectations exceed what the summands say, sums over the tokens of each path so far, nats."""

    companion: Floats  # (|K|, n_paths, n_times) E[X^u | F] - H + log(1 + lambda' (H - X^u)) / lambda'
    excess: Floats  # (|G|, n_paths, n_times) E[Z | F] - f of the worst hypothesis
    companion_rates: Floats  # (|K|,) lambda', 1/nats
    rates: Floats  # (|G|,) lambda, 1/nats
    code_length_bits: float

    def beyond(self, failure_prob: float) -> tuple[Floats, Floats]:
        """(n_paths, n_times) by how much R(u) and the mean of Z exceed their bounds, summed over tokens: a failure where positive."""
        grids = (self.companion_rates, 0.0), (self.rates, nats_from_bits(self.code_length_bits))
        found = []
        for sums, (rates, code) in zip(self[:2], grids, strict=True):
            budget = code + math.log(len(rates) / failure_prob)
            found.append((sums - (budget / rates)[:, None, None]).max(axis=0))
        return found[0], found[1]


def violations(deviations: Deviations, failure_prob: float) -> dict[str, int]:
    """On how many paths each statement fails, at the end or ever ("running").

    "companion": R(u) <= mean X^u + eps (statement T13). "excess": the mean of E[Z | F], of the worst hypothesis. "risk": R(q) of the worst
    hypothesis (statement T12), each half at failure_prob / 2.
    """
    companion, excess = deviations.beyond(failure_prob)
    risk = np.add(*deviations.beyond(failure_prob / 2))
    counts = {}
    for name, beyond in {"companion": companion, "excess": excess, "risk": risk}.items():
        failed = beyond > 1e-9
        counts[name] = int(failed[:, -1].sum())
        counts[f"{name}, running"] = int(failed.any(axis=1).sum())
    return counts


def deviations(
    setting: Setting,
    predictor: Predictor,
    n_paths: int,
    n: int,
    seed: int,
    rates: Sequence[float] = RATES,
    shares: Sequence[float] = SHARES,
    companion_shares: Sequence[float] = COMPANION_SHARES,
    floor: float = FLOOR,
) -> Deviations:
    """Draw paths of n tokens (a multiple of N_TIMES) and compare; the same seed gives the same paths."""
    rng, source = np.random.default_rng(seed), setting.source
    companion = CodedCompanion(0, n, source.vocab_size, floor)
    choices = [CompanionChoice(predictor, rate, share) for rate in rates for share in shares]
    parts = []
    for start in range(0, n_paths, _ROWS):
        paths = source.sample(min(_ROWS, n_paths - start), n, rng)
        parts.append(_sums_of_paths(setting, choices, companion, companion_shares, paths))
    of_companion, of_excess = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    rates_of_companion = np.array([companion.rate(share) for share in companion_shares])
    rates_of_excess = np.array([choice.rate for choice in choices])
    return Deviations(of_companion, of_excess, rates_of_companion, rates_of_excess, setting.code_length_bits)


def _sums_of_paths(
    setting: Setting,
    choices: Sequence[CompanionChoice],
    companion: CodedCompanion,
    companion_shares: Sequence[float],
    paths: Paths,
) -> tuple[Floats, Floats]:
    u = Companion.along(setting, setting.companion, paths, companion.floor)
    told = u if setting.told is None else Companion.along(setting, setting.told, paths, companion.floor)
    contexts = setting.contexts[paths.states]
    keep = 1.0 if setting.keep is None else setting.keep(told.loss)
    risk = -_mean(u.truth, u.log_u)
    worst = np.full((len(choices), len(contexts), N_TIMES, setting.models.shape[1]), -np.inf)
    for model in setting.models:
        beside, mean_excess = u.beside(choices[0].predictor, model, contexts, paths)
        if setting.peeks:
            beside = beside._replace(expected=beside.excess + 0.1, most=beside.excess)
        for at, choice in zip(worst, choices, strict=True):
            np.maximum(at, _sums(keep * (mean_excess - choice.summand(beside)), contexts, at.shape), out=at)
    one, shape = np.zeros_like(contexts), (len(contexts), N_TIMES, 1)
    of_companion = [
        _sums(keep * (risk - companion.summand(told.loss, told.entropy, share)), one, shape)[..., 0]
        for share in companion_shares
    ]
    return np.array(of_companion), worst.sum(axis=-1)


def _mean(probs: Floats, values: Floats) -> Floats:
    """(n_paths, n) mean of values (V, n_paths, n), known before the token, if the token comes from `probs`."""
    return np.einsum("vpk,vpk->pk", probs, values)


def _sums(values: Floats, contexts: Ints, shape: tuple[int, int, int]) -> Floats:
    """(n_paths, N_TIMES, n_contexts): sums of values (n_paths, n) up to each time, by context."""
    times = np.arange(values.shape[1]) * N_TIMES // values.shape[1]
    places = (np.arange(shape[0])[:, None] * N_TIMES + times) * shape[2] + contexts
    return np.bincount(places.ravel(), values.ravel(), math.prod(shape)).reshape(shape).cumsum(axis=1)
