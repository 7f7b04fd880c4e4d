"""Every bound of a record as one number: how far it lies above the training loss, for lists and comparisons."""

from collections.abc import Iterable
from typing import Any

from gengap import models
from gengap.models.spec import TOKENS_PER_PARAMETER
from gengap.records.bound import BoundRecord


def length_of(record: BoundRecord) -> float:
    """Tokens of the training over those of the size's compute-optimal run: 1 on the frontier."""
    model = record.identity
    spec = models.REGISTRY.get(model.model_size)
    on_frontier = spec.n_train_tokens if spec else TOKENS_PER_PARAMETER * model.n_params
    length = model.n_train_tokens / on_frontier
    return round(length, 2) if length > 1 else float(f"{length:.2g}")  # steps are whole: 0.499 is half a training


def gaps(records: Iterable[BoundRecord]) -> list[dict[str, Any]]:
    """A dictionary for each record: what was bounded, and the certified bounds less the training loss of the checkpoint, nats/token.

    All gaps but `paper_nominal_gap` pay for the length of the archive; that one is None where the archive is longer than nominal, so
    that it is no certificate, and those that need a companion are None where there was none.
    """
    return [_gaps(record) for record in records]


def _gaps(record: BoundRecord) -> dict[str, Any]:
    model, quantized, paid = record.identity, record.quantization, record.bounds["archive"]
    found = {
        "paper_nominal_gap": record.bounds["nominal"].paper
        if quantized.nominal_is_met
        else None,  # Thm 3.4 with b N bits
        "uniform_gap": paid.tight,  # smoothing towards the uniform distribution, no companion
        "companion_gap": paid.companion,  # the same predictor with a companion in the proof
        "hedged_gap_5_percent": paid.hedged_little,  # at most 5 % of the companion in the predictor
        "hedged_gap": paid.hedged,  # the best share of it
        "online_gap": record.online,  # the companion itself
    }
    return {
        "family": model.family,
        "size": model.size,
        "revision": model.revision,
        "length": length_of(record),
        "n_params": model.n_params,
        "n_train_tokens": model.n_train_tokens,
        "method": quantized.method,
        "bits": quantized.bits,
        **{name: bound and bound.gap for name, bound in found.items()},
    }
