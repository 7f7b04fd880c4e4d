"""Snapshots of a training's weights, as files, and as the companion of a bound (chapter 11). `gengap.training.snapshots` writes them."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gengap.errors import UserError
from gengap.models import sealed
from gengap.statistics.companion import Companion

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ONLINE = "online"  # the weights themselves


def average_name(share: float) -> str:
    """Of the moving average over the last `share` of the steps so far: "average-5" for 0.05."""
    return f"average-{100 * share:g}"


USED = average_name(0.1)  # as a companion, on every rung


def snapshot_path(folder: Path, step: int) -> Path:
    """Where the snapshot at the beginning of `step` lies."""
    return folder / f"step-{step:07d}.safetensors"


def saved_steps(folder: Path) -> list[int]:
    """Steps of the snapshots that are there, ascending."""
    names = (re.fullmatch(r"step-(\d+)\.safetensors", path.name) for path in folder.glob("step-*"))
    return sorted(int(name[1]) for name in names if name)


def read_snapshot(folder: Path, step: int, which: str = ONLINE) -> dict[str, torch.Tensor]:
    """Weights by parameter name, float16: `which` is "online" or an `average_name`. `UserError` if they are not there."""
    path = snapshot_path(folder, step)
    tensors = sealed.read(path, "run `gengap train` with --snapshots again")[0]
    found = {name.removeprefix(f"{which}/"): p for name, p in tensors.items() if name.startswith(f"{which}/")}
    if not found:
        kinds = sorted({name.split("/")[0] for name in tensors})
        raise UserError(f"{path} has no {which!r}: choose one of {', '.join(kinds)}")
    return found


def companion_of(folder: Path, rows_per_step: int, config: "PreTrainedConfig", which: str = USED) -> Companion | None:
    """The sequence of snapshots in `folder`, if there are any: that of a step has seen the rows of the steps before alone."""
    from transformers import AutoModelForCausalLM

    if not (steps := saved_steps(folder)):
        return None
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def load(i: int) -> torch.nn.Module:
        tensors = read_snapshot(folder, steps[i], which)
        if {name: p.shape for name, p in tensors.items()} != shapes:
            raise UserError(f"{snapshot_path(folder, steps[i])} is of another model: delete {folder} and train again")
        model.load_state_dict(tensors, strict=False)  # which calls a tied output head missing
        return model

    return Companion(which, tuple(step * rows_per_step for step in steps), load)
