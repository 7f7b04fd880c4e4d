"""Jobs: one model at one revision under one quantization; which there are, where their files lie, what they ask of a machine.

The graph (`Snakefile`), the command line and the book all name a run by a `Job`, so that they agree on its files:
`build/results/<family>/<size>/<revision>-<method>-<bits>bit.json` is its record.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gengap import models
from gengap.compression.methods import DEFAULT_BITS, DEFAULT_METHOD, check
from gengap.errors import UserError
from gengap.models.spec import ModelSpec, quantized_name
from gengap.paths import run_results_dir
from gengap.records.survey import place_of
from gengap.workflow.artefacts import usable_archive
from gengap.workflow.settings import Settings

FLOPS_PER_S = {"cpu": 5e10, "gpu": 2e13}  # cautious: two cores, and a GPU used at a tenth of its speed
BEST_CODE = "qat", 3  # of the shortest bound
SURVEYED = "ladder-50k"  # for chapter 16; the surveys of larger rungs are published
STARTUP_MINUTES = 30  # imports, rows over a slow network, quantization, figures


@dataclass(frozen=True)
class Job:
    """What one certificate is about."""

    spec: ModelSpec
    method: str = DEFAULT_METHOD  # quantizer
    bits: int = DEFAULT_BITS  # per quantized weight

    @property
    def name(self) -> str:
        """File stem, `<revision>-<method>-<bits>bit`."""
        return quantized_name(self.spec.revision, self.method, self.bits)

    @property
    def title(self) -> str:
        """`<model size>/<name>`: unique among all jobs."""
        return f"{self.spec.model_size}/{self.name}"

    @property
    def archive(self) -> Path | None:
        """The quantized model, if it is there and was made from the checkpoint that is here (this machine's, else the published one)."""
        return usable_archive(self.spec, self.method, self.bits)

    @property
    def record(self) -> Path:
        """The record that the run writes."""
        return self.spec.results_dir() / f"{self.name}.json"

    @property
    def memory_mb(self) -> int:
        """Main memory at the peak, 10^6 bytes."""
        return math.ceil(self.spec.memory_bytes() / 1e6)

    def minutes(self, gpus: int, settings: Mapping[str, Any] | None = None) -> int:
        """A generous estimate of the run's wall clock, for schedulers that ask for one.

        The passes of a certificate: four over all windows (two models, seen and unseen rows), three for the choice of smoothing, two
        over the pairs, each of which reads a whole row; two operations per parameter and token.
        """
        asked = Settings(**(settings or {})).on(self.spec.n_train_tokens // self.spec.seq_len)
        n_rows = 7 * (asked.n_pilot_windows + asked.n_windows) + 2 * asked.n_pairs
        operations = 2.0 * self.spec.n_params * n_rows * self.spec.seq_len
        return STARTUP_MINUTES + math.ceil(operations / FLOPS_PER_S["gpu" if gpus else "cpu"] / 60)


def expand(
    model_sizes: Iterable[str], revisions: Iterable[str] = (), methods: Iterable[str] = (), bits: Iterable[int] = ()
) -> list[Job]:
    """Every combination, each job once, in the order of the lists; an empty list stands for the default alone.

    Lengths of rungs ("4x") and steps of released models do not mix: what only the others of the list have is left out for a size,
    and if nothing remains it takes its own. Raises `UserError` for an unknown size, revision or method, and for a number of bits
    that there is not.
    """
    methods, bits = list(methods) or [DEFAULT_METHOD], list(bits) or [DEFAULT_BITS]
    revisions = list(revisions) or [""]
    for method, b in itertools.product(methods, bits):
        check(method, b)
    found, specs = [], [models.get(size) for size in model_sizes]
    for spec in specs:
        others = {r for other in specs if other.trained_here != spec.trained_here for r in other.revisions()}
        own = [r for r in revisions if r in spec.revisions() or r not in others] or [""]
        found += [
            Job(models.get(spec.model_size, r), method, b) for r, method, b in itertools.product(own, methods, bits)
        ]
    if not found:
        raise UserError("no model size is named: choose some of those that `gengap sizes` lists")
    return list(dict.fromkeys(found))


def default_job(model_size: str) -> Job:
    """The job whose page stands in the book for its size."""
    return Job(models.get(model_size))


def book_jobs() -> list[Job]:
    """Those of the book's own pages, with the default settings."""
    return [default_job(size) for size in models.DEFAULT_LADDER]


def shortest_jobs() -> list[Job]:
    """The best code of the smallest of these models, certified too: retraining and bounding the others takes too long for each build."""
    return [Job(models.get(models.DEFAULT_LADDER[0]), *BEST_CODE)]


def survey_shown() -> Path:
    """Where the survey of chapter 16 is made."""
    return run_results_dir() / place_of(models.get(SURVEYED))
