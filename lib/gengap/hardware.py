"""What this machine has: cores, memory, GPUs; and several processes on it that share work among them.

`accelerate launch --multi_gpu` starts one process for each GPU, `python -m torch.distributed.run` as many as asked for on the CPU.
"""

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gengap.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from accelerate import PartialState

CGROUPS, PROC_CGROUP = "/sys/fs/cgroup", "/proc/self/cgroup"  # of Linux; elsewhere there are none
# Names of limit, usage and reclaimable pages; of version 1 those that count nested groups.
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h of glibc
KEPT_ARRAY = 2**25  # bytes: the largest threshold that glibc takes
KEPT = 2**28  # bytes, that a process may keep for its next arrays
OBJECTS = 50_000  # new ones between two searches for reference cycles; Python's own number is 700


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    name: str  # "memory"
    fine: bool
    what: str  # "22.1 GB free of 23.9 GB"
    next_step: str = ""  # what to do, if it is not fine


def memory_bytes() -> int:
    """Main memory that a new process can have, within the limits of the containers around this one if there are any.

    Pages of files that nothing has used lately count as free, because the kernel gives them back on demand.
    """
    return min([psutil.virtual_memory().available, *_left_by_cgroups()])


def _left_by_cgroups() -> Iterator[int]:
    """What each control group with a limit around this process leaves it, bytes: version 2 and version 1, nested ones too."""
    try:
        lines = Path(PROC_CGROUP).read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = ["0::/"]
    for _, controllers, place in (line.split(":", 2) for line in lines):
        if controllers and "memory" not in controllers.split(","):
            continue
        root, names = (Path(CGROUPS, "memory"), _VERSION_1) if controllers else (Path(CGROUPS), _VERSION_2)
        group = root / place.strip("/")
        for folder in (group, *group.parents):
            if (left := _left_by(folder, *names)) is not None:
                yield left
            if folder == root:
                break


def _left_by(folder: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """None without a limit, or if it cannot be read (a container may see no group but the root's, as its own)."""
    try:
        most, used = (int((folder / name).read_text(encoding="utf-8")) for name in (limit, usage))
    except (OSError, ValueError):  # "max" is no limit
        return None
    idle = 0
    with suppress(OSError, ValueError):
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        idle = int(stat.get(reclaimable, 0))
    return max(0, most - max(0, used - idle))


def keep_freed_memory(of_any_size: bool = False) -> None:
    """Let this process reuse the memory of arrays that it frees, up to 32 MiB each, instead of returning it to the system.

    The system would map, clear and unmap it for every array: a third of the CPU time of a survey. Processes that this one starts do the same.
    With `of_any_size`, for a training, all that was ever in use is kept: the logits of a step take 16 MB and more. No digit
    changes. Without effect where the C library is not glibc.
    """
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(KEPT_ARRAY))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(KEPT))
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, KEPT_ARRAY)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1 if of_any_size else KEPT)
        if of_any_size:
            mallopt(_M_MMAP_MAX, 0)


def collect_seldom() -> None:
    """Search for reference cycles after 50,000 new objects, not 700: that alone is a fifth of the time that importing transformers takes.

    What is in no cycle, as arrays are, is freed at once in any case.
    """
    gc.set_threshold(OBJECTS, *gc.get_threshold()[1:])


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


def device_for(n_bytes: int) -> str:
    """ "cuda" if there is a GPU with so much free memory, else "cpu"; of several the one that this process has for itself, or the first."""
    free, own = gpu_free_bytes(), gpu_of_this_process() or 0
    return f"cuda:{own}" if free and free[own] >= n_bytes else "cpu"


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
