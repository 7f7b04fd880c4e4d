"""What the coverage of the bounds with a companion is tried on (chapter 11): SETTINGS that are as they should be, and MISTAKES.

Companions learn, are wrong, or play against the source; hypotheses are tempered truths, truths that hold a token impossible,
or drawn at random. Of each mistake there are two settings that differ in one slip: in the first the companion is predictable,
in the second it knows the token, and what the proof promises fails.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from gengap.bounds import learners, sources
from gengap.bounds.companion_coverage import Setting
from gengap.bounds.concentration import Floats
from gengap.bounds.learners import Rule
from gengap.bounds.sources import Paths, Source

_ZIPF = sources.zipf_probs(6)


def tempered(probs: Floats, powers: Sequence[float]) -> Floats:
    """(m, n_states, V) proportional to probs^power: flatter than `probs` (n_states, V) below 1, overconfident above."""
    tables = np.stack([probs**power for power in powers])
    return tables / tables.sum(axis=-1, keepdims=True)


def _turns(n_states: int, vocab_size: int, spread: float, rng: np.random.Generator) -> Source:
    """States in turn, each with a law of its own."""
    following = np.tile((np.arange(n_states)[:, None] + 1) % n_states, (1, vocab_size))
    return Source(rng.dirichlet(np.full(vocab_size, spread), n_states), following)


def _seeing(source: Source, companion: Rule, models: Floats) -> Setting:
    return Setting(source, companion, models, np.arange(source.n_states))


def _blind_to_state(source: Source, companion: Rule, models: Floats) -> Setting:
    return Setting(source, companion, models[:, None], np.zeros(source.n_states, dtype=np.int64))


def _of_source(source: Source, companion: Rule, powers: Sequence[float] = (0.5, 2, 5)) -> Setting:
    return _seeing(source, companion, tempered(source.probs, powers))


def _random(source: Source, companion: Rule, m: int = 4, spread: float = 0.3) -> Setting:
    return _seeing(
        source, companion, np.random.default_rng(3).dirichlet(np.full(source.vocab_size, spread), (m, source.n_states))
    )


def blind(probs: Floats, tokens: Sequence[int]) -> Floats:
    """(m, V): `probs` (V,), each time with one token held impossible."""
    tables = np.where(np.arange(len(probs)) == np.asarray(tokens)[:, None], 0.0, probs)
    return tables / tables.sum(axis=1, keepdims=True)


def rare_tokens(m: int, rare_prob: float) -> Setting:
    """m tokens, each of them rare; each of m hypotheses holds one of them impossible; the companion knows the truth."""
    probs = np.append(np.full(m, rare_prob), 1 - m * rare_prob)
    source = sources.iid(probs)
    return _blind_to_state(source, learners.fixed(source.probs), blind(probs, range(m)))


def unforeseen(rare_prob: float) -> Setting:
    """One of two tokens is rare, and impossible for the companion, but for its floor."""
    source = sources.rare_token(2, rare_prob)
    return _of_source(source, learners.fixed(np.array([[1.0, 0.0]])))


def _drift(c: float) -> Setting:
    source = sources.adversarial_drift(np.geomspace(0.2 * c, 12 * c, 24), 5)
    often, never = np.full(5, 0.2), np.append(np.full(4, 0.25), 0.0)
    return _blind_to_state(source, learners.luck(often, never, 12), np.stack([never, often]))


def _change(n: int) -> Setting:
    source = sources.change_point(_ZIPF, _ZIPF[::-1], n // 2)
    return _blind_to_state(source, _last_counts, tempered(_ZIPF, (0, 1, 3, -1)))


def _last_counts(source: Source, paths: Paths) -> Floats:
    """Counts of the last 24 tokens, whatever the state."""
    return learners.counts(sources.iid(source.probs[0]), paths._replace(states=np.zeros_like(paths.states)), memory=24)


_MARKOV = sources.markov(1, 4, 0.5, np.random.default_rng(11))
_LADDER = sources.near_deterministic(5, 0.05)

SETTINGS: dict[str, Callable[[int, float], Setting]] = {  # of the number n of tokens and of C
    "iid Zipf, Bayes learns": lambda n, c: _of_source(sources.iid(_ZIPF), learners.counts, (0.5, 1, 2, 5)),
    "iid Zipf, uniform": lambda n, c: _of_source(sources.iid(_ZIPF), learners.uniform),
    "Markov, gradient descent learns": lambda n, c: _random(_MARKOV, learners.online),
    "Markov, average of weights": lambda n, c: _of_source(_MARKOV, learners.average),
    "contexts in turn, snapshots": lambda n, c: _random(
        _turns(8, 4, 0.4, np.random.default_rng(2)), learners.snapshots, 3
    ),
    "heavy tail, wrong": lambda n, c: _of_source(
        sources.iid(sources.zipf_probs(8, 1.6)), learners.fixed(sources.zipf_probs(8, 1.6)[None, ::-1])
    ),
    "near-deterministic, mixture of experts": lambda n, c: _of_source(
        _LADDER, learners.mixture(np.maximum(tempered(_LADDER.probs, (0.3, 1, 3)), 1e-6)), (1, 3)
    ),
    "change point, last counts": lambda n, c: _change(n),
    "rare tokens near C": lambda n, c: rare_tokens(4, 1.02 * c),
    "unforeseen token near C": lambda n, c: unforeseen(1.02 * c),
    "adversarial drift, adversary": lambda n, c: _drift(c),
}


def setting(name: str, n: int) -> Setting:
    """One of the SETTINGS, made for paths of n tokens."""
    if name not in SETTINGS:
        raise ValueError(f"no setting {name!r}; there are {', '.join(SETTINGS)}")
    return SETTINGS[name](n, math.log(20) / n)  # C of one statement at failure probability 0.05


_RATE = 6.0  # of gradient descent: what is learned from a token is known well
_SLIPS: dict[str, tuple[Rule, Rule]] = {  # what is predictable, and what is not
    "weights after the update": (learners.online, partial(learners.online, late=1)),
    "snapshots off by one": (partial(learners.snapshots, every=2), partial(learners.snapshots, every=2, late=1)),
    "an average with later weights": (
        partial(learners.average, window=4),
        partial(learners.average, window=4, ahead=4),
    ),
    "cooled down on tokens to come": (learners.cooled, partial(learners.cooled, early=0)),
    "a second epoch": (partial(learners.epochs, n_epochs=1), learners.epochs),
}


def _quiet_half(loss: Floats) -> Floats:
    """Weights of the tokens (n_paths, n) if the half of the batches whose companion did worse is skipped."""
    of_batch = loss.reshape(len(loss), -1, learners.BATCH).mean(axis=2)
    return np.repeat(of_batch <= np.median(of_batch, axis=1, keepdims=True), learners.BATCH, axis=1) * 1.0


def mistakes(n: int) -> dict[str, tuple[Setting, Setting]]:
    """Pairs of settings for paths of n tokens: the right one and the wrong one. No context of a companion recurs, as in text."""
    rng = np.random.default_rng(5)
    laws = rng.dirichlet(np.full(6, 0.5), 60)  # of the contexts that a model can tell apart
    following = np.tile(np.minimum(np.arange(n)[:, None] + 1, n - 1), (1, 6))
    source, contexts = Source(laws[np.arange(n) % 60], following), np.arange(n) % 60
    models = rng.dirichlet(np.full(6, 0.3), (8, 60))

    def right(rule: Rule) -> Setting:
        return Setting(source, rule, models, contexts)

    knows = right(learners.fixed(source.probs))
    blank = right(learners.uniform)._replace(models=laws[None])
    one = sources.iid([0.8] + 5 * [0.04])
    chosen = _seeing(one, learners.fixed(one.probs), one.probs[None])
    return {
        name: (right(partial(good, rate=_RATE)), right(partial(bad, rate=_RATE)))
        for name, (good, bad) in _SLIPS.items()
    } | {
        "batches skipped after a look": (chosen, chosen._replace(keep=_quiet_half)),
        "Y that looks at the token": (knows, knows._replace(peeks=True)),
        "X^u of another companion": (blank, blank._replace(told=knows.companion)),
    }
