"""Rows of tokens, wherever they lie: `len(rows)`, `rows[indices]` for an (n, seq_len + 1) array, and a hash that names them.

Each row is `seq_len` inputs and their shifted targets. The ladder's lie in one file on this machine (`gengap.tokens.corpus`),
Pythia's are fetched row by row (`gengap.tokens.pile`).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Rows(Protocol):
    """What a model was trained on, in training order, or what it never saw."""

    sha256: str  # of the source

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        """The rows asked for, (n, seq_len + 1) integers, in the order asked."""


@dataclass(frozen=True)
class TokenRows:
    """Rows of a token file, memory-mapped."""

    rows: np.ndarray  # (n_rows, seq_len + 1) uint16, in training order
    sha256: str  # of the whole file

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        return self.rows[indices]

    def first(self, n_rows: int) -> "TokenRows":
        """The first rows, named by the hash of the whole file."""
        return TokenRows(self.rows[:n_rows], self.sha256)


def sample_rows(rows: "np.ndarray | Rows", n_rows: int, seed: int) -> np.ndarray:
    """`n_rows` rows drawn uniformly without replacement (all of them if there are fewer), in training order."""
    chosen = np.random.default_rng(seed).permutation(len(rows))[:n_rows]
    return rows[np.sort(chosen)]


def repeated_pairs(rows: np.ndarray) -> NDArray[np.bool_]:
    """Whether each predicted token of `rows`, (n_rows, seq_len + 1), and the one before it stood side by side earlier in its row.

    (n_rows, seq_len). Where true, looking up what followed the last time, or an earlier one, gives the token: what the
    induction heads of Olsson et al. (2022) do. It is chosen by the token itself, so it describes losses and is no task
    that a model could be set.
    """
    rows = np.asarray(rows, np.int64)
    pairs = rows[:, :-1] * (int(rows.max(initial=0)) + 1) + rows[:, 1:]  # (n_rows, seq_len) one number a pair
    order = np.argsort(pairs, axis=1, kind="stable")  # equal pairs side by side, the earliest first
    ordered = np.take_along_axis(pairs, order, axis=1)
    again = np.zeros(pairs.shape, bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    repeated = np.empty_like(again)
    np.put_along_axis(repeated, order, again, axis=1)
    return repeated
