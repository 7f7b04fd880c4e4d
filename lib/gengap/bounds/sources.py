"""Token sources whose conditional distributions are known exactly (chapters 01 and 08).

A source is a finite-state machine: in state i it emits token x with probability `probs[i, x]` and moves to state
`next_state[i, x]`. The state is a function of the tokens so far, so E[X_k | F_{k-1}] is a sum over one row, for any
predictor: true risks, true gaps and the coverage of bounds are computed, not estimated. I.i.d. tokens, Markov chains,
sources that change with time and sources that react to their past are all of this kind.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gengap.arrays import int_array, real_array
from gengap.bounds.concentration import Floats

Ints = NDArray[np.int64]


class Paths(NamedTuple):
    """Sampled sequences and the states in which their tokens were drawn."""

    tokens: Ints  # (n_paths, n)
    states: Ints  # (n_paths, n) state before each token: all that F_{k-1} says about token k


@dataclass(frozen=True, eq=False)
class Source:
    """A finite-state source. ValueError if rows are no distributions or moves leave the states."""

    probs: Floats  # (n_states, V) p(x | state)
    next_state: Ints  # (n_states, V)
    start: int = 0  # state before the first token

    def __post_init__(self):
        if self.probs.ndim != 2 or self.next_state.shape != self.probs.shape:
            raise ValueError(f"probs and next_state must share a shape (n_states, V), got {self.probs.shape}")
        if not (np.all(self.probs >= 0) and np.allclose(self.probs.sum(axis=1), 1, rtol=0, atol=1e-9)):
            raise ValueError("each row of probs must be a probability distribution")
        states = np.append(self.next_state, self.start)
        if not (states.min() >= 0 and states.max() < self.n_states):
            raise ValueError("next_state and start must be rows of probs")

    @property
    def n_states(self) -> int:
        return self.probs.shape[0]

    @property
    def vocab_size(self) -> int:
        return self.probs.shape[1]

    def sample(self, n_paths: int, n: int, rng: np.random.Generator) -> Paths:
        """`n_paths` independent sequences of `n` tokens, all begun in the start state."""
        cdf = np.cumsum(self.probs, axis=1)
        cdf /= cdf[:, -1:]
        levels = (cdf + np.arange(self.n_states)[:, None]).ravel()  # one sorted table for all rows
        tokens, states = np.empty((2, n, n_paths), dtype=np.int64)
        state = np.full(n_paths, self.start, dtype=np.int64)
        for k in range(n):
            states[k] = state
            token = np.searchsorted(levels, state + rng.random(n_paths), side="right") - state * self.vocab_size
            tokens[k] = np.clip(token, 0, self.vocab_size - 1)  # state + u may round up to state + 1
            state = self.next_state[state, tokens[k]]
        return Paths(np.ascontiguousarray(tokens.T), np.ascontiguousarray(states.T))

    def states(self, tokens: ArrayLike) -> Ints:
        """The state before each token of (..., n) sequences that begin in the start state."""
        tokens = int_array(tokens, "tokens")
        out, state = np.empty(tokens.shape, dtype=np.int64), np.full(tokens.shape[:-1], self.start)
        for k in range(tokens.shape[-1]):
            out[..., k] = state
            state = self.next_state[state, tokens[..., k]]
        return out

    def conditional_risk(self, states: ArrayLike, log_probs: ArrayLike) -> Floats:
        """E[X_k | F_{k-1}] of any predictor, (..., n) nats, exactly: -sum_x p(x | state) log q(x).

        `states` (..., n) come from `sample` or `states`; `log_probs` (..., n, V) are the predictor's next-token
        log-probabilities at each position. A token that cannot occur may have log-probability -inf.
        """
        states, log_probs = int_array(states, "states"), real_array(log_probs, "log_probs", np.float64)
        if log_probs.shape != (*states.shape, self.vocab_size):
            raise ValueError(f"log_probs must be {(*states.shape, self.vocab_size)}, got {log_probs.shape}")
        if log_probs.max() > 1e-6:
            raise ValueError("log_probs must be log-probabilities: none above 0")
        probs = self.probs[states]
        return -np.sum(probs * np.where(probs > 0, log_probs, 0.0), axis=-1)

    def state_risk(self, log_probs: ArrayLike) -> Floats:
        """The same in every state, (n_states,) nats, for a predictor that sees it alone: `log_probs` (n_states, V)."""
        return self.conditional_risk(np.arange(self.n_states), log_probs)

    def entropies(self) -> Floats:
        """The risk of the truth itself, (n_states,) nats: no predictor does better in that state."""
        with np.errstate(divide="ignore"):
            return self.state_risk(np.log(self.probs))


def token_loss(tokens: ArrayLike, states: ArrayLike, log_probs: Floats) -> Floats:
    """X_k = -log q(x_k), (..., n) nats, of a predictor that sees the state alone: `log_probs` (n_states, V)."""
    return -real_array(log_probs, "log_probs")[int_array(states, "states"), int_array(tokens, "tokens")]


def zipf_probs(vocab_size: int, exponent: float = 1.0) -> Floats:
    """(V,) probabilities proportional to rank^-exponent."""
    weights = np.arange(1, vocab_size + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()


def iid(probs: ArrayLike) -> Source:
    """Independent tokens with probabilities `probs` (V,)."""
    row = real_array(probs, "probs", np.float64)[None]
    return Source(row, np.zeros(row.shape, dtype=np.int64))


def markov(order: int, vocab_size: int, concentration: float, rng: np.random.Generator) -> Source:
    """Markov chain with Dirichlet(concentration, ...) rows. State = the last `order` tokens in base V, oldest first, from 0s."""
    n_states = vocab_size**order
    shifted = np.arange(n_states)[:, None] * vocab_size % n_states
    return Source(rng.dirichlet(np.full(vocab_size, concentration), size=n_states), shifted + np.arange(vocab_size))


def near_deterministic(vocab_size: int, slip_prob: float) -> Source:
    """Counts upwards modulo V; with `slip_prob` the token is uniform instead. State = last token."""
    follows = np.roll(np.eye(vocab_size), 1, axis=1)
    probs = (1 - slip_prob) * follows + slip_prob / vocab_size
    return Source(probs, np.tile(np.arange(vocab_size), (vocab_size, 1)))


def rare_token(vocab_size: int, rare_prob: float) -> Source:
    """Uniform over all tokens but the last, which comes with `rare_prob`: the worst case when near C."""
    row = np.full(vocab_size, (1 - rare_prob) / (vocab_size - 1))
    row[-1] = rare_prob
    return iid(row)


def change_point(before: ArrayLike, after: ArrayLike, time: int) -> Source:
    """Independent tokens from `before` (V,) for `time` steps, then from `after`. State = steps so far, up to `time`."""
    before, after = real_array(before, "before", np.float64), real_array(after, "after", np.float64)
    following = np.minimum(np.arange(time + 1) + 1, time)
    return Source(np.vstack([np.tile(before, (time, 1)), after]), np.tile(following[:, None], (1, len(before))))


def adversarial_drift(rare_probs: ArrayLike, vocab_size: int) -> Source:
    """A source that watches its own luck: state = balance of luck, a walk on 0 .. len(rare_probs) - 1.

    The last token, the bad one, comes with `rare_probs[balance]` and lowers the balance by 4; any other raises it by 1
    (inside the ends), so rising `rare_probs` raise the stakes after a lucky stretch. Conditional means depend on the
    past: inequalities for a constant mean do not apply.
    """
    rare = real_array(rare_probs, "rare_probs", np.float64)
    balance, last = np.arange(rare.size), rare.size - 1
    probs = np.repeat(((1 - rare) / (vocab_size - 1))[:, None], vocab_size, axis=1)
    probs[:, -1] = rare
    moves = np.repeat(np.minimum(balance + 1, last)[:, None], vocab_size, axis=1)
    moves[:, -1] = np.maximum(balance - 4, 0)
    return Source(probs, moves, start=int(last // 2))


def language_like(vocab_size: int, rng: np.random.Generator) -> Source:
    """An order-1 source with text's mixture of easy and hard steps. State = last token.

    Each row mixes the Zipf law of all tokens, a steeper one over a shuffled vocabulary of its own, and one favourite
    successor; the weights are drawn per row, so entropies range from nearly 0 to nearly that of the Zipf law.
    """
    common = zipf_probs(vocab_size)
    weights = rng.dirichlet([0.3, 0.3, 0.3], size=vocab_size)  # (V, 3)
    own = np.stack([rng.permutation(common**2 / np.sum(common**2)) for _ in range(vocab_size)])
    favourite = np.eye(vocab_size)[rng.integers(vocab_size, size=vocab_size)]
    probs = weights[:, :1] * common + weights[:, 1:2] * own + weights[:, 2:] * favourite
    return Source(probs, np.tile(np.arange(vocab_size), (vocab_size, 1)))
