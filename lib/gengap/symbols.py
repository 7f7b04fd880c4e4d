"""Entropy coding of integer arrays under models that the decoder learns as it decodes (T8).

`SymbolWriter` and `SymbolReader` have the same method `code`, so every model below is written once and runs
in both directions: the writer is given the values, the reader returns them. Probabilities are ratios of
integer counts, hence the same on every machine. The range coder is constriction's.
"""

import constriction
import numpy as np

from gengap.errors import UserError

_RESOLUTION = 1 << 20  # counts are at least 1/_RESOLUTION of their sum: every symbol can be coded


class SymbolWriter:
    """Collects symbols into a compressed stream."""

    def __init__(self):
        self._coder = constriction.stream.queue.RangeEncoder()

    def code(self, values: np.ndarray, size: int, counts: np.ndarray) -> np.ndarray:
        """Write `values` (size,), each in 0..len(counts)-1, under probabilities proportional to `counts`."""
        if len(counts) > 1 and size:
            self._coder.encode(np.ascontiguousarray(values, dtype=np.int32), _categorical(counts))
        return values

    def finish(self) -> bytes:
        """The stream: little-endian 32-bit words without trailing zero bytes, which the reader restores."""
        return self._coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


class SymbolReader:
    """Reads back what a `SymbolWriter` wrote. Raises `UserError` if the stream cannot come from one."""

    def __init__(self, stream: bytes):
        padded = stream + bytes(8 - len(stream) % 4)  # the zeros that `finish` took away, and a word to spare
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, "<u4").astype(np.uint32))

    def code(self, _values, size: int, counts: np.ndarray) -> np.ndarray:
        """Read `size` symbols written under the same counts."""
        if len(counts) == 1 or not size:
            return np.zeros(size, np.int32)
        try:
            return self._coder.decode(_categorical(counts), size)
        except (AssertionError, ValueError) as error:
            raise UserError("the compressed stream is corrupt: make or fetch the file again") from error


def _categorical(counts: np.ndarray):
    floor = counts.sum() / _RESOLUTION
    return constriction.stream.model.Categorical(np.maximum(counts, floor).astype(np.float64), perfect=False)


def code_adaptive(coder, values, size: int, counts: np.ndarray, first_chunk: int = 32) -> np.ndarray:
    """Code (size,) symbols in growing chunks; each chunk is added to `counts` (float64, updated in place)
    once coded.
    """
    parts, start, chunk = [], 0, first_chunk
    while start < size:
        stop = min(size, start + chunk)
        part = coder.code(None if values is None else values[start:stop], stop - start, counts)
        counts += np.bincount(part, minlength=len(counts))
        parts.append(part)
        start, chunk = stop, max(chunk, stop // 2)
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def code_float16(coder, values, size: int) -> np.ndarray:
    """Code (size,) float16 bit for bit: sign and exponent, then the mantissa in two halves, each adaptively.

    Values that lie on a coarse grid (few mantissa bits in use) therefore cost little more than their
    exponents.
    """
    words = None if values is None else values.astype(np.float16).view(np.uint16).astype(np.int32)
    fields = []
    for shift, width in ((10, 6), (5, 5), (0, 5)):  # sign and exponent | upper mantissa | lower mantissa
        field = None if words is None else (words >> shift) & (2**width - 1)
        fields.append(code_adaptive(coder, field, size, np.full(2**width, 0.05)))
    joined = (fields[0] << 10) | (fields[1] << 5) | fields[2]
    return joined.astype(np.uint16).view(np.float16)
