"""Rows in binary files of tokens, mapped and never read whole: nanoGPT's `.bin`, numpy's `.npy`, Megatron's `.bin` and `.idx`.

A flat file is cut into rows that overlap by one token, so that every token but the first is predicted once: row i holds the tokens
from i * seq_len to (i + 1) * seq_len, both included, and what is left at the end fills no row. Rows of several files do not cross from
one file into the next.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gengap.errors import UserError

MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
MEGATRON_DTYPES = {1: "<u1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}  # its other codes are signed bytes and floats
_HEADER = struct.Struct("<9sQBQQ")  # magic, version, type code, number of sequences, length of the document index
FLAT_DTYPES = {"uint16": "<u2", "uint32": "<u4"}
HIGH_HALF = 4  # 2^18: the high halves of 32-bit tokens of any vocabulary in use are smaller
PROBED_TOKENS = 2**20


@dataclass(frozen=True)
class TokenFile:
    """Where the tokens of one file lie. It is mapped anew for each read, so that any process may read it, and copies are small."""

    path: Path
    dtype: np.dtype
    offset: int  # bytes before the first token
    n_tokens: int
    stamp: tuple[int, ...]  # `stamp(path)` when it was opened

    def tokens(self) -> np.ndarray:
        """(n_tokens,) mapped; `UserError` if the file is not the one that was opened."""
        if stamp(self.path) != self.stamp:
            raise UserError(f"{self.path} has changed since it was opened: let nothing write to it, and start again")
        if not self.n_tokens:
            return np.empty(0, self.dtype)
        return np.memmap(self.path, self.dtype, "r", self.offset, (self.n_tokens,))


class FileRows:
    """Rows of `row_tokens` tokens of `files`, in their order; each starts `step` tokens after the one before it."""

    def __init__(self, files: Sequence[TokenFile], row_tokens: int, step: int):
        self.files, self.row_tokens, self.step = tuple(files), row_tokens, step
        counts = [max(0, (file.n_tokens - row_tokens) // step + 1) for file in self.files]
        self.ends = np.cumsum(counts)
        self.dtype = np.result_type(*(file.dtype.newbyteorder("=") for file in self.files))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        """(n, row_tokens) in the order asked; `IndexError` outside the rows, `UserError` if a file has changed."""
        indices = row_numbers(indices, len(self))
        found = np.empty((len(indices), self.row_tokens), self.dtype)
        which = np.searchsorted(self.ends, indices, side="right")
        for i in np.flatnonzero(np.bincount(which)):
            first = self.ends[i - 1] if i else 0
            windows = np.lib.stride_tricks.sliding_window_view(self.files[i].tokens(), self.row_tokens)
            found[which == i] = windows[(indices[which == i] - first) * self.step]
        return found


def row_numbers(indices: np.ndarray | slice, n_rows: int) -> np.ndarray:
    """(n,) numbers of rows; `IndexError` unless they are one array of numbers from 0 to n_rows - 1."""
    if isinstance(indices, slice):
        return np.arange(*indices.indices(n_rows))
    indices = np.asarray(indices)
    if indices.size == 0:
        return np.empty(0, np.int64)
    if indices.ndim != 1 or indices.dtype.kind not in "iu" or not 0 <= indices.min() <= indices.max() < n_rows:
        raise IndexError(f"row numbers must be one array of numbers from 0 to {n_rows - 1}")
    return indices.astype(np.int64)


def stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced; `UserError` if it cannot be had."""
    try:
        facts = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def read_start(path: Path, n_bytes: int) -> bytes:
    """The first bytes of a file; `UserError` if it cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(n_bytes)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def flat_file(path: Path, dtype: str | None = None, vocab_size: int | None = None) -> TokenFile:
    """nanoGPT's `.bin`: tokens alone, uint16 or uint32, nothing that says which.

    Without `dtype` it is told from the content: every second half-word of 32-bit tokens is nearly zero. Raises `UserError` for an
    empty file, a length that is no whole number of tokens, and where the content contradicts `dtype`.
    """
    found, size = stamp(path), path.stat().st_size
    if dtype is not None and (dtype := str(np.dtype(dtype)) if _is_dtype(dtype) else str(dtype)) not in FLAT_DTYPES:
        raise UserError(f"{path}: flat files hold uint16 or uint32 tokens, not {dtype}: give one of these two as dtype")
    halves = np.frombuffer(read_start(path, 4 * PROBED_TOKENS)[: min(size, 4 * PROBED_TOKENS) // 2 * 2], "<u2")
    if size == 0:
        raise UserError(f"{path} is empty: write the tokens again")
    if size % 2:
        raise UserError(f"{path} has an odd length, {size:,} bytes: it is cut, or holds no 16- or 32-bit tokens")
    wide = bool(len(halves) > 1 and halves[1::2].max() < HIGH_HALF <= halves[::2].max())
    if dtype == "uint16" and wide:
        raise UserError(
            f"{path} looks like uint32 tokens (every second 16-bit number is below {HIGH_HALF}): give dtype uint32"
        )
    if dtype == "uint32" and not wide and halves[1::2].max(initial=0) >= HIGH_HALF:
        largest = int(halves[: len(halves) // 2 * 2].view("<u4").max(initial=0))
        raise UserError(f"{path} read as uint32 has tokens up to {largest:,}, in no vocabulary: give dtype uint16")
    dtype = dtype or ("uint32" if wide else "uint16")
    stored = np.dtype(FLAT_DTYPES[dtype])
    if size % stored.itemsize:
        raise UserError(f"{path} is cut: {size:,} bytes are no whole number of {dtype} tokens")
    return TokenFile(path, stored, 0, size // stored.itemsize, found)


def _is_dtype(name: object) -> bool:
    try:
        np.dtype(name)
    except TypeError:
        return False
    return True


def npy_file(path: Path) -> tuple[TokenFile, tuple[int, ...]]:
    """numpy's own format, and the shape of the array in it; nothing is unpickled.

    Raises `UserError` unless it holds integers in one or two dimensions, row by row, and exactly as many bytes as it says.
    """
    found = stamp(path)
    read_start(path, 1)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        reason = str(error).strip().partition("\n")[0]
        if any(word in reason.lower() for word in ("object", "pickle")):
            reason = "it holds Python objects, which are never unpickled"
        raise UserError(f"cannot read {path} as an array of tokens: {reason}") from error
    if not isinstance(array, np.memmap):
        raise UserError(f"{path} is an archive of arrays (npz): save the tokens alone with numpy.save")
    if array.dtype.kind not in "iu":
        raise UserError(f"{path} holds numbers of type {array.dtype}: tokens are integers")
    if array.ndim not in (1, 2):
        raise UserError(f"{path} has the shape {array.shape}: tokens are a flat array, or rows of equal length")
    if not array.flags.c_contiguous:
        raise UserError(f"{path} is stored by columns: save numpy.ascontiguousarray of it")
    if found[0] != array.offset + array.nbytes:
        raise UserError(f"{path} has {found[0]:,} bytes, but its header announces {array.offset + array.nbytes:,}")
    return TokenFile(path, array.dtype, array.offset, array.size, found), array.shape


def megatron_file(path: Path) -> TokenFile:
    """The documents of `megatron_documents`, joined in the file's order."""
    return megatron_documents(path)[0]


def megatron_documents(path: Path) -> tuple[TokenFile, np.ndarray]:
    """Megatron's indexed data set, `<name>.bin` with `<name>.idx` (magic MMIDIDX, version 1), and the lengths of its documents in tokens.

    These files do not hold the order of training: Megatron draws it from its seed at the start of a run and keeps it in files of its
    own (document, sample and shuffle index). A certificate may take the stored order, since no one chose it after looking.
    Raises `UserError` for an index of another format, of another length than it states, or that disagrees with its `.bin`.
    """
    index, path = path.with_suffix(".idx"), path.with_suffix(".bin")
    index_bytes, found = stamp(index)[0], stamp(path)
    head = read_start(index, _HEADER.size)
    if not head.startswith(MEGATRON_MAGIC):
        raise UserError(f"{index} is no index of Megatron's memory-mapped format (it does not begin with MMIDIDX)")
    if len(head) < _HEADER.size:
        raise UserError(f"{index} is cut: it has {len(head)} bytes of a header of {_HEADER.size}")
    _, version, code, n_sequences, n_documents = _HEADER.unpack(head)
    if version != 1:
        raise UserError(f"{index} is of version {version}, and version 1 is known here")
    if code not in MEGATRON_DTYPES:
        raise UserError(f"{index} has the type code {code}, which is no type of tokens: prepare the data again")
    stated = _HEADER.size + 12 * n_sequences + 8 * n_documents
    if index_bytes not in (stated, stated + n_sequences):  # the latter with a mode for each sequence
        raise UserError(f"{index} has {index_bytes:,} bytes, but its header announces {stated:,}: it is cut or damaged")
    dtype = np.dtype(MEGATRON_DTYPES[code])
    if not n_sequences:
        raise UserError(f"{index} lists no documents: prepare the data again")
    sizes = np.memmap(index, "<i4", "r", _HEADER.size, (n_sequences,))
    pointers = np.memmap(index, "<i8", "r", _HEADER.size + 4 * n_sequences, (n_sequences,))
    stops = np.cumsum(sizes, dtype=np.int64) * dtype.itemsize
    if sizes.min() < 0 or pointers[0] != 0 or not np.array_equal(pointers[1:], stops[:-1]):
        raise UserError(
            f"{index} does not list its documents one after the other: it is damaged, or made by another tool"
        )
    if found[0] != stops[-1]:
        raise UserError(
            f"{path} has {found[0]:,} bytes, but {index.name} announces {stops[-1]:,}: they are not of one data set"
        )
    return TokenFile(path, dtype, 0, int(stops[-1]) // dtype.itemsize, found), sizes
