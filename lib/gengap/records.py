"""The result record: one JSON file per (model, revision, quantization), from which every page and figure is made.

Validated when written and when read. Published records lie in `results/`, this machine's in `build/results/`; for the same
key this machine's wins, so a rerun shows up in every figure, and so does a GPU run's record dropped into `results/`.
"""

import importlib.metadata
import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gengap.bounds import AzumaBound, PaperBound, TightBound
from gengap.errors import UserError
from gengap.models import ModelSpec, quantized_name
from gengap.paths import atomic_path, project_root, published_results_dir, run_results_dir

ACCOUNTINGS = ("nominal", "honest", "archive")
Accounting = Literal["nominal", "honest", "archive"]
Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
PACKAGES = ("torch", "transformers", "llmcompressor", "numpy", "constriction")


Schema = TypeVar("Schema", bound=BaseModel)


class Part(BaseModel):
    """A piece of a record of any kind: frozen, no unknown fields, no infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Identity(Part):
    """Which model, trained on what."""

    family: str
    size: str
    revision: str  # "main", or a branch such as "step21000"
    n_params: Count  # N, embeddings included
    n_train_tokens: Count  # D
    vocab_size: Annotated[int, Field(gt=1)]  # V
    seq_len: Count  # predicted tokens per row
    data_sha256: str  # of the training tokens

    @property
    def model_size(self) -> str:
        return f"{self.family}-{self.size}"


class Quantization(Part):
    method: str  # "gptq", "quip", "rtn"
    bits: Annotated[int, Field(ge=2, le=16)]  # per weight
    group_size: int  # weights sharing a scale; 0: one scale per output channel
    code_length_bits: dict[Accounting, Positive]  # L(h) under three accountings


class Settings(Part):
    """What was asked for."""

    failure_prob: Annotated[float, Field(gt=0, lt=1)]  # delta
    s_grid_size: Count  # |K|
    n_pilot_windows: int  # drawn to choose (alpha, y0, s)
    n_windows: int  # drawn for the certificate
    n_pairs: int  # IID (window, position) pairs of the paper's mode
    seed: int


class Estimate(Part):
    """A mean over tokens with its standard error over windows; zero error means that all of them were evaluated."""

    mean: float  # nats/token
    standard_error: Annotated[float, Field(ge=0)]  # nats/token
    n_tokens: Count


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Evidence(Part):
    """Exactly what was measured on what (`gengap.fingerprints`): two runs that agree here looked at the same numbers."""

    checkpoint_sha256: Sha256  # weights before quantization
    quantized_sha256: Sha256  # weights that the archive decodes to
    windows_sha256: Sha256  # the training windows drawn for the certificate, pilot first
    heldout_sha256: Sha256  # the held-out windows drawn


class Risks(Part):
    """Empirical risks, nats/token."""

    train: Estimate  # Rhat_h, the checkpoint on its training tokens
    quantized: Estimate  # Rhat_q, the quantized model on the same tokens
    heldout: Estimate  # the checkpoint on documents it never saw
    heldout_quantized: Estimate


class Bounds(Part):
    """The bounds of one accounting of the code length, nats/token."""

    paper: PaperBound  # Thm 3.4 on sampled windows, certified
    paper_mode: PaperBound  # Thm 3.4 as the paper evaluates it: IID pairs, Hoeffding's correction
    azuma: AzumaBound  # the baseline of the rebuttal
    tight: TightBound  # ours


class Provenance(Part):
    packages: dict[str, str]
    python: str
    machine: str
    device: str
    commit: str
    seconds: Positive  # wall clock of the run that wrote the record


class BoundRecord(Part):
    schema_version: Literal[2] = 2
    identity: Identity
    evidence: Evidence
    quantization: Quantization
    settings: Settings
    risks: Risks
    bounds: dict[Accounting, Bounds]
    provenance: Provenance

    @property
    def name(self) -> str:
        """File name: revision, method and bits; the folder says family and size."""
        stem = quantized_name(self.identity.revision, self.quantization.method, self.quantization.bits)
        return f"{stem}.json"


def identify(spec: ModelSpec, data_sha256: str, revision: str = "main") -> Identity:
    return Identity(
        family=spec.family,
        size=spec.size,
        revision=revision,
        n_params=spec.n_params,
        n_train_tokens=spec.n_train_tokens,
        vocab_size=spec.vocab_size,
        seq_len=spec.seq_len,
        data_sha256=data_sha256,
    )


def provenance(device: str, seconds: float) -> Provenance:
    """The facts of this machine and this environment."""
    git = ["git", "-C", str(project_root()), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return Provenance(
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        device=device,
        commit=commit or "unknown",
        seconds=seconds,
    )


def write(record: BoundRecord, base: Path | None = None) -> Path:
    """Write the record below `base` (default: this machine's results); atomic."""
    path = (base or run_results_dir()) / record.identity.family / record.identity.size / record.name
    with atomic_path(path) as part:
        part.write_text(record.model_dump_json(indent=1) + "\n")
    return path


def read_valid(schema: type[Schema], path: Path, kind: str, remedy: str) -> Schema:
    """The file as `schema`; `UserError` naming the first fault and the remedy if it is no valid `kind`."""
    try:
        return schema.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "file"
        raise UserError(f"{path} is no valid {kind}: {place}: {fault['msg']}; {remedy}") from error


def read(path: Path) -> BoundRecord:
    """Raises `UserError` naming the first fault if the file is no valid record."""
    return read_valid(BoundRecord, path, "record", "run its size again")


PUBLISHED_FILES = (
    "*bit.json",
    "*-quantization.json",
    "loss_log.csv",
    "*bit.ggq",
    "checkpoint/*.json",
    "checkpoint/*.safetensors",
)


def publish(family: str, size: str) -> list[Path]:
    """Copy what this machine computed for one size into `results/`, to be committed; the files written.

    Every record is read, and so validated, before anything is copied. Raises `UserError` if there is none.
    """
    source, target = run_results_dir() / family / size, published_results_dir() / family / size
    if not (found := sorted(source.glob("*bit.json"))):
        raise UserError(f"nothing to publish in {source}: run `make sweep` for {family}-{size} first")
    for path in found:
        read(path)
    copied = []
    for path in [path for pattern in PUBLISHED_FILES for path in sorted(source.glob(pattern))]:
        with atomic_path(target / path.relative_to(source)) as part:
            shutil.copyfile(path, part)
        copied.append(target / path.relative_to(source))
    return copied


def load_records() -> list[BoundRecord]:
    """Published records, overridden by this machine's, `ordered`."""
    records = {}
    for base in (published_results_dir(), run_results_dir()):
        for path in sorted(base.glob("*/*/*bit.json")):
            records[path.relative_to(base)] = read(path)
    return ordered(records.values())


def ordered(records: Iterable[BoundRecord]) -> list[BoundRecord]:
    """By family, parameters, training tokens, revision, method and bits."""
    return sorted(
        records,
        key=lambda r: (
            r.identity.family,
            r.identity.n_params,
            r.identity.n_train_tokens,
            r.identity.revision,
            r.quantization.method,
            r.quantization.bits,
        ),
    )
