"""Which tokens a reader could copy from what it has read: the yardstick of in-context learning on real text."""

import numpy as np
from numpy.typing import NDArray


def repeated_pairs(rows: np.ndarray) -> NDArray[np.bool_]:
    """Whether each predicted token of `rows`, (n_rows, seq_len + 1), and the one before it stood side by side earlier in its row.

    (n_rows, seq_len). Where true, looking up what followed the last time, or an earlier one, gives the token: what the induction heads of Olsson
    et al. (2022) do. It is chosen by the token itself, so it describes losses and is no task that a model could be set.
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
