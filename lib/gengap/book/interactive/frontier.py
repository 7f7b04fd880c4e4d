"""The frontier: least loss and least bound at a given compute, by the laws that chapter 12 fits to the ladder."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gengap.book.figures import plain
from gengap.book.interactive.parts import table, term_styles
from gengap.laws.allocation import BoundLaw, QuantizationLaw, VariationLaw, allocate
from gengap.laws.fits import ChinchillaLaw
from gengap.laws.frontier import embedding_constant
from gengap.records.training_run import TrainingRun

BUDGETS = tuple(map(float, np.geomspace(1e11, 1e16, 6)))  # operations, of the table
BITS = 4


def describe(law: BoundLaw, runs: list[TrainingRun]) -> dict[str, Any]:
    """What a notebook keeps: the constants of the fitted laws, and the trainings that they were fitted to."""
    sizes = {run.size: run.shape for run in runs}.values()
    return {
        "loss": law.loss._asdict(),
        "variation": law.variation._asdict(),
        "quantization": law.quantization._asdict(),
        "vocab_size": law.vocab_size,
        "omega": embedding_constant([shape.n_nonembedding for shape in sizes], [shape.n_params for shape in sizes]),
        "runs": [
            [run.size, run.shape.n_params, run.n_train_tokens, run.train.mean, run.shape.n_nonembedding] for run in runs
        ],
    }


def data(kept: Mapping[str, Any]) -> dict[str, Any]:
    """What `describe` kept, and a table of both frontiers."""
    found = kept["frontier"]
    loss = ChinchillaLaw(**found["loss"])
    bound = BoundLaw(
        loss, VariationLaw(**found["variation"]), QuantizationLaw(**found["quantization"]), found["vocab_size"]
    )
    best = [(flops, *map(float, loss.optimum(flops)), allocate(bound, flops, [BITS])) for flops in BUDGETS]
    return found | {
        "title": "The frontier",
        "bits": BITS,
        "terms": term_styles(),
        "twin": table(
            f"Tokens a parameter that make the loss least, and the bound at {BITS} bits, by the fitted laws",
            ["operations", "least loss at N", "tokens a parameter", "least bound at N", "tokens a parameter"],
            (
                [f"{flops:.0e}", plain(n), f"{d / n:,.0f}", plain(least.n_params), f"{least.ratio:,.0f}"]
                for flops, n, d, least in best
            ),
        ),
    }
