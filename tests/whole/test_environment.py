"""The folders that a project may lie in, and what the environment may say: spaces, quotes and other signs that a shell reads, long
temporary folders, a GENGAP_ROOT that is relative."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from projects import make_project
from scratch import make_root

from gengap.book import notebooks
from gengap.errors import UserError
from gengap.paths import project_root, short_folder

NAME = """it's "Bücher 书" $HOME (1); echo `no` & {x}"""


@pytest.fixture
def place(tmp_path):
    """A project in a folder of this name, and an environment in another one below it; the text that it is made of is tiny."""
    root = make_root(tmp_path / NAME / "project")
    tiny = make_project(tmp_path / "tiny", n_documents=600)
    shutil.copytree(tiny / "build", root / "build")
    shutil.copy2(tiny / "corpus.lock", root / "corpus.lock")
    environment = root.parent / "envi ronment's $5"
    environment.symlink_to(Path(sys.executable).parents[1])
    return root, environment / "bin" / "python"


def graph(root, python, *arguments):
    command = [
        python,
        "-m",
        "snakemake",
        "--snakefile",
        f"{root}/Snakefile",
        "--directory",
        root,
        "--nolock",
        *arguments,
    ]
    environment = {**os.environ, "GENGAP_ROOT": str(root), "PYTHONPATH": str(root / "lib")}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_every_job_of_the_graph_would_start_its_program_wherever_the_project_lies(place):
    root, python = place
    done = graph(root, python, "--dry-run", "--printshellcmds", "--forceall", "build/results/ladder/50k/main-gptq-4bit.json",
                 "build/results/ladder/50k/main-quantization.json", "_build/html/index.html")  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    said = (done.stdout + done.stderr).splitlines()
    lines = [line.partition("Shell command: ")[2].strip() or line.strip() for line in said if " -m gengap.cli " in line]
    started = {shlex.split(line)[3] for line in lines}
    assert started == {"corpus", "train", "quantize", "notebook", "survey", "run", "site"}
    for line in lines:
        words = shlex.split(line)
        assert words[:3] == [str(python), "-m", "gengap.cli"]
        assert "&&" not in words or words[words.index("&&") + 1] == str(python)


def test_a_job_of_the_graph_runs_wherever_the_project_lies(place):
    root, python = place
    done = graph(root, python, "--cores", "1", "--forcerun", "corpus", "--", "build/corpus/manifest.json")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (root / "build" / "corpus" / "train.bin").stat().st_size > 10_000
    assert sorted(path.name for path in root.parent.iterdir()) == sorted(["project", python.parents[1].name])


def make(root, *arguments, **environment):
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")  # `make test` is a make too, and this one is not a part of it
    kept = {name: value for name, value in os.environ.items() if name not in outer}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=root, env=kept | environment, capture_output=True, text=True, check=False)


def test_make_works_wherever_the_project_and_python_lie(place):
    root, python = place
    shutil.copy2(project_root() / "Makefile", root / "Makefile")
    for lock in ("requirements.lock", "cpu.lock", "cuda.lock"):
        shutil.copy2(project_root() / lock, root / lock)
    (root / ".venv").symlink_to(python.parents[1])
    environment = {"GENGAP_ROOT": str(root), "PYTHONPATH": str(root / "lib")}
    done = make(root, "--assume-old=.venv/.installed", "sync", f"PYTHON={python}", **environment)
    assert done.returncode == 0, done.stderr
    dry = make(root, "--dry-run", "--always-make", "book", f"PYTHON={python}".replace("$", "$$"), **environment).stdout
    last = dry.strip().splitlines()[-1]
    assert '"$PYTHON" -m venv .venv' in dry
    shown = subprocess.run(["bash", "-c", last], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    assert shown == f"The book is ready: open {root}/_build/html/index.html"


# --- GENGAP_ROOT -----------------------------------------------------------------------------------------------------


def notebook_of(folder: Path, code: str) -> Path:
    cells = [nbformat.v4.new_code_cell("x: int = 1  # a number", metadata={"tags": ["parameters"]})]
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(code)])
    notebook.metadata |= {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(notebook, folder / "n.ipynb")
    return folder / "n.ipynb"


def printed_by(executed: Path) -> str:
    return nbformat.read(executed, as_version=4).cells[-1].outputs[0].text.strip()


@pytest.mark.parametrize(
    "given", ["project", "./project", "../{here}/project", "project/", "~/project", "~/other/../project"]
)
def test_a_root_that_is_relative_or_has_a_tilde_is_the_same_folder_for_whoever_works_elsewhere(
    tmp_path, monkeypatch, given
):
    root = make_project(tmp_path / "project", n_documents=1)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GENGAP_ROOT", given.format(here=tmp_path.name))
    assert project_root() == root
    monkeypatch.chdir("/")
    assert project_root() == root
    assert os.environ["GENGAP_ROOT"] == str(root)


@pytest.mark.parametrize(
    ("given", "said"),
    [("no/such/folder", "there is no folder"), ("~nobody-at-all/x", "home"), (".", "holds no corpus.lock"), ("/etc/passwd", "there is no folder")],
)  # fmt: skip
def test_a_root_that_is_no_project_is_refused(tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENGAP_ROOT", given)
    with pytest.raises(UserError, match=said) as error:
        project_root()
    assert repr(given) in str(error.value)
    assert "set it to the project's folder" in str(error.value)


def test_a_kernel_finds_the_project_of_a_relative_root(tmp_path, monkeypatch):
    root = make_project(tmp_path / "it's my project", n_documents=1)
    source = notebook_of(tmp_path, "from gengap.paths import project_root; print(project_root())")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENGAP_ROOT", "it's my project")
    notebooks.execute(source, tmp_path / "out.ipynb", {})
    assert printed_by(tmp_path / "out.ipynb") == str(root)


# --- TMPDIR ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["short", "7" * 100, "ü" * 60, "with a space " + "x" * 80])
def test_a_notebook_runs_whatever_the_temporary_folder_is_called(tmp_path, empty_project, monkeypatch, name):
    scratch = tmp_path / name
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    notebooks.execute(notebook_of(tmp_path, "print(x)"), tmp_path / "out.ipynb", {"x": 7})
    assert printed_by(tmp_path / "out.ipynb") == "7"


def test_a_short_folder_is_short_and_goes_away(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with short_folder(1000) as folder:
        assert folder.parent == tmp_path
        assert folder.is_dir()
    assert not folder.exists()
    with short_folder(30) as folder:
        assert len(os.fsencode(folder)) <= 30
        assert folder.parent != tmp_path
    assert not folder.exists()
    with pytest.raises(UserError, match="set TMPDIR to a shorter one"), short_folder(5):
        pass
    assert not any(tmp_path.iterdir())
