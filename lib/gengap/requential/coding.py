"""The real code: which of many shared proposals is the teacher's draw (Poisson functional representation), and how its number is written.

Encoder and decoder draw the same proposals X_1, X_2, ... from the student's law P, and the same times T_1 < T_2 < ... of a Poisson process. The encoder sends the
K that minimizes T_k / r(X_k), r = dQ/dP: then X_K has exactly the teacher's law Q (Li and El Gamal 2018), and E[log2 K] <= KL(Q || P) + 1 (statement T14a). A search that stops
after a number of proposals still sends a batch that the decoder finds; only its law is then not quite Q.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CHUNK = 256  # proposals looked at together


class Sent(NamedTuple):
    """An index, from 1, and whether the search was cut off before it was certain."""

    index: int
    cut: bool


def choose(
    log_ratios: Callable[[int], NDArray],
    times: Callable[[int], NDArray],
    most_log_ratio: float,
    most_proposals: int = 2**62,
) -> Sent:
    """The encoder's search. `log_ratios` and `times` give log r(X_k) and T_k for the i-th chunk of proposals; no r exceeds e^`most_log_ratio`.

    It ends where no later proposal can win, T_k >= s e^most for the least s = T/r so far: after about e^most proposals, of any number.
    """
    best, found, start = math.inf, 0, 0
    for i in range(-(-most_proposals // CHUNK)):
        t, ratios = times(i), log_ratios(i)
        with np.errstate(over="ignore"):
            s = np.log(t) - ratios
        at = int(np.argmin(s))
        if s[at] < best:
            best, found = float(s[at]), start + at + 1
        start += len(t)
        if math.log(t[-1]) - most_log_ratio >= best:
            return Sent(found, False)
    return Sent(found, True)


def arrival_times(rng: np.random.Generator) -> Callable[[int], NDArray]:
    """Times of a Poisson process of rate 1, chunk by chunk in order."""
    last = 0.0

    def chunk(_: int) -> NDArray:
        nonlocal last
        times = last + np.cumsum(rng.standard_exponential(CHUNK))
        last = float(times[-1])
        return times

    return chunk
