"""A model that is in no registry: a checkpoint in the hub's layout and the rows it was trained on go in, a bound record comes out.

What can be refused is refused before anything is computed. The quantized form is kept by the hash of what it was made of, so that an
archive of another training is never taken for this one's, and a run that was killed goes on where it was.
"""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gengap import hardware
from gengap.compression import archive
from gengap.compression.archive import Hypothesis
from gengap.compression.methods import DEFAULT_BITS, DEFAULT_METHOD, Compressor, check
from gengap.errors import UserError
from gengap.models.loading import load_checkpoint
from gengap.models.spec import quantized_name
from gengap.paths import atomic_path, build_dir, run_results_dir
from gengap.records.base import NAME
from gengap.records.bound import BoundRecord
from gengap.statistics.evaluation import statistics_dir, weights_sha256
from gengap.tokens.files import data_files
from gengap.tokens.sources import TrainingRows, open_rows
from gengap.workflow.certify import certify, own_identity
from gengap.workflow.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NOT_ITS_ROWS = "these are not its training rows"
OF_TOKENS = "bin", "npy", "megatron", "corpus", "shards"  # kinds of rows that need no tokenizer
GPU_SHARE = 3  # times the checkpoint's bytes: itself, its quantized form, and what they compute
GROUP_SIZE, N_CALIBRATION_ROWS = 128, 128  # of the quantizer, as for the models of the book


@dataclass(frozen=True)
class OwnModel:
    """A checkpoint and its text. `UserError` for a name that cannot be one."""

    source: str  # a folder, or a repository of the hub
    rows: str  # a file, folder, pattern or data set (`gengap.tokens.sources`)
    revision: str | None = None  # of a repository
    name: str = ""  # in records and figures; default: that of the folder
    heldout: str | None = None  # rows that it was not trained on
    training_rows: bool = True  # else the record is arithmetic
    n_train_tokens: int | None = None  # D, each reading counted; default: what the rows hold
    reading: dict[str, Any] = field(default_factory=dict)  # seq_len, dtype, column, split, ... of `open_rows`

    def __post_init__(self):
        if not re.fullmatch(NAME, self.title):
            raise UserError(f"{self.title!r} names no model: give --name, letters, digits, dots and dashes")
        if not self.training_rows and not self.n_train_tokens:
            raise UserError(
                f"{NOT_ITS_ROWS}: give the number of tokens that the model was trained on (--n-train-tokens)"
            )

    @property
    def title(self) -> str:
        """Its name in records and figures."""
        return self.name or Path(self.source).expanduser().resolve().name

    @property
    def checkpoint(self) -> str:
        """The revision that records name."""
        return re.sub(r"[^A-Za-z0-9._-]", "-", self.revision or "main")

    @property
    def results_dir(self) -> Path:
        """Where its archives and records are written."""
        return run_results_dir() / "own" / self.title

    def read(self) -> "Given":
        """The checkpoint, its rows and others, looked at; `UserError` for what cannot be certified."""
        for source in filter(None, (self.rows, self.heldout)):
            data_files(source)  # are they there, before the model is read?
        model = load_checkpoint(self.source, self.revision)
        model.to(hardware.device_for(GPU_SHARE * sum(w.nbytes for w in model.parameters())))
        counted = self.n_train_tokens if self.training_rows else None
        rows = self.open(self.rows, model, n_train_tokens=counted)
        if not self.training_rows and self.n_train_tokens < rows.n_train_tokens:
            raise UserError(
                f"{self.rows} holds more than {self.n_train_tokens:,} tokens: give fewer rows, or the number it was trained on"
            )
        heldout = self.open(self.heldout, model) if self.heldout else None
        if heldout is not None and heldout.sha256 == rows.sha256:
            raise UserError(
                f"{self.heldout} holds the training rows: held-out rows are those that it was not trained on"
            )
        return Given(model, rows, heldout)

    def open(self, source: str, model: "PreTrainedModel", **more: Any) -> TrainingRows:
        """The rows in `source`, with the model's tokenizer where they may be text."""
        tokenizer = None if data_files(source)[0] in OF_TOKENS else self.tokenizer()
        return open_rows(source, vocab_size=model.config.vocab_size, tokenizer=tokenizer, **self.reading, **more)

    def tokenizer(self) -> "PreTrainedTokenizerBase | None":
        """The tokenizer that lies beside the checkpoint, if one does."""
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(self.source, revision=self.revision or "main", trust_remote_code=False)
        except Exception:  # whatever a folder without a tokenizer leads to: rows of text then ask for one
            return None


class Given(NamedTuple):
    """What a certificate is made from."""

    model: "PreTrainedModel"
    rows: TrainingRows
    heldout: TrainingRows | None


def certify_own(
    own: OwnModel,
    method: str = DEFAULT_METHOD,
    bits: int = DEFAULT_BITS,
    settings: Settings | None = None,
    tell: Callable[[str], object] = lambda note: None,
) -> BoundRecord:
    """The record of a checkpoint that is in no registry, written with its archive below `own.results_dir`.

    `tell` hears what is not counted of the rows, and why. Raises `UserError`, before any long work, for settings, rows or models
    that cannot be: see `gengap.models.loading`, `gengap.tokens.sources`, `gengap.statistics.checks` and
    `gengap.models.architecture`.
    """
    started, settings = time.monotonic(), settings or Settings()
    check(method, bits)
    model, rows, heldout = own.read()
    for note in rows.notes:
        tell(note)
    n_train_tokens = None if own.training_rows else own.n_train_tokens
    identity = own_identity(model, rows, own.title, own.checkpoint, n_train_tokens)
    path = archive_path(model, rows, method, bits)
    record = certify(
        model,
        rows,
        heldout,
        hypothesis=lambda: quantized_form(path, model, rows, method, bits),
        settings=settings,
        identity=identity,
        store=(store := statistics_dir() / "own" / own.title),
        started=started,
        not_certified=None if own.training_rows else NOT_ITS_ROWS,
    )
    with atomic_path(own.results_dir / f"{quantized_name(own.checkpoint, method, bits)}.ggq") as part:
        shutil.copyfile(path, part)
    record.write()
    shutil.rmtree(store, ignore_errors=True)
    return record


def archive_path(model: "PreTrainedModel", rows: TrainingRows, method: str, bits: int) -> Path:
    """Where this machine keeps the archive of these weights, quantized with these rows at hand."""
    made_of = [weights_sha256(model), rows.sha256, method, bits, GROUP_SIZE, N_CALIBRATION_ROWS]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return build_dir() / "cache" / "archives" / f"{key[:32]}.ggq"


def quantized_form(path: Path, model: "PreTrainedModel", rows: TrainingRows, method: str, bits: int) -> Hypothesis:
    """What the archive at `path` decodes to; it is made if it is not there."""
    if not path.exists():
        state = path.with_suffix(".part")
        compressor = Compressor(model, rows, GROUP_SIZE, N_CALIBRATION_ROWS, state=state)
        content = archive.encode(compressor.quantize(method, bits), compressor.architecture)
        with atomic_path(path) as part:
            part.write_bytes(content)
        state.unlink(missing_ok=True)
    return Hypothesis.read(path, method, bits)
