"""What a bound with a companion may choose: predictors, rates and shares from finite grids that are paid for (chapter 11).

The bounds themselves, and what the symbols mean, are in `gengap.bounds.companion`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gengap.arrays import real_array
from gengap.bounds.concentration import Floats, complexity, shifted_log
from gengap.bounds.grids import ALONG_AND_ACROSS, downhill
from gengap.bounds.terms import CodedModel

RATES = tuple(map(float, np.geomspace(0.05, 4, 36)))  # lambda, 1/nats
SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # s: of the range that is paid
COMPANION_SHARES = tuple(map(float, np.geomspace(1e-3, 0.9, 32)))  # lambda' log(V/eta), for eps
UNIFORM = (0.02, 0.04, 0.08)  # weights of the uniform distribution in a predictor, beside the paper's own
HEDGES = (0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7)  # weights of the companion
LITTLE = 0.05  # the most that a predictor hedged a little has of it
N_PREDICTORS = len(UNIFORM) + 1 + len(HEDGES)
GRID_SIZE = N_PREDICTORS * len(RATES) * len(SHARES)
COMPANION_PART = 0.9  # of the martingales' failure probability: that of the statement on R(u), the dearer one


class Predictor(NamedTuple):
    """What is bounded: a model with a share of something else in it."""

    alpha: float  # that share, in (0, 1)
    hedged: bool = False  # of the companion of the moment; else of the uniform distribution, as in the paper


def predictors(paper_alpha: float) -> dict[str, list[Predictor]]:
    """Among which a certificate chooses, for each of its three bounds: fixed before the text is seen, but for the paper's alpha, which L(h) fixes."""
    hedges = [Predictor(alpha, hedged=True) for alpha in HEDGES]
    return {
        "companion": [Predictor(alpha) for alpha in (*UNIFORM, paper_alpha)],
        "hedged_little": [p for p in hedges if p.alpha <= LITTLE],
        "hedged": hedges,
    }


class Beside(NamedTuple):
    """A companion and a predictor beside it, for each token: arrays of one shape, nats."""

    loss: NDArray  # X^u = -log u(token)
    entropy: NDArray  # of u
    excess: NDArray  # Z = log u(token)/q(token)
    expected: NDArray  # E[Z] if the token came from (q + u)/2
    most: NDArray  # max_v log u(v)/q(v)


@dataclass(frozen=True)
class CodedCompanion:
    """What a bound needs to know of a companion besides its losses."""

    code_length_bits: float  # L(u), of the rule that makes it: 0 if nothing in it was chosen after a look at the text
    n_train_tokens: int  # D
    vocab_size: int  # V
    floor: float  # eta, in (0, 1): u >= eta/V
    failure_prob: float = 0.001  # delta_2, of the statement on R(u)

    @property
    def max_loss(self) -> float:
        """log(V/eta), nats."""
        return math.log(self.vocab_size / self.floor)

    @property
    def complexity(self) -> float:
        """(L(u) log 2 + log(|K|/delta_2))/D, nats/token, with the grid of rates paid."""
        return float(complexity(self.n_train_tokens, self.failure_prob, len(COMPANION_SHARES), self.code_length_bits))

    def with_model(self, coded: CodedModel) -> float:
        """C = ((L(h) + L(u)) log 2 + log(|G|/delta_1))/D, nats/token, for a coded model and the whole grid."""
        return replace(coded, code_length_bits=coded.code_length_bits + self.code_length_bits).complexity(GRID_SIZE)

    def rate(self, share: float) -> float:
        """lambda' of one element of the grid, 1/nats."""
        return share / self.max_loss

    def summand(self, loss: NDArray, entropy: NDArray, share: float) -> Floats:
        """H - log(1 + lambda' (H - X^u)) / lambda', nats: X^u and a second-order charge, whose mean bounds R(u)."""
        entropy = np.minimum(real_array(entropy, "entropy", np.float64), math.log(self.vocab_size))
        return shifted_log(loss, entropy, self.rate(share))

    def charge_limit(self, share: float) -> float:
        """The greatest summand - X^u, nats: convex in H - X^u, which lies in [-log(V/eta), log V]."""
        rate = self.rate(share)
        return max(a - math.log1p(rate * a) / rate for a in (-self.max_loss, math.log(self.vocab_size)))


class CompanionChoice(NamedTuple):
    """One element of the finite grid G of the bound with a companion."""

    predictor: Predictor
    rate: float  # lambda, 1/nats
    share: float  # s

    def summand(self, beside: Beside) -> Floats:
        """f, nats; ValueError where some token could cost more than the rate allows."""
        most = real_array(beside.most, "most", np.float64)
        baseline = np.maximum(real_array(beside.expected, "expected"), most - self.share / self.rate)
        return shifted_log(beside.excess, baseline, self.rate)

    def limits(self, companion: CodedCompanion) -> tuple[float, float]:
        """A' and A_q, nats: the greatest Z, and the greatest X^q, over all predictions and tokens."""
        alpha, hedged = self.predictor
        if hedged:
            return -math.log(alpha), companion.max_loss - math.log(alpha)
        return (math.log(companion.vocab_size / alpha),) * 2

    def greatest(self, companion: CodedCompanion) -> float:
        """Upper bound on X^u + f over all predictions and tokens, nats.

        It increases in Z, which is at most Z* = min(A', A_q - X^u) and at most Y + s/lambda, and is then convex in Y in [Z* - s/lambda,
        max(A'/2, A' - s/lambda)] (E[Z] = (KL(u||q) - KL(q||u))/2 is at most half of max_v Z(v)), and in X^u both below and above A_q - A':
        greatest at a corner (thm-companion-range of the book).
        """
        most_excess, most_loss = self.limits(companion)
        top = max(most_excess / 2, most_excess - self.share / self.rate)
        found = []
        for loss in (max(0.0, most_loss - most_excess), companion.max_loss):
            z = min(most_excess, most_loss - loss)
            for y in (z - self.share / self.rate, top):
                found.append(loss + y - math.log1p(self.rate * (y - z)) / self.rate)
        return max(found)


def choose_share(companion: CodedCompanion, loss: NDArray, entropy: NDArray, range_cost: float = 0.0) -> float:
    """lambda' log(V/eta) of the least bound on R(u) on the tokens given; any element of the grid is admissible."""

    def bound(share: float) -> float:
        mean = companion.summand(loss, entropy, share).mean()
        return companion.complexity / companion.rate(share) + mean + range_cost * companion.charge_limit(share)

    return min(COMPANION_SHARES, key=bound)


def choose_companion(
    coded: CodedModel, companion: CodedCompanion, given: Mapping[Predictor, Beside], range_cost: float = 0.0
) -> CompanionChoice:
    """The predictor, rate and share of the least bound on the tokens given: the pilot, or all of them.

    Any element of the grid is admissible: downhill over rates and shares for each predictor. `range_cost` as in
    `gengap.bounds.grids.choose`.
    """
    c, shape = companion.with_model(coded), (len(RATES), len(SHARES))

    def best(predictor: Predictor, beside: Beside) -> tuple[float, CompanionChoice]:
        loss = float(np.mean(beside.loss, dtype=np.float64))

        def at(place: tuple[int, int]) -> tuple[float, CompanionChoice]:
            choice = CompanionChoice(predictor, RATES[place[0]], SHARES[place[1]])
            mean = loss + choice.summand(beside).mean()
            return c / choice.rate + mean + range_cost * choice.greatest(companion), choice

        choice = downhill(at, (len(RATES) // 3, len(SHARES) // 2), shape, ALONG_AND_ACROSS)
        return at((RATES.index(choice.rate), SHARES.index(choice.share)))

    return min((best(*item) for item in given.items()), key=lambda found: found[0])[1]
