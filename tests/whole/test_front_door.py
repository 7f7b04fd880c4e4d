"""The front door: what `import gengap` offers, how fast, with examples that run; and the wheel, in a folder that is no checkout."""

import doctest
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scratch import CHECKOUT
from transformers import GPTNeoXForCausalLM

import gengap
from gengap import models

HEAVY = "{'torch', 'numpy', 'transformers', 'pydantic'}"


def printed(*command: str | Path, **options) -> str:
    """What a process prints that ends well."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def one_thread():
    """Tiny matrices are multiplied faster by one thread than by several that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- in the checkout ------------------------------------------------------------------------------------------------


def test_the_door_is_small_and_every_name_is_there():
    assert len(gengap.__all__) <= 12
    assert dir(gengap) == gengap.__all__
    assert all(hasattr(gengap, name) for name in gengap.__all__)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", gengap.__all__)
def test_each_name_has_an_example_that_runs(name):
    thing = models if name == "REGISTRY" else getattr(gengap, name)  # a dictionary has no docstring of its own
    [example] = doctest.DocTestFinder(recurse=False).find(thing, name, globs={})
    assert any(f"gengap.{name}" in line.source for line in example.examples)
    said = io.StringIO()
    assert doctest.DocTestRunner().run(example, out=said.write).failed == 0, said.getvalue()


def test_importing_is_quick_and_loads_neither_torch_nor_numpy():
    code = (
        "import sys, time; start = time.process_time(); import gengap; seconds = time.process_time() - start; "
        f"print(seconds, *({HEAVY} & set(sys.modules)))"
    )
    seconds, *heavy = min(
        (printed(sys.executable, "-c", code).split() for _ in range(3)), key=lambda said: float(said[0])
    )
    assert not heavy
    assert float(seconds) < 0.3


def test_the_list_of_commands_loads_neither_torch_nor_numpy():
    code = (
        "import sys\nfrom gengap.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass\n"
        f"print('loaded:', *({HEAVY} & set(sys.modules)))"
    )
    assert printed(sys.executable, "-c", code).splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("module", ["book.notebooks", "book.report", "workflow.graph", "workflow.jobs", "records"])
def test_what_starts_pages_and_reads_records_loads_no_torch(module):
    """It would be a second of each page, and twice as much beside the kernel that needs it."""
    code = f"import sys, gengap.{module}; print('loaded:', *({{'torch', 'transformers'}} & set(sys.modules)))"
    assert printed(sys.executable, "-c", code) == "loaded:\n"


def test_surveys_are_read_without_torch():
    code = "import sys; from gengap.records import load_surveys; assert load_surveys('ladder'); print('torch' in sys.modules)"
    assert printed(sys.executable, "-c", code, cwd=CHECKOUT) == "False\n"


# --- from a wheel, elsewhere ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that the checkout stays as it is."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(CHECKOUT / "lib", source / "lib", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(CHECKOUT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    printed(*pip, "--wheel-dir", source / "dist", source)
    [built] = (source / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory):
    """A folder with an environment that holds the wheel; what it needs is read where the tests have it, their own gengap is not."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "env", symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "env", "install", "--quiet", "--no-deps"]
    printed(*pip, "--no-index", wheel)  # before the other packages are there, so that no other gengap is seen
    [packages] = folder.glob("env/lib/python*/site-packages")
    installed = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (packages / "of_the_tests.pth").write_text("\n".join(installed))  # their own .pth files are not read
    return folder


def run_elsewhere(folder: Path, *command: str | Path) -> str:
    own = {name: value for name, value in os.environ.items() if name not in ("GENGAP_ROOT", "PYTHONPATH")}
    return printed(folder / "env" / "bin" / command[0], *command[1:], cwd=folder, env=own | {"OMP_NUM_THREADS": "1"})


def test_the_wheel_holds_every_file_of_the_library(wheel):
    tracked = printed("git", "ls-files", "lib/gengap", cwd=CHECKOUT).split()
    assert {name.removeprefix("lib/") for name in tracked} <= set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_gives_the_same_command_without_a_checkout(elsewhere):
    listed = run_elsewhere(elsewhere, "gengap", "sizes")
    assert "pythia-410m             405,334,016     8,388,608,000" in listed


def test_the_wheel_bounds_an_array(elsewhere):
    code = (
        "import gengap, numpy as np; print(gengap.__file__); nll = np.full(10_000, 2.0)\n"
        "coded = gengap.CodedModel(4_000, 10_000, 256)\n"
        "print(gengap.paper_bound(coded, nll, nll, 2.0).value)"
    )
    place, value = run_elsewhere(elsewhere, "python", "-c", code).split()
    assert Path(place).is_relative_to(elsewhere / "env")
    assert 2 < float(value) < np.log(256)


def test_the_readmes_example_certifies_a_model_elsewhere(elsewhere):
    [example] = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    assert len(re.findall(r"^.*\S", example, re.MULTILINE)) <= 8
    shape = replace(gengap.get("ladder-50k"), vocab_size=64, seq_len=16)
    GPTNeoXForCausalLM(shape.config()).save_pretrained(elsewhere / "checkpoint")
    rows = np.random.default_rng(0).integers(64, size=(3600, 17))
    np.save(elsewhere / "rows.npy", rows[:3300])
    np.save(elsewhere / "heldout.npy", rows[3300:])
    said = run_elsewhere(elsewhere, "python", "-c", example)
    accountings = dict(re.findall(r"^(\w+): at most (\S+) nats a token", said, re.MULTILINE))
    assert list(accountings) == ["nominal", "honest", "archive"]
    guessing = np.log(64)  # random text cannot be learnt
    assert all(guessing < float(bound) < 2 * guessing for bound in accountings.values())
