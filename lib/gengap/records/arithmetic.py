"""What a bound record has to say if its own numbers are taken together: every term that follows from others is computed again.

No model and no row is needed. Means over tokens are free here; what is left of each term once they are known is not.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import astuple
from functools import wraps
from typing import NamedTuple

import numpy as np

from gengap.bounds import smoothing
from gengap.bounds.concentration import default_s_grid
from gengap.bounds.grids import Choice, Tilt, TiltGrid
from gengap.bounds.sampling import split_failure_prob
from gengap.bounds.terms import PAPER_S_GRID_SIZE, AzumaBound, CodedModel, CompanionBound, PaperBound, TightBound
from gengap.bounds.theorems import closed_form_azuma_gap
from gengap.records.base import ACCOUNTINGS
from gengap.records.bound import BoundRecord

ROUNDING = 1e-9  # relative, between two orders of adding up the same numbers in float64


class Check(NamedTuple):
    """One number that stands in a record, and whether it may."""

    topic: str  # what it was compared for: "complexity"
    place: str  # "bounds.nominal.paper.complexity"
    holds: bool
    said: str  # what stands there, and what should


def equal(topic: str, place: str, found: float, needed: float) -> Check:
    """A number that follows from others."""
    return Check(
        topic, place, math.isclose(found, needed, rel_tol=ROUNDING, abs_tol=ROUNDING), f"{found!r}, not {needed!r}"
    )


def within(topic: str, place: str, found: float, low: float = -math.inf, high: float = math.inf) -> Check:
    """A number that lies between others."""
    slack = ROUNDING * max(1.0, abs(found))
    return Check(topic, place, low - slack <= found <= high + slack, f"{found!r}, outside [{low:.6g}, {high:.6g}]")


def among(topic: str, place: str, found: float, grid) -> Check:
    """An element of a finite grid, which is paid for."""
    near = min(grid, key=lambda value: abs(value - found))
    return Check(
        topic, place, math.isclose(found, near, rel_tol=ROUNDING), f"{found!r} is not in the grid, {near!r} is"
    )


def possible(place: str, found: Iterator[Check]) -> Iterator[Check]:
    """`found`, as far as the numbers are there and those of any bound at all."""
    try:
        yield from found
    except LookupError as error:
        yield Check("grids", place, False, f"lacks a number: {error}")
    except (ArithmeticError, ValueError) as error:
        yield Check("grids", place, False, f"holds an impossible number: {error}")


def checked(checks: Callable[..., Iterator[Check]]) -> Callable[..., Iterator[Check]]:
    """Checks of a whole record: a number that is missing or impossible fails one of them, not the program."""

    @wraps(checks)
    def whole(record) -> Iterator[Check]:
        return possible("record", checks(record))

    return whole


@checked
def checks(record: BoundRecord) -> Iterator[Check]:
    """Everything that follows from other numbers of the record, accounting by accounting."""
    yield from _counts(record)
    yield from _code_lengths(record)
    for accounting, bounds in record.bounds.items():
        coded = coded_model(record, accounting)
        for kind, bound in dict(bounds).items():
            place = f"bounds.{accounting}.{kind}"
            if bound is None or isinstance(bound, CompanionBound):  # see `gengap.records.companion_arithmetic`
                continue
            yield from possible(place, _common(record, coded, kind, bound, place))
            match bound:
                case PaperBound():
                    yield from possible(place, _paper(record, coded, kind, bound, place))
                case AzumaBound():
                    yield from possible(place, _azuma(coded, bound, place))
                case TightBound():
                    yield from possible(place, _tight(record, bound, place))
    yield from possible("bounds", _between_accountings(record))


def coded_model(record: BoundRecord, accounting: str) -> CodedModel:
    """What the bounds of one accounting know of the model, as the record says."""
    model, length = record.identity, record.quantization.code_length_bits.get(accounting, math.nan)
    delta = split_failure_prob(record.settings.failure_prob).martingale
    return CodedModel(length, model.n_train_tokens, model.vocab_size, delta, record.settings.s_grid_size)


def smoothing_of(record: BoundRecord, bound: TightBound) -> Choice | Tilt:
    """The smoothing that a tight bound speaks of."""
    constants = bound.baseline_floor, bound.grid_size, record.identity.vocab_size
    if bound.smoother == "maximum entropy":
        return Tilt(bound.rate, bound.alpha, *constants)
    return Choice(bound.alpha, bound.baseline_floor, bound.s, *constants[1:])


def n_drawn(record: BoundRecord) -> int:
    """Windows of the pilot and the certificate."""
    return record.settings.n_pilot_windows + record.settings.n_windows


def n_rows(record: BoundRecord) -> int:
    """Training rows in all."""
    return record.identity.n_train_tokens // record.identity.seq_len


def _counts(record: BoundRecord) -> Iterator[Check]:
    model, settings, risks = record.identity, record.settings, record.risks
    whole = bool(record.not_certified) or model.n_train_tokens % model.seq_len == 0
    said = f"{model.n_train_tokens} are no whole rows of {model.seq_len} tokens"
    yield Check("counts", "identity.n_train_tokens", whole, said)
    yield equal("counts", "settings.s_grid_size", settings.s_grid_size, PAPER_S_GRID_SIZE)
    for name, least in (("n_pilot_windows", 1), ("n_windows", 2), ("n_pairs", 1), ("seed", 0)):
        yield within("counts", f"settings.{name}", getattr(settings, name), least)
    yield within("counts", "settings.n_windows", n_drawn(record), high=n_rows(record))._replace(
        said=f"{n_drawn(record)} windows cannot be drawn from {n_rows(record)} training rows"
    )
    for name, risk in dict(risks).items():
        place, unseen = f"risks.{name}", name.startswith("heldout")
        if risk is None:
            continue
        yield within("counts", f"{place}.mean", risk.mean, 0)
        if unseen:
            yield within("counts", f"{place}.n_tokens", risk.n_tokens, 1, settings.n_windows * model.seq_len)
        else:
            yield equal("counts", f"{place}.n_tokens", risk.n_tokens, n_drawn(record) * model.seq_len)
    together = risks.heldout, risks.heldout_quantized, record.evidence.heldout_sha256
    whole = len({value is None for value in together}) == 1
    yield Check("counts", "risks.heldout", whole, "both held-out losses and the hash of their windows go together")


def _code_lengths(record: BoundRecord) -> Iterator[Check]:
    lengths, topic = record.quantization.code_length_bits, "code lengths"
    for place, found in (("quantization.code_length_bits", lengths), ("bounds", record.bounds)):
        yield Check(
            topic, place, set(found) == set(ACCOUNTINGS), f"{', '.join(found)}; needed: {', '.join(ACCOUNTINGS)}"
        )
    nominal = record.quantization.bits * record.identity.n_params
    for name, length in lengths.items():
        place = f"quantization.code_length_bits.{name}"
        yield Check(topic, place, length == round(length), f"{length!r} is no whole number of bits")
        if name == "nominal":
            yield equal(topic, place, length, nominal)._replace(said=f"{length!r}, not b N = {nominal}")
        if name == "archive":
            at_least = math.floor((length - 1 - 2 * math.log2(length)) / 8)
            possible = [8 * n + 2 * math.ceil(math.log2(8 * n)) + 1 for n in range(max(1, at_least - 2), at_least + 3)]
            yield Check(topic, place, length in possible, f"{length!r} is not the prefix-free length of a file")


def _common(record: BoundRecord, coded: CodedModel, kind: str, bound, place: str) -> Iterator[Check]:
    settings, risks = record.settings, record.risks
    yield equal("code lengths", f"{place}.code_length_bits", bound.code_length_bits, coded.code_length_bits)
    delta = split_failure_prob(settings.failure_prob)
    yield equal("failure probabilities", f"{place}.failure_prob", bound.failure_prob, delta.martingale)
    yield equal("failure probabilities", f"{place}.sampling_failure_prob", bound.sampling_failure_prob, delta.sampling)
    n_tokens = settings.n_pairs if kind == "paper_mode" else risks.train.n_tokens
    yield equal("counts", f"{place}.n_tokens_evaluated", bound.n_tokens_evaluated, n_tokens)
    grid_size = bound.grid_size if isinstance(bound, TightBound) else PAPER_S_GRID_SIZE
    yield equal("complexity", f"{place}.complexity", bound.complexity, coded.complexity(grid_size))
    if kind != "paper_mode":
        yield equal("risks", f"{place}.train_risk", bound.train_risk, risks.train.mean)
        gap = risks.quantized.mean - risks.train.mean
        yield equal("risks", f"{place}.quantization_gap", bound.quantization_gap, gap)
        yield sampling_error(record, f"{place}.sampling", bound.sampling)
    yield finite(place, bound)


def sampling_error(record: BoundRecord, place: str, found: float) -> Check:
    """What a sample may be off: nothing, if it is everything."""
    all_read, said = n_drawn(record) == n_rows(record), "it is 0 if all windows were read, and only then"
    return Check("sampling", place, (abs(found) <= ROUNDING) == all_read, f"{found!r}: {said}")


def finite(place: str, bound) -> Check:
    """No number of a bound is infinite."""
    numbers = [value for value in astuple(bound) if isinstance(value, float)]
    return Check("counts", place, all(map(math.isfinite, numbers)), "holds a number that is not finite")


def _paper(record: BoundRecord, coded: CodedModel, kind: str, bound: PaperBound, place: str) -> Iterator[Check]:
    c, v = bound.complexity, coded.vocab_size
    yield equal("closed forms", f"{place}.parameters", bound.parameters, c * math.log(v))
    yield equal("closed forms", f"{place}.smoothing", bound.smoothing, math.sqrt(2 * c))
    yield equal("closed forms", f"{place}.alpha", bound.alpha, float(smoothing.optimal_alpha(c)))
    yield equal("closed forms", f"{place}.loss_variation", bound.loss_variation, bound.sigma * math.sqrt(c))
    yield among("grids", f"{place}.s", bound.s, default_s_grid(coded.s_grid_size))
    least = float(smoothing.loss_range(bound.alpha, v)) * c * (1 / bound.s - 1)  # for f is never below the loss
    yield within("closed forms", f"{place}.loss_variation", bound.loss_variation, least)
    if kind == "paper_mode":
        spread = float(smoothing.max_nll(bound.alpha, v) - smoothing.min_nll(bound.alpha, v))
        needed = spread * math.sqrt(-math.log(bound.sampling_failure_prob) / (2 * record.settings.n_pairs))
        yield equal("sampling", f"{place}.sampling", bound.sampling, needed)


def _azuma(coded: CodedModel, bound: AzumaBound, place: str) -> Iterator[Check]:
    needed = float(smoothing.loss_range(bound.alpha, coded.vocab_size)) * math.sqrt(bound.complexity / 2)
    yield equal("closed forms", f"{place}.deviation", bound.deviation, needed)
    yield equal("closed forms", f"{place}.smoothing", bound.smoothing, float(smoothing.smoothing_cost(bound.alpha)))
    yield among("grids", f"{place}.alpha", bound.alpha, default_s_grid(1000))
    yield equal("closed forms", f"{place}.deviation", bound.deviation + bound.smoothing, closed_form_azuma_gap(coded))


def _tight(record: BoundRecord, bound: TightBound, place: str) -> Iterator[Check]:
    chosen = smoothing_of(record, bound)
    for name, value in chosen.constants().items():
        if isinstance(value, float):
            yield equal("grids", f"{place}.{name}", getattr(bound, name), value)
    if isinstance(chosen, Tilt):
        grid = TiltGrid()
        yield among("grids", f"{place}.rate", bound.rate, grid.rates)
        yield among("grids", f"{place}.alpha", bound.alpha, grid.safeties)
        yield among("grids", f"{place}.baseline_floor", bound.baseline_floor, [*grid.floors, chosen.least_entropy])
        yield equal("grids", f"{place}.grid_size", bound.grid_size, grid.size)
    yield Check(
        "grids", f"{place}.smoother", bound.smoother in ("maximum entropy", "uniform mixing"), f"{bound.smoother!r}"
    )
    yield within("closed forms", f"{place}.deviation", bound.deviation, bound.complexity / bound.rate)  # f >= X
    yield within("closed forms", f"{place}.smoothing", bound.smoothing, -record.risks.quantized.mean)  # X >= 0


def _between_accountings(record: BoundRecord) -> Iterator[Check]:
    """What two accountings measured with the same constants they measured alike."""
    seen: dict[tuple, tuple[str, tuple[float, ...]]] = {}
    for accounting, bounds in record.bounds.items():
        tight, pairs = bounds.tight, bounds.paper_mode
        measured = {
            ("tight", tight.rate, tight.alpha, tight.baseline_floor): (
                tight.deviation - tight.complexity / tight.rate, tight.smoothing, tight.sampling
            ),
            ("paper_mode",): (pairs.train_risk, pairs.quantization_gap),
        }  # fmt: skip
        for key, values in measured.items():
            first, needed = seen.setdefault(key, (accounting, values))
            alike = np.allclose(values, needed, rtol=ROUNDING, atol=ROUNDING)
            said = f"measures {values}, with the same constants {first} measures {needed}"
            yield Check("accountings", f"bounds.{accounting}.{key[0]}", alike, said)
