"""Do the bounds with a companion hold as often as they say? Simulated trainings on sources whose conditionals are known (chapter 11).

Token k of a path is drawn from a known source; a companion u predicts it from the tokens before it; a model h is the *worst* of
its code, chosen after a look at the path. A hypothesis picks one of m predictions in every context that it can tell apart, with
log2 m bits: what it loses is a sum over contexts, so the worst of all m^contexts of them is found exactly, context by
context. What companions learn here is a table of logits or of counts, batch by batch. The rules come in pairs: a predictable one,
and the same with one mistake (LEAKS), by which u_k knows token k and the bound is none.

Arrays that hold one number per token of the vocabulary have it first, (V, n_paths, n): sums over it are then fast.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from gengap.bounds import sources
from gengap.bounds.companion import Beside, CodedCompanion, CompanionChoice, Predictor
from gengap.bounds.concentration import Floats
from gengap.bounds.learners import Rule
from gengap.bounds.sources import Ints, Paths, Source
from gengap.units import nats_from_bits

FLOOR = 0.02  # eta
N_TIMES = 8  # at which a statement about all times is checked, the last one included
RATES, SHARES = (0.1, 0.3, 1.0, 3.0), (0.7, 0.98)  # lambda in 1/nats and s, chosen among on the data
COMPANION_SHARES = (0.03, 0.1, 0.3, 0.9)  # lambda' log(V/eta), likewise
_ROWS = 500  # paths in flight: they fit the cache



class Setting(NamedTuple):
    """A source, a companion, and the code of the models beside it."""

    source: Source
    companion: Rule
    models: Floats  # (m, n_contexts, V) the predictions to pick from in each context
    contexts: Ints  # (n_states,) what a model sees of the state

    @property
    def code_length_bits(self) -> float:
        """Of every hypothesis: log2 m for each context."""
        return self.models.shape[1] * math.log2(len(self.models))


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

    "companion": R(u) <= mean X^u + eps (T13). "excess": the mean of E[Z | F], of the worst hypothesis. "risk": R(q) of the worst
    hypothesis (T12), each half at failure_prob / 2.
    """
    companion, excess = deviations.beyond(failure_prob)
    risk = np.add(*deviations.beyond(failure_prob / 2))
    counts = {}
    for name, beyond in {"companion": companion, "excess": excess, "risk": risk}.items():
        failed = beyond > 1e-9
        counts[name] = int(failed[:, -1].sum())
        counts[f"{name}, running"] = int(failed.any(axis=1).sum())
    return counts


def evaluate(
    setting: Setting, predictor: Predictor, paths: Paths, u: Floats, model: Floats, floor: float = FLOOR
) -> tuple[Beside, Floats, Floats]:
    """What a bound is told of companion `u` (V, n_paths, n) and of the predictor made of `model` (n_contexts, V), and the truth.

    The truth: E[X^u | F_{k-1}] and E[Z | F_{k-1}], (n_paths, n) nats each, u being what it is.
    """
    vocab_size, contexts = setting.source.vocab_size, setting.contexts[paths.states]
    u = (1 - floor) * u + floor / vocab_size
    alpha, hedged = predictor
    if hedged:
        q = (1 - alpha) * model.T[:, contexts] + alpha * u
        log_q = np.log(q)
    else:
        table = (1 - alpha) * model.T + alpha / vocab_size
        q, log_q = table[:, contexts], np.log(table)[:, contexts]
    log_u, truth = np.log(u), setting.source.probs.T[:, paths.states]
    z = log_u - log_q
    of_token = partial(np.take_along_axis, indices=paths.tokens[None], axis=0)
    beside = Beside(
        loss=-of_token(log_u)[0],
        entropy=-np.sum(u * log_u, axis=0),
        excess=of_token(z)[0],
        expected=np.sum((q + u) * z, axis=0) / 2,
        most=z.max(axis=0),
    )
    return beside, -np.sum(truth * log_u, axis=0), np.sum(truth * z, axis=0)


Change = Callable[[Beside, Floats, Floats], tuple[Beside, Floats, Floats]]  # what a mistake does to what is told


def deviations(
    setting: Setting,
    predictor: Predictor,
    n_paths: int,
    n: int,
    seed: int,
    rates: Sequence[float] = RATES,
    shares: Sequence[float] = SHARES,
    companion_shares: Sequence[float] = COMPANION_SHARES,
    change: Change | None = None,
) -> Deviations:
    """Draw paths of n tokens (a multiple of N_TIMES) and compare; the same seed gives the same paths."""
    rng, source = np.random.default_rng(seed), setting.source
    companion = CodedCompanion(0, n, source.vocab_size, FLOOR)
    size = len(rates) * len(shares)
    choices = [CompanionChoice(predictor, rate, share, size) for rate in rates for share in shares]
    of_companion, of_excess = [], []
    for start in range(0, n_paths, _ROWS):
        paths = source.sample(min(_ROWS, n_paths - start), n, rng)
        u, contexts = setting.companion(source, paths), setting.contexts[paths.states]
        worst = None
        for model in setting.models:
            told = evaluate(setting, predictor, paths, u, model)
            beside, risk, mean_excess = told if change is None else change(*told)
            sums = [_sums(mean_excess - choice.summand(beside), contexts, setting) for choice in choices]
            worst = np.array(sums) if worst is None else np.maximum(worst, sums)
        of_excess.append(worst.sum(axis=-1))
        nothing = np.zeros_like(contexts)
        of_companion.append(
            [
                _sums(risk - companion.summand(beside.loss, beside.entropy, share), nothing, setting)[..., 0]
                for share in companion_shares
            ]
        )
    return Deviations(
        np.concatenate(of_companion, axis=1),
        np.concatenate(of_excess, axis=1),
        np.array([companion.rate(share) for share in companion_shares]),
        np.array([choice.rate for choice in choices]),
        setting.code_length_bits,
    )


def _sums(values: Floats, contexts: Ints, setting: Setting) -> Floats:
    """(n_paths, N_TIMES, n_contexts): sums of values (n_paths, n) up to each time, by context."""
    shape = len(values), N_TIMES, setting.models.shape[1]
    times = np.arange(values.shape[1]) * N_TIMES // values.shape[1]
    places = (np.arange(len(values))[:, None] * N_TIMES + times) * shape[2] + contexts[:, : values.shape[1]]
    return np.bincount(places.ravel(), values.ravel(), math.prod(shape)).reshape(shape).cumsum(axis=1)
