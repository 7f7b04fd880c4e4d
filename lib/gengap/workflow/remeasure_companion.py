"""The measured part of the bounds with a companion, measured again at the record's own constants: see `gengap.workflow.remeasure`."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gengap.bounds.companion_grids import (
    COMPANION_PART,
    COMPANION_SHARES,
    Beside,
    CodedCompanion,
    CompanionChoice,
    choose_companion,
    choose_share,
    predictors,
)
from gengap.bounds.sampling import WindowSample
from gengap.bounds.terms import CodedModel, CompanionBound
from gengap.records.arithmetic import Check, coded_model
from gengap.records.bound import BoundRecord
from gengap.records.companion_arithmetic import choice_of, coded_companion
from gengap.statistics.companion import Companion, beside_statistics
from gengap.tokens.rows import Rows
from gengap.workflow.certify import draw
from gengap.workflow.remeasure import TOLERANCE, Part, by_window, no_worse
from gengap.workflow.settings import Settings


def checks(
    record: BoundRecord,
    quantized,
    companion: Companion,
    rows: Rows,
    share: float = 1.0,
    tolerance: float = TOLERANCE,
    seed: int | None = None,
) -> Iterator[Check]:
    """All of it, from the models and rows that the record's hashes name, on a share of its windows."""
    sample, _ = draw(len(rows), record.identity.seq_len, Settings.of(record))
    part = Part(len(sample.windows), share, tolerance, np.random.default_rng(seed))
    known = coded_companion(record, record.online)
    bounds = {(name, kind): getattr(of, kind) for name, of in record.bounds.items() for kind in predictors(0.5)}
    choices = {key: choice_of(bound) for key, bound in bounds.items()}
    wanted = list(dict.fromkeys(choice.predictor for choice in choices.values()))
    numbers = sample.windows[part.chosen]
    found = beside_statistics(quantized, companion, rows[numbers], numbers, wanted)
    share = min(COMPANION_SHARES, key=lambda s: abs(known.rate(s) - record.online.companion_rate))
    loss, of_u = by_window(found.loss), by_window(known.summand(found.loss, found.entropy, share))
    excess = record.online.companion - known.complexity / known.rate(share)
    yield part.mean("terms", "online.companion", excess, of_u - loss, rare=True)
    risk = record.online.train_risk + record.online.information
    yield part.mean("terms", "online.information", risk, loss)
    if part.whole:
        top = known.max_loss + known.charge_limit(share)
        yield part.certified("online.sampling", record.online.sampling, sample, of_u, (0.0, top))
        few = slice(len(sample.pilot))
        best = choose_share(known, found.loss[few], found.entropy[few], sample.range_cost)
        costs = (_cost_of_share(known, found.loss[few], found.entropy[few], s, sample) for s in (share, best))
        yield no_worse("online.companion_rate", *costs, known.rate(best))
    for (name, kind), bound in bounds.items():
        choice, place = choices[name, kind], f"bounds.{name}.{kind}"
        beside = found.of[choice.predictor]
        yield from _terms(place, record, bound, choice, beside, part)
        if part.whole:
            top = choice.greatest(known) + known.charge_limit(share)
            values = of_u + by_window(choice.summand(beside))
            yield part.certified(f"{place}.sampling", bound.sampling, sample, values, (0.0, top))
    if part.whole:
        yield from _choices(record, quantized, companion, rows, known, choices, sample)


def _terms(
    place: str, record: BoundRecord, bound: CompanionBound, choice: CompanionChoice, beside: Beside, part: Part
) -> Iterator[Check]:
    excess, measured = by_window(beside.excess), bound.deviation - bound.complexity / bound.rate
    yield part.mean("terms", f"{place}.deviation", measured, by_window(choice.summand(beside)) - excess, rare=True)
    risk = record.risks.quantized.mean + bound.smoothing  # of the predictor
    yield part.mean("terms", f"{place}.smoothing", risk, by_window(beside.loss) + excess)


def _choices(record, quantized, companion, rows, known, choices, sample: WindowSample) -> Iterator[Check]:
    """That predictor, rate and share are the best on the pilot."""
    numbers = sample.pilot
    offered = {name: predictors(coded_model(record, name).paper_alpha) for name in record.bounds}
    every = list(dict.fromkeys(p for kinds in offered.values() for kind in kinds.values() for p in kind))
    pilot = beside_statistics(quantized, companion, rows[numbers], numbers, every, "companion, pilot").of
    for (name, kind), choice in choices.items():
        coded = coded_model(record, name)
        coded = replace(coded, failure_prob=(1 - COMPANION_PART) * coded.failure_prob)
        near = {p: pilot[p] for p in offered[name][kind]}
        best = choose_companion(coded, known, near, sample.range_cost)
        mine = min(near, key=lambda p: abs(p.alpha - choice.predictor.alpha))  # the paper's alpha, but for rounding
        costs = (_cost(coded, known, near[p], c, sample) for p, c in ((mine, choice), (best.predictor, best)))
        yield no_worse(f"bounds.{name}.{kind}.rate", *costs, best.rate)


def _cost(coded: CodedModel, known: CodedCompanion, beside: Beside, choice: CompanionChoice, sample) -> float:
    mean = float(np.mean(beside.loss, dtype=np.float64)) + choice.summand(beside).mean()
    return known.with_model(coded) / choice.rate + mean + sample.range_cost * choice.greatest(known)


def _cost_of_share(known: CodedCompanion, loss, entropy, share: float, sample) -> float:
    mean = known.summand(loss, entropy, share).mean()
    return known.complexity / known.rate(share) + mean + sample.range_cost * known.charge_limit(share)
