"""The bounds with a companion in a certificate: which predictors are looked at, and which of them are chosen (chapter 11)."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gengap.bounds.companion import companion_bound, online_bound
from gengap.bounds.companion_grids import (
    COMPANION_PART,
    CodedCompanion,
    CompanionChoice,
    Predictor,
    choose_companion,
    choose_share,
    predictors,
)
from gengap.bounds.sampling import WindowSample
from gengap.bounds.terms import CodedModel, CompanionBound, OnlineBound
from gengap.compression.archive import Hypothesis
from gengap.errors import UserError
from gengap.models.ladder import LadderSpec
from gengap.records.bound import BoundRecord
from gengap.statistics.companion import BesideStatistics, Companion
from gengap.tokens.rows import TokenRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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


class Subject(NamedTuple):
    """What a page on companions is about: a rung, its companion, its quantized form, and the record of both."""

    companion: Companion
    checkpoint: "PreTrainedModel"
    rows: TokenRows  # that it was trained on
    hypothesis: Hypothesis
    record: BoundRecord


def subject(spec: LadderSpec, method: str, bits: int, records: Iterable[BoundRecord]) -> Subject:
    """All that is needed of a rung, its record among `records`. Raises `UserError` if it has no snapshots or no record with a companion, saying what makes them."""
    name = spec.model_size
    if (companion := spec.companion()) is None:
        raise UserError(
            f"this page needs snapshots of the training of {name}, which are not published: run `gengap train {name} "
            f"--snapshots`, about a minute (first delete {spec.results_dir() / 'loss_log.csv'} if it is there)"
        )
    if (record := next((r for r in records if r.identity.model_size == name and r.online), None)) is None:
        raise UserError(
            f"there is no record of {name} with a companion: run `gengap run {name} --method {method} --bits {bits}`"
        )
    hypothesis = Hypothesis.read(spec.find_archive(method, bits), method, bits, spec.config())
    return Subject(companion, spec.load(), spec.train_rows(), hypothesis, record)


def coded_companion(companion: Companion, coded: CodedModel) -> CodedCompanion:
    """The companion's part of the failure probability, and its code."""
    delta = COMPANION_PART * coded.failure_prob
    return CodedCompanion(companion.code_length_bits, coded.n_train_tokens, coded.vocab_size, companion.floor, delta)


class Estimate(NamedTuple):
    """A bound with a companion, its constants chosen on the windows that it is evaluated on, without the error of that sample."""

    gap: float  # of the bound over a training loss, nats/token
    loss: float  # of its predictor q on the tokens given, over the same, nats/token
    choice: CompanionChoice  # predictor, lambda, s


def estimate_with(
    coded: CodedModel,
    companion: Companion,
    statistics: BesideStatistics,
    train_risk: float,
    among: Iterable[Predictor] = (),
) -> Estimate:
    """The least estimate on the predictors in `among`, or on all that were evaluated: for comparisons, no certificate."""
    known, of_h = coded_companion(companion, coded), _with_its_part(coded)
    choice = choose_companion(of_h, known, {p: statistics.of[p] for p in tuple(among) or statistics.of})
    beside = statistics.of[choice.predictor]
    excess = known.with_model(of_h) / choice.rate + float(choice.summand(beside).mean())
    loss = float((beside.loss + beside.excess).mean(dtype=float))
    return Estimate(estimate_alone(coded, companion, statistics, train_risk) + excess, loss - train_risk, choice)


def estimate_alone(coded: CodedModel, companion: Companion, statistics: BesideStatistics, train_risk: float) -> float:
    """Gap of the companion's own bound, mean X^u + eps, over a training loss, nats/token, without the error of a sample."""
    known = coded_companion(companion, coded)
    share = choose_share(known, statistics.loss, statistics.entropy)
    mean = float(known.summand(statistics.loss, statistics.entropy, share).mean())
    return known.complexity / known.rate(share) + mean - train_risk


def _with_its_part(coded: CodedModel) -> CodedModel:
    return replace(coded, failure_prob=(1 - COMPANION_PART) * coded.failure_prob)


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
    offered = {name: predictors(c.paper_alpha) for name, c in coded.items()}
    coded = {name: _with_its_part(c) for name, c in coded.items()}
    n_pilot, numbers, cost = len(sample.pilot), sample.windows, sample.range_cost
    every = _once(p for kinds in offered.values() for kind in kinds.values() for p in kind)
    pilot = evaluate(model, companion, drawn[:n_pilot], numbers[:n_pilot], every, "companion, pilot")
    share = choose_share(known, pilot.loss, pilot.entropy, cost)
    chosen = {
        (name, kind): choose_companion(coded[name], known, {p: pilot.of[p] for p in among}, cost)
        for name, kinds in offered.items()
        for kind, among in kinds.items()
    }
    found = evaluate(model, companion, drawn, numbers, _once(choice.predictor for choice in chosen.values()))
    risks = train_risk, quantized_risk
    bounds = {
        key: companion_bound(coded[key[0]], known, found.of[choice.predictor], choice, share, *risks, sample)
        for key, choice in chosen.items()
    }
    return WithCompanion(
        online=online_bound(known, found.loss, found.entropy, share, train_risk, sample),
        bounds={name: CompanionBounds(*(bounds[name, kind] for kind in CompanionBounds._fields)) for name in coded},
        sha256=found.sha256,
    )


def _once(found: Iterable[Predictor]) -> list[Predictor]:
    return list(dict.fromkeys(found))
