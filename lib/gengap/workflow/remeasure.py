"""The measured part of a record, measured again at the record's own constants: on all of its windows, or on a random part.

The constants are taken as they stand, for any element of the grids that are paid for may be chosen; that they were chosen on the pilot, and not
on what certifies them, is checked by what they cost there: another machine's rounding may tip a choice between neighbours that cost the same.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from gengap.bounds import smoothing
from gengap.bounds.concentration import default_s_grid
from gengap.bounds.grids import Choice, Grid, Tilt, TiltGrid, choose, choose_tilt
from gengap.bounds.sampling import WindowSample
from gengap.bounds.summands import window_means
from gengap.bounds.terms import AzumaBound, CodedModel, PaperBound, TightBound
from gengap.records.arithmetic import Check, coded_model, smoothing_of
from gengap.records.base import Estimate
from gengap.records.bound import BoundRecord
from gengap.statistics.per_token import TiltedStatistics, token_statistics
from gengap.tokens.rows import Rows, sample_rows
from gengap.workflow.certify import draw, estimate
from gengap.workflow.settings import Settings
from gengap.workflow.tilts import n_pilot

TOLERANCE = 1e-6  # nats, and relative: what another machine's float32 may change in a mean over windows
CHOICE_TOLERANCE = 1e-5  # nats on the pilot
ERRORS = 6  # standard errors that the mean over a part may be off
LEAST = 20  # windows of a part, so that its standard error can be told


def topics(share: float) -> dict[str, str]:
    """What each topic of `checks` says when all of it agrees."""
    of = "all recorded windows" if share == 1 else f"a random {100 * share:g} % of the recorded windows"
    return {
        "losses": f"means measured again on {of}",
        "terms": f"terms measured again on {of}",
        "certified means": "errors of the sample, computed again",
        "choices": "constants are the best on the pilot, up to rounding",
    }


def checks(
    record: BoundRecord,
    quantized,
    checkpoint,
    rows: Rows,
    heldout: Rows | None,
    share: float = 1.0,
    tolerance: float = TOLERANCE,
    seed: int | None = None,
) -> Iterator[Check]:
    """Everything measured, from the models and rows that the record's hashes name; see `gengap.workflow.verify.verify`."""
    settings, risks, rng = Settings.of(record), record.risks, np.random.default_rng(seed)
    standing_for = record.identity.n_train_tokens if record.not_certified else None
    sample, pairs = draw(len(rows), record.identity.seq_len, settings, standing_for)
    part = Part(len(sample.windows), share, tolerance, rng)
    drawn = rows[sample.windows[part.chosen]]
    tights = [bounds.tight for bounds in record.bounds.values()]
    mixed = [tight.alpha for tight in tights if tight.smoother == "uniform mixing"]
    alphas = sorted({*mixed, *(bounds.paper.alpha for bounds in record.bounds.values())})
    smoothings = {name: smoothing_of(record, bounds.tight) for name, bounds in record.bounds.items()}
    tilts = [tilt for tilt in smoothings.values() if isinstance(tilt, Tilt)]
    of_quantized = token_statistics(quantized, drawn, alphas, desc="quantized model", tilts=tilts)
    nll, before = of_quantized.nll, token_statistics(checkpoint, drawn, desc="checkpoint").nll
    yield from part.estimates("risks.train", risks.train, before)
    yield from part.estimates("risks.quantized", risks.quantized, nll)
    gap = risks.quantized.mean - risks.train.mean
    yield part.mean("losses", "risks.quantized.mean less risks.train.mean", gap, by_window(nll) - by_window(before))
    if heldout is not None and risks.heldout and risks.heldout_quantized:
        unseen = sample_rows(heldout, settings.n_windows, settings.seed)
        other = Part(len(unseen), share, tolerance, rng)
        for place, model in (("heldout", checkpoint), ("heldout_quantized", quantized)):
            found = token_statistics(model, unseen[other.chosen], desc="held-out").nll
            yield from other.estimates(f"risks.{place}", getattr(risks, place), found)
    entropies = dict(zip(of_quantized.alphas, of_quantized.entropy, strict=True))
    pilot = rows[sample.windows[: n_pilot(sample, record.identity.seq_len)]]
    every = [*TiltGrid().tilts(record.identity.vocab_size), *tilts] if tilts else []
    on_pilot = cache(token_statistics(quantized, pilot, desc="pilot", tilts=every).tilted)
    for name, bounds in record.bounds.items():
        place = f"bounds.{name}"
        yield from _paper(record, f"{place}.paper", bounds.paper, nll, entropies[bounds.paper.alpha], part, sample)
        if part.whole:
            yield _azuma(record, f"{place}.azuma", bounds.azuma, nll, sample, part)
        tilt = smoothings[name]
        tilted = of_quantized.tilted(tilt) if isinstance(tilt, Tilt) else TiltedStatistics(None, entropies[tilt.alpha])
        yield from _tight(f"{place}.tight", bounds.tight, tilt, nll, tilted, part, sample)
        if isinstance(tilt, Tilt):
            yield _tilt_on_pilot(f"{place}.tight.rate", tilt, coded_model(record, name), on_pilot, sample.range_cost)
    yield from _pairs(record, quantized, checkpoint, rows, pairs, Part(settings.n_pairs, share, tolerance, rng))


@dataclass(frozen=True)
class Part:
    """Which of `n` draws are looked at, and how a recorded mean over all of them is compared with theirs."""

    n: int
    share: float
    tolerance: float
    rng: np.random.Generator

    @property
    def whole(self) -> bool:
        return self.share == 1

    @cached_property
    def chosen(self) -> np.ndarray:
        """Their places among all of them, ascending."""
        n = self.n if self.whole else min(self.n, max(LEAST, math.ceil(self.share * self.n)))
        return np.sort(self.rng.permutation(self.n)[:n])

    def mean(self, topic: str, place: str, recorded: float, values: np.ndarray, rare: bool = False) -> Check:
        """`recorded` is a mean over all draws; `values` (n_chosen,) are those of the chosen ones.

        Of values that are `rare`, small but for a few, a part may miss those few: then only a record that says too little is at fault.
        """
        found, error = float(values.mean()), values.std(ddof=1) * math.sqrt((1 - len(values) / self.n) / len(values))
        check = self.near(topic, place, recorded, found, float(error))
        return check._replace(holds=check.holds or (rare and not self.whole and recorded > found))

    def near(self, topic: str, place: str, recorded: float, found: float, error: float = 0.0) -> Check:
        allowed = self.tolerance * max(1.0, abs(recorded)) + ERRORS * error
        said = f"{recorded:.9g}, measured again {found:.9g}" + (f" +- {error:.2g}" if error else "")
        return Check(topic, place, abs(found - recorded) <= allowed, said)

    def certified(
        self, place: str, recorded: float, sample: WindowSample, values, bounds: tuple[float, float]
    ) -> Check:
        """The error of the sample, of values by window; of everything alone."""
        found = float(sample.upper_mean(values, *bounds) - values.mean())
        return self.near("certified means", place, recorded, found)

    def estimates(self, place: str, recorded: Estimate, nll: np.ndarray) -> Iterator[Check]:
        """Mean and standard error over windows of losses (n_chosen, seq_len)."""
        yield self.mean("losses", f"{place}.mean", recorded.mean, by_window(nll))
        if self.whole:
            yield self.near("losses", f"{place}.standard_error", recorded.standard_error, estimate(nll).standard_error)


def by_window(values: np.ndarray) -> np.ndarray:
    """Means over each window, float64."""
    return values.mean(axis=1, dtype=np.float64)


def _paper(record, place, bound: PaperBound, nll, entropy, part: Part, sample=None) -> Iterator[Check]:
    """Sigma from f, and what certifies the mean of f. Without a `sample`, `nll` and `entropy` are those of pairs, (n,)."""
    least, v = float(smoothing.min_nll(bound.alpha, record.identity.vocab_size)), record.identity.vocab_size
    grid_size = record.settings.s_grid_size
    choice = Choice(bound.alpha, least, bound.s, grid_size, v)
    means = window_means(nll, entropy, choice)
    excess = bound.loss_variation + choice.loss_range * bound.complexity - bound.complexity / choice.rate  # of f over X
    yield part.mean("terms", f"{place}.loss_variation", excess, means.summand - means.smoothed, rare=True)
    if not part.whole:
        return
    pilot, range_cost = slice(len(sample.pilot) if sample else None), sample.range_cost if sample else 0.0
    if sample:
        yield part.certified(f"{place}.sampling", bound.sampling, sample, means.summand, choice.summand_range)
    grid = Grid((bound.alpha,), np.array([[least]]), default_s_grid(grid_size))
    best = choose(nll[pilot], entropy[None, pilot], grid, v, bound.complexity, range_cost)

    def cost(c: Choice) -> float:
        return (
            bound.complexity / c.rate
            + window_means(nll[pilot], entropy[pilot], c).summand.mean()
            + range_cost * c.summand_range[1]
        )

    yield no_worse(f"{place}.s", cost(choice), cost(best), best.s)


def _azuma(record, place, bound: AzumaBound, nll, sample: WindowSample, part: Part) -> Check:
    v = record.identity.vocab_size
    bounds = float(smoothing.min_nll(bound.alpha, v)), float(smoothing.max_nll(bound.alpha, v))
    smoothed = by_window(smoothing.smoothed_nll(nll, bound.alpha, v))
    return part.certified(f"{place}.sampling", bound.sampling, sample, smoothed, bounds)


def _tight(
    place, bound: TightBound, tilt: Choice | Tilt, nll, found: TiltedStatistics, part: Part, sample: WindowSample
) -> Iterator[Check]:
    try:
        means = window_means(nll, found.entropy, tilt, found.loss)
    except ValueError as error:
        yield Check("terms", f"{place}.deviation", False, str(error))
        return
    smoothed = means.smoothed if found.loss is None else by_window(found.loss)
    yield part.mean(
        "terms",
        f"{place}.deviation",
        bound.deviation - bound.complexity / bound.rate,
        means.summand - smoothed,
        rare=True,
    )
    yield part.mean("terms", f"{place}.smoothing", bound.smoothing, smoothed - by_window(nll))
    if part.whole:
        yield part.certified(f"{place}.sampling", bound.sampling, sample, means.summand, tilt.summand_range)


def _tilt_on_pilot(place, tilt: Tilt, coded: CodedModel, on_pilot, range_cost: float) -> Check:
    """That the smoothing was chosen on the pilot."""
    grid, c = TiltGrid(), coded.complexity(TiltGrid().size)

    def measure(t: Tilt) -> TiltedStatistics:  # the floor changes no loss and no entropy
        return on_pilot(t._replace(baseline_floor=0.0))

    def cost(t: Tilt) -> float:
        return c / t.rate + t.summand(*measure(t)).mean() + range_cost * t.summand_range[1]

    best = choose_tilt(measure, grid, coded.vocab_size, c, range_cost)
    return no_worse(place, cost(tilt), cost(best), best.rate)


def no_worse(place: str, cost: float, least: float, best: float) -> Check:
    """A constant that costs as little on the pilot as the best one, up to rounding."""
    said = f"costs {cost:.9g} nats on the pilot, where {best:.6g} costs {least:.9g}: it was not chosen there"
    return Check("choices", place, cost <= least + CHOICE_TOLERANCE, said)


def _pairs(record, quantized, checkpoint, rows, pairs, part: Part) -> Iterator[Check]:
    """The paper's own estimate: one token of each drawn window."""
    drawn, positions = rows[pairs.windows[part.chosen]], pairs.positions[part.chosen]
    alphas = sorted({bounds.paper_mode.alpha for bounds in record.bounds.values()})
    found = token_statistics(quantized, drawn, alphas, positions, "pairs")
    before = token_statistics(checkpoint, drawn, (), positions, "pairs, checkpoint").nll[:, 0].astype(np.float64)
    nll, entropies = found.nll[:, 0].astype(np.float64), dict(zip(found.alphas, found.entropy[..., 0], strict=True))
    for name, bounds in record.bounds.items():
        bound, place = bounds.paper_mode, f"bounds.{name}.paper_mode"
        yield part.mean("terms", f"{place}.train_risk", bound.train_risk, before)
        yield part.mean("terms", f"{place}.quantization_gap", bound.quantization_gap, nll - before)
        yield from _paper(record, place, bound, nll, entropies[bound.alpha], part)
