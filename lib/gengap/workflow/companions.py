"""The bounds with a companion in a certificate: which predictors are looked at, and which of them are chosen (chapter 11)."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gengap.bounds.companion import (
    CodedCompanion,
    Predictor,
    choose_companion,
    choose_share,
    companion_bound,
    online_bound,
)
from gengap.bounds.sampling import WindowSample
from gengap.bounds.terms import CodedModel, CompanionBound, OnlineBound
from gengap.statistics.companion import BesideStatistics, Companion

UNIFORM = (0.02, 0.04, 0.08)  # weights of the uniform distribution, beside the paper's own
HEDGES = (0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7)  # weights of the companion
LITTLE = 0.05  # a hedge that changes little: at most this weight
COMPANION_SHARE = 0.9  # of the martingale's failure probability: that of the companion's own statement, the dearer one


class CompanionBounds(NamedTuple):
    """Those of one accounting of the code length."""

    companion: CompanionBound  # the model mixed with the uniform distribution: the paper's predictor
    hedged_little: CompanionBound  # the model mixed with at most 5 % of the companion
    hedged: CompanionBound  # with the best share of it


class WithCompanion(NamedTuple):
    """All that a certificate says with a companion."""

    online: OnlineBound  # on the companion itself
    bounds: dict[str, CompanionBounds]  # by accounting
    sha256: str  # of the companion's weights


def kinds(coded: CodedModel) -> dict[str, list[Predictor]]:
    """For each field of `CompanionBounds`, the predictors among which it chooses."""
    hedges = [Predictor(alpha, hedged=True) for alpha in HEDGES]
    return {
        "companion": [Predictor(alpha) for alpha in (*UNIFORM, coded.paper_alpha)],
        "hedged_little": [p for p in hedges if p.alpha <= LITTLE],
        "hedged": hedges,
    }


def coded_companion(companion: Companion, coded: CodedModel) -> CodedCompanion:
    """The companion's part of the failure probability, and its code."""
    delta = COMPANION_SHARE * coded.failure_prob
    return CodedCompanion(companion.code_length_bits, coded.n_train_tokens, coded.vocab_size, companion.floor, delta)


def bounds_with(
    evaluate: Callable[..., BesideStatistics],
    model,
    companion: Companion,
    drawn: np.ndarray,
    train_risk: float,
    quantized_risk: float,
    sample: WindowSample,
    coded: dict[str, CodedModel],
) -> WithCompanion:
    """Every bound with a companion: constants chosen on the pilot, where all predictors are evaluated; those chosen are, on all windows.

    `evaluate` is `gengap.statistics.companion.beside_statistics`; `drawn` are the windows of the sample; `coded` the model under each accounting.
    """
    known = coded_companion(companion, next(iter(coded.values())))
    coded = {name: replace(c, failure_prob=(1 - COMPANION_SHARE) * c.failure_prob) for name, c in coded.items()}
    of = {name: kinds(original) for name, original in coded.items()}
    everything = list(dict.fromkeys(p for each in of.values() for group in each.values() for p in group))
    n_pilot, numbers, cost = len(sample.pilot), sample.windows, sample.range_cost
    pilot = evaluate(model, companion, drawn[:n_pilot], numbers[:n_pilot], everything, "companion, pilot")
    share = choose_share(known, pilot.loss, pilot.entropy, cost)
    chosen = {
        name: {
            kind: choose_companion(
                coded[name], known, [(p, pilot.of[p]) for p in group], len(UNIFORM) + 1 + len(HEDGES), cost
            )
            for kind, group in each.items()
        }
        for name, each in of.items()
    }
    wanted = list(dict.fromkeys(choice.predictor for each in chosen.values() for choice in each.values()))
    found = evaluate(model, companion, drawn, numbers, wanted)
    bounds = {
        name: CompanionBounds(
            **{
                kind: companion_bound(
                    coded[name], known, found.of[choice.predictor], choice, share, train_risk, quantized_risk, sample
                )
                for kind, choice in each.items()
            }
        )
        for name, each in chosen.items()
    }
    online = online_bound(known, found.loss, found.entropy, share, train_risk, sample)
    return WithCompanion(online, bounds, found.sha256)
