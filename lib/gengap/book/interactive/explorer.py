"""The bound explorer: three bounds in closed form for any N, D, b, V, Sigma, loss and delta, and models to start from."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from gengap import published
from gengap.book.figures import plain
from gengap.book.interactive.parts import OTHER, table, term_styles
from gengap.bounds.terms import PAPER_S_GRID_SIZE
from gengap.laws.allocation import VariationLaw
from gengap.laws.fits import ChinchillaLaw
from gengap.records.bound import BoundRecord, load_records

FIRST = "ladder-100k"  # where the sliders stand at first: the model of the chapter on one bound
RUNG, PYTHIA, RELEASED = "Rungs of the ladder (measured)", "Pythia at 20 tokens a parameter", "Released models"


def data(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Models to start from, the law that carries Sigma to another complexity, and the colours of the terms."""
    law = VariationLaw(**kept["frontier"]["variation"])
    models = [*_rungs(), *_pythia(), *_released(law)]
    rungs = [model for model in models if "measured" in model]
    return {
        "title": "Bound explorer",
        "first": FIRST,
        "grid_size": PAPER_S_GRID_SIZE,
        "models": models,
        "variation": law._asdict(),
        "terms": term_styles() | {"companion": {"label": "companion's own risk", "colour": OTHER}},
        "twin": table(
            "The bounds of the ladder's models at 4 bits a parameter, nats per token",
            ["model", "N", "D", "training loss", "Azuma", "paper", "ours", "guessing"],
            (
                [model["name"], plain(model["n_params"]), plain(model["n_train_tokens"]), f"{model['loss']:.2f}"]
                + [f"{model['measured'][kind]['value']:.2f}" for kind in ("azuma", "paper", "tight")]
                + [f"{math.log(model['vocab_size']):.2f}"]
                for model in rungs
            ),
        ),
    }


def _rungs() -> Iterator[dict[str, Any]]:
    records = [record for record in load_records("ladder", "gptq", 4) if record.identity.revision == "main"]
    for record in sorted(records, key=lambda record: record.identity.n_params):
        bounds = record.bounds["nominal"]
        yield {
            "name": record.identity.model_size,
            "group": RUNG,
            "n_params": record.identity.n_params,
            "n_train_tokens": record.identity.n_train_tokens,
            "vocab_size": record.identity.vocab_size,
            "bits": float(record.quantization.bits),
            "sigma": bounds.paper.sigma,
            "loss": bounds.paper.train_risk,
            "failure_prob": bounds.paper.failure_prob,
            "measured": _measured(record),
        }


def _measured(record: BoundRecord) -> dict[str, Any]:
    """Certified values; of the bounds with measured summands all terms too, and the rates at which C and delta enter them."""
    bounds = record.bounds["nominal"]
    found: dict[str, Any] = {
        "quantization_gap": bounds.paper.quantization_gap,
        "sampling": {name: getattr(bounds, name).sampling for name in ("paper", "azuma")},
    }
    for name in ("paper", "azuma", "tight", "companion"):
        if bound := getattr(bounds, name):
            found[name] = {"value": bound.value}
    for name, rates in (
        ("tight", {"deviation": "rate"}),
        ("companion", {"deviation": "rate", "companion": "companion_rate"}),
    ):
        if bound := getattr(bounds, name):
            found[name] |= {
                "terms": bound.terms(),
                "rates": {term: getattr(bound, rate) for term, rate in rates.items()},
            }
    return found


def _pythia() -> Iterator[dict[str, Any]]:
    settings, vocab_size = published.facts("settings"), published.facts("pythia")["vocab_size"]
    for model in published.bound_table():
        yield {
            "name": f"Pythia {model.size}",
            "group": PYTHIA,
            "n_params": model.n_params,
            "n_train_tokens": model.n_train_tokens,
            "vocab_size": vocab_size,
            "bits": float(settings["bits"]),
            "sigma": published.fitted_loss_variation(model.n_params),
            "loss": model.train_loss,
            "failure_prob": settings["failure_prob"],
            "note": f"The paper's table has {model.bound:.2f} for it, and {model.azuma_bound:.2f} by Azuma's inequality.",
        }


def _released(law: VariationLaw) -> Iterator[dict[str, Any]]:
    """Their losses by a published law, their Sigma by the paper's fit on the frontier, carried to their C by the ladder's law."""
    settings, facts = published.facts("settings"), published.facts("chinchilla")["besiroglu2024"]
    loss = ChinchillaLaw(**{name: facts[name] for name in ChinchillaLaw._fields})
    bits = settings["bits"]
    for model in published.released_models():
        c, on_frontier = (bits * math.log(2) / r for r in (model.n_train_tokens / model.n_params, 20))
        carried = published.fitted_loss_variation(model.n_params) * law.shape(c) / law.shape(on_frontier)
        yield {
            "name": model.name,
            "group": RELEASED,
            "n_params": model.n_params,
            "n_train_tokens": model.n_train_tokens,
            "vocab_size": model.vocab_size,
            "bits": float(bits),
            "sigma": float(carried),
            "loss": float(loss(model.n_params, model.n_train_tokens)),
            "failure_prob": settings["failure_prob"],
            "note": "Nobody has measured it: the loss is that of a published law (Besiroglu et al.), and Σ is carried over from the ladder.",
        }
