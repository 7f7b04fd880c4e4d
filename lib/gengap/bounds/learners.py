"""Companions of simulated paths: tables that learn, batch by batch, and the mistakes by which they know too much (chapter 11).

A rule maps a source (of which it uses the number of states and tokens) and paths to predictions u (V, n_paths, n). What is learned is a
table (n_states, V): of counts, or of logits by stochastic gradient descent, one step a batch, as a network is trained. Some rules
have a setting that lets the companion know too much, to show what then happens.
"""

from collections.abc import Callable

import numpy as np

from gengap.bounds.concentration import Floats
from gengap.bounds.sources import Ints, Paths, Source

BATCH = 8  # tokens of one update
Rule = Callable[[Source, Paths], Floats]


def fixed(table: Floats) -> Rule:
    """Always the prediction of `table` (n_states, V), right or wrong."""
    return lambda source, paths: table.T[:, paths.states]


def uniform(source: Source, paths: Paths) -> Floats:
    """1/V: what the bounds without a companion amount to."""
    return np.full((source.vocab_size, *paths.tokens.shape), 1 / source.vocab_size)


def counts(source: Source, paths: Paths, prior: float = 0.5, memory: int = 10**9, own: bool = False) -> Floats:
    """Bayes' rule for a Dirichlet(prior) law in each state, from the last `memory` tokens; `own`: the token itself included."""
    places, n = np.arange(source.probs.size), paths.tokens.shape[1]
    hits = paths.states * source.vocab_size + paths.tokens == places[:, None, None]
    until = np.concatenate(
        [np.zeros((*hits.shape[:2], 1)), np.cumsum(hits, axis=2)], axis=2
    )  # before each step, and after the last
    last = np.arange(n) + own
    seen = until[:, :, last] - until[:, :, np.maximum(last - memory, 0)]
    seen = seen.reshape(source.n_states, source.vocab_size, *paths.tokens.shape)
    of_state = np.take_along_axis(seen, paths.states[None, None], axis=0)[0] + prior
    return of_state / of_state.sum(axis=0)


def mixture(tables: Floats) -> Rule:
    """Bayes' mixture of experts (n_experts, n_states, V): one rule, for which no choice is paid."""

    def rule(source: Source, paths: Paths) -> Floats:
        gains = np.log(tables[:, paths.states, paths.tokens])  # (n_experts, n_paths, n)
        logs = np.cumsum(gains, axis=2) - gains
        weights = np.exp(logs - logs.max(axis=0))
        return np.einsum("epn,evpn->vpn", weights / weights.sum(axis=0), np.moveaxis(tables[:, paths.states], 3, 1))

    return rule


def luck(often: Floats, never: Floats, patience: int) -> Rule:
    """An adversary: plays for the last token, the bad one, until it has not come for `patience` steps, then for its end."""

    def rule(source: Source, paths: Paths) -> Floats:
        steps = np.arange(paths.tokens.shape[1])
        bad = np.where(paths.tokens == source.vocab_size - 1, steps, -1)
        last = np.concatenate([np.full((len(bad), 1), -1), np.maximum.accumulate(bad, axis=1)[:, :-1]], axis=1)
        return np.where(steps - last > patience, never[:, None, None], often[:, None, None])

    return rule


def train(
    source: Source, paths: Paths, rate: float, start: Floats | None = None, first: int = 0, n: int | None = None
) -> Floats:
    """(1 + n_batches, n_paths, n_states, V) logits before each batch and after the last, of `n` batches from the `first`."""
    total = paths.tokens.shape[1] // BATCH
    n, path = total if n is None else n, np.arange(len(paths.tokens))
    shape = len(path), source.n_states, source.vocab_size
    weights = np.empty((n + 1, *shape))
    weights[0] = 0 if start is None else start
    for b in range(n):
        weights[b + 1] = weights[b]
        step = rate(b) if callable(rate) else rate
        for k in range((first + b) % total * BATCH, ((first + b) % total + 1) * BATCH):
            state, token = paths.states[:, k], paths.tokens[:, k]
            weights[b + 1, path, state] -= step * _softmax(weights[b, path, state], axis=1)
            weights[b + 1, path, state, token] += step
    return weights


def read(weights: Floats, batches: Ints, paths: Paths) -> Floats:
    """u of `weights` (n_snapshots, n_paths, n_states, V): those numbered `batches` (n_batches,) for the tokens of each batch."""
    of_token = np.repeat(batches, BATCH)[: paths.tokens.shape[1]]
    logits = weights[of_token, np.arange(len(paths.tokens))[:, None], paths.states]  # (n_paths, n, V)
    return _softmax(np.ascontiguousarray(np.moveaxis(logits, 2, 0)), axis=0)


def online(source: Source, paths: Paths, rate: float = 0.5, late: int = 0) -> Floats:
    """The weights before the update that the token takes part in, or `late` updates after."""
    weights = train(source, paths, rate)
    return read(weights, np.minimum(np.arange(len(weights) - 1) + late, len(weights) - 1), paths)


def snapshots(source: Source, paths: Paths, rate: float = 0.5, every: int = 4, late: int = 0) -> Floats:
    """The last of the snapshots taken before every `every`-th batch; or the one `late` further on."""
    weights = train(source, paths, rate)
    batches = np.arange(len(weights) - 1)
    return read(weights, np.minimum((batches // every + late) * every, len(weights) - 1), paths)


def average(source: Source, paths: Paths, rate: float = 0.5, window: int = 8, ahead: int = 0) -> Floats:
    """The mean of the last `window` weights, those before the batch included; or of weights up to `ahead` updates later."""
    weights = train(source, paths, rate)
    batches, last = np.arange(len(weights) - 1), len(weights) - 1
    sums = np.concatenate([np.zeros_like(weights[:1]), np.cumsum(weights, axis=0)])
    end = np.minimum(batches + ahead, last) + 1
    begin = np.maximum(end - window, 0)
    return read((sums[end] - sums[begin]) / (end - begin)[:, None, None, None], batches, paths)


def cooled(source: Source, paths: Paths, rate: float = 2.0, length: int = 4, early: int = 4) -> Floats:
    """The weights of `early` batches ago, trained on with a falling rate on the `length` batches from there: all known if early >= length."""
    weights, total = train(source, paths, rate), paths.tokens.shape[1] // BATCH
    done = np.empty_like(weights[:-1])
    for b in range(total):
        begin = max(b - early, 0)
        n = min(length, total - begin) if early < length else b - begin
        done[b] = train(source, paths, lambda i: rate * (1 - i / length), weights[begin], begin, n)[-1]
    return read(done, np.arange(total), paths)


def epochs(source: Source, paths: Paths, rate: float = 0.5, n_epochs: int = 2) -> Floats:
    """The online weights of the last of `n_epochs` passes over the same text."""
    total = paths.tokens.shape[1] // BATCH
    weights = train(source, paths, rate, n=n_epochs * total)
    return read(weights, np.arange(total) + (n_epochs - 1) * total, paths)


def _softmax(logits: Floats, axis: int) -> Floats:
    weights = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)
