"""Hashes that say what was measured: of a model's weights, of the tokens it was measured on."""

import hashlib

import numpy as np
import torch


def weights_sha256(model: torch.nn.Module) -> str:
    """Of the names, types, shapes and bytes of all weights, in the order of their names; device and file layout do not matter."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def rows_sha256(rows: np.ndarray) -> str:
    """Of the tokens of `rows`, (n_rows, seq_len + 1), and their shape, as 32-bit numbers: the same for every integer type."""
    digest = hashlib.sha256(f"{rows.shape}\n".encode())
    for start in range(0, len(rows), 1024):
        digest.update(np.ascontiguousarray(rows[start : start + 1024], "<u4"))
    return digest.hexdigest()
