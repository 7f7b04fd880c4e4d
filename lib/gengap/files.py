"""One way to read what the project wrote: bounded, checked against what is stated of it, and one sentence for whatever is wrong.

A file states its own length and digest (`seal`), or it is listed: `results/SHA256SUMS`, which `sha256sum -c` reads too, names the
digest of every published file, `build/results/SHA256SUMS` those of this machine's records. Both are compared at every read. Compressed content is unpacked up to a length and no further.
"""

import contextlib
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from gengap.errors import UserError
from gengap.paths import atomic_path, file_sha256, published_results_dir

MOST = 2**26  # bytes of a file that is read whole
MOST_RECORD = 2**24  # bytes of a record
XZ_MEMORY = 2**27  # bytes that the header of an .xz may ask for
LISTING = "SHA256SUMS"
DEPTH = 6  # folders from a published file up to the list: ladder/50k/runs/grid-2x/checkpoint
RESTORE = "restore the committed file"
_SEAL = re.compile(rb"# (\d{1,12}) bytes, sha256 ([0-9a-f]{64})\n")
_LISTED = re.compile(r"([0-9a-f]{64})  (\S.*)")


class Damaged(UserError):
    """A file is not what was written there, or holds something else."""


@contextlib.contextmanager
def one_sentence(what: str, remedy: str) -> Iterator[None]:
    """Whatever parsing or reading inside stumbles over becomes a `Damaged`: "`what` (reason): `remedy`"."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged file leads to
        reason = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0].rstrip(".:")
        raise Damaged(f"{what} ({reason[:200] or type(error).__name__}): {remedy}") from error


def read(path: Path, most: int = MOST, remedy: str = RESTORE, compare: bool = True) -> bytes:
    """The content of a file of at most `most` bytes; if it is listed, as it was listed (`compare`).

    Raises `UserError` if it is not there, cannot be read, is too long, or is not what was listed.
    """
    try:
        with path.open("rb") as file:
            content = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder, where a file is needed: look at its name") from error
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}: look at its name") from error
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > most:
        raise UserError(f"{path} has more than {most:,} bytes, which no file of its kind has: {remedy}")
    if compare:
        check_listed(path, content)
    return content


def read_text(path: Path, most: int = MOST, remedy: str = RESTORE) -> str:
    """The same as text, which is UTF-8."""
    content = read(path, most, remedy)
    with one_sentence(f"{path} is no text in UTF-8", remedy):
        return content.decode("utf-8")


def parse_json(content: bytes | str, what: str, remedy: str) -> Any:
    """What JSON says; `UserError` that begins with `what` and ends in `remedy` for everything else, however deep."""
    with one_sentence(what, remedy):
        return json.loads(content)


def unpack(path: Path, content: bytes, most: int, remedy: str = RESTORE) -> bytes:
    """The content of a `.gz` or `.xz` of which at most `most` bytes can come, and as it is if it is neither; `UserError` for more, and for a damaged one."""
    with one_sentence(f"{path} is damaged or cut short", remedy):
        if path.suffix == ".xz":
            decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
            found = decompressor.decompress(content, most + 1)
            whole = decompressor.eof and not decompressor.unused_data
        elif path.suffix == ".gz":
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
                found = stream.read(most + 1)
            whole = bool(content)  # any other end that is missing is an error of its own
        else:
            return content
        if len(found) > most:
            raise ValueError(f"it unpacks to more than {most:,} bytes")
        if not whole:
            raise EOFError("its end is missing")
        return found


def read_member(archive: zipfile.ZipFile, name: str, most: int = MOST) -> bytes:
    """One file of a zip archive, of at most `most` bytes; `UserError` for a longer one, and for a damaged one."""
    with (
        one_sentence(f"{name} in {archive.filename} cannot be read", "fetch the file again"),
        archive.open(name) as file,
    ):
        content = file.read(most + 1)
        if len(content) > most:
            raise ValueError(f"it unpacks to more than {most:,} bytes")
        return content


def seal(content: bytes) -> bytes:
    """`content`, which ends a line, with a last line that states its length and digest."""
    return content + f"# {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}\n".encode()


def unseal(content: bytes) -> tuple[bytes, bool]:
    """(content, whether it was sealed) of what `seal` made; ValueError if it is not what its last line states."""
    start = content.rfind(b"\n", 0, -1) + 1
    if not (stated := _SEAL.fullmatch(content, start)):
        return content, False
    body = content[:start]
    if len(body) != int(stated[1]) or hashlib.sha256(body).hexdigest() != stated[2].decode():
        raise ValueError("it is not what its last line states")
    return body, True


def vouch(path: Path) -> None:
    """State length and digest of a file in another one beside it, written last."""
    with atomic_path(_voucher(path)) as part:
        part.write_bytes(seal(f"{path.stat().st_size} {file_sha256(path)}\n".encode()))


def forget(path: Path) -> None:
    """Before a file that is vouched for is written again."""
    _voucher(path).unlink(missing_ok=True)


def is_vouched(path: Path) -> bool:
    """Whether the file is there and what the one beside it states."""
    with contextlib.suppress(OSError, ValueError):
        body, sealed = unseal(_voucher(path).read_bytes())
        size, digest = body.decode().split()
        return sealed and path.stat().st_size == int(size) and file_sha256(path) == digest
    return False


def _voucher(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


# --- What was published ---------------------------------------------------------------------------------------------------


def published() -> dict[str, str]:
    """{place below results/: SHA-256} of every file that `results/SHA256SUMS` lists; nothing if there is no such list."""
    try:
        folder = published_results_dir()
    except UserError:  # outside a copy of the project
        return {}
    return _listing(folder)


def is_published(path: Path, sha256: str) -> bool:
    """Whether a file of this digest is listed, by the project or above the place of `path`."""
    return any(sha256 in listing.values() for _, listing in _listings_above(path)) or sha256 in published().values()


def check_listed(path: Path, content: bytes | None = None) -> None:
    """Raise `UserError` if a file is listed above its place, or vouched for, and is not what was written; `content` is what it holds."""
    if _voucher(path).exists() and not is_vouched(path):
        raise Damaged(f"{path} is not what {_voucher(path).name} beside it states, but altered or cut: make it again")
    for folder, listing in _listings_above(path):
        place = Path(os.path.abspath(path)).relative_to(folder).as_posix()
        digest = file_sha256(path) if content is None else hashlib.sha256(content).hexdigest()
        if listing.get(place, digest) != digest:
            raise Damaged(
                f"{path} is not the file that {LISTING} lists, but altered or cut: {RESTORE}, make it again, or take its line out of {folder / LISTING}"
            )


def _listings_above(path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The lists in the folders above a file, as far up as published files lie below one."""
    for folder in Path(os.path.abspath(path)).parents[:DEPTH]:
        if listing := _listing(folder):
            yield folder, listing


def _listing(folder: Path) -> dict[str, str]:
    try:
        changed = (folder / LISTING).stat().st_mtime_ns
    except OSError:
        return {}
    return _parsed(folder / LISTING, changed)


@lru_cache(maxsize=4)
def _parsed(path: Path, _changed: int) -> dict[str, str]:
    with one_sentence(f"{path} cannot be read", RESTORE):
        found = [_LISTED.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not all(found):
        raise UserError(f"{path} holds a line that is no digest and name: {RESTORE}")
    return {match[2]: match[1] for match in found}


def list_files(folder: Path, changed: Iterable[Path], out: bool = False) -> None:
    """Bring the list of a results folder up to date with files that were written or removed; hold its lock (`gengap.locks`).

    `out`: take them out of the list, before they are written, so that a kill in between leaves no file that its line speaks against.
    """
    path, listed = folder / LISTING, dict(before := _listing(folder))
    for file in changed:
        listed.pop(place := file.relative_to(folder).as_posix(), None)
        if file.exists() and not out:
            listed[place] = file_sha256(file)
    if listed != before:
        with atomic_path(path) as part:
            part.write_text("".join(f"{listed[place]}  {place}\n" for place in sorted(listed)), encoding="utf-8")
