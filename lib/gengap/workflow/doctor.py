"""What this machine has, what it can run, and the next step for each thing that is missing (`gengap doctor`)."""

import shutil
from collections.abc import Iterator

import psutil

from gengap import hardware
from gengap.hardware import Finding
from gengap.models import FAMILIES
from gengap.paths import build_dir

HUB_PROBE = "api/models/EleutherAI/pythia-14m"
DISK_BYTES = 5e9  # environment aside: corpus, runs, rows and a few small checkpoints


def hub_fault(timeout_s: float) -> str:
    """Why the hub cannot be reached within `timeout_s`; empty if it can."""
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        httpx.get(f"{constants.ENDPOINT}/{HUB_PROBE}", timeout=timeout_s, follow_redirects=True).raise_for_status()
    except httpx.HTTPError as error:
        return f"{constants.ENDPOINT}: {str(error).partition(chr(10))[0] or type(error).__name__}"
    return ""


def examine(timeout_s: float = 3.0) -> Iterator[Finding]:
    """Every finding, the slow ones last; at most about `timeout_s` for the network."""
    yield Finding("cores", True, f"{hardware.n_cores()}")
    free, total = hardware.memory_bytes(), psutil.virtual_memory().total
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
    gpus = hardware.gpu_free_bytes()
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
    there = (build / "corpus" / "manifest.json").exists()
    yield Finding("corpus", there, "built" if there else "not built yet", "run `gengap corpus`, or `make book`")
    for family in FAMILIES:  # which sizes fit into memory
        found = [(spec.size, spec.fits(free, gpus)) for spec in family]
        fitting = [f"{size} ({numbers})" for size, numbers in found if numbers]
        yield Finding(
            f"{family[0].family} sizes",
            bool(fitting),
            f"fit: {', '.join(fitting)}" if fitting else "none fits into memory",
            "use a machine with more memory",
        )
    # Where checkpoints and rows would come from.
    yield from dict.fromkeys(finding for family in FAMILIES for finding in family[0].sources())
    fault = hub_fault(timeout_s)
    yield Finding(
        "hub",
        not fault,
        fault or "reachable",
        "only released models need it: allow it through your proxy (HTTPS_PROXY), or name local copies "
        "(book/reproduce.md says by which variables)",
    )
