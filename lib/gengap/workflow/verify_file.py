"""A record's file, whatever its kind: what lies beside it and what the registry has of its model is brought to `verify`."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gengap import models
from gengap.errors import UserError
from gengap.models.loading import load_checkpoint
from gengap.models.spec import ModelSpec, load_folder
from gengap.paths import published_results_dir, run_results_dir
from gengap.records import others
from gengap.records.base import KINDS, Identity, Stored, content_of, identify, kind_of
from gengap.records.bound import ARITHMETIC, BoundRecord
from gengap.records.forecast import Forecast
from gengap.records.requential import RequentialFile, RequentialRecord
from gengap.records.survey import QuantizationSurvey
from gengap.records.training_run import TrainingRun
from gengap.statistics.evaluation import weights_sha256
from gengap.training.log import TrainingLog
from gengap.workflow.own import OwnModel
from gengap.workflow.plan import plan
from gengap.workflow.verify import Finding, of_checks, same, verify

READERS: dict[str, type[Stored]] = {
    "bounds": BoundRecord,
    "cells": QuantizationSurvey,
    "schedule": TrainingRun,
    "predictions": Forecast,
    "recipe": RequentialRecord,
    "file_bits": RequentialFile,
}


def verify_file(
    path: Path,
    archive: Path | None = None,
    checkpoint=None,
    rows=None,
    heldout=None,
    share: float = 1.0,
    seed: int | None = None,
) -> list[Finding]:
    """Everything that can be checked of a record's file, of any kind.

    What is not given is looked for: the archive and the checkpoint beside the record, then checkpoint and rows of the registry.
    Raises `UserError` for a file that is not there or no record at all; a record that breaks its schema is a finding.
    """
    content = content_of(path)
    if not (kind := kind_of(content)):
        raise UserError(f"{path} is no record of this project: a record is {', '.join(KINDS.values())}")
    try:
        record = READERS[kind].read(path, recompute=False)  # that is done below, number by number
    except UserError as error:
        return [Finding("schema", False, str(error))]
    findings = [Finding("schema", True, f"{KINDS[kind]}, every field of its type"), *_place(path, record)]
    if not isinstance(record, BoundRecord):
        return findings + list(_other(path, record))
    spec, of_registry = _registered(record.identity)
    findings += of_registry
    archive = archive or _there(path.with_name(f"{path.stem.removesuffix(ARITHMETIC)}.ggq"))
    name = spec.checkpoint_name if spec else "checkpoint"
    folder = _there(path.parent / name)
    notes: list[Finding] = []

    def had(given, name: str, load: Callable | None):
        if given is not None or load is None:
            return given
        try:
            return load()
        except UserError as error:
            notes.append(Finding(name, None, str(error)))
            return None

    if checkpoint is None and spec and spec.trained_here:
        bases = [base / spec.family / spec.size for base in (published_results_dir(), run_results_dir())]
        found = list(filter(None, [folder, *(_there(base / name) for base in bases)]))
        checkpoint = had(None, "checkpoint", lambda: _its_checkpoint(found, record)) if found else None
    checkpoint = had(checkpoint, "checkpoint", spec and spec.load)
    rows = had(rows, "training rows", spec and spec.train_rows)
    heldout = had(heldout, "held-out rows", spec and spec.heldout_rows)
    companion = spec.companion() if spec and record.online else None
    return findings + notes + verify(record, archive, checkpoint, rows, heldout, companion, share, seed=seed)


def own_files(
    path: Path, model: str, revision: str | None, rows: str | None, heldout: str | None, reading: Mapping[str, str]
) -> dict[str, Any]:
    """Checkpoint and rows of a model that is in no registry, read as `gengap.workflow.own.certify_own` reads them.

    Raises `UserError` for what cannot be read, and for a record that is not of a bound.
    """
    record = BoundRecord.read(path)
    own = OwnModel(model, rows or "", revision, reading={"seq_len": record.identity.seq_len, **reading})
    checkpoint = load_checkpoint(model, revision)
    counted = None if record.not_certified else record.identity.n_train_tokens
    return {
        "checkpoint": checkpoint,
        "rows": own.open(rows, checkpoint, n_train_tokens=counted) if rows else None,
        "heldout": own.open(heldout, checkpoint) if heldout else None,
    }


def _its_checkpoint(folders: list[Path], record: BoundRecord):
    """The first checkpoint that has the record's weights, of the trainings that are here; else the first of all."""
    models_there = (load_folder(folder) for folder in dict.fromkeys(folders))
    first = next(models_there)
    for model in itertools.chain([first], models_there):
        if weights_sha256(model) == record.evidence.checkpoint_sha256:
            return model
    return first


def _there(path: Path) -> Path | None:
    return path if path.exists() else None


def _place(path: Path, record: Stored) -> Iterator[Finding]:
    """Below a results folder a record lies where its own words say, so that it is taken for no other model's."""
    for base in (run_results_dir(), published_results_dir()):
        if path.resolve().is_relative_to(base.resolve()):
            here = path.resolve().relative_to(base.resolve())
            said = str(here) if here == record.place else f"it lies at {here} and says that it is {record.place}"
            yield Finding("place", here == record.place, said)
            return


def _registered(model: Identity) -> tuple[ModelSpec | None, list[Finding]]:
    """What the registry says of a model of this name; none for families that it does not know."""
    if model.family not in {spec.family for spec in models.REGISTRY.values()}:
        return None, [
            Finding(
                "model", None, f"the registry has no family {model.family}: its size and its text are its maker's word"
            )
        ]
    try:
        spec = models.get(model.model_size)
        spec = spec if model.revision == spec.revision else spec.at(model.revision)
    except UserError as error:
        return None, [Finding("model", False, str(error))]
    needed = identify(spec, model.data_sha256, spec.revision)
    faults = [
        f"identity.{name} is {value}, of {spec.model_size} it is {getattr(needed, name)}"
        for name, value in model
        if value != getattr(needed, name)
    ]
    return spec, [Finding("model", not faults, "; ".join(faults) or f"{spec.model_size} as in the registry")]


def _other(path: Path, record: Stored) -> Iterator[Finding]:
    """Surveys, trainings and forecasts, as far as their own numbers, the plan and the log beside them go."""
    match record:
        case QuantizationSurvey():
            yield from _registered(record.identity)[1]
            yield from of_checks(others.of_survey(record))
            yield Finding("losses", None, "a survey is an estimate: `gengap survey` measures it again")
        case TrainingRun():
            yield from of_checks(others.of_training(record))
            yield from _training(path, record)
        case Forecast():
            yield from of_checks(
                others.of_forecast(record), {"closed forms": "predictions follow from the observations"}
            )
        case RequentialRecord():
            if not record.control:
                yield from _registered(record.identity)[1]
            yield from _requential(record)
            yield Finding("losses", None, "`gengap requential` trains the student again")
        case RequentialFile():
            yield from _requential(record)
            yield Finding("student", None, "`gengap.requential.decode` trains it from the file")


def _requential(record: RequentialRecord | RequentialFile) -> Iterator[Finding]:
    """Lengths from the costs, or the file, that lie among the results under its place."""
    try:
        yield from of_checks(record.checks())
    except UserError as error:
        yield Finding("code lengths", False, str(error))


def _training(path: Path, run: TrainingRun) -> Iterator[Finding]:
    """Whether it is a run of the plan, and its loss log is its own and whole."""
    planned = [p.run for p in plan() if (p.model_size, p.name) == (run.model_size, run.name)]
    if not planned:
        yield Finding("plan", False, f"there is no run {run.name} of {run.model_size} in the plan")
        return
    yield same("plan", "run_key", planned[0].key(run.data_sha256), run.run_key)
    facts = {
        "n_train_tokens": planned[0].n_steps * planned[0].tokens_per_step,
        "n_unique_tokens": planned[0].n_unique_steps * planned[0].tokens_per_step,
        "seed": planned[0].seed,
        "length": planned[0].length,
    }
    faults = [
        f"{name} is {getattr(run, name)}, planned {value}"
        for name, value in facts.items()
        if getattr(run, name) != value
    ]
    yield Finding("plan", not faults, "; ".join(faults) or f"{run.name} as it is planned")
    if not (log := _there(path.with_suffix(".csv.gz"))):
        yield Finding("loss log", None, "there is no log beside it")
        return
    try:
        read = TrainingLog.read(log, run.schedule.n_steps)
    except UserError as error:
        yield Finding("loss log", False, str(error))
        return
    yield same("loss log", "run_key", read.run_key, run.run_key)
    whole = len(read.online_nll) == run.schedule.n_steps
    yield Finding("loss log", whole, f"{len(read.online_nll)} of {run.schedule.n_steps} steps")
    yield Finding("losses", None, "`gengap ladder --anew` trains it again")
