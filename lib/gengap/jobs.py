"""Jobs: one model at one revision under one quantization; which there are, where their files lie, what they ask of a machine.

The graph (`Snakefile`), the command line and the book all name a run by a `Job`, so that they agree on its files:
`build/results/<family>/<size>/<revision>-<method>-<bits>bit.json` is its record, and
`build/notebooks/05_bound/<model size>/<revision>-<method>-<bits>bit.ipynb` its executed page.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gengap import models, published
from gengap.errors import UserError
from gengap.models import ModelSpec, PythiaSpec
from gengap.paths import build_dir, project_root

CHAPTER = "05_bound"  # the notebook of one model, whose parameters are a job's settings
LADDER_MEMORY_MB = 2500  # a rung's run at its peak: the interpreter, torch, the statistics of its windows
FLOPS_PER_S = {"cpu": 5e10, "gpu": 2e13}  # cautious: two cores, and a GPU used at a tenth of its speed
STARTUP_MINUTES = 30  # imports, rows over a slow network, quantization, figures


@dataclass(frozen=True)
class Job:
    """What one run of the chapter computes."""

    spec: ModelSpec
    method: str  # quantizer: "gptq"
    bits: int  # per quantized weight

    @property
    def name(self) -> str:
        """File stem, `<revision>-<method>-<bits>bit`."""
        return models.quantized_name(self.spec.revision, self.method, self.bits)

    @property
    def title(self) -> str:
        """`<model size>/<name>`: unique among all jobs."""
        return f"{self.spec.model_size}/{self.name}"

    @property
    def executed(self) -> Path:
        """The page that the run leaves."""
        return executed_dir() / self.spec.model_size / f"{self.name}.ipynb"

    @property
    def archive(self) -> Path | None:
        """The quantized model, if it is there (this machine's, else the published one)."""
        return self.spec.find(f"{self.name}.ggq")

    @property
    def record(self) -> Path:
        """The record that the run writes."""
        return self.spec.results_dir() / f"{self.name}.json"

    @property
    def memory_mb(self) -> int:
        """Main memory at the peak, 10^6 bytes."""
        if not isinstance(self.spec, PythiaSpec):
            return LADDER_MEMORY_MB
        from gengap import checkpoints

        return math.ceil(checkpoints.run_bytes(self.spec, checkpoints.AUTOMATIC[0]) / 1e6)

    def minutes(self, gpus: int, settings: Mapping[str, Any] | None = None) -> int:
        """A generous estimate of the run's wall clock, for schedulers that ask for one.

        The passes of the chapter: four over all windows (two models, seen and unseen rows), three for the choice of smoothing, two over
        the pairs, each of which reads a whole row; two operations per parameter and token.
        """
        asked = {**defaults(), **(settings or {})}
        n_rows = 7 * (asked["n_pilot_windows"] + asked["n_windows"]) + 2 * asked["n_pairs"]
        operations = 2.0 * self.spec.n_params * n_rows * self.spec.seq_len
        return STARTUP_MINUTES + math.ceil(operations / FLOPS_PER_S["gpu" if gpus else "cpu"] / 60)


def chapter_path() -> Path:
    return project_root() / "notebooks" / f"{CHAPTER}.ipynb"


def executed_dir() -> Path:
    return build_dir() / "notebooks" / CHAPTER


def defaults() -> dict[str, Any]:
    """The chapter's parameters with their own values: what a job uses unless told otherwise."""
    from gengap import notebooks

    return {p.name: p.default for p in notebooks.parameters(chapter_path())}


def revisions(spec: ModelSpec) -> list[str]:
    """Every revision of a model, by training time; a rung has one."""
    if not isinstance(spec, PythiaSpec):
        return [spec.revision]
    facts = published.facts("pythia")
    every = facts["checkpoint_every_steps"]
    steps = [0, *(2**k for k in range(10)), *range(every, facts["last_step"] + 1, every)]
    return [f"step{step}" for step in steps]


def expand(
    model_sizes: Iterable[str],
    revisions: Iterable[str] = (),
    methods: Iterable[str] = (),
    bits: Iterable[int] = (),
) -> list[Job]:
    """Every combination, each job once, in the order of the lists; an empty list stands for the default alone.

    A size with a single checkpoint, a rung, takes that one whatever `revisions` says. Raises `UserError` for an unknown size or
    revision, and for bits outside 2 to 8.
    """
    own = defaults()
    methods, bits, revisions = list(methods) or [own["method"]], list(bits) or [own["bits"]], list(revisions)
    if bad := [b for b in bits if not 2 <= b <= 8]:
        raise UserError(f"{bad[0]} bits per weight: choose 2 to 8")
    found: dict[Job, None] = {}
    for size in model_sizes:
        spec = models.get(size)
        many = revisions if isinstance(spec, PythiaSpec) and revisions else [""]
        for revision, method, b in itertools.product(many, methods, bits):
            found[Job(models.get(size, revision), method, b)] = None
    if not found:
        raise UserError("no model size is named: choose some of those that `gengap sizes` lists")
    return list(found)


def check_methods(methods: Iterable[str]) -> None:
    """Raise `UserError` for a quantization method that there is not."""
    if unknown := [m for m in methods if m != defaults()["method"]]:
        from gengap.compression import METHODS  # only now: it takes seconds

        for method in unknown:
            if method not in METHODS:
                raise UserError(f"unknown quantization method {method!r}: choose one of {', '.join(METHODS)}")


def default_job(model_size: str) -> Job:
    """The job whose page stands in the book for its size."""
    [job] = expand([model_size])
    return job
