"""What people get wrong: each mistake is one sentence, before long work, and nothing that lay there is lost.

One table: to add a mistake, add a line. Command lines run in this process, in a project with a published rung and a small corpus.
"""

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from projects import SMALL, make_project
from scratch import CHECKOUT
from tiny_models import tiny_config, tiny_model
from typer.testing import CliRunner

import gengap
from gengap.cli import app
from gengap.compression import archive
from gengap.errors import UserError
from gengap.models.loading import load_checkpoint
from gengap.paths import atomic_path
from gengap.records.bound import BoundRecord
from gengap.tokens import corpus
from gengap.tokens.sources import open_rows
from gengap.workflow.settings import Settings

SECONDS = 2.0  # of this process until the sentence is there
RUNG = "ladder-50k"
V, SEQ = 96, 32  # of the tiny model


def rows(n: int = 40, high: int = V, width: int = SEQ + 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, (n, width))


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A project with the notebooks, the smallest rung's published files, and a corpus of its own."""
    root = make_project(tmp_path_factory.mktemp("bad") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENGAP_ROOT", str(root))
        corpus.build(SMALL.vocab_size, SMALL.seq_len)
    for name in ("notebooks", "book"):
        shutil.copytree(CHECKOUT / name, root / name)
    shutil.copytree(
        CHECKOUT / "results" / "ladder" / "50k",
        root / "results" / "ladder" / "50k",
        ignore=shutil.ignore_patterns("runs"),
    )
    tiny_model(tiny_config(vocab_size=V)).save_pretrained(root / "own")
    np.save(root / "rows.npy", rows())
    for name in ("Snakefile", "_config.yml", "_toc.yml"):
        shutil.copy2(CHECKOUT / name, root / name)
    return root


@pytest.fixture
def root(template, tmp_path, monkeypatch):
    """A copy of it, the current folder."""
    shutil.copytree(template, root := tmp_path / "project")
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    monkeypatch.chdir(root)
    return root


def contents(root: Path) -> dict[str, tuple]:
    """Every file that lies in the project: names, bytes, modes."""
    paths = [p for p in sorted(root.rglob("*")) if "__pycache__" not in p.parts and not p.is_dir()]
    return {
        p.relative_to(root).as_posix(): (
            p.lstat().st_mode,
            p.read_bytes() if p.is_file() and os.access(p, os.R_OK) else b"",
        )
        for p in paths
    }


@contextlib.contextmanager
def nothing_done(root: Path):
    """Quick, and the project as it was."""
    before, started = contents(root), time.process_time()
    yield
    spent = time.process_time() - started
    assert contents(root) == before
    assert spent < SECONDS


class Mistake(NamedTuple):
    """What is typed, what the sentence must say, and what is wrong with the project if the words alone are fine."""

    typed: str
    said: str
    prepare: Callable[[Path, pytest.MonkeyPatch], None] = lambda root, patch: None


OWN, WEIGHTS_OF_OWN = "certify own --n-windows 20 --n-pilot-windows 4 --n-pairs 20", Path("own/model.safetensors")


def array(name: str, content: np.ndarray) -> Callable:
    return lambda root, patch: np.save(root / name, content)


# --- what may be wrong with a project ----------------------------------------------------------------------------------

PUBLISHED = Path("results/ladder/50k")
WEIGHTS = PUBLISHED / "checkpoint" / "model.safetensors"
RECORD = PUBLISHED / "main-gptq-4bit.json"
ARCHIVE = PUBLISHED / "main-gptq-4bit.ggq"


def written(name: Path | str, content: bytes | str) -> Callable:
    def prepare(root, patch):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return prepare


def cut(name: Path, n_bytes: int) -> Callable:
    return lambda root, patch: (root / name).write_bytes((root / name).read_bytes()[:n_bytes])


def removed(name: Path | str) -> Callable:
    return lambda root, patch: shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()


def changed(name: Path, *keys: str | int, value: object) -> Callable:
    """One value of a JSON file replaced."""

    def prepare(root, patch):
        place = content = json.loads((root / name).read_text())
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        (root / name).write_text(json.dumps(content))

    return prepare


def environment(name: str, value: str) -> Callable:
    return lambda root, patch: patch.setenv(name, value)


def no_memory(root, patch):
    patch.setattr("gengap.hardware.memory_bytes", lambda: 10**8)


def full_disk(root, patch):
    """No file grows any more."""

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(root / "build"))

    patch.setattr("tempfile.mkstemp", refuse)


def read_only(root, patch):
    """Whoever runs the tests as root is refused by the file system alone, so the system's answer is given here."""

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(root / "results"))

    patch.setattr("tempfile.mkstemp", refuse)


def folder_in_place_of(name: Path | str) -> Callable:
    def prepare(root, patch):
        (root / name).unlink(missing_ok=True)
        (root / name).mkdir(parents=True)

    return prepare


MISTAKES = [
    # model
    Mistake("certify ladder-10k", "unknown model size 'ladder-10k': did you mean"),
    Mistake("certify", "Missing argument 'model'"),
    Mistake("certify Ladder-50K", "did you mean"),
    Mistake("run ladder-50k --revision step8", "ladder-50k has no training of length"),
    Mistake("run pythia-14m --revision step3", "pythia-14m has no checkpoint 'step3'"),
    Mistake("quantize pythia-14m --revision main", "pythia-14m has no checkpoint 'main'"),
    Mistake("train pythia-70m", "only the ladder is trained here"),
    Mistake("survey nothing", "unknown model size 'nothing'"),
    Mistake("publish ladder-50", "unknown model size 'ladder-50'"),
    Mistake("publish ladder-100k", "nothing to publish"),
    Mistake("forecast ladder-50k pythia-70m", "name sizes of one family"),
    Mistake("forecast ladder-50k", "cannot be forecast: the record is there already"),
    Mistake("forecast ladder-800k", "a forecast needs 4"),
    Mistake("forecast ladder-800k --method gptp", "unknown quantization method 'gptp'"),
    Mistake("ladder --size ladder-1k", "unknown model size 'ladder-1k'"),
    Mistake("ladder --group grids", "unknown group 'grids'"),
    Mistake("sweep ladder-50k ladder-1k", "unknown model size 'ladder-1k'"),
    # a model of one's own
    Mistake("certify no/such/folder --rows rows.npy", "no/such/folder"),
    Mistake("certify owm --rows rows.npy", "unknown model size 'owm'"),
    Mistake(OWN, "say with --rows what it was trained on"),
    Mistake("certify own --rows rows.npy", "cannot be drawn from 40 training rows: ask for fewer"),
    Mistake(f"certify {RUNG} --rows rows.npy", "has its own rows"),
    Mistake(f"{OWN} --rows rows.npy --revision main", "a folder has no revisions"),
    Mistake(f"{OWN} --rows no.npy", "no.npy"),
    Mistake(f"{OWN} --rows *.npz", "*.npz"),
    Mistake(f"{OWN} --rows rows.npy --heldout no.npy", "no.npy"),
    Mistake(f"{OWN} --rows rows.npy --seq-len 0", "Invalid value for '--seq-len'"),
    Mistake(f"{OWN} --rows rows.npy --n-train-tokens -3", "Invalid value for '--n-train-tokens'"),
    Mistake(f"{OWN} --rows rows.npy --name <b>x</b>", "<b>x</b>"),
    Mistake(f"{OWN} --rows rows.npy --name ../x", "../x"),
    Mistake(f"{OWN} --rows rows.npy --method gptp", "unknown quantization method 'gptp'"),
    Mistake(f"{OWN} --rows a.npy", "token", array("a.npy", rows(high=V + 9))),
    Mistake(f"{OWN} --rows a.npy", "token", array("a.npy", rows() - 1)),
    Mistake(f"{OWN} --rows a.npy", "positions", array("a.npy", rows(width=60))),
    Mistake(f"{OWN} --rows a.npy", "integers", array("a.npy", rows() + 0.5)),
    Mistake(f"{OWN} --rows a.npy", "a.npy", array("a.npy", rows()[:0])),
    Mistake(f"{OWN} --rows a.npy", "a.npy", array("a.npy", rows().astype(object))),
    Mistake(f"{OWN} --rows a.npy", "a.npy", written("a.npy", b"\x93NUMPY")),
    Mistake(f"{OWN} --rows a.bin", "seq", written("a.bin", rows().astype(np.uint16).tobytes())),
    Mistake(f"{OWN} --rows a.bin --seq-len 32 --dtype float", "float", written("a.bin", rows().astype(np.uint16).tobytes())),
    Mistake(f"{OWN} --rows a.bin --seq-len 32 --dtype uint16", "a.bin", written("a.bin", b"123")),
    Mistake(f"{OWN} --rows a.jsonl --seq-len 32", "a.jsonl", written("a.jsonl", "{")),
    Mistake(f"{OWN} --rows a.parquet --seq-len 32", "a.parquet", written("a.parquet", "PAR1")),
    Mistake(f"{OWN} --rows rows.npy", "safetensors", cut(WEIGHTS_OF_OWN, 3000)),
    Mistake(f"{OWN} --rows rows.npy", "safetensors", removed(WEIGHTS_OF_OWN)),
    Mistake(f"{OWN} --rows rows.npy", "config.json", removed("own/config.json")),
    Mistake(f"{OWN} --rows rows.npy", "causal", changed(Path("own/config.json"), "model_type", value="bert")),
    Mistake(f"{OWN} --rows rows.npy", "transformers does not have", changed(Path("own/config.json"), "model_type", value="mine")),
    Mistake(f"{OWN} --rows rows.npy", "weights", changed(Path("own/config.json"), "num_hidden_layers", value=3)),
    # settings
    *(
        Mistake(f"{command} {option} {value}", said)
        for command in (f"certify {RUNG}", f"run {RUNG}", f"sweep {RUNG}")
        for option, value, said in (
            ("--failure-prob", "0", "a failure probability of 0.0: choose a number between 0 and 1"),
            ("--failure-prob", "1", "a failure probability of 1.0"),
            ("--failure-prob", "2", "a failure probability of 2.0"),
            ("--failure-prob", "nan", "a failure probability of nan"),
            ("--failure-prob", "-inf", "a failure probability of -inf"),
            ("--failure-prob", "small", "Invalid value for '--failure-prob'"),
            ("--n-windows", "1", "n_windows = 1: choose at least 2"),
            ("--n-windows", "-5", "n_windows = -5: choose at least 2"),
            ("--n-windows", "3.5", "Invalid value for '--n-windows'"),
            ("--n-windows", "100000000", "cannot be drawn from 4136 training rows: ask for fewer"),
            ("--n-pilot-windows", "0", "n_pilot_windows = 0: choose at least 1"),
            ("--n-pilot-windows", "4135", "4135 + 3000 windows cannot be drawn"),
            ("--n-pairs", "0", "n_pairs = 0: choose at least 1"),
            ("--seed", "-1", "seed = -1: choose at least 0"),
            ("--seed", str(2**80), "seed = 1208925819614629174706176: choose at most 4294967295"),
            ("--bits", "9", "9 bits per weight: choose 2 to 8"),
            ("--bits", "-4", "-4 bits per weight: choose 2 to 8"),
            ("--bits", "four", "Invalid value for '--bits'"),
            ("--method", "gptp", "unknown quantization method 'gptp'"),
            ("--n-window", "5", "No such option: --n-window"),
        )
    ),
    Mistake(f"quantize {RUNG} --bits 1", "1 bits per weight"),
    Mistake(f"quantize {RUNG} --method AWQ", "unknown quantization method 'AWQ'"),
    Mistake(f"quantize {RUNG} --seed -1", "seed = -1: choose at least 0"),
    Mistake(f"quantize {RUNG} --seed {2**35}", "seed = 34359738368: choose at most"),
    Mistake(f"quantize {RUNG} --n-calibration-rows 0", "n_calibration_rows = 0: choose at least 1"),
    Mistake(f"quantize {RUNG} --group-size -3", "group_size = -3: choose at least 1"),
    Mistake(f"quantize {RUNG} --group-size 0", "group_size = 0: choose at least 1"),
    Mistake(f"train {RUNG} --seed -1", "seed = -1: choose at least 0"),
    Mistake(f"train {RUNG} --seed {2**70}", "choose at most"),
    Mistake(f"survey {RUNG} --n-seeds 0", "n_seeds = 0: choose at least 1"),
    Mistake("ladder --max-flops nan", "max_flops = nan: choose a number above 0"),
    Mistake("ladder --max-flops -1e12", "max_flops = -1000000000000.0"),
    Mistake("book --cores -2", "Invalid value for '--cores'"),
    Mistake(f"sweep {RUNG} --cores -2", "Invalid value for '--cores'"),
    Mistake(f"sweep {RUNG} --threads -1", "Invalid value for '--threads'"),
    Mistake(f"sweep {RUNG} --gpus -2", "Invalid value for '--gpus'"),
    Mistake(f"sweep {RUNG} --retries -2", "Invalid value for '--retries'"),
    Mistake("doctor --timeout-s nan", "timeout_s = nan"),
    Mistake("doctor --timeout-s 0", "timeout_s = 0.0"),
    Mistake("doctor --timeout-s inf", "timeout_s = inf"),
    Mistake("certifi ladder-50k", "No such command 'certifi'"),
    Mistake("sizes all", "unexpected extra argument"),
    Mistake("site bild", "unknown step 'bild'"),
    Mistake(f"verify {RECORD} --share nan", "share"),
    Mistake(f"verify {RECORD} --share -1", "share"),
    Mistake(f"verify {RECORD} --share 2", "share"),
    # notebooks
    Mistake("notebook notebooks/no.ipynb out.ipynb", "there is no notebook"),
    Mistake("notebook notebooks out.ipynb", "is no notebook"),
    Mistake("notebook notebooks/05_bound.py out.ipynb", "is no notebook"),
    Mistake("notebook notebooks/05_bound.ipynb out.ipynb -p model_sise=ladder-50k", "did you mean model_size?"),
    Mistake("notebook notebooks/05_bound.ipynb out.ipynb -p bits=four", "bits is a int, but 'four' is a str"),
    Mistake("notebook notebooks/05_bound.ipynb out.ipynb -p bits=(3,4)", "is a tuple"),
    Mistake("notebook notebooks/05_bound.ipynb out.ipynb -p bits", "is not of the form name=value"),
    Mistake("notebook n.ipynb out.ipynb", "is no notebook", written("n.ipynb", '{"cells": [')),
    # files
    Mistake("report none.json", "there is no file none.json"),
    Mistake("report results/*/9k/*.json", "no file matches"),
    Mistake(f"report {PUBLISHED}", "is a folder"),
    Mistake(f"report {PUBLISHED}/main-quantization.json", "is a survey of quantization and no record"),
    Mistake("report a.json", "is no record of this project", written("a.json", "{}")),
    Mistake("report a.json", "is no record of this project", written("a.json", "")),
    Mistake("report a.json", "is no record of this project", written("a.json", b"\xff\xfe\x00")),
    Mistake(f"report {RECORD}", "risks.train.mean", changed(RECORD, "risks", "train", "mean", value=float("nan"))),
    Mistake(f"report {RECORD}", "is no record of this project", cut(RECORD, 700)),
    Mistake(f"report {RECORD}", "settings.n_windows", changed(RECORD, "settings", "n_windows", value="many")),
    Mistake(f"report {RECORD}", "schema_version", changed(RECORD, "schema_version", value=99)),
    Mistake("verify none.json", "there is no file none.json"),
    Mistake(f"verify {PUBLISHED}", "is a folder"),
    Mistake("verify a.json", "is no record of this project", written("a.json", "[]")),
    Mistake("publish ladder-50k", "is no valid record", written("build/results/ladder/50k/main-gptq-4bit.json", "{}")),
    Mistake("survey ladder-100k", "there is no checkpoint of ladder-100k"),
    Mistake("quantize ladder-100k", "there is no checkpoint of ladder-100k"),
    Mistake(f"quantize {RUNG}", "safetensors", cut(WEIGHTS, 1000)),
    Mistake(f"quantize {RUNG}", "safetensors", cut(WEIGHTS, 50_000)),
    Mistake(f"quantize {RUNG}", "safetensors", written(WEIGHTS, b"")),
    Mistake(f"quantize {RUNG}", "model.safetensors", removed(WEIGHTS)),
    Mistake(f"quantize {RUNG}", "config.json", removed(PUBLISHED / "checkpoint" / "config.json")),
    Mistake(f"quantize {RUNG}", "config.json", written(PUBLISHED / "checkpoint" / "config.json", "{")),
    Mistake(f"quantize {RUNG}", "hidden_size", changed(PUBLISHED / "checkpoint" / "config.json", "hidden_size", value=16)),
    Mistake(f"quantize {RUNG}", "reads rows of 257 tokens, those in build/corpus have 65"),
    Mistake(f"quantize {RUNG}", "truncated or altered", cut(Path("build/corpus/train.bin"), 5000)),
    Mistake(f"quantize {RUNG}", "there is no corpus yet", removed("build/corpus/manifest.json")),
    Mistake(f"quantize {RUNG}", "manifest.json", written("build/corpus/manifest.json", "{")),
    Mistake(f"quantize {RUNG}", "manifest.json", written("build/corpus/manifest.json", "[]")),
    Mistake(f"train {RUNG}", "there is no corpus yet", removed("build/corpus")),
    Mistake(f"train {RUNG}", "reads rows of 257 tokens, those in build/corpus have 65"),
    Mistake("corpus", "corpus.lock: 'numpy' is no pin", lambda root, patch: (removed("build/corpus/manifest.json")(root, patch), written("corpus.lock", "numpy\n")(root, patch))),
    Mistake("site stage", "is missing: run the notebook first"),
    Mistake("site stage", "_config.yml", written("_config.yml", "a: [")),
    # environment
    Mistake("report", "there is no folder", environment("GENGAP_ROOT", "/no/such/folder")),
    Mistake("report", "holds no corpus.lock", environment("GENGAP_ROOT", "/")),
    Mistake("doctor", "GENGAP_ROOT is 'elsewhere'", environment("GENGAP_ROOT", "elsewhere")),
    Mistake("sizes --no-such-option", "No such option"),
    Mistake("quantize pythia-14m", "holds no checkpoint", environment("GENGAP_PYTHIA", "/no/such/folder")),
    Mistake("quantize pythia-410m", "memory", no_memory),
    Mistake("forecast ladder-3m", "a forecast needs 4", full_disk),
    Mistake("publish ladder-50k", "No space left on device", lambda root, patch: (shutil.copytree(root / PUBLISHED, root / "build" / PUBLISHED), removed(PUBLISHED)(root, patch), full_disk(root, patch))),
    Mistake("publish ladder-50k", "Permission denied", lambda root, patch: (shutil.copytree(root / PUBLISHED, root / "build" / PUBLISHED), removed(PUBLISHED)(root, patch), read_only(root, patch))),
    Mistake("sync", "No space left on device", lambda root, patch: (removed("notebooks/05_bound.ipynb")(root, patch), full_disk(root, patch))),
    Mistake("notebook notebooks/05_bound.ipynb Makefile/out.ipynb", "Makefile", written("Makefile", "")),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.typed} | {mistake.said}"[:90])
def test_a_mistake_on_the_command_line_is_one_sentence(mistake, root, monkeypatch):
    mistake.prepare(root, monkeypatch)
    with nothing_done(root):
        done = CliRunner().invoke(app, mistake.typed.split())
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code in (1, 2)
    assert done.stderr.startswith("error: ")
    assert mistake.said in done.stderr
    assert "Traceback" not in done.output
    assert len(done.stderr.strip().splitlines()) <= 2


# --- library calls ------------------------------------------------------------------------------------------------------


@pytest.fixture
def model():
    return tiny_model(tiny_config(vocab_size=V)).eval()


def with_weight(model, value: float):
    with torch.no_grad():
        model.gpt_neox.layers[0].mlp.dense_h_to_4h.weight[0, 0] = value
    return model


class Call(NamedTuple):
    """What is called with a tiny model and the project, and what the sentence must say."""

    said: str
    call: Callable
    prepare: Callable[[Path, pytest.MonkeyPatch], object] = lambda root, patch: None


FEW = Settings(n_pilot_windows=2, n_windows=10, n_pairs=10)
CODED = gengap.CodedModel(40, 48, 64)
CALLS = {
    "an unknown model": Call("unknown model size", lambda m, root: gengap.get("ladder-1k")),
    "no name at all": Call("unknown model size None", lambda m, root: gengap.get(None)),
    "an unknown revision": Call("no checkpoint 'step3'", lambda m, root: gengap.get("pythia-14m", "step3")),
    "delta 0": Call("a failure probability of 0", lambda m, root: Settings(failure_prob=0)),
    "delta nan": Call("a failure probability of nan", lambda m, root: Settings(failure_prob=float("nan"))),
    "delta as text": Call("a failure probability of 0.1", lambda m, root: Settings(failure_prob="0.1")),
    "half a window": Call("n_windows = 10.5: choose a whole number", lambda m, root: Settings(n_windows=10.5)),
    "windows as text": Call("n_windows = '10'", lambda m, root: Settings(n_windows="10")),
    "a truth as a seed": Call("seed = True", lambda m, root: Settings(seed=True)),
    "an unknown method": Call("unknown quantization method", lambda m, root: gengap.compress(m, rows(), "awq")),
    "half a bit": Call("4.5 bits", lambda m, root: gengap.compress(m, rows(), bits=4.5)),
    "groups of none": Call("group_size = 0", lambda m, root: gengap.compress(m, rows(), group_size=0)),
    "no calibration": Call("n_calibration_rows = 0", lambda m, root: gengap.compress(m, rows(), n_calibration_rows=0)),
    "a seed below zero": Call("seed = -1", lambda m, root: gengap.compress(m, rows(), seed=-1)),
    "a seed of 2^40": Call("choose at most 4294967295", lambda m, root: gengap.compress(m, rows(), "quip", seed=2**40)),
    "NaN in a weight": Call("dense_h_to_4h", lambda m, root: gengap.compress(with_weight(m, np.nan), rows())),
    "an infinite weight": Call("dense_h_to_4h", lambda m, root: gengap.compress(with_weight(m, np.inf), rows(), "rtn")),
    "tokens outside the vocabulary": Call("token", lambda m, root: gengap.compress(m, rows(high=V + 5))),
    "tokens below zero": Call("token", lambda m, root: gengap.token_statistics(m, rows() - 1)),
    "tokens too large, evaluated": Call("token", lambda m, root: gengap.token_statistics(m, rows(high=V + 5))),
    "tokens that are no integers": Call("integers", lambda m, root: gengap.token_statistics(m, rows() + 0.5)),
    "masked tokens": Call("mask", lambda m, root: gengap.token_statistics(m, np.ma.masked_equal(rows(), 3))),
    "one row, flat": Call("rows", lambda m, root: gengap.token_statistics(m, rows()[0])),
    "no rows": Call("rows", lambda m, root: gengap.token_statistics(m, rows()[:0])),
    "rows of one token": Call("token", lambda m, root: gengap.token_statistics(m, rows(width=1))),
    "rows longer than the context": Call("32", lambda m, root: gengap.token_statistics(m, rows(width=50))),
    "alpha 2": Call("smoothing weights", lambda m, root: gengap.token_statistics(m, rows(), alphas=[2.0])),
    "no rows to calibrate on": Call("rows", lambda m, root: gengap.compress(m, rows()[:0])),
    "more windows than rows": Call("ask for fewer", lambda m, root: gengap.certify(m, rows(), rows(), settings=Settings())),
    "a certificate of other tokens": Call("token", lambda m, root: gengap.certify(m, rows(high=V + 9), rows(), settings=FEW)),
    "an archive that is not there": Call("there is no file", lambda m, root: archive.read(root / "no.ggq")),
    "a folder as an archive": Call("is a folder, where a file is needed", lambda m, root: archive.read(root)),
    "an empty archive": Call("archive", lambda m, root: archive.read(root / "a.ggq"), written("a.ggq", b"")),
    "another file as an archive": Call("archive", lambda m, root: archive.read(root / RECORD)),
    "a cut archive": Call("archive", lambda m, root: archive.read(root / ARCHIVE), cut(PUBLISHED / "main-gptq-4bit.ggq", 9000)),
    "an archive of another model": Call("another architecture", lambda m, root: archive.read(root / ARCHIVE, m.config)),
    "a checkpoint that is not there": Call("no such folder", lambda m, root: load_checkpoint(root / "no")),
    "a folder without a checkpoint": Call("config.json", lambda m, root: load_checkpoint(root / "book")),
    "a file as a checkpoint": Call("it is a file", lambda m, root: load_checkpoint(root / RECORD)),
    "a checkpoint without config": Call("config.json", lambda m, root: load_checkpoint((root / WEIGHTS).parent), removed(PUBLISHED / "checkpoint/config.json")),
    "a cut checkpoint": Call("safetensors", lambda m, root: load_checkpoint((root / WEIGHTS).parent), cut(WEIGHTS, 5000)),
    "a checkpoint of a pickle": Call("safetensors", lambda m, root: load_checkpoint((root / WEIGHTS).parent), lambda root, patch: (root / WEIGHTS).rename((root / WEIGHTS).with_name("pytorch_model.bin"))),
    "rows that are not there": Call("no.npy", lambda m, root: open_rows(root / "no.npy")),
    "rows of a folder of nothing": Call("", lambda m, root: open_rows(root / "book" / "_ext")),
    "rows of another kind of file": Call("", lambda m, root: open_rows(root / "Snakefile")),
    "rows of an empty file": Call("a.npy", lambda m, root: open_rows(root / "a.npy"), written("a.npy", b"")),
    "records of no project": Call("is not inside the project", lambda m, root: gengap.load_records(), lambda root, patch: (patch.delenv("GENGAP_ROOT"), patch.chdir("/"))),
    "one broken record among others": Call("is no valid record", lambda m, root: gengap.load_records(), written(PUBLISHED / "main-rtn-4bit.json", "{")),
    "a survey as a record": Call("survey", lambda m, root: BoundRecord.read(root / PUBLISHED / "main-quantization.json")),
    "an own kernel of delta 1": Call("failure_prob", lambda m, root: gengap.paper_bound(gengap.CodedModel(40, 48, 64, 1.0), [1.0] * 48, [4.0] * 48, 1.0)),
    "no training tokens": Call("n >= 1", lambda m, root: gengap.CodedModel(40, 0, 64).complexity(10)),
    "a code of infinite length": Call("code length", lambda m, root: gengap.CodedModel(float("inf"), 48, 64).complexity(10)),
    "a vocabulary of one": Call("vocab_size", lambda m, root: gengap.paper_bound(gengap.CodedModel(40, 48, 1), [1.0] * 48, [4.0] * 48, 1.0)),
    "losses of a part": Call("pass their sample", lambda m, root: gengap.azuma_bound(CODED, [1.0] * 40, 1.0)),
    "losses below zero": Call("at least 0", lambda m, root: gengap.azuma_bound(CODED, [-1.0] * 48, 1.0)),
    "a training loss of NaN": Call("train_risk", lambda m, root: gengap.azuma_bound(CODED, [1.0] * 48, float("nan"))),
    "a full disk at a write": Call("No space left", lambda m, root: atomic_path(root / "x").__enter__(), full_disk),
    "a certificate of no rows": Call("rows", lambda m, root: gengap.certify(m, rows()[:0], rows(), settings=FEW)),
    "held-out rows of another length": Call("as long as", lambda m, root: gengap.certify(m, rows(), rows(width=9), settings=FEW)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_mistake_in_a_call_is_one_sentence(name, root, model, monkeypatch):
    said, call, prepare = CALLS[name]
    prepare(root, monkeypatch)
    refusals = ValueError if said in BY_THE_MATHEMATICS else UserError
    with nothing_done(root), pytest.raises(OSError if said == "No space left" else refusals) as error:
        call(model, root)
    sentence = str(error.value)
    assert said in sentence
    assert 10 < len(sentence) < 500
    assert "\n" not in sentence.strip()


BY_THE_MATHEMATICS = {"failure_prob", "n >= 1", "code length", "vocab_size", "pass their sample", "at least 0", "train_risk", "smoothing weights"}  # fmt: skip


def test_there_are_enough_of_them():
    assert len(MISTAKES) + len(CALLS) >= 200
