"""Entropy coding of integer arrays under models that the decoder learns as it decodes (statement T8).

`SymbolWriter` and `SymbolReader` have the same method `code`, so every model below is written once and runs in both
directions: the writer is given the values, the reader returns them. Probabilities are ratios of integer counts, hence
the same on every machine. The range coder is constriction's.
"""

from collections import defaultdict

import constriction
import numpy as np

from gengap.errors import UserError

_RESOLUTION = 1 << 20  # counts are at least 1/_RESOLUTION of their sum: every symbol can be coded


class SymbolWriter:
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
    """Code (size,) symbols chunk by chunk; each is added to `counts` (float64, in place) once coded.

    A chunk is an eighth of what the histogram has seen, so that what is known well is coded fast.
    """
    coded, start, before = np.empty(size, np.int32), 0, round(counts.sum())
    while start < size:
        stop = min(size, start + max(first_chunk, (before + start) // 8))
        part = coder.code(None if values is None else values[start:stop], stop - start, counts)
        counts += np.bincount(part, minlength=len(counts))
        coded[start:stop] = part
        start = stop
    return coded


def code_by_context(coder, values, contexts: np.ndarray, histogram_of, first_chunk: int = 32) -> np.ndarray:
    """Code symbols (size,) whose histogram depends on `contexts` (size,) uint8, known to both sides.

    `histogram_of(context)` returns the counts (updated in place). Contexts are coded one after the other.
    """
    order = np.argsort(contexts, kind="stable")
    coded = np.empty(len(contexts), np.int32)
    start = 0
    for context, size in enumerate(np.bincount(contexts)):
        if size:
            where = order[start : start + size]
            part = None if values is None else values[where]
            coded[where] = code_adaptive(coder, part, int(size), histogram_of(context), first_chunk)
            start += size
    return coded


class Float16Model:
    """Codes float16 arrays bit for bit; values on a coarse grid cost little more than their exponents.

    Sign and exponent are one symbol, learned for each value of a guide known to both sides; the mantissa follows in two
    halves. What was learned on one array serves the next.
    """

    def __init__(self):
        self._exponents = defaultdict(lambda: np.full(64, 0.05))
        self._mantissas = [np.full(32, 0.05), np.full(32, 0.05)]

    def code(self, coder, values, size: int, guide: np.ndarray | None = None) -> np.ndarray:
        """Code `values` (size,) float16, or read them if None; `guide` (size,) uint8."""
        words = None if values is None else values.astype(np.float16).view(np.uint16).astype(np.int32)
        guide = np.zeros(size, np.uint8) if guide is None else guide
        exponents = None if words is None else words >> 10
        joined = code_by_context(coder, exponents, guide, self._exponents.__getitem__, first_chunk=2) << 10
        for shift, counts in zip((5, 0), self._mantissas, strict=True):
            half = None if words is None else (words >> shift) & 31
            joined |= code_adaptive(coder, half, size, counts, first_chunk=2) << shift
        return joined.astype(np.uint16).view(np.float16)


class TextModel:
    """Codes ASCII text, each character in the light of those before it: what followed the last three, two, one and any."""

    _ORDERS = range(4)
    _WEIGHT = 16.0  # of what followed one character more

    def __init__(self, typical: str):
        self._seen = [defaultdict(lambda: np.zeros(128)) for _ in self._ORDERS]
        for place in range(len(typical)):
            self._learn(typical[:place], ord(typical[place]))

    def code(self, coder, text: str | None, size: int) -> str:
        """Code `text` of `size` characters, or read it if None."""
        coded = ""
        for place in range(size):
            counts = np.full(128, 2.0**-6)
            for order, contexts in zip(self._ORDERS, self._contexts(coded), strict=True):
                counts += self._WEIGHT**order * self._seen[order][contexts]
            value = None if text is None else np.array([ord(text[place])])
            symbol = int(coder.code(value, 1, counts)[0])
            self._learn(coded, symbol)
            coded += chr(symbol)
        return coded

    def _contexts(self, before: str) -> list[str]:
        return [before[len(before) - min(order, len(before)) :] for order in self._ORDERS]

    def _learn(self, before: str, symbol: int) -> None:
        for order, context in zip(self._ORDERS, self._contexts(before), strict=True):
            self._seen[order][context][symbol] += 1


class MatrixModel:
    """Codes integer matrices whose entries are larger in some rows and columns than in others.

    The mean magnitude of each column is transmitted as one of 28 levels, two to an octave; that of a row is learned from
    the columns coded before, where rows differ enough. Their product picks the histogram of an entry, and histograms are
    shared by all matrices, so that small ones cost no learning. Contexts are computed in integers and single float64
    operations: the same on every machine.
    """

    LEVELS = np.round(1024 * 2.0 ** (np.arange(28) / 2 - 6)).astype(np.int64)  # mean magnitude x 1024
    _EDGES = 2.0 ** ((np.arange(27) + 0.5) / 2 + 4)  # between levels
    _LEVEL_OF_ONE = 12  # LEVELS[12] is a mean magnitude of one
    _PRIOR = 16.0  # symbols that the initial guess of a histogram is worth
    _ROW_PRIOR = 4  # columns that the initial guess of a row's magnitude is worth
    _MIN_BLOCK = 1024  # entries coded under the same knowledge of the rows
    _MAX_BLOCKS = 16  # of one matrix: more adapt faster and code slower

    def __init__(self, n_symbols: int):
        self._n_symbols = n_symbols
        self._columns = np.full(len(self.LEVELS), 0.2)
        self._flags = np.full(2, 0.5)
        self._histograms: dict[int, np.ndarray] = {}

    def code(self, coder, values, shape: tuple[int, int]) -> np.ndarray:
        """Code `values` (rows, cols) in 0..n_symbols-1, centred at n_symbols // 2, or read them if None."""
        rows, cols = shape
        middle = self._n_symbols // 2
        out = np.empty((cols, rows), np.int32)
        turned = found = use_rows = None
        if values is not None:
            turned = np.ascontiguousarray(values.T, dtype=np.int32)  # (cols, rows): columns are contiguous
            magnitude = np.abs(turned - middle)
            found = np.searchsorted(self._EDGES, 1024.0 * magnitude.mean(axis=1))
            means, chance = magnitude.mean(axis=0), magnitude.var(axis=0).mean() / cols  # of rows
            use_rows = np.array([means.var() - chance > (0.15 * means.mean()) ** 2])  # by more than chance and 15 %
        use_rows = code_adaptive(coder, use_rows, 1, self._flags)[0]
        column_level = code_adaptive(coder, found, cols, self._columns, first_chunk=2)  # (cols,)
        mean = self.LEVELS[column_level]  # (cols,)
        width = max(1, min(cols, max(self._MIN_BLOCK // rows, cols // self._MAX_BLOCKS))) if use_rows else cols
        expected = int(np.sort(mean)[cols // 2]) * self._ROW_PRIOR  # of a row, before anything is known of it
        seen = np.full(rows, expected, np.int64)
        for start in range(0, cols, width):
            part = slice(start, min(start + width, cols))
            row_level = np.searchsorted(self._EDGES, seen * (1024 / expected)) - self._LEVEL_OF_ONE  # (rows,)
            contexts = np.clip(column_level[part, None] + row_level, 0, len(self.LEVELS) - 1).astype(np.uint8)
            block = None if turned is None else turned[part].ravel()
            coded = code_by_context(coder, block, contexts.ravel(), self._histogram, first_chunk=256)
            out[part] = coded.reshape(-1, rows)
            if part.stop < cols:
                seen += 1024 * np.abs(out[part] - middle).sum(axis=0)
                expected += int(mean[part].sum())
        return out.T

    def _histogram(self, context: int) -> np.ndarray:
        if context not in self._histograms:
            mean = self.LEVELS[context] / 1024
            ratio = (np.sqrt(1 + mean * mean) - 1) / mean  # two-sided geometric distribution with that mean
            distance = np.abs(np.arange(self._n_symbols) - self._n_symbols // 2)
            powers = np.cumprod(np.full(self._n_symbols, ratio)) / ratio  # ratio^0, ratio^1, ...
            guess = np.maximum(powers[distance], 1e-6)
            self._histograms[context] = self._PRIOR * guess / guess.sum()
        return self._histograms[context]
