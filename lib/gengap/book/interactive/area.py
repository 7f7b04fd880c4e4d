"""The area: information content of every rung, as the area between its online loss and its final one."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gengap.book.interactive.parts import table, term_styles
from gengap.errors import UserError
from gengap.laws.fits import Floats
from gengap.models import REGISTRY
from gengap.records.bound import BoundRecord, load_records
from gengap.records.training_run import load_runs
from gengap.training.log import TrainingLog
from gengap.units import bits_from_nats

N_PLACES = 60  # of the first twentieth of the curve, geometric in tokens, and of the rest, evenly spaced
BITS = 4


def data(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Each rung's curves of what was paid so far, and what its file and its companion certify."""
    records = [record for record in load_records("ladder", "gptq", BITS) if record.identity.revision == "main"]
    rungs = [_rung(record) for record in sorted(records, key=lambda record: record.identity.n_params)]
    if not rungs:
        raise UserError("there is no record of a rung: results/ holds published ones, `gengap run` makes more")
    return {
        "title": "The area",
        "bits": BITS,
        "rungs": rungs,
        "terms": term_styles(),
        "twin": table(
            "Information content of the rungs: the area between online and final loss",
            ["rung", "K(h) / N, bits a parameter", "K(h) / D, nats per token", "file, bits a parameter"],
            (
                [
                    rung["name"],
                    f"{bits_from_nats(rung['paid']['online'][-1] - end) / rung['n_params']:.1f}",
                    f"{(rung['paid']['online'][-1] - end) / rung['n_train_tokens']:.2f}",
                    f"{rung['archive_bits'] / rung['n_params']:.1f}",
                ]
                for rung in rungs
                for end in [rung["final"] * rung["tokens"][-1]]
            ),
        ),
    }


def cooled_losses(log: TrainingLog, tokens: Floats, losses: Floats) -> Floats:
    """What a code pays a step, (n_steps,) nats/token, that cools a copy down before every block, from the first branch on.

    `losses` (m,) of the copies that left the training after `tokens` (m,), the finished model last; in between the loss is straight
    in log tokens.
    """
    at = log.tokens_per_step * (np.arange(len(log.online_nll)) + 0.5)
    return np.where(at < tokens[0], log.online_nll, np.interp(np.log(at), np.log(tokens), losses))


def _rung(record: BoundRecord) -> dict[str, Any]:
    spec = REGISTRY[record.identity.model_size]
    log, final = TrainingLog.read(spec.find("loss_log.csv"), spec.n_steps), record.risks.train.mean
    n_steps = len(log.online_nll)
    parts = np.geomspace(1, n_steps / 20, N_PLACES), np.linspace(n_steps / 20, n_steps, N_PLACES)
    steps = np.unique(np.concatenate(parts).astype(int))
    paid = {"online": log.online_nll.astype(np.float64)}
    branches = [run for run in load_runs(["grid"]) if run.model_size == spec.model_size and run.length <= 1]
    if len(branches) >= 3:
        tokens = np.array([run.n_train_tokens for run in branches], float)
        paid["cooled"] = cooled_losses(log, tokens, np.array([*(run.train.mean for run in branches[:-1]), final]))
    return {
        "name": spec.size,
        "n_params": spec.n_params,
        "n_train_tokens": spec.n_train_tokens,
        "final": final,
        "tokens": (log.tokens_per_step * steps).tolist(),
        "paid": {
            name: (log.tokens_per_step * np.cumsum(nll))[steps - 1].tolist() for name, nll in paid.items()
        },  # nats
        "archive_bits": record.quantization.code_length_bits["archive"],
        "averaged": record.online and {"information": record.online.information, "gap": record.online.gap},
    }
