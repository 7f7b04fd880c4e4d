"""Texts out of files, one by one: JSON lines, plain text, parquet, packed or not; what is broken is one sentence that says where.

Nothing here holds more than one text and one block in memory, whatever a file unpacks to.
"""

import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gengap.errors import UserError

LONGEST_TEXT = 2**26  # bytes of one line or one text
UNPACKED_RATIO = 400  # a packed file of text never unpacks to so many times its length ...
UNPACKED_FREE = 2**28  # ... beyond its first 256 MiB


def open_packed(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked as its suffix says, as a stream."""
    packing = path.suffix.lower()
    if packing == ".zst":
        import pyarrow

        return pyarrow.input_stream(str(path), compression="zstd")
    openers = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return openers.get(packing, open)(path, "rb")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line with its end) of a UTF-8 text; `UserError` naming file and line for whatever is broken."""
    import pyarrow

    number, unpacked = 0, 0
    try:
        limit = UNPACKED_FREE + UNPACKED_RATIO * path.stat().st_size
        with open_packed(path) as stream:
            for number, line in enumerate(_split(stream), 1):
                unpacked += len(line)
                if len(line) > LONGEST_TEXT:
                    raise UserError(
                        f"{path}, line {number}: longer than {LONGEST_TEXT >> 20} MiB, which is no text: cut it into lines"
                    )
                if unpacked > limit:
                    raise UserError(f"{path} unpacks to more than {UNPACKED_RATIO} times its length: it holds no text")
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start}): convert it first"
        ) from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, pyarrow.ArrowException) as error:
        where = f" after line {number}" if number else ""
        raise UserError(f"{path} is cut or damaged{where} ({_reason(error)}): fetch it again") from error
    except OSError as error:
        where = f" after line {number}" if number else ""
        raise UserError(
            f"cannot read {path}{where}: {error.strerror or _reason(error)}; is it cut or damaged?"
        ) from error


def _split(stream: BinaryIO) -> Iterator[bytes]:
    """Lines of a stream; of one that is too long only its beginning, so that no stream fills the memory."""
    held: list[bytes] = []  # pieces of a line that has not ended
    while block := stream.read(2**20):
        first, *others = block.split(b"\n")
        held.append(first)
        if others:
            yield b"".join(held) + b"\n"
            *whole, last = others
            yield from (line + b"\n" for line in whole)
            held = [last]
        elif sum(map(len, held)) > LONGEST_TEXT:
            break
    if rest := b"".join(held):
        yield rest


def json_texts(path: Path, column: str) -> Iterator[str | None]:
    """The texts in a column of JSON lines; None for a null. Empty lines are none."""
    for number, line in lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = "it begins a JSON array" if line.lstrip().startswith("[") else str(error).partition(":")[0]
            raise UserError(
                f"{path}, line {number}: no JSON object on one line ({reason}): write one object a line"
            ) from error
        if not isinstance(row, dict):
            raise UserError(
                f"{path}, line {number}: {type(row).__name__} instead of a JSON object: write one object a line"
            )
        if column not in row:
            raise UserError(f"{path}, line {number}: no text in a column {column!r}: it has {_names(row)}")
        yield checked(row[column], column, f"{path}, line {number}", row)


def parquet_texts(path: Path, column: str) -> Iterator[str | None]:
    """The texts in a column of a parquet file; None for a null."""
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        schema = parquet.read_schema(path, memory_map=True)
        if column not in (names := schema.names):
            raise UserError(f"{path} has no text in a column {column!r}: it has {_names(names)}")
        texts = (
            [column] if pyarrow.types.is_string(schema.field(column).type) else None
        )  # one copy of texts that are equal
        with parquet.ParquetFile(path, memory_map=True, read_dictionary=texts) as file:
            for batch in file.iter_batches(64, columns=[column]):
                for value in batch.column(0):
                    number += 1
                    yield checked(value.as_py(), column, f"{path}, row {number}", names)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        where = f" after row {number:,}" if number else ""
        raise UserError(
            f"cannot read {path}{where} as parquet ({_reason(error)}): fetch it again if it is cut"
        ) from error


def checked(value: object, column: str, where: str, names) -> str | None:
    """`value` if it is a text that can be written, or None; `UserError` naming what it is instead."""
    if value is None:
        return None
    if not isinstance(value, str):
        kind = type(value).__name__
        raise UserError(f"{where}: no text in a column {column!r}, but {kind}: it has {_names(names)}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: half of a surrogate pair, which is no character: mend the text") from error
    if size > LONGEST_TEXT:
        raise UserError(f"{where}: a text of more than {LONGEST_TEXT >> 20} MiB: cut it into documents")
    return value


def _names(names) -> str:
    found = [repr(str(name)) for name in names]
    return ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "") or "none"


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")[:200] or type(error).__name__
