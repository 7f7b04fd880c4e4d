"""The gradient noise scale: the batch size at which noise and signal of a gradient are of one size.

McCandlish et al. 2018, appendix A.1. A gradient over B tokens has E|G_B|^2 = |G|^2 + S/B, with the true gradient G and
the sum S of the variances of a single token's gradient. Measured at two batch sizes, here one row and all rows together,
the two unknowns follow without bias, and B_simple = S / |G|^2.
"""

from typing import NamedTuple

import numpy as np
import torch

from gengap.training.loop import next_token_nll


class NoiseScale(NamedTuple):
    tokens: float  # B_simple = S / |G|^2, tokens
    standard_error: float  # of `tokens`, tokens
    gradient_square: float  # |G|^2, unbiased: may come out negative where noise is all
    n_rows: int


def from_squares(small_square: float, big_square: float, small: int, big: int) -> tuple[float, float]:
    """(S, |G|^2) from the mean |G_B|^2 at B = `small` and `big` tokens (McCandlish et al. 2018, equation A.2)."""
    noise = (small_square - big_square) / (1 / small - 1 / big)
    return noise, (big * big_square - small * small_square) / (big - small)


def noise_scale(model: torch.nn.Module, rows: np.ndarray, n_groups: int = 16) -> NoiseScale:
    """The noise scale at the weights of `model`, from (n, seq_len + 1) rows drawn at random; n a multiple of `n_groups`.

    The standard error is the jackknife's over groups of rows: inner products of the groups' gradients are all that it needs.
    """
    parameters = list(model.parameters())
    seq_len = rows.shape[1] - 1
    row_squares = np.empty(len(rows))  # |G_row|^2
    sums = []  # of the gradients of each group's rows, (n_params,) each
    for group in np.split(np.arange(len(rows)), n_groups):
        sums.append(torch.zeros(sum(p.numel() for p in parameters)))
        for i in group:
            loss = next_token_nll(model, torch.from_numpy(rows[i : i + 1].astype(np.int64)))
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
            row_squares[i] = gradient.square().sum(dtype=torch.float64)
            sums[-1] += gradient
    products = torch.tensor([[torch.dot(a, b) for b in sums] for a in sums], dtype=torch.float64).numpy()

    def estimate(groups: np.ndarray) -> tuple[float, float]:  # (B_simple, |G|^2)
        used = row_squares.reshape(n_groups, -1)[groups]
        big_square = products[np.ix_(groups, groups)].sum() / used.size**2
        noise, signal = from_squares(used.mean(), big_square, seq_len, used.size * seq_len)
        return noise / signal, signal

    everything = np.arange(n_groups)
    tokens, signal = estimate(everything)
    left_out = np.array([estimate(np.delete(everything, g))[0] for g in everything])
    spread = (n_groups - 1) / n_groups * np.square(left_out - left_out.mean()).sum()
    return NoiseScale(tokens, float(np.sqrt(spread)), signal, len(rows))
