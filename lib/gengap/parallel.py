"""Several processes, one model each, that share rows among them: accelerate connects them, this module deals.

`accelerate launch --multi_gpu` starts one process for each GPU, `python -m torch.distributed.run` as many as asked for on the CPU.
A process that nobody started in this way is alone, and nothing here touches accelerate.
"""

import os
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from gengap.errors import UserError

if TYPE_CHECKING:
    from accelerate import PartialState


@cache
def _state() -> "PartialState | None":
    """accelerate's view of this process; None if it is alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    import torch
    from accelerate import PartialState

    state = PartialState(
        cpu=not torch.cuda.is_available()
    )  # else it takes each of several CPU processes for the only one
    if state.num_processes == 1:
        raise UserError(
            "started as one of several processes, but accelerate sees one: unset WORLD_SIZE, or start again"
        )
    return state


def gpu_of_this_process() -> int | None:
    """The GPU that this process of several has for itself; None if it is alone, or on the CPU."""
    state = _state()
    return state.device.index if state is not None and state.device.type == "cuda" else None


def is_main() -> bool:
    """Whether this is the process that speaks for all."""
    state = _state()
    return state is None or state.is_main_process


def share(n: int) -> range:
    """Which of `n` pieces of work are this process's."""
    state = _state()
    return range(n) if state is None else range(state.process_index, n, state.num_processes)


def merge(values: np.ndarray) -> np.ndarray:
    """The arrays of all processes in one, in each of them; each has zeros where another one's numbers stand."""
    state = _state()
    if state is None:
        return values
    import torch
    from accelerate.utils import reduce

    return reduce(torch.from_numpy(values).to(state.device), "sum").cpu().numpy()
