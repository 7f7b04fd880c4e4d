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

import pytest
from projects import SMALL, make_project
from scratch import CHECKOUT
from typer.testing import CliRunner

from gengap.cli import app
from gengap.tokens import corpus

SECONDS = 2.0  # of this process until the sentence is there
RUNG = "ladder-50k"


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


# --- what may be wrong with a project ----------------------------------------------------------------------------------

PUBLISHED = Path("results/ladder/50k")
WEIGHTS = PUBLISHED / "checkpoint" / "model.safetensors"
RECORD = PUBLISHED / "main-gptq-4bit.json"


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
    Mistake("certify", "Missing argument 'model_size'"),
    Mistake("certify Ladder-50K", "did you mean"),
    Mistake("run ladder-50k --revision step8", "ladder-50k has one checkpoint"),
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
            ("--n-pilot-windows", "4000", "4000 + 3000 windows cannot be drawn"),
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
    Mistake(f"run {RUNG} --exact-below-tokens -1", "--exact-below-tokens"),
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
    Mistake("report a.json", "is no valid record", written("a.json", "{}")),
    Mistake("report a.json", "is no valid record", written("a.json", "")),
    Mistake("report a.json", "is no valid record", written("a.json", b"\xff\xfe\x00")),
    Mistake(f"report {RECORD}", "risks.train.mean", changed(RECORD, "risks", "train", "mean", value=float("nan"))),
    Mistake(f"report {RECORD}", "is no valid record", cut(RECORD, 700)),
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
    Mistake("corpus", "is no manifest of a corpus", cut(Path("build/corpus/manifest.json"), 100)),
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
