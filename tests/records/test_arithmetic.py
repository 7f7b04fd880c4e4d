"""What records say of themselves: honest numbers pass, and a number that is changed fails at its place, under its topic.

No row and no model is needed; tampering that shows only beside them is in tests/workflow/test_verify.py.
"""

import dataclasses
import math

import pytest
from contradictions import changed, failing, relative, shift
from made_up import made_up_record

from gengap.bounds.grids import Choice, Tilt
from gengap.bounds.terms import CodedModel
from gengap.paths import published_results_dir
from gengap.records import arithmetic, companion_arithmetic, others
from gengap.records.bound import BoundRecord
from gengap.records.forecast import Forecast, predict
from gengap.records.survey import QuantizationSurvey
from gengap.records.training_run import TrainingRun

RUNG = published_results_dir() / "ladder" / "50k"
ACCOUNTINGS = ("nominal", "honest", "archive")
WITH_COMPANION = ("companion", "hedged_little", "hedged")


@pytest.fixture(scope="module")
def whole():
    """Of all training windows, with a companion."""
    return BoundRecord.read(RUNG / "main-gptq-4bit.json", recompute=False)


@pytest.fixture(scope="module")
def archive(whole):
    """The same with one accounting: a third of the time."""
    return whole.model_copy(update={"bounds": {"archive": whole.bounds["archive"]}})


@pytest.fixture(scope="module")
def sampled():
    """Of a sample, with uniform mixing, and without a companion."""
    return made_up_record()


@pytest.fixture(scope="module")
def survey():
    return QuantizationSurvey.read(RUNG / "main-quantization.json", recompute=False)


@pytest.fixture(scope="module")
def run():
    return TrainingRun.read(RUNG / "runs" / "grid-8x.json", recompute=False)


# What every record of a bound is checked for: topics, and names below "bounds.<accounting>.<kind>".

EVERY = "code lengths: code_length_bits; failure probabilities: failure_prob sampling_failure_prob; counts: n_tokens_evaluated; complexity: complexity; "
MEASURED = EVERY + "risks: train_risk quantization_gap; "
COMPANION = (
    MEASURED
    + "companion: companion companion_rate companion_risk floor companion_code_length_bits; grids: companion_rate rate s alpha grid_size"
)
FOLLOWS = {
    "paper": MEASURED + "closed forms: parameters smoothing alpha loss_variation; grids: s",
    "paper_mode": EVERY + "closed forms: parameters smoothing alpha loss_variation; grids: s; sampling: sampling",
    "azuma": MEASURED + "closed forms: deviation smoothing; grids: alpha",
    "tight": MEASURED + "grids: rate alpha baseline_floor s grid_size",
    "companion": COMPANION,
    "hedged_little": COMPANION,
    "hedged": COMPANION,
}
OF_RECORD = ["settings.s_grid_size", "risks.train.n_tokens", "risks.quantized.n_tokens"]
OF_ONLINE = (
    "failure probabilities: online.failure_prob online.sampling_failure_prob; "
    "counts: online.n_tokens_evaluated; risks: online.train_risk; grids: online.companion_rate"
)


def named(text):
    """(topic, name) of "topic: name name; topic: name"."""
    return [
        (topic.strip(), name)
        for part in text.split(";")
        for topic, _, names in [part.partition(":")]
        for name in names.split()
    ]


NUMBERS = [
    *(("counts", place) for place in OF_RECORD),
    ("code lengths", "quantization.code_length_bits.nominal"),
    *named(OF_ONLINE),
    *((topic, f"bounds.archive.{kind}.{name}") for kind in FOLLOWS for topic, name in named(FOLLOWS[kind])),
]


def test_honest_records_pass(whole, sampled, survey, run):
    for record in (whole, sampled, survey, run):
        assert failing(record) == set()


@pytest.mark.parametrize(("topic", "place"), NUMBERS, ids=str)
def test_a_number_that_follows_from_others_is_that_number(archive, topic, place):
    assert f"{topic}: {place}" in failing(archive, {place: relative(3e-9)})


@pytest.mark.parametrize("name", ["paper.parameters", "azuma.deviation", "tight.train_risk", "hedged.companion_risk"])
def test_rounding_is_no_contradiction(whole, name):
    assert failing(whole, {f"bounds.honest.{name}": relative(3e-10)}) == set()


LIMITS = [  # (topic and place, what is still right, what is wrong)
    ("counts: settings.n_pilot_windows", 1, 0),
    ("counts: settings.n_windows", 2, 1),
    ("counts: settings.n_windows", 4136 - 200, 4136 - 199),
    ("counts: settings.n_pairs", 1, 0),
    ("counts: settings.seed", 0, -1),
    ("counts: identity.n_train_tokens", shift(256), shift(1)),
    ("counts: risks.train.mean", 0.0, -1e-6),
    ("counts: risks.heldout.mean", 0.0, -1e-6),
    ("counts: risks.heldout.n_tokens", 1, 0),
    ("counts: risks.heldout_quantized.n_tokens", 3936 * 256, 3936 * 256 + 1),
    ("code lengths: quantization.code_length_bits.honest", shift(1), shift(0.5)),
    ("code lengths: quantization.code_length_bits.archive", shift(8), shift(1)),
    ("code lengths: quantization.code_length_bits.archive", shift(-8), shift(-1)),
    ("code lengths: quantization.code_length_bits.archive", 15, 16),  # of one byte
    ("closed forms: bounds.archive.tight.deviation", relative(0.1), 0.5),
    ("closed forms: bounds.archive.tight.smoothing", 0.0, -4.5),
    ("sampling: bounds.archive.tight.sampling", 1e-10, 1e-8),
    ("sampling: bounds.archive.hedged.sampling", 1e-10, -1e-8),
    ("closed forms: bounds.archive.hedged.deviation", relative(0.1), 0.1),
    ("closed forms: bounds.archive.hedged.smoothing", -4.2, -4.5),
    ("companion: bounds.archive.hedged.smoothing", 1.159, 1.161),
    ("closed forms: online.companion", relative(0.1), relative(-0.9)),
    ("companion: online.information", -4.4, -4.5),
    ("companion: online.information", 12.2, 12.3),
    ("companion: bounds.archive.companion.smoothing", 0.1205, 0.1215),
    ("closed forms: bounds.archive.hedged.smoothing", 8.4, 8.5),
]


@pytest.mark.parametrize(("where", "right", "wrong"), LIMITS)
def test_a_number_stays_within_its_limits(archive, where, right, wrong):
    place = where.partition(": ")[2]
    assert where not in failing(archive, {place: right})
    assert where in failing(archive, {place: wrong})


WRONG = {  # changes, and what must fail
    "a smoother of another name": ({"bounds.honest.tight.smoother": "magic"}, "grids: bounds.honest.tight.smoother"),
    "infinite": ({"bounds.honest.tight.sampling": math.inf}, "counts: bounds.honest.tight"),
    "infinite, of a companion": ({"bounds.honest.hedged.sampling": math.inf}, "counts: bounds.honest.hedged"),
    "infinite, online": ({"online.sampling": math.inf}, "counts: online"),
    "an impossible alpha": ({"bounds.honest.azuma.alpha": 1.5}, "grids: bounds.honest.azuma"),
    "no rate": ({"bounds.honest.tight.rate": 0.0}, "grids: bounds.honest.tight"),
    "a rate of nothing with a companion": ({"bounds.honest.hedged.rate": 0.0}, "grids: bounds.honest.hedged"),
    "an impossible floor": ({"online.floor": 0.0}, "grids: online"),
    "a hedge that is none": ({"bounds.honest.hedged.hedged": False}, "grids: bounds.honest.hedged.hedged"),
    "a predictor that is hedged": ({"bounds.honest.companion.hedged": True}, "grids: bounds.honest.companion.hedged"),
    "the mixture of a hedge": ({"bounds.honest.hedged_little.alpha": 0.1}, "grids: bounds.honest.hedged_little.alpha"),
    "no accounting": ({"bounds": lambda bounds: {"nominal": bounds["nominal"]}}, "code lengths: bounds"),
    "no length": (
        {"quantization.code_length_bits": lambda lengths: {"nominal": lengths["nominal"]}},
        "code lengths: quantization.code_length_bits",
    ),
    "a held-out loss without its windows": ({"evidence.heldout_sha256": None}, "counts: risks.heldout"),
    "one held-out loss": ({"risks.heldout_quantized": None}, "counts: risks.heldout"),
    "one accounting measures more": ({"bounds.honest.tight.smoothing": shift(1e-8)}, "accountings: bounds.honest.tight"),
    "or a greater deviation": ({"bounds.honest.tight.deviation": shift(1e-8)}, "accountings: bounds.honest.tight"),
    "or another loss of the pairs": ({"bounds.archive.paper_mode.train_risk": shift(1e-8)}, "accountings: bounds.archive.paper_mode"),
    "or another gap": ({"bounds.archive.paper_mode.quantization_gap": shift(1e-8)}, "accountings: bounds.archive.paper_mode"),
    "a floor above one": ({"online.floor": 1.1}, "companion: online.floor"),
    **{f"no {part}": ({part: None}, "companion: companion") for part in ("companion", "online", "evidence.companion_sha256", "bounds.honest.hedged")},
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_together_is_noticed(whole, what):
    changes, where = WRONG[what]
    assert where in failing(whole, changes)


SAID = {
    "counts: risks.heldout": (
        {"risks.heldout_quantized": None},
        "both held-out losses and the hash of their windows go together",
    ),
    "counts: identity.n_train_tokens": (
        {"identity.n_train_tokens": shift(1)},
        "1058817 are no whole rows of 256 tokens",
    ),
    "counts: settings.n_windows": (
        {"settings.n_windows": 3937},
        "4137 windows cannot be drawn from 4136 training rows",
    ),
    "counts: online": ({"online.sampling": math.inf}, "holds a number that is not finite"),
    "code lengths: bounds": ({}, "archive; needed: nominal, honest, archive"),
    "code lengths: quantization.code_length_bits.nominal": ({"quantization.bits": 5}, "211776.0, not b N = 264720"),
    "sampling: bounds.archive.tight.sampling": (
        {"bounds.archive.tight.sampling": 0.5},
        "0.5: it is 0 if all windows were read, and only then",
    ),
    "companion: companion": (
        {"companion": None},
        "its bounds, what it was, the bound on itself and the hash of its weights go together",
    ),
    "grids: bounds.archive.tight.smoother": ({"bounds.archive.tight.smoother": "magic"}, "'magic'"),
    "grids: bounds.archive.hedged.hedged": ({"bounds.archive.hedged.hedged": False}, "False"),
}


@pytest.mark.parametrize("where", SAID)
def test_what_is_wrong_is_said_in_words(archive, where):
    changes, said = SAID[where]
    found = [
        check.said
        for check in changed(archive, changes).checks()
        if f"{check.topic}: {check.place}" == where and not check.holds
    ]
    assert found == [said]


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"bounds.archive.tight.rate": 0.0}, {"bounds.archive.tight", "bounds"}),
        ({"bounds.archive.tight.grid_size": 0}, {"bounds.archive.tight"}),
        ({"bounds.archive.paper.alpha": 2.0}, {"bounds.archive.paper"}),
        ({"bounds.archive.azuma.alpha": 0.0}, {"bounds.archive.azuma"}),
    ],
)
def test_numbers_that_no_bound_can_have_are_told_where_they_stand(sampled, changes, places):
    bounds = {"archive": sampled.bounds["archive"]}
    found = list(changed(sampled.model_copy(update={"bounds": bounds}), changes).checks())
    impossible = [check for check in found if check.said.startswith("holds an impossible number: ")]
    assert {check.place for check in impossible} >= places
    assert all(check.topic == "grids" and check.holds is False for check in impossible)


def test_arithmetic_alone_may_be_of_any_number_of_tokens(sampled):
    broken = {"identity.n_train_tokens": shift(1)}
    assert "counts: identity.n_train_tokens" in failing(sampled, broken)
    assert "counts: identity.n_train_tokens" not in failing(sampled, broken | {"not_certified": "other rows"})


def test_a_model_without_unseen_text_has_no_held_out_numbers(sampled):
    none = {"risks.heldout": None, "risks.heldout_quantized": None, "evidence.heldout_sha256": None}
    assert failing(sampled, none) == set()
    half = {"risks.heldout": None, "risks.heldout_quantized.mean": -1.0}
    assert failing(sampled, half) == {"counts: risks.heldout", "counts: risks.heldout_quantized.mean"}
    two = changed(sampled, {"bounds": {name: sampled.bounds[name] for name in ("honest", "archive")}})
    assert "honest, archive; needed: nominal, honest, archive" in [check.said for check in two.checks()]


def test_a_sample_has_an_error_and_its_windows_fit_into_the_rows(sampled):
    assert "sampling: bounds.honest.tight.sampling" in failing(sampled, {"bounds.honest.tight.sampling": 0.0})
    n_rows = sampled.identity.n_train_tokens // sampled.identity.seq_len
    assert arithmetic.n_rows(sampled) == n_rows
    assert arithmetic.n_drawn(sampled) == 120


@pytest.mark.parametrize("by", [1e-6, -1e-6])
def test_the_paper_s_variation_is_at_least_that_of_its_range(whole, by):
    """With its sigma: f is never below the loss."""
    bound = whole.bounds["honest"].paper
    c, v = bound.complexity, whole.identity.vocab_size
    least = math.log(1 + v / c) * c * (1 / bound.s - 1)  # at alpha = C/(1+C)
    found = failing(
        whole,
        {
            "bounds.honest.paper.loss_variation": least * (1 + by),
            "bounds.honest.paper.sigma": least * (1 + by) / math.sqrt(c),
        },
    )
    assert found == (set() if by > 0 else {"closed forms: bounds.honest.paper.loss_variation"})


@pytest.mark.parametrize("by", [1e-6, -1e-6])
def test_what_a_companion_charges_is_at_least_its_complexity_over_its_rate(whole, by):
    known = companion_arithmetic.coded_companion(whole, whole.online)
    least = known.complexity / whole.online.companion_rate
    found = failing(whole, {"online.companion": least * (1 + by)})
    assert ("closed forms: online.companion" in found) == (by < 0)


def test_azuma_s_terms_are_those_of_its_weight_and_not_only_their_sum(whole):
    place = "bounds.honest.azuma"
    found = failing(whole, {f"{place}.deviation": shift(0.01), f"{place}.smoothing": shift(-0.01)})
    assert found == {f"closed forms: {place}.deviation", f"closed forms: {place}.smoothing"}


def test_azuma_s_weight_is_the_best_of_its_grid(whole):
    """The next one, with the terms that belong to it, is another bound."""
    bound, v = whole.bounds["honest"].azuma, whole.identity.vocab_size
    alpha = bound.alpha + 1 / 1001
    deviation = math.log(1 + (1 - alpha) * v / alpha) * math.sqrt(bound.complexity / 2)
    other = {"alpha": alpha, "deviation": deviation, "smoothing": -math.log(1 - alpha)}
    found = failing(whole, {f"bounds.honest.azuma.{name}": value for name, value in other.items()})
    assert found == {"closed forms: bounds.honest.azuma.deviation"}


def test_constants_of_a_bound(whole, sampled):
    tight = whole.bounds["archive"].tight
    tilt = arithmetic.smoothing_of(whole, tight)
    assert tilt == Tilt(tight.rate, tight.alpha, tight.baseline_floor, 8125, 2048)
    mixed = sampled.bounds["archive"].tight
    vocab_size = sampled.identity.vocab_size
    choice = arithmetic.smoothing_of(sampled, mixed)
    assert choice == Choice(mixed.alpha, mixed.baseline_floor, mixed.s, mixed.grid_size, vocab_size)
    assert arithmetic.coded_model(whole, "archive") == CodedModel(196261.0, 1058816, 2048, 0.001, 1000)
    with pytest.raises(ValueError, match="code length"):
        arithmetic.coded_model(whole, "none").complexity(1)
    companion = companion_arithmetic.coded_companion(whole, whole.online)
    assert dataclasses.astuple(companion) == (10.0, 1058816, 2048, 0.01, pytest.approx(0.0009))
    hedged = whole.bounds["archive"].hedged
    assert companion_arithmetic.choice_of(hedged) == ((0.5, True), hedged.rate, 0.9)


def test_single_checks_on_both_sides():
    assert arithmetic.equal("t", "p", 1.0, 1.0 + 5e-10) == ("t", "p", True, "1.0, not 1.0000000005")
    assert not arithmetic.equal("t", "p", 1.0, 1.0 + 2e-9).holds
    assert arithmetic.equal("t", "p", 1e-10, -8e-10).holds
    assert not arithmetic.equal("t", "p", 0.0, 2e-9).holds
    assert arithmetic.within("t", "p", 3.0, 1, 2) == ("t", "p", False, "3.0, outside [1, 2]")
    for found, holds in (
        (1.0, True),
        (2.0, True),
        (1 - 5e-10, True),
        (1 - 2e-9, False),
        (2 + 1e-9, True),
        (2 + 5e-9, False),
    ):
        assert arithmetic.within("t", "p", found, 1, 2).holds is holds
    assert arithmetic.within("t", "p", -1e-10, 0).holds
    assert arithmetic.within("t", "p", 1e9).holds
    assert arithmetic.within("t", "p", -1e9).holds
    assert arithmetic.among("t", "p", 0.3, [0.1, 0.31]) == ("t", "p", False, "0.3 is not in the grid, 0.31 is")
    assert arithmetic.among("t", "p", 0.31 * (1 + 5e-10), [0.1, 0.31]).holds
    assert not arithmetic.among("t", "p", 0.31 * (1 + 2e-9), [0.1, 0.31]).holds


# Records of other kinds.

OTHERS = [
    ("survey", "closed forms: cells.gptq-2bit.paper_gap", "cells.0.paper_gap", relative(1e-10), relative(3e-9)),
    ("survey", "closed forms: cells.gptq-2bit.paper_gap", "cells.0.sigma", relative(1e-10), relative(1e-7)),
    ("survey", "closed forms: cells.gptq-2bit.tight_gaps.archive", "cells.0.tight_gaps.archive", relative(1e-10), relative(3e-9)),
    ("survey", "closed forms: cells.gptq-2bit.tight_gaps.archive", "cells.0.tight_smoothing", relative(1e-10), relative(1e-7)),
    ("survey", "closed forms: cells.gptq-2bit.tight_gaps.archive", "cells.0.gaps.0", relative(1e-10), relative(1e-7)),
    ("survey", "code lengths: cells.gptq-2bit.code_length_bits.nominal", "cells.0.code_length_bits.nominal", 105888, 105889),
    ("survey", "counts: cells.gptq-2bit.gaps", "cells.0.gaps", lambda gaps: gaps[:1], lambda gaps: gaps + gaps[:1]),
    ("survey", "counts: cells.gptq-2bit.window_error", "cells.0.window_error", 0.0, -1e-6),
    ("survey", "counts: spectrum.nodes", "spectrum.nodes.0", lambda nodes: nodes, lambda nodes: nodes[:-1]),
    ("survey", "closed forms: spectrum.weights", "spectrum.weights.0.0", shift(1e-10), shift(1e-8)),
    ("run", "counts: n_train_tokens", "n_train_tokens", shift(0), shift(1)),
    ("run", "counts: n_unique_tokens", "n_unique_tokens", 2048, 2049),
    ("run", "counts: n_unique_tokens", "n_unique_tokens", 2048, 0),
    ("run", "counts: n_unique_tokens", "n_unique_tokens", lambda n: n - 2048, lambda n: n + 2048),
    ("run", "counts: schedule.decay_steps", "schedule.decay_steps", 1, 0),
    ("run", "counts: schedule.decay_steps", "schedule", lambda s: s.model_copy(update={"decay_steps": s.n_steps}),
     lambda s: s.model_copy(update={"decay_steps": s.n_steps + 1})),
    ("run", "counts: shape.n_nonembedding", "shape.n_nonembedding", 1, 0),
    ("run", "counts: shape.n_nonembedding", "shape.n_nonembedding", 52944, 52945),
    ("run", "counts: heldout_curve", "heldout_curve", lambda curve: curve, lambda curve: (*curve, 1.0)),
    ("run", "counts: train.mean", "train.mean", 0.0, -1e-6),
    ("run", "counts: heldout.mean", "heldout.mean", 0.0, -1e-6),
    ("run", "counts: transfer.mean", "transfer.mean", 0.0, -1e-6),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "where", "place", "right", "wrong"), OTHERS)
def test_surveys_and_trainings_follow_from_themselves(request, kind, where, place, right, wrong):
    record = request.getfixturevalue(kind)
    assert where not in failing(record, {place: right})
    assert where in failing(record, {place: wrong})


LACKING = {  # what is missing, and what is said of it
    "cells.0.gaps": ((), "lacks a number: tuple index out of range"),
    "cells.0.code_length_bits": ({}, "lacks a number: 'nominal'"),
    "cells.0.tight_gaps": ({}, "lacks a number: 'archive'"),
    "identity.vocab_size": (0, "holds an impossible number: "),
}


@pytest.mark.parametrize("place", LACKING)
def test_a_number_that_is_missing_fails_a_check_and_not_the_program(survey, place):
    value, said = LACKING[place]
    wrong = [check for check in changed(survey, {place: value}).checks() if not check.holds]
    assert wrong[-1][:3] == ("grids", "record", False)
    assert wrong[-1].said.startswith(said)


def test_a_spectrum_without_the_nodes_of_one_probe(survey):
    found = failing(survey, {"spectrum.nodes": lambda nodes: nodes[:-1]})
    assert found >= {"counts: spectrum.nodes", "grids: record"}


def test_a_training_on_another_tokenizer_has_no_transfer(run):
    assert failing(run, {"transfer": None}) == set()


def test_a_survey_finds_its_cells(survey):
    assert survey.cell("gptq", 3).bits == 3
    with pytest.raises(KeyError, match="gptq at 99 bits was not surveyed"):
        survey.cell("gptq", 99)
    best = survey.best()
    assert all(best.tight_gaps["archive"] <= cell.tight_gaps["archive"] for cell in survey.cells)
    cell = survey.cell("gptq", 2)
    assert cell.gap == pytest.approx(sum(cell.gaps) / 3)
    variance = sum((gap - cell.gap) ** 2 for gap in cell.gaps) / 2
    assert cell.seed_error == pytest.approx(math.sqrt(variance / 3))
    assert cell.model_copy(update={"gaps": cell.gaps[:1]}).seed_error == 0
    assert cell.model_copy(update={"gaps": cell.gaps[:2]}).seed_error > 0


def test_a_forecast_is_what_its_observations_predict(monkeypatch):
    """To a millionth: three numbers are off by more, one by less."""
    monkeypatch.setattr("gengap.records.forecast.N_REPLICATES", 20)
    forecast = Forecast.read(RUNG.parent / "forecast-2026-11-25.json", recompute=False)
    forecast = forecast.model_copy(
        update={"predictions": predict(forecast.observed, {"3m": 3_000_000, "4.5m": 4_500_000})}
    )
    assert all(check.holds for check in others.of_forecast(forecast))
    names = ("0.value", "0.low", "1.high", "1.value")
    changes = {
        f"predictions.{name}": lambda value, by=by: value * (1 + by)
        for name, by in zip(names, (2e-6, -2e-6, 2e-6, 5e-7), strict=True)
    }
    found = [check for check in others.of_forecast(changed(forecast, changes)) if not check.holds]
    first, second = forecast.predictions[:2]
    assert [f"{check.topic}: {check.place}" for check in found] == [
        f"closed forms: predictions.{first.size}.{first.quantity}.value",
        f"closed forms: predictions.{first.size}.{first.quantity}.low",
        f"closed forms: predictions.{second.size}.{second.quantity}.high",
    ]
    assert found[0].said == f"{first.value * (1 + 2e-6)!r}, not {float(found[0].said.rpartition(' ')[2])!r}"
