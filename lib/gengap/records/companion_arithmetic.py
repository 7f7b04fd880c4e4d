"""What the bounds with a companion have to say if the numbers of their record are taken together: see `gengap.records.arithmetic`."""

import math
from collections.abc import Iterator
from dataclasses import replace

from gengap.bounds.companion_grids import (
    COMPANION_PART,
    COMPANION_SHARES,
    GRID_SIZE,
    RATES,
    SHARES,
    CodedCompanion,
    CompanionChoice,
    Predictor,
    predictors,
)
from gengap.bounds.sampling import split_failure_prob
from gengap.bounds.terms import CompanionBound, OnlineBound
from gengap.records.arithmetic import (
    Check,
    among,
    checked,
    coded_model,
    equal,
    finite,
    possible,
    sampling_error,
    within,
)
from gengap.records.bound import BoundRecord


@checked
def checks(record: BoundRecord) -> Iterator[Check]:
    """Everything that follows from other numbers of the record, if it has a companion."""
    of_companion = {
        f"bounds.{accounting}.{kind}": bound
        for accounting, bounds in record.bounds.items()
        for kind, bound in dict(bounds).items()
        if kind in predictors(0.5)
    }
    parts = [*of_companion.values(), record.companion, record.online, record.evidence.companion_sha256]
    said = "its bounds, what it was, the bound on itself and the hash of its weights go together"
    yield Check("companion", "companion", len({part is None for part in parts}) == 1, said)
    if any(part is None for part in parts):
        return
    known = coded_companion(record, record.online)
    yield from possible("online", _online(record, known, record.online))
    for place, bound in of_companion.items():
        yield from possible(place, _companion(record, known, bound, place))


def coded_companion(record: BoundRecord, bound: OnlineBound | CompanionBound) -> CodedCompanion:
    """What the bounds know of the companion, as the record says."""
    model, delta = record.identity, split_failure_prob(record.settings.failure_prob).martingale
    code, floor = bound.companion_code_length_bits, bound.floor
    return CodedCompanion(code, model.n_train_tokens, model.vocab_size, floor, COMPANION_PART * delta)


def choice_of(bound: CompanionBound) -> CompanionChoice:
    """The constants that a bound was computed with."""
    return CompanionChoice(Predictor(bound.alpha, bound.hedged), bound.rate, bound.s)


def _both(
    record: BoundRecord, known: CodedCompanion, bound: OnlineBound | CompanionBound, place: str
) -> Iterator[Check]:
    yield equal("companion", f"{place}.floor", bound.floor, known.floor)
    code = bound.companion_code_length_bits
    yield equal("companion", f"{place}.companion_code_length_bits", code, known.code_length_bits)
    delta = split_failure_prob(record.settings.failure_prob).sampling
    yield equal("failure probabilities", f"{place}.sampling_failure_prob", bound.sampling_failure_prob, delta)
    yield equal("counts", f"{place}.n_tokens_evaluated", bound.n_tokens_evaluated, record.risks.train.n_tokens)
    yield equal("risks", f"{place}.train_risk", bound.train_risk, record.risks.train.mean)
    yield among("grids", f"{place}.companion_rate", bound.companion_rate, map(known.rate, COMPANION_SHARES))
    least = known.complexity / bound.companion_rate  # for the summand is never below the loss
    yield within("closed forms", f"{place}.companion", bound.companion, least)
    yield sampling_error(record, f"{place}.sampling", bound.sampling)
    yield finite(place, bound)


def _online(record: BoundRecord, known: CodedCompanion, bound: OnlineBound) -> Iterator[Check]:
    yield from _both(record, known, bound, "online")
    yield equal("failure probabilities", "online.failure_prob", bound.failure_prob, known.failure_prob)
    yield within("companion", "online.information", bound.information, -bound.train_risk, known.max_loss)
    yield within("companion", "online.floor", bound.floor, 0, 1)


def _companion(record: BoundRecord, known: CodedCompanion, bound: CompanionBound, place: str) -> Iterator[Check]:
    _, accounting, kind = place.split(".")
    coded = coded_model(record, accounting)
    among_them = predictors(coded.paper_alpha)[kind]
    coded = replace(coded, failure_prob=(1 - COMPANION_PART) * coded.failure_prob)
    online, risks = record.online, record.risks
    yield from _both(record, known, bound, place)
    yield equal("code lengths", f"{place}.code_length_bits", bound.code_length_bits, coded.code_length_bits)
    delta = coded.failure_prob + known.failure_prob
    yield equal("failure probabilities", f"{place}.failure_prob", bound.failure_prob, delta)
    gap = risks.quantized.mean - risks.train.mean
    yield equal("risks", f"{place}.quantization_gap", bound.quantization_gap, gap)
    yield equal("complexity", f"{place}.complexity", bound.complexity, known.with_model(coded))
    for name in ("companion", "companion_rate"):
        yield equal("companion", f"{place}.{name}", getattr(bound, name), getattr(online, name))
    risk = online.train_risk + online.information
    yield equal("companion", f"{place}.companion_risk", bound.companion_risk, risk)
    yield among("grids", f"{place}.rate", bound.rate, RATES)
    yield among("grids", f"{place}.s", bound.s, SHARES)
    yield among("grids", f"{place}.alpha", bound.alpha, [p.alpha for p in among_them])
    yield Check("grids", f"{place}.hedged", bound.hedged == among_them[0].hedged, f"{bound.hedged!r}")
    yield equal("grids", f"{place}.grid_size", bound.grid_size, GRID_SIZE)
    yield within("closed forms", f"{place}.deviation", bound.deviation, bound.complexity / bound.rate)  # f >= Z
    most = choice_of(bound).limits(known)[1]  # of X^q
    yield within("closed forms", f"{place}.smoothing", bound.smoothing + risks.quantized.mean, 0, most)
    if bound.hedged:  # q >= alpha u
        yield within(
            "companion", f"{place}.smoothing", bound.smoothing, high=risk - math.log(bound.alpha) - risks.quantized.mean
        )
    else:  # q >= (1 - alpha) p
        yield within("companion", f"{place}.smoothing", bound.smoothing, high=-math.log1p(-bound.alpha))
