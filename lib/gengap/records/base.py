"""What records of every kind share: checked parts, where they lie, who made them; one way to read, write, collect and publish.

A record is one JSON file, validated when written and when read. Published ones lie in `results/`, this machine's in
`build/results/`; for the same place this machine's wins, so that a rerun shows up in every figure, and so does a record of
another machine dropped into `results/`.
"""

import contextlib
import importlib.metadata
import json
import math
import pkgutil
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gengap import files, locks
from gengap.errors import UserError
from gengap.models.spec import ModelSpec
from gengap.paths import atomic_path, project_root, published_results_dir, run_results_dir

ACCOUNTINGS = ("nominal", "honest", "archive")
Accounting = Literal["nominal", "honest", "archive"]
Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
NAME = "^[A-Za-z0-9][A-Za-z0-9._-]*$"  # part of a file's name, and shown on pages
Name = Annotated[str, Field(pattern=NAME, max_length=100)]
Words = Annotated[
    str, Field(pattern=r"^[^<>&\"'`\x00-\x1f\x7f]*$", max_length=200)
]  # shown on pages: nothing that could be markup
PACKAGES = ("gengap", "torch", "transformers", "llmcompressor", "numpy", "constriction")


def optional() -> Any:
    """A field that is None where there is nothing to say, and then not in the file."""
    return Field(default=None, exclude_if=lambda value: value is None)


KINDS = {  # what a person calls each kind of record, by a field that no kind after it has
    "recipe": "the record of a requential code",
    "file_bits": "the record of a requential file",
    "bounds": "the record of a bound",
    "cells": "a survey of quantization",
    "schedule": "the record of a training",
    "predictions": "a forecast",
}


def kind_of(content: bytes) -> str:
    """The field of `KINDS` by which a file's content is known; empty for anything else."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    return next((field for field in KINDS if isinstance(fields, dict) and field in fields), "")


def content_of(path: Path) -> bytes:
    """What a file of records holds; `UserError` as `gengap.files.read`, and for a pattern that matches nothing."""
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the records in it, such as {path}/main-gptq-4bit.json")
    if any(letter in str(path) for letter in "*?[") and not path.exists():
        raise UserError(f"no file matches {path}: look at the folder's name")
    return files.read(path, files.MOST_RECORD, compare=False)


class Part(BaseModel):
    """A piece of a record of any kind: frozen, no unknown fields, no infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stored(Part):
    """A record that has a file of its own."""

    KIND: ClassVar[str]  # what a person calls it
    REMEDY: ClassVar[str]  # what to do about a file that is none
    PATTERN: ClassVar[str]  # of its place below a results folder
    CHECKED_BY: ClassVar[
        tuple[str, ...]
    ] = ()  # functions, as "module:name", that say what follows from other numbers of it

    @property
    def place(self) -> Path:
        """Its file below a results folder, `<family>/<size>/...`."""
        raise NotImplementedError

    @classmethod
    def read(cls, path: Path, recompute: bool = True) -> Self:
        """The record in a file, which is as it was listed, and every number that follows from others as it follows (`recompute`).

        Raises `UserError` naming the first fault if the file is no valid record of this kind, or what it is instead.
        """
        content = content_of(path)
        try:
            record = cls.model_validate_json(content)
        except ValidationError as error:
            if (kind := kind_of(content)) and kind not in cls.model_fields:
                raise UserError(f"{path} is {KINDS[kind]} and no {cls.KIND}: leave it out") from error
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "file"
            raise UserError(f"{path} is no valid {cls.KIND}: {where}: {fault['msg']}; {cls.REMEDY}") from error
        for check in record.checks() if recompute else ():
            if not check.holds:
                raise UserError(f"{path} contradicts itself: {check.place}: {check.said}; {cls.REMEDY}")
        if recompute:
            files.check_listed(path, content)
        return record

    def checks(self) -> Iterator[Any]:
        """What its numbers have to be if they are taken together (`gengap.records.arithmetic.Check`)."""
        for name in self.CHECKED_BY:
            yield from pkgutil.resolve_name(name)(self)

    def write(self, base: Path | None = None) -> Path:
        """Write it below `base` (default: this machine's results), and list it there; atomic."""
        path = (base := base or run_results_dir()) / self.place
        with listing(base, [path]), atomic_path(path) as part:
            part.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path

    @classmethod
    def collect(cls, pattern: str = "") -> list[Self]:
        """Published records, overridden by this machine's, whose place matches `pattern` (default: all)."""
        bases = published_results_dir(), run_results_dir()
        paths = [(base, path) for base in bases for path in sorted(base.glob(pattern or cls.PATTERN))]
        return list({path.relative_to(base): cls.read(path) for base, path in paths}.values())

    @classmethod
    def publish(cls, records: Iterable[Path], sources: Iterable[Path]) -> list[Path]:
        """Copy `sources` from this machine's results to `results/`, to be committed; those that changed.

        Every record is read, and so validated, before anything is copied.
        """
        for path in records:
            cls.read(path)
        there = {published_results_dir() / source.relative_to(run_results_dir()): source for source in sources}
        changed = [t for t, source in there.items() if not t.exists() or t.read_bytes() != source.read_bytes()]
        with listing(published_results_dir(), changed):
            for target in changed:
                with atomic_path(target) as part:
                    shutil.copyfile(there[target], part)
        return changed


@contextlib.contextmanager
def listing(folder: Path, changed: Iterable[Path]) -> Iterator[None]:
    """Write or remove files of a results folder inside, and its list says what they are afterwards."""
    with locks.writing(folder / files.LISTING, wait=True):
        files.list_files(folder, changed, out=True)
        yield
        files.list_files(folder, changed)


class Identity(Part):
    """Which model, trained on what."""

    family: Name
    size: Name
    revision: Name  # "main", or a branch such as "step21000"
    n_params: Count  # N, embeddings included
    n_train_tokens: Count  # D
    vocab_size: Annotated[int, Field(gt=1)]  # V
    seq_len: Count  # predicted tokens per row
    data_sha256: Sha256  # of the training tokens

    @property
    def model_size(self) -> str:
        return f"{self.family}-{self.size}"

    @property
    def guessing(self) -> float:
        """log V, what guessing tokens uniformly costs, nats/token."""
        return math.log(self.vocab_size)


class Estimate(Part):
    """A mean over tokens with its standard error over windows; zero error means that all of them were evaluated."""

    mean: float  # nats/token
    standard_error: Annotated[float, Field(ge=0)]  # nats/token
    n_tokens: Count


class Provenance(Part):
    packages: dict[Name, Words]
    python: Words
    machine: Words
    device: Words
    commit: Words
    seconds: Positive  # wall clock of the run that wrote the record


def identify(spec: ModelSpec, data_sha256: str, revision: str = "main") -> Identity:
    given = {"revision": revision, "data_sha256": data_sha256}
    return Identity(**given, **{name: getattr(spec, name) for name in Identity.model_fields.keys() - given.keys()})


def _version(package: str) -> str:
    """Of an installed package; "unknown" of one that is not installed, as gengap itself is where lib/ is on the path."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def provenance(device: str, seconds: float) -> Provenance:
    """Of this machine and this environment; the commit is "unknown" outside a copy of the project."""
    try:
        git = ["git", "-C", str(project_root()), "describe", "--always", "--dirty", "--abbrev=12"]
        commit = subprocess.run(git, capture_output=True, encoding="utf-8", check=False).stdout.strip()
    except UserError:
        commit = ""
    return Provenance(
        packages={name: _version(name) for name in PACKAGES},
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        device=device,
        commit=commit or "unknown",
        seconds=seconds,
    )
