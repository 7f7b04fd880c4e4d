"""The result record: one JSON file per (model, revision, quantization), from which every page and figure is made.

A record may also be the arithmetic of a bound and no certificate: the terms computed on rows that are not the model's training
rows, for example. It holds the reason, lies under another name, and is never collected among the certificates.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gengap.bounds.terms import AzumaBound, CompanionBound, OnlineBound, PaperBound, TightBound
from gengap.errors import UserError
from gengap.models.ladder import checkpoint_name
from gengap.models.spec import quantized_name
from gengap.paths import run_results_dir
from gengap.records.base import (
    Accounting,
    Count,
    Estimate,
    Identity,
    Name,
    Part,
    Positive,
    Provenance,
    Sha256,
    Stored,
    optional,
)

PUBLISHED_FILES = ("*bit.json", "*-quantization.json", "*bit.ggq", "loss_log.csv")
CHECKPOINT_FILES = ("*.json", "*.safetensors")
ARITHMETIC = "-arithmetic"  # ends the name of a record that is no certificate: no pattern of certificates finds it


class Quantization(Part):
    method: Name  # "gptq", "quip", "rtn"
    bits: Annotated[int, Field(ge=2, le=16)]  # per weight
    group_size: int  # weights sharing a scale; 0: one scale per output channel
    code_length_bits: dict[Accounting, Positive]  # L(h) under three accountings

    @property
    def nominal_is_met(self) -> bool:
        """Whether the file is no longer than the nominal length: only then are bounds with that length certificates."""
        return self.code_length_bits["archive"] <= self.code_length_bits["nominal"]


class BoundSettings(Part):
    """What was asked for."""

    failure_prob: Annotated[float, Field(gt=0, lt=1)]  # delta
    s_grid_size: Count  # |K|
    n_pilot_windows: int  # drawn to choose (alpha, y0, s)
    n_windows: int  # drawn for the certificate
    n_pairs: int  # IID (window, position) pairs of the paper's mode
    seed: int


class Evidence(Part):
    """Exactly what was measured on what (`gengap.statistics.evaluation`): two runs that agree here looked at the same numbers."""

    checkpoint_sha256: Sha256  # weights before quantization
    quantized_sha256: Sha256  # weights that the archive decodes to
    windows_sha256: Sha256  # the training windows drawn for the certificate, pilot first
    heldout_sha256: Sha256 | None = optional()  # the held-out windows drawn, if any
    archive_sha256: Sha256 | None = optional()  # the file whose length is paid for
    companion_sha256: Sha256 | None = optional()  # weights of all models that were the companion of a window drawn


class Risks(Part):
    """Empirical risks, nats/token."""

    train: Estimate  # Rhat_h, the checkpoint on its training tokens
    quantized: Estimate  # Rhat_q, the quantized model on the same tokens
    heldout: Estimate | None = optional()  # the checkpoint on documents it never saw, if there are any
    heldout_quantized: Estimate | None = optional()


class Bounds(Part):
    """The bounds of one accounting of the code length, nats/token."""

    paper: PaperBound  # Thm 3.4 on sampled windows, certified
    paper_mode: PaperBound  # Thm 3.4 as the paper evaluates it: IID pairs, Hoeffding's correction
    azuma: AzumaBound  # the baseline of the rebuttal
    tight: TightBound  # ours
    companion: CompanionBound | None = optional()  # the paper's predictor, with a companion in the proof
    hedged_little: CompanionBound | None = optional()  # the model mixed with at most 5 % of the companion
    hedged: CompanionBound | None = optional()  # with the best share of it


class CompanionFacts(Part):
    """What the companion was."""

    name: Name  # of the rule that made its weights, "average-10"
    n_snapshots: Count


class BoundRecord(Stored):
    KIND = "record of a bound"
    REMEDY = "run its size again"
    PATTERN = "*/*/*bit.json"
    CHECKED_BY = ("gengap.records.arithmetic:checks", "gengap.records.companion_arithmetic:checks")

    schema_version: Literal[2] = 2
    not_certified: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = (
        optional()
    )  # why this is arithmetic and no certificate
    identity: Identity
    evidence: Evidence
    quantization: Quantization
    settings: BoundSettings
    risks: Risks
    bounds: dict[Accounting, Bounds]
    companion: CompanionFacts | None = optional()
    online: OnlineBound | None = optional()  # of the companion itself
    provenance: Provenance

    @property
    def place(self) -> Path:
        name = quantized_name(self.identity.revision, self.quantization.method, self.quantization.bits)
        mark = ARITHMETIC if self.not_certified else ""
        return Path(self.identity.family, self.identity.size, f"{name}{mark}.json")


def publish_model(family: str, size: str) -> list[Path]:
    """Publish what this machine computed for one size, with the checkpoints that have a record; the files that changed.

    `UserError` without a valid record.
    """
    source = run_results_dir() / family / size
    if not (found := sorted(source.glob("*bit.json"))):
        raise UserError(f"nothing to publish in {source}: run `make sweep` for {family}-{size} first")
    revisions = sorted({"main", *(BoundRecord.read(path).identity.revision for path in found)})
    patterns = [*PUBLISHED_FILES, *(f"{checkpoint_name(r)}/{files}" for r in revisions for files in CHECKPOINT_FILES)]
    return BoundRecord.publish(found, (path for pattern in patterns for path in sorted(source.glob(pattern))))


def load_records(family: str = "", method: str = "", bits: int = 0) -> list[BoundRecord]:
    """Published certificates, overridden by this machine's, `ordered`: all of them, or those of the final models of a family, or of
    these the ones quantized by a method to a number of bits. Mere arithmetic is not among them. Raises `UserError` outside a copy of the project.

    >>> import gengap
    >>> smallest = gengap.load_records("ladder", "gptq", 4)[0]
    >>> bounds = smallest.bounds["archive"]
    >>> smallest.identity.model_size, bounds.tight.value < bounds.paper.value
    ('ladder-50k', True)
    """
    records = ordered(record for record in BoundRecord.collect() if not record.not_certified)
    if family:
        records = [r for r in records if (r.identity.family, r.identity.revision) == (family, "main")]
    if method:
        records = [r for r in records if (r.quantization.method, r.quantization.bits) == (method, bits)]
    return records


def ordered(records: Iterable[BoundRecord]) -> list[BoundRecord]:
    """By family, parameters, training tokens, revision, method and bits."""

    def place(record: BoundRecord) -> tuple:
        model, code = record.identity, record.quantization
        return model.family, model.n_params, model.n_train_tokens, model.revision, code.method, code.bits

    return sorted(records, key=place)


def same_weights(records: Iterable[BoundRecord]) -> list[str]:
    """A sentence for each set of weights that stands in records of several models or revisions: at most one of the names is right."""
    named: dict[str, dict[str, None]] = {}
    for record in records:
        name = f"{record.identity.model_size} at {record.identity.revision}"
        named.setdefault(record.evidence.checkpoint_sha256, {})[name] = None
    return [
        f"{' and '.join(names)} hold the same weights, whatever their names say"
        for names in named.values()
        if len(names) > 1
    ]
