"""The record of one training: what was trained, and the losses it ended with; one JSON file and one loss log a run."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gengap.errors import UserError
from gengap.paths import published_results_dir, run_results_dir
from gengap.records.base import Count, Estimate, Name, Part, Positive, Provenance, Sha256, Stored, optional
from gengap.training.log import TrainingLog

LADDER = "ladder"  # the family of the runs whose records name none


class Shape(Part):
    """Architecture of the model."""

    hidden_size: Count  # width d
    n_layers: Count
    n_heads: Count
    n_params: Count  # N, embeddings included
    n_nonembedding: Count  # N without embedding and head, Kaplan's count


class Schedule(Part):
    """How it was trained."""

    n_steps: Count
    tokens_per_step: Count
    warmup_steps: Count
    decay_steps: Count  # linear to zero, the last of n_steps
    peak_lr: Positive
    precision: Literal["float32", "bfloat16"]


class Noise(Part):
    """Gradient noise in the stable phase, McCandlish et al. 2018 (see `gengap.training.noise_scale`)."""

    step: Count  # at the weights before this step, the first that cools down
    tokens: float  # the simple noise scale S / |G|^2, a batch size in tokens
    standard_error: Annotated[float, Field(ge=0)]  # of `tokens`, over rows (jackknife)
    gradient_square: float  # |G|^2, unbiased
    n_rows: Count


class TrainingRun(Stored):
    """One training. `group` is its purpose in the plan, `name` its name within its size."""

    KIND = "run record"
    REMEDY = "delete it and run `make ladder`"
    PATTERN = "*/*/runs/*.json"
    CHECKED_BY = ("gengap.records.others:of_training",)

    schema_version: Literal[1] = 1
    group: Name  # "grid", "seed", "rate", "shape", "repeat", "precision"
    name: Name  # "grid-0.5x"
    family: Name = Field(default=LADDER, exclude_if=lambda family: family == LADDER)
    size: Name  # "100k"
    shape: Shape
    schedule: Schedule
    seed: int
    length: Positive  # D over the rung's compute-optimal tokens
    n_train_tokens: Count  # D, repetitions counted
    n_unique_tokens: Count  # different ones
    train: Estimate  # of the checkpoint on training windows, nats/token
    heldout: Estimate  # on documents never trained on
    transfer: Estimate | None = optional()  # on another domain in the same tokens, the King James Bible
    heldout_steps: tuple[int, ...] = ()  # steps after which a small held-out sample was evaluated
    heldout_curve: tuple[float, ...] = ()  # its losses, nats/token
    noise: Noise | None = None  # where a grid run left its trunk
    run_key: Sha256  # hash of size, data, seed and settings, as in its loss log
    data_sha256: Sha256  # of the training tokens
    provenance: Provenance  # its seconds are those of the training, trunk included

    @property
    def model_size(self) -> str:
        return f"{self.family}-{self.size}"

    @property
    def place(self) -> Path:
        return record_path(self.model_size, self.name, Path())

    @property
    def early_stopped(self) -> float:
        """Held-out loss had the run stopped where it was least, nats/token.

        The curve was measured on fewer windows than `heldout`, so only its fall below its own end counts.
        """
        curve = self.heldout_curve or (0.0,)
        return self.heldout.mean + min(curve) - curve[-1]

    @property
    def online_log(self) -> TrainingLog:
        """The loss of every batch before its update."""
        for base in (run_results_dir(), published_results_dir()):
            path = (base / self.place).with_suffix(".csv.gz")
            if path.exists() and (log := TrainingLog.read(path, self.schedule.n_steps)).run_key == self.run_key:
                return log
        raise UserError(f"the loss log of {self.model_size}, {self.name}, is missing: run `make ladder`")


def record_path(model_size: str, name: str, base: Path | None = None) -> Path:
    """Where the record of a run lies below `base`, a results folder (default: this machine's)."""
    return (base or run_results_dir()).joinpath(*model_size.split("-"), "runs", f"{name}.json")


def write_run(record: TrainingRun, log: TrainingLog) -> Path:
    """Write log and record of a run among this machine's results; the record last."""
    log.write((run_results_dir() / record.place).with_suffix(".csv.gz"))
    return record.write()


def load_runs(groups: Collection[str] = (), family: str = LADDER) -> list[TrainingRun]:
    """Published run records of a family, overridden by this machine's, of `groups` (default: all), by N, D and name."""
    found = TrainingRun.collect(f"{family}/*/runs/*.json")
    wanted = [run for run in found if not groups or run.group in groups]
    return sorted(wanted, key=lambda run: (run.shape.n_params, run.n_train_tokens, run.name))


def publish_runs() -> list[Path]:
    """Publish this machine's run records and their logs; the files that changed."""
    found = sorted(run_results_dir().glob(TrainingRun.PATTERN))
    return TrainingRun.publish(found, (file for path in found for file in (path.with_suffix(".csv.gz"), path)))
