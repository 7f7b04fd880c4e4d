"""The record of a requential code: what it would cost to send a training of a student, how good the student is, and what that bounds.

One JSON file, and beside it the cost of every step, from which its lengths are computed again whenever it is read.
"""

import gzip
import hashlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from gengap import files
from gengap.bounds.requential import RequentialLength, certain_length, elias_delta_bits, expected_length, path_length
from gengap.bounds.sampling import split_failure_prob
from gengap.bounds.terms import CodedModel, CompanionBound, OnlineBound, PaperBound, TightBound
from gengap.errors import UserError
from gengap.paths import atomic_path, published_results_dir, run_results_dir
from gengap.records.arithmetic import Check, checked, equal, finite
from gengap.records.base import (
    Count,
    Estimate,
    Identity,
    Name,
    Part,
    Positive,
    Provenance,
    Sha256,
    Stored,
    listing,
    optional,
)
from gengap.records.bound import BoundSettings, Evidence
from gengap.requential.coding import read_file
from gengap.requential.recipe import COSTS, record_name

Length = Literal["expected", "certain", "path"]
LENGTHS = ("expected", "certain", "path")  # M + H + sqrt(V/delta); given the draws; with no code (statement T14)
_MOST = 2**26  # bytes of the costs of a training


class Pieces(Part):
    """A code length and its parts, bits."""

    divergence: Annotated[float, Field(ge=0)]
    overhead: Annotated[float, Field(ge=0)]
    fluctuation: Annotated[float, Field(ge=0)]

    @property
    def total(self) -> float:
        return self.divergence + self.overhead + self.fluctuation


class Teaching(Part):
    """How teacher and student were kept together."""

    least_window: Count  # steps that the teacher's average remembers at least
    teacher_share: Positive  # of the steps so far
    student_share: Positive
    threshold: Annotated[float, Field(ge=0)]  # nats a token above which the teacher waits; 0: never
    projected: bool
    rows_per_step: Count  # that the student learns from
    rows_at_once: Count  # drawn from one state of the teacher
    n_steps: Count  # of the student
    n_teacher_steps: Count


class StudentBounds(Part):
    """The bounds of one accounting of the length, nats/token."""

    paper: PaperBound  # Thm 3.4
    tight: TightBound  # ours
    companion: CompanionBound  # the paper's predictor, with the teacher of each moment in the proof
    hedged_little: CompanionBound
    hedged: CompanionBound


class RequentialRecord(Stored):
    """A student, the code that its training is, and what is bounded with it."""

    KIND = "record of a requential code"
    REMEDY = "delete it and run `gengap requential` again"
    PATTERN = "*/*/requential-*seed*.json"
    CHECKED_BY = ("gengap.records.requential:checks",)

    schema_version: Literal[1] = 1
    recipe: Name
    control: Name | None = optional()  # what was read in place of the text
    seed: Annotated[int, Field(ge=0)]
    identity: Identity
    teaching: Teaching
    length_failure_prob: Annotated[float, Field(gt=0, lt=1)]  # that a length is greater than its record says
    lengths: dict[Length, Pieces]
    prequential_nats: float  # the sum of the teacher's losses before each step
    student_train: Estimate  # nats/token, on the training tokens of the certificate
    student_heldout: Estimate
    teacher_heldout: Estimate
    settings: BoundSettings | None = optional()
    evidence: Evidence | None = optional()
    bounds: dict[Length, StudentBounds] = Field(default={}, exclude_if=lambda bounds: not bounds)
    online: OnlineBound | None = optional()  # of the teacher of each moment
    run_key: Sha256
    provenance: Provenance  # its seconds are those of the training

    @property
    def name(self) -> str:
        rows = 0 if self._usual_rows else self.teaching.rows_per_step
        return record_name(self.recipe, self.control or "", rows, self.seed)

    @property
    def _usual_rows(self) -> bool:
        teaching = self.teaching
        return teaching.rows_per_step * self.identity.seq_len * teaching.n_teacher_steps == self.identity.n_train_tokens

    @property
    def place(self) -> Path:
        return Path(self.identity.family, self.identity.size, f"{self.name}.json")

    def bits_per_param(self, which: Length = "path") -> float:
        """A length over N."""
        return self.lengths[which].total / self.identity.n_params

    @property
    def costs(self) -> dict[str, np.ndarray]:
        """Of every step, (n_steps,) each: nats, nats^2 and losses in nats/token."""
        for base in (run_results_dir(), published_results_dir()):
            path = (base / self.place).with_suffix(".csv.gz")
            if path.exists() and (found := read_costs(path))[0] == self.run_key:
                return found[1]
        raise UserError(f"the costs of {self.identity.model_size}, {self.name}, are missing: {self.REMEDY}")


def lengths_of(costs: dict[str, np.ndarray], failure_prob: float) -> dict[Length, RequentialLength]:
    """All three lengths of a training, from the cost of its steps."""
    return {
        "expected": expected_length(costs["kl"], costs["row_variance"], failure_prob),
        "certain": certain_length(costs["log_ratio"], failure_prob),
        "path": path_length(costs["log_ratio"]),
    }


@checked
def checks(record: RequentialRecord) -> Iterator[Check]:
    """Lengths from the costs of the steps, and complexities from lengths."""

    costs = record.costs
    for which, length in lengths_of(costs, record.length_failure_prob).items():
        for part, needed in length._asdict().items():
            yield equal("code lengths", f"lengths.{which}.{part}", getattr(record.lengths[which], part), needed)
    yield equal("counts", "teaching.n_steps", record.teaching.n_steps, len(costs["kl"]))
    yield equal("counts", "teaching.n_teacher_steps", record.teaching.n_teacher_steps, costs["teacher_step"][-1])
    losses = costs["teacher_loss"][np.isfinite(costs["teacher_loss"])]
    n_tokens = record.identity.n_train_tokens // record.teaching.n_teacher_steps
    yield equal("code lengths", "prequential_nats", record.prequential_nats, float(np.sum(losses)) * n_tokens)
    together = {part is None for part in (record.settings, record.evidence, record.online)} | {not record.bounds}
    yield Check(
        "counts", "bounds", len(together) == 1, "bounds, their settings, evidence and the teacher's bound go together"
    )
    for which, bounds in record.bounds.items():
        delta = split_failure_prob(record.settings.failure_prob).martingale
        coded = CodedModel(
            record.lengths[which].total, record.identity.n_train_tokens, record.identity.vocab_size, delta
        )
        for kind, bound in dict(bounds).items():
            place = f"bounds.{which}.{kind}"
            yield equal("code lengths", f"{place}.code_length_bits", bound.code_length_bits, coded.code_length_bits)
            yield equal("risks", f"{place}.train_risk", bound.train_risk, record.student_train.mean)
            yield finite(place, bound)
            if kind in ("paper", "tight"):
                size = bound.grid_size if kind == "tight" else record.settings.s_grid_size
                yield equal("complexity", f"{place}.complexity", bound.complexity, coded.complexity(size))


def write_costs(path: Path, run_key: str, costs: np.ndarray) -> None:
    """(n_steps, 7) costs in the order of `COSTS`, seven digits each; what `read_costs` gives back are the numbers that count."""
    text = io.StringIO()
    np.savetxt(text, costs, fmt="%.7g", delimiter=",")
    content = files.seal(f"# run={run_key}\n{','.join(COSTS)}\n{text.getvalue()}".encode())
    with atomic_path(path) as part:
        part.write_bytes(gzip.compress(content, mtime=0))


def read_costs(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """(the run's key, its costs) of `write_costs`; `UserError` if the file is not whole."""
    remedy = RequentialRecord.REMEDY
    content = files.read(path, _MOST)
    unpacked = files.unpack(path, content, _MOST, remedy)
    with files.one_sentence(f"{path} holds no costs of a training", remedy):
        body, sealed = files.unseal(unpacked)
        head, names, *lines = body.decode("ascii").splitlines()
        if not sealed or tuple(names.split(",")) != COSTS:
            raise ValueError("it is not whole")
        return head.removeprefix("# run="), dict(zip(COSTS, np.loadtxt(lines, delimiter=",", ndmin=2).T, strict=True))


class RequentialFile(Stored):
    """The first steps of a student's training as a real file, which lies beside the record; decoded once more when it was made."""

    KIND = "record of a requential file"
    REMEDY = "delete it and run `gengap requential` with --file-steps again"
    PATTERN = "*/*/requential-file.json"
    CHECKED_BY = ("gengap.records.requential:file_checks",)

    schema_version: Literal[1] = 1
    family: Name
    size: Name
    seq_len: Count  # blocks a step: the next token of each row
    n_steps: Count
    n_tokens: Count  # that the student learned from
    most_proposals: Count  # that the encoder looked at for a block
    file_bits: Count
    delta_bits: Count  # the same indices in Elias' delta code
    divergence_bits: Positive  # sum of KL(teacher || student)
    ratio_bits: Positive  # sum of log2(1 + r) of the tokens sent, block by block
    cut_share: Annotated[float, Field(ge=0, le=1)]  # of the blocks: their search was cut off
    student_sha256: Sha256  # weights after the last step, of encoder and decoder
    file_sha256: Sha256
    decoder_seconds: Positive
    provenance: Provenance  # its seconds are the encoder's

    @property
    def place(self) -> Path:
        return Path(self.family, self.size, "requential-file.json")

    @property
    def file(self) -> Path:
        """The file itself."""
        found = [base / self.place.with_suffix(".grq") for base in (run_results_dir(), published_results_dir())]
        if not (there := [path for path in found if path.exists()]):
            raise UserError(f"the requential file of {self.family}-{self.size} is missing: {self.REMEDY}")
        return there[0]


@checked
def file_checks(record: RequentialFile) -> Iterator[Check]:
    """Lengths from the file itself."""

    facts, indices = read_file(record.file)
    same = hashlib.sha256(record.file.read_bytes()).hexdigest() == record.file_sha256
    yield Check("code lengths", "file_sha256", same, "the file beside it is another one")
    yield equal("code lengths", "file_bits", record.file_bits, 8 * record.file.stat().st_size)
    yield equal("code lengths", "delta_bits", record.delta_bits, int(elias_delta_bits(indices).sum()))
    yield equal("counts", "n_steps", record.n_steps, facts["n_steps"])
    yield equal("counts", "seq_len", record.n_steps * record.seq_len, len(indices))
    yield Check("counts", "most_proposals", indices.max() <= record.most_proposals, f"an index is {indices.max()}")


def write_requential_file(record: RequentialFile, file: Path) -> Path:
    """Put a file and its record among this machine's results; the record last."""
    target = (run_results_dir() / record.place).with_suffix(".grq")
    with listing(run_results_dir(), [target]), atomic_path(target) as part:
        shutil.copyfile(file, part)
    return record.write()


def write_requential(record: RequentialRecord, costs: np.ndarray) -> Path:
    """Write costs and record among this machine's results; the record last."""
    path = (run_results_dir() / record.place).with_suffix(".csv.gz")
    with listing(run_results_dir(), [path]):
        write_costs(path, record.run_key, costs)
    return record.write()


def load_requential(family: str = "", recipe: str = "") -> list[RequentialRecord]:
    """Published records, overridden by this machine's, by parameters, recipe and seed: all, or those of a family or a recipe; controls last."""
    found = [
        r
        for r in RequentialRecord.collect()
        if (not family or r.identity.family == family) and (not recipe or r.recipe == recipe)
    ]
    return sorted(found, key=lambda r: (r.control or "", r.identity.n_params, r.recipe, r.name))


def publish_requential() -> list[Path]:
    """Publish this machine's records, the costs of their steps and its files; the files that changed."""
    base = run_results_dir()
    found = sorted(base.glob(RequentialRecord.PATTERN))
    changed = RequentialRecord.publish(found, (file for path in found for file in (path.with_suffix(".csv.gz"), path)))
    sent = sorted(base.glob(RequentialFile.PATTERN))
    return changed + RequentialFile.publish(sent, (file for path in sent for file in (path.with_suffix(".grq"), path)))
