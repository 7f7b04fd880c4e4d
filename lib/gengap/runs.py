"""The record of one training: what was trained, and the losses it ended with; one JSON file and one loss log a run.

Published runs lie in `results/ladder/<size>/runs/`, this machine's in `build/results/ladder/<size>/runs/`; for the same name
this machine's wins. `load_runs` reads them all, `TrainingRun.online_log` the loss of every batch.
"""

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gengap.errors import UserError
from gengap.paths import atomic_path, published_results_dir, run_results_dir
from gengap.records import Count, Estimate, Part, Positive, Provenance, read_valid
from gengap.training_log import TrainingLog

NotNegative = Annotated[float, Field(ge=0)]


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
    """Gradient noise in the stable phase, McCandlish et al. 2018 (see `gengap.noise_scale`)."""

    step: Count  # at the weights before this step, the first that cools down
    tokens: float  # the simple noise scale S / |G|^2, a batch size in tokens
    standard_error: NotNegative  # of `tokens`, over rows (jackknife)
    gradient_square: float  # |G|^2, unbiased
    n_rows: Count


class TrainingRun(Part):
    """One training. `group` is its purpose in the plan, `name` its name within its size."""

    schema_version: Literal[1] = 1
    group: str  # "grid", "seed", "rate", "shape", "repeat", "precision"
    name: str  # "grid-0.5x"
    size: str  # "100k"
    shape: Shape
    schedule: Schedule
    seed: int
    length: Positive  # D over the rung's compute-optimal tokens
    n_train_tokens: Count  # D, repetitions counted
    n_unique_tokens: Count  # different ones
    train: Estimate  # of the checkpoint on training windows, nats/token
    heldout: Estimate  # on documents never trained on
    transfer: Estimate  # on another domain, the King James Bible
    heldout_steps: tuple[int, ...] = ()  # steps after which a small held-out sample was evaluated
    heldout_curve: tuple[float, ...] = ()  # its losses, nats/token
    noise: Noise | None = None  # where a grid run left its trunk
    run_key: str  # hash of size, data, seed and settings, as in its loss log
    data_sha256: str  # of the training tokens
    provenance: Provenance  # its seconds are those of the training, trunk included

    @property
    def model_size(self) -> str:
        return f"ladder-{self.size}"

    @property
    def early_stopped(self) -> float:
        """Held-out loss had the run stopped where it was least, nats/token.

        The curve was measured on fewer windows than `heldout`, so only its fall below its own end counts.
        """
        if not self.heldout_curve:
            return self.heldout.mean
        return self.heldout.mean + min(self.heldout_curve) - self.heldout_curve[-1]

    @property
    def online_log(self) -> TrainingLog:
        """The loss of every batch before its update."""
        for base in (run_results_dir(), published_results_dir()):
            path = runs_dir(base, self.size) / f"{self.name}.csv.gz"
            if path.exists() and (log := TrainingLog.read(path)).run_key == self.run_key:
                return log
        raise UserError(f"the loss log of {self.model_size}, {self.name}, is missing: run `make ladder`")


def runs_dir(base: Path, size: str) -> Path:
    """Folder of the run records of a size below `base`, a results folder."""
    return base / "ladder" / size / "runs"


def record_path(size: str, name: str) -> Path:
    """Where this machine writes the record of a run."""
    return runs_dir(run_results_dir(), size) / f"{name}.json"


def write(record: TrainingRun, log: TrainingLog) -> Path:
    """Write log and record of a run among this machine's results; the record last, atomically."""
    path = record_path(record.size, record.name)
    log.write(path.with_suffix(".csv.gz"))
    with atomic_path(path) as part:
        part.write_text(record.model_dump_json(indent=1) + "\n")
    return path


def read(path: Path) -> TrainingRun:
    """Raises `UserError` naming the first fault if the file is no valid record."""
    return read_valid(TrainingRun, path, "run record", "delete it and run `make ladder`")


def load_runs(groups: Collection[str] = ()) -> list[TrainingRun]:
    """Published run records, overridden by this machine's, of `groups` (default: all), by N, D and name."""
    found = {}
    for base in (published_results_dir(), run_results_dir()):
        for path in sorted(base.glob("ladder/*/runs/*.json")):
            found[path.relative_to(base)] = read(path)
    wanted = [run for run in found.values() if not groups or run.group in groups]
    return sorted(wanted, key=lambda run: (run.shape.n_params, run.n_train_tokens, run.name))


def publish() -> list[Path]:
    """Copy this machine's run records and their logs into `results/`, to be committed; the files that changed."""
    written = []
    for path in sorted(run_results_dir().glob("ladder/*/runs/*.json")):
        read(path)
        for source in (path.with_suffix(".csv.gz"), path):
            target = published_results_dir() / source.relative_to(run_results_dir())
            if not target.exists() or target.read_bytes() != source.read_bytes():
                with atomic_path(target) as part:
                    shutil.copyfile(source, part)
                written.append(target)
    return written
