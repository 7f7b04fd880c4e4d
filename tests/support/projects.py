"""A small project of its own for the tests: real text, a real tokenizer, a real rung, in seconds."""

import hashlib
import sysconfig
import zipfile
from dataclasses import replace
from pathlib import Path

from gengap import models

SUPPORT = Path(__file__).parent

SMALL = replace(
    models.get("ladder-50k"),
    family="test",
    size="9k",
    hidden_size=8,
    n_layers=1,
    batch_rows=8,
    vocab_size=512,
    seq_len=64,
)


def write_wheel(path: Path, files: dict[str, str]) -> str:
    """A wheel (a zip file) with fixed time stamps; its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stdlib_sources(n_documents: int, lines_each: int = 100) -> dict[str, str]:
    """Pieces of the longest top-level modules of the standard library, enough for a few held-out ones."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    longest = sorted(folder.glob("*.py"), key=lambda path: (-path.stat().st_size, path.name))
    pieces = {}
    for path in longest:
        lines = path.read_text().splitlines(keepends=True)
        for start in range(0, len(lines), lines_each):
            pieces[f"stdlib/{path.stem}_{start}.py"] = "".join(lines[start : start + lines_each])
    return dict(list(pieces.items())[:n_documents])


def bare_project(root: Path) -> Path:
    """A project at `root` with nothing in it."""
    (root / "lib" / "gengap").mkdir(parents=True, exist_ok=True)
    (root / "corpus.lock").touch()
    return root


def make_project(root: Path, n_documents: int = 600) -> Path:
    """A project folder whose corpus is one wheel of standard library sources."""
    (root / "lib" / "gengap").mkdir(parents=True)
    sha256 = write_wheel(
        root / "build" / "corpus" / "wheels" / "stdlib-1.0-py3-none-any.whl", stdlib_sources(n_documents)
    )
    (root / "corpus.lock").write_text(f"stdlib==1.0 --hash=sha256:{sha256}\n")
    return root
