"""The house: arrows point down, the library imports from where a name is defined, and every face offers only what there is."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from scratch import CHECKOUT, environment_of, make_root

LIBRARY = CHECKOUT / "lib" / "gengap"
FACES = {
    ".".join(stub.relative_to(LIBRARY.parent).parent.parts): ast.parse(stub.read_text(encoding="utf-8")).body
    for stub in sorted(LIBRARY.rglob("__init__.pyi"))
}


@pytest.mark.parametrize("face", FACES)
def test_a_face_offers_what_there_is_and_says_where(face):
    package, offered = importlib.import_module(face), set()
    for statement in FACES[face]:
        assert isinstance(statement, ast.ImportFrom)
        assert statement.level == 1
        source = importlib.import_module(f"{face}.{statement.module}")
        for alias in statement.names:
            assert alias.name == alias.asname  # handed on, as type checkers understand it
            assert getattr(package, alias.name) is getattr(source, alias.name)
            offered.add(alias.name)
    assert offered == set(package.__all__)


def test_the_library_imports_from_modules_and_never_through_a_face():
    through_faces = []
    for path in sorted(LIBRARY.rglob("*.py")):
        for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(statement, ast.ImportFrom) and statement.module in FACES:
                folder = CHECKOUT / "lib" / Path(*statement.module.split("."))
                names = [
                    a.name for a in statement.names if not {f"{a.name}.py", a.name} & {p.name for p in folder.iterdir()}
                ]
                through_faces += [f"{path.relative_to(LIBRARY)}: {statement.module}.{name}" for name in names]
    assert not through_faces


def lint_imports(root: Path) -> subprocess.CompletedProcess:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=root, env=environment_of(root), capture_output=True, text=True, check=False)


def test_the_contract_is_kept():
    done = lint_imports(CHECKOUT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        (
            "records/base.py",
            "from gengap.book.pages import merge_outputs",
            "gengap.records is not allowed to import gengap.book",
        ),
        (
            "models/spec.py",
            "if TYPE_CHECKING:\n    from gengap.training.run import Run",
            "gengap.models is not allowed to import gengap.training",
        ),
        (
            "tokens/rows.py",
            "def f():\n    from gengap.statistics import forward",
            "gengap.tokens is not allowed to import gengap.statistics",
        ),
        ("laws/fits.py", "import torch", "gengap.laws is not allowed to import torch"),
        (
            "bounds/terms.py",
            "from gengap.paths import build_dir",
            "gengap.bounds is not allowed to import gengap.paths",
        ),
        (
            "bounds/smoothing.py",
            "from gengap.bounds.theorems import paper_bound",
            "No circle, inside a package either BROKEN",
        ),
    ],
)
def test_what_breaks_the_contract_is_named(tmp_path, module, line, said):
    root = make_root(tmp_path / "root")
    with (root / "lib" / "gengap" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n\n{line}\n")
    done = lint_imports(root)
    assert done.returncode == 1
    assert said in done.stdout.replace("\n", " ")


def test_a_module_without_a_place_in_the_contract_is_named(tmp_path):
    root = make_root(tmp_path / "root")
    (root / "lib" / "gengap" / "attic.py").write_text("", encoding="utf-8")
    done = lint_imports(root)
    assert done.returncode == 1
    assert "gengap.attic" in done.stdout
