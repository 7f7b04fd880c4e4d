"""The real code: which of many shared proposals is the teacher's draw (Poisson functional representation), and a file of their numbers.

Encoder and decoder draw the same proposals X_1, X_2, ... from the student's law P, and the encoder the times T_1 < T_2 < ... of a Poisson process. It sends the
K that minimizes T_k / r(X_k), r = dQ/dP: then X_K has exactly the teacher's law Q (Li and El Gamal 2018), and E[log2 K] <= KL(Q || P) + 1 (statement T14, given the batches). A search that stops
after a number of proposals still sends tokens that the decoder finds; only their law is then not quite Q.
"""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gengap import files
from gengap.compression.symbols import SymbolReader, SymbolWriter, code_adaptive
from gengap.paths import atomic_path

CHUNK = 256  # proposals looked at together
_MAGIC, _DIGEST, _REMEDY = b"GRQ1", 8, "encode the training again"
_MOST_BITS = 40  # of an index


class Sent(NamedTuple):
    """An index, from 1, and whether the search was cut off before it was certain."""

    index: int
    cut: bool


def choose(
    log_ratios: Callable[[int], NDArray],
    times: Callable[[int], NDArray],
    most_log_ratio: float,
    most_proposals: int = 2**_MOST_BITS,
) -> Sent:
    """The encoder's search. `log_ratios` and `times` give log r(X_k) and T_k for the i-th chunk of proposals; no r exceeds e^`most_log_ratio`.

    It ends where no later proposal can win, T_k >= s e^most for the least s = T/r so far: after about e^most proposals.
    """
    best, found, start = math.inf, 1, 0
    while start < most_proposals:
        i = start // CHUNK
        t, ratios = times(i), log_ratios(i)
        s = np.log(t) - ratios
        at = int(np.argmin(s))
        if s[at] < best:
            best, found = float(s[at]), start + at + 1
        if math.log(t[-1]) - most_log_ratio >= best:
            return Sent(found, False)
        start += CHUNK
    return Sent(found, True)


def arrival_times(rng: np.random.Generator) -> Callable[[int], NDArray]:
    """Times of a Poisson process of rate 1, chunk by chunk, asked for in order."""
    last = 0.0

    def chunk(_: int) -> NDArray:
        nonlocal last
        times = last + np.cumsum(rng.standard_exponential(CHUNK))
        last = float(times[-1])
        return times

    return chunk


def proposals(seed: int, step: int, block: int, chunk: int, size: int) -> NDArray:
    """(CHUNK, size) uniform numbers that encoder and decoder share: counter-based, so that the decoder draws the chunk it needs alone."""
    counter = [0, chunk, block, 4]
    return np.random.Generator(np.random.Philox(key=[seed, step], counter=counter)).random((CHUNK, size))


def tokens_of(uniforms: NDArray, ends: NDArray) -> NDArray[np.int64]:
    """The tokens (n, size) in whose parts `uniforms` (n, size) lie; `ends` (size, V) running sums of each token's probabilities."""
    found = [np.searchsorted(e, u * e[-1], side="right") for u, e in zip(uniforms.T, ends, strict=True)]
    return np.minimum(np.stack(found, 1), ends.shape[1] - 1)


def write_file(path: Path, facts: dict, indices: NDArray) -> int:
    """Write indices (n,) >= 1 after `facts`, atomically; the bits of the file. Lengths under adaptive counts, the rest of each index as it is."""
    bits = np.frexp(indices.astype(np.float64))[1] - 1
    coder = SymbolWriter()
    code_adaptive(coder, bits, len(bits), np.ones(_MOST_BITS + 1))
    for b in range(1, _MOST_BITS + 1):
        _code_rest(coder, indices[bits == b] - 2**b, int(np.sum(bits == b)), b)
    content = json.dumps(facts | {"n_indices": len(indices)}, separators=(",", ":")).encode() + b"\n" + coder.finish()
    content = _MAGIC + hashlib.sha256(content).digest()[:_DIGEST] + content
    with atomic_path(path) as part:
        part.write_bytes(content)
    return 8 * len(content)


def read_file(path: Path) -> tuple[dict, NDArray[np.int64]]:
    """(facts, indices) of `write_file`; `UserError` if the file is not whole."""
    content = files.read(path, 2**30)
    with files.one_sentence(f"{path} is no requential file", _REMEDY):
        magic, digest, rest = content[:4], content[4 : 4 + _DIGEST], content[4 + _DIGEST :]
        if magic != _MAGIC or hashlib.sha256(rest).digest()[:_DIGEST] != digest:
            raise ValueError("it is not what it states")
        head, _, stream = rest.partition(b"\n")
        facts = json.loads(head)
        coder, n = SymbolReader(stream), facts.pop("n_indices")
        bits = code_adaptive(coder, None, n, np.ones(_MOST_BITS + 1))
        indices = np.ones(n, np.int64)
        for b in range(1, _MOST_BITS + 1):
            indices[bits == b] = 2**b + _code_rest(coder, None, int(np.sum(bits == b)), b)
        return facts, indices


def _code_rest(coder, values: NDArray | None, size: int, bits: int) -> NDArray[np.int64]:
    """`bits` binary digits of each of (size,) numbers, at most ten at a time."""
    found = np.zeros(size, np.int64)
    for low in range(0, bits, 10):
        width = min(10, bits - low)
        part = None if values is None else (values >> low) & (2**width - 1)
        found |= coder.code(part, size, np.ones(2**width)).astype(np.int64) << low
    return found
