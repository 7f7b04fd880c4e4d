"""What this machine has: cores, memory, GPUs; and several processes on it that share work among them.

`accelerate launch --multi_gpu` starts one process for each GPU, `python -m torch.distributed.run` as many as asked for on the CPU.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gengap.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from accelerate import PartialState


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    name: str  # "memory"
    fine: bool
    what: str  # "22.1 GB free of 23.9 GB"
    next_step: str = ""  # what to do, if it is not fine


def memory_bytes() -> int:
    """Main memory that a new process can have, within the limit of a container if there is one."""
    free = psutil.virtual_memory().available
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return free
    return free if limit == "max" else min(free, max(0, int(limit) - used))


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether there is a GPU that torch may know, told from the devices alone (importing torch takes seconds)."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()


def gpu_free_bytes() -> list[int]:
    """Free memory of each GPU that torch can use; empty without one."""
    import torch

    if not torch.cuda.is_available():
        return []
    return [torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())]


@cache
def _state() -> "PartialState | None":
    """accelerate's view of this process; None if it is alone, which is told without accelerate."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    import torch
    from accelerate import PartialState

    # Else it takes each of several processes on the CPU for the only one.
    state = PartialState(cpu=not torch.cuda.is_available())
    if state.num_processes == 1:
        raise UserError(
            "started as one of several processes, but accelerate sees one: unset WORLD_SIZE, or start again"
        )
    return state


def gpu_of_this_process() -> int | None:
    """The GPU that this process of several has for itself; None if it is alone, or on the CPU."""
    state = _state()
    return state.device.index if state is not None and state.device.type == "cuda" else None


def share(n: int) -> range:
    """Which of `n` pieces of work are this process's."""
    state = _state()
    return range(n) if state is None else range(state.process_index, n, state.num_processes)


def merge(values: "np.ndarray") -> "np.ndarray":
    """The arrays of all processes in one, in each of them; each has zeros where another one's numbers stand."""
    state = _state()
    if state is None:
        return values
    import torch
    from accelerate.utils import reduce

    return reduce(torch.from_numpy(values).to(state.device), "sum").cpu().numpy()
