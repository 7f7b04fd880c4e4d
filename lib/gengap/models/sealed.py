"""Tensors that a run goes on from, as safetensors files that state their own digest: a flipped bit is noticed before it is computed with."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as serialized

from gengap import files
from gengap.paths import atomic_path

_STATED = "sha256"


def write(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> None:
    """Write named tensors with `facts` about them, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as part:
        # Not by safetensors' own writing to a file, which leaves a second temporary one if it is killed.
        part.write_bytes(serialized(tensors, {**facts, _STATED: _digest(tensors, facts)}))


def read(path: Path, remedy: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(tensors, facts) of `write`. Raises `UserError` with the remedy if the file is missing, damaged, or not what it states.

    Files that were written before they stated a digest are read as they are.
    """
    files.check_listed(path)
    with files.one_sentence(f"{path} is missing or damaged", remedy):
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        stated = facts.pop(_STATED, None)
        if stated not in (None, _digest(tensors, facts)):
            raise ValueError("it is not what it states")
    return tensors, facts


def _digest(tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
