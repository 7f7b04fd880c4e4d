"""What laws of scale say about a rung that was not looked at: set aside for a moment, or not even trained.

A forecast of the second kind is stated once, in `results/<family>/forecast-<date>.json`, and never touched again; chapter 06 sets
the outcomes beside it when their records come in. The file holds the numbers it was made from, so that anyone can make it again.
"""

import datetime
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal

from gengap import models
from gengap.compression.methods import check
from gengap.errors import UserError
from gengap.laws.fits import fit_power_law
from gengap.laws.intervals import Ensemble, resample_noise
from gengap.paths import published_results_dir
from gengap.records.base import Count, Name, Part, Positive, Stored
from gengap.records.bound import BoundRecord, load_records

LEVEL = 0.95  # of the intervals
N_REPLICATES = 2000  # behind each interval
LEAST_MODELS = 4  # a law has two constants, and its errors need more

Quantity = Literal["paper's gap", "our gap", "held-out loss"]
QUANTITIES: dict[Quantity, Callable[[BoundRecord], float]] = {  # nats/token
    "paper's gap": lambda record: record.bounds["nominal"].paper.gap,
    "our gap": lambda record: record.bounds["nominal"].tight.gap,
    "held-out loss": lambda record: record.risks.heldout.mean,
}


class Observation(Part):
    """A model that the laws are fitted to."""

    size: Name
    n_params: Count  # N
    values: dict[Quantity, Positive]  # nats/token


class Prediction(Part):
    """One quantity of one model."""

    size: Name
    n_params: Count  # N
    quantity: Quantity
    value: Positive  # the law's, nats/token
    low: Positive  # a new model falls between low and high with probability LEVEL
    high: Positive


class Forecast(Stored):
    """Power laws in N through the observations, and what they predict."""

    KIND = "forecast"
    REMEDY = "restore the committed file"
    PATTERN = "*/forecast-*.json"

    date: datetime.date
    family: Name
    method: Name  # quantizer of the bounds
    bits: int
    level: float
    observed: tuple[Observation, ...]
    predictions: tuple[Prediction, ...]

    @property
    def place(self) -> Path:
        return Path(self.family, f"forecast-{self.date}.json")


def law(observed: Sequence[Observation], quantity: Quantity) -> Ensemble:
    """The power law in N through one quantity, with replicates that show how sure it is."""
    n_params, values = zip(*((model.n_params, model.values[quantity]) for model in observed), strict=True)
    return resample_noise(fit_power_law, n_params, values, n_replicates=N_REPLICATES)


def observe(records: Sequence[BoundRecord]) -> tuple[Observation, ...]:
    """What the laws see of records of one family, method and number of bits; those without held-out losses are left out."""
    return tuple(
        Observation(
            size=r.identity.size, n_params=r.identity.n_params, values={name: of(r) for name, of in QUANTITIES.items()}
        )
        for r in records
        if r.risks.heldout
    )


def predict(observed: Sequence[Observation], n_params: dict[str, int]) -> tuple[Prediction, ...]:
    """Every quantity for every size of `n_params`, {size: N}. ValueError with fewer observations than constants to fit."""
    laws = {name: law(observed, name) for name in QUANTITIES}
    found = []
    for size, n in n_params.items():
        for name, ensemble in laws.items():
            low, high = ensemble.prediction(float(n), level=LEVEL)
            value = float(ensemble.law(n))
            found.append(Prediction(size=size, n_params=n, quantity=name, value=value, low=low, high=high))
    return tuple(found)


def state_forecast(model_sizes: Collection[str], method: str, bits: int) -> Path:
    """Forecast models of one family from the records of others, and write the file to be committed.

    Raises `UserError` for an unknown size or method, sizes of two families, a size with a record already, fewer than `LEAST_MODELS`
    records, and if a forecast of today exists.
    """
    check(method, bits)
    specs = [models.get(size) for size in model_sizes]
    if len(families := {spec.family for spec in specs}) != 1:
        raise UserError(f"name sizes of one family, not of {len(families)}: {' '.join(model_sizes)}")
    family = families.pop()
    known = [r for r in load_records(method=method, bits=bits) if r.identity.family == family]
    known = [r for r in known if r.identity.revision == models.get(r.identity.model_size).revision]
    if late := {r.identity.model_size for r in known} & {spec.model_size for spec in specs}:
        raise UserError(
            f"{' and '.join(sorted(late))} cannot be forecast: the record is there already; name sizes that were not run"
        )
    if len(known) < LEAST_MODELS:
        raise UserError(
            f"{len(known)} records of {family} at {method}, {bits} bits: a forecast needs {LEAST_MODELS}; "
            "`gengap run` makes one"
        )
    observed = observe(known)
    forecast = Forecast(
        date=datetime.date.today(),
        family=family,
        method=method,
        bits=bits,
        level=LEVEL,
        observed=observed,
        predictions=predict(observed, {spec.size: spec.n_params for spec in specs}),
    )
    if (path := published_results_dir() / forecast.place).exists():
        raise UserError(f"{path} was stated today and stays as it is: state another tomorrow")
    return forecast.write(published_results_dir())


def load_forecasts(family: str) -> list[Forecast]:
    """Every stated forecast of a family, oldest first."""
    return [Forecast.read(path) for path in sorted((published_results_dir() / family).glob("forecast-*.json"))]
