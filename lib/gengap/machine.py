"""What this machine has, what it can run, and the next step for each thing that is missing (`gengap doctor`)."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from gengap.paths import build_dir

HUB_PROBE = "api/models/EleutherAI/pythia-14m"
DISK_BYTES = 5e9  # environment aside: corpus, runs, rows and a few small checkpoints


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
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
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


def hub_fault(timeout_s: float) -> str:
    """Why the hub cannot be reached within `timeout_s`; empty if it can."""
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        httpx.get(
            f"{constants.ENDPOINT}/{HUB_PROBE}", timeout=timeout_s, follow_redirects=True
        ).raise_for_status()
    except httpx.HTTPError as error:
        return f"{constants.ENDPOINT}: {str(error).partition(chr(10))[0] or type(error).__name__}"
    return ""


def survey(timeout_s: float = 3.0) -> Iterator[Finding]:
    """Every finding, the slow ones last; at most about `timeout_s` for the network."""
    yield Finding("cores", True, f"{n_cores()}")
    free, total = memory_bytes(), psutil.virtual_memory().total
    yield Finding(
        "memory",
        free > 2e9,
        f"{free / 1e9:.1f} GB free of {total / 1e9:.1f} GB",
        "the default book needs about 2 GB: close other programs",
    )
    build = build_dir()
    disk = shutil.disk_usage(build if build.exists() else build.parent).free
    yield Finding(
        "disk",
        disk > DISK_BYTES,
        f"{disk / 1e9:.1f} GB free at {build}",
        f"free {DISK_BYTES / 1e9:.0f} GB, or set GENGAP_ROOT to a copy of the project on a larger disk",
    )
    gpus = gpu_free_bytes()
    yield Finding(
        "GPU",
        bool(gpus),
        ", ".join(f"{size / 1e9:.0f} GB free" for size in gpus) or "none that torch can use",
        "the ladder needs none; Pythia above 160m is for GPUs (with one in the machine, install torch's CUDA build)",
    )
    slurm = shutil.which("sbatch") is not None
    yield Finding(
        "cluster", True, "Slurm: `gengap sweep ... -- --executor slurm`" if slurm else "none: sweeps run here"
    )
    yield _corpus(build)
    yield from _sizes(free, gpus)
    yield from _pythia(timeout_s)


def _corpus(build: Path) -> Finding:
    there = (build / "corpus" / "manifest.json").exists()
    return Finding(
        "corpus", there, "built" if there else "not built yet", "run `gengap corpus`, or `make book`"
    )


def _sizes(free: int, gpus: list[int]) -> Iterator[Finding]:
    """Which sizes fit into memory, by family."""
    from gengap import checkpoints
    from gengap.models import REGISTRY, PythiaSpec

    fitting = []
    for spec in REGISTRY.values():
        if not isinstance(spec, PythiaSpec):
            continue
        for dtype in checkpoints.AUTOMATIC:
            on_gpu = not gpus or checkpoints.load_bytes(spec, dtype) + 4 * spec.n_params <= sum(gpus)
            if checkpoints.run_bytes(spec, dtype) <= free and on_gpu:
                fitting.append(f"{spec.size} ({dtype})")
                break
    rungs = [spec.size for spec in REGISTRY.values() if not isinstance(spec, PythiaSpec)]
    yield Finding("ladder sizes", free > 2e9, f"{rungs[0]} to {rungs[-1]} fit", "see memory above")
    yield Finding(
        "Pythia sizes",
        bool(fitting),
        f"fit: {', '.join(fitting)}" if fitting else "none fits into memory",
        "use a machine with more memory",
    )


def _pythia(timeout_s: float) -> Iterator[Finding]:
    """Where checkpoints and rows would come from."""
    from gengap import checkpoints, pile

    packs = list(pile.cache_dir().glob("*/*.pack"))
    kept = sum(pack.stat().st_size for pack in packs)
    yield Finding("row cache", True, f"{kept / 1e6:.1f} MB of Pythia's training rows in {pile.cache_dir()}")
    folder = os.environ.get(checkpoints.FOLDER_VARIABLE, "")
    if folder:
        yield Finding(
            "checkpoints",
            Path(folder).is_dir(),
            f"local: {folder}",
            f"make that folder, or unset {checkpoints.FOLDER_VARIABLE}",
        )
    if os.environ.get(pile.SOURCE_VARIABLE):
        url = pile.source_url()
        yield Finding(
            "rows", "://" in url or Path(url).is_dir(), url, f"mend or unset {pile.SOURCE_VARIABLE}"
        )
    fault = hub_fault(timeout_s)
    yield Finding(
        "hub",
        not fault,
        fault or "reachable",
        f"only Pythia needs it: allow it through your proxy (HTTPS_PROXY), or set {checkpoints.FOLDER_VARIABLE} and "
        f"{pile.SOURCE_VARIABLE} to local copies",
    )
