"""What records of the other kinds have to say if their own numbers are taken together: surveys, trainings, forecasts."""

import math
from collections.abc import Iterator

from gengap.bounds.terms import CodedModel
from gengap.bounds.theorems import closed_form_gap
from gengap.records.arithmetic import Check, checked, equal, within
from gengap.records.forecast import Forecast, predict
from gengap.records.survey import QuantizationSurvey
from gengap.records.training_run import TrainingRun


@checked
def of_survey(survey: QuantizationSurvey) -> Iterator[Check]:
    """Lengths, the paper's closed form and the sums of our terms, cell by cell."""
    model, settings = survey.identity, survey.settings
    for cell in survey.cells:
        place = f"cells.{cell.method}-{cell.bits}bit"
        nominal = cell.code_length_bits["nominal"]
        yield equal("code lengths", f"{place}.code_length_bits.nominal", nominal, cell.bits * model.n_params)
        coded = CodedModel(nominal, model.n_train_tokens, model.vocab_size)
        needed = closed_form_gap(coded, cell.sigma) + cell.gaps[0]
        yield equal("closed forms", f"{place}.paper_gap", cell.paper_gap, needed)
        needed = cell.tight_deviation + cell.tight_smoothing + cell.gaps[0]
        yield equal("closed forms", f"{place}.tight_gaps.archive", cell.tight_gaps["archive"], needed)
        yield within("counts", f"{place}.gaps", len(cell.gaps), 1, settings.n_seeds)
        yield within("counts", f"{place}.window_error", cell.window_error, 0)
    spectrum = survey.spectrum
    yield equal("counts", "spectrum.nodes", len(spectrum.nodes), len(spectrum.weights))
    for nodes, weights in zip(spectrum.nodes, spectrum.weights, strict=True):
        yield equal("counts", "spectrum.nodes", len(nodes), len(weights))
        yield equal("closed forms", "spectrum.weights", math.fsum(weights), 1.0)


@checked
def of_training(run: TrainingRun) -> Iterator[Check]:
    """Tokens from steps, and what a schedule may be."""
    schedule, shape = run.schedule, run.shape
    yield equal("counts", "n_train_tokens", run.n_train_tokens, schedule.n_steps * schedule.tokens_per_step)
    yield within("counts", "n_unique_tokens", run.n_unique_tokens, 1, run.n_train_tokens)
    yield equal("counts", "n_unique_tokens", run.n_unique_tokens % schedule.tokens_per_step, 0)
    yield within("counts", "schedule.decay_steps", schedule.decay_steps, 1, schedule.n_steps)
    yield within("counts", "shape.n_nonembedding", shape.n_nonembedding, 1, shape.n_params)
    yield equal("counts", "heldout_curve", len(run.heldout_curve), len(run.heldout_steps))
    for name in ("train", "heldout", "transfer"):
        if (risk := getattr(run, name)) is not None:  # another tokenizer has no text of another domain
            yield within("counts", f"{name}.mean", risk.mean, 0)


@checked
def of_forecast(forecast: Forecast) -> Iterator[Check]:
    """The predictions, made again from the observations that the file holds."""
    sizes = {p.size: p.n_params for p in forecast.predictions}
    again = {(p.size, p.quantity): p for p in predict(forecast.observed, sizes)}
    for stated in forecast.predictions:
        needed, place = again[stated.size, stated.quantity], f"predictions.{stated.size}.{stated.quantity}"
        for name in ("value", "low", "high"):
            close = math.isclose(getattr(stated, name), getattr(needed, name), rel_tol=1e-6)
            said = f"{getattr(stated, name)!r}, not {getattr(needed, name)!r}"
            yield Check("closed forms", f"{place}.{name}", close, said)
