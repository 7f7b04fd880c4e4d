"""Released checkpoints of Pythia: from the hub or a local folder, onto the machine at hand, checked against the registry.

Safetensors files only, no remote code. What a model needs is estimated before its first byte is read.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gengap import machine, parallel
from gengap.architecture import Architecture
from gengap.errors import UserError
from gengap.models import PythiaSpec

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM

FOLDER_VARIABLE = "GENGAP_PYTHIA"  # a folder holding <model size>/<revision>/{config.json,model.safetensors}
BYTES_PER_WEIGHT = {"float32": 4, "bfloat16": 2, "float16": 2}
AUTOMATIC = (
    "float32",
    "bfloat16",
)  # dtypes in order of preference; the released weights are float16 and fit in float32
WORKSPACE_BYTES = 2**30  # activations, logits of a chunk, the interpreter


def load_bytes(spec: PythiaSpec, dtype: str) -> int:
    """Memory for the checkpoint alone and room to run it."""
    return BYTES_PER_WEIGHT[dtype] * spec.n_params + WORKSPACE_BYTES


def run_bytes(spec: PythiaSpec, dtype: str) -> int:
    """Main memory for chapter 05 at its peak: beside the checkpoint, the quantized model as codes (one byte a weight), as
    dequantized float32 matrices and as the model that they are copied into.
    """
    return load_bytes(spec, dtype) + 9 * spec.n_params


def choose_dtype(spec: PythiaSpec, available_bytes: int, where: str) -> str:
    """The first automatic dtype whose checkpoint fits; `UserError` with the numbers if none does."""
    for dtype in AUTOMATIC:
        if load_bytes(spec, dtype) <= available_bytes:
            return dtype
    raise UserError(
        f"{spec.model_size} needs {load_bytes(spec, AUTOMATIC[-1]) / 1e9:.1f} GB of {where} in {AUTOMATIC[-1]}, and "
        f"{available_bytes / 1e9:.1f} GB are free: take a smaller size (`gengap doctor` lists those that fit) or a larger machine"
    )


def local_folder(spec: PythiaSpec) -> Path | None:
    """`$GENGAP_PYTHIA/<model size>/<revision>` if the variable is set; `UserError` if that folder is not there."""
    if not (base := os.environ.get(FOLDER_VARIABLE)):
        return None
    folder = Path(base) / spec.model_size / spec.revision
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} holds no checkpoint (config.json and safetensors): put it there, or unset {FOLDER_VARIABLE} to use the hub"
        )
    return folder


def load_pythia(spec: PythiaSpec, folder: Path | None = None, dtype: str = "auto") -> "GPTNeoXForCausalLM":
    """The checkpoint `spec.revision` in evaluation mode, from `folder`, `$GENGAP_PYTHIA` or the hub.

    On GPUs if there are any, spread by accelerate (or whole on the GPU that this process has for itself), else on the CPU; in
    float32 if that fits, else in bfloat16, else as asked.
    Raises `UserError` if memory cannot suffice, if the checkpoint cannot be had as safetensors, and if it is not what the
    registry says: another architecture, missing or misshapen weights.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    if dtype not in ("auto", *BYTES_PER_WEIGHT):
        raise UserError(f"unknown dtype {dtype!r}: auto, {', '.join(BYTES_PER_WEIGHT)}")
    free, own_gpu = machine.gpu_free_bytes(), parallel.gpu_of_this_process()
    if own_gpu is not None:
        available, where, placement = free[own_gpu], "memory on each GPU", {"device_map": {"": own_gpu}}
    elif free:
        available, where, placement = sum(free), "GPU memory", {"device_map": "auto"}
    else:
        available, where, placement = machine.memory_bytes(), "memory", {}
    if dtype == "auto":
        dtype = choose_dtype(spec, available, where)
    folder = folder or local_folder(spec)
    source = {"pretrained_model_name_or_path": folder or spec.repository, "trust_remote_code": False}
    source |= {"local_files_only": True} if folder else {"revision": spec.revision}
    try:
        config = GPTNeoXConfig.from_pretrained(**source)
        check_architecture(spec, config)
        model, report = GPTNeoXForCausalLM.from_pretrained(
            **source,
            config=config,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
            **placement,
        )
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"cannot load {spec.model_size} {spec.revision} from {folder or 'the hub'}: {reason}\n"
            f"check the network (`gengap doctor`); a checkpoint without safetensors files has to be converted first, into "
            f"${FOLDER_VARIABLE}/{spec.model_size}/{spec.revision}/"
        ) from error
    if faults := sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]])):
        raise UserError(
            f"{folder or spec.repository} is not {spec.model_size}: {len(faults)} weights are missing or misshapen, "
            f"such as {faults[0]}; fetch the checkpoint again"
        )
    model.config.use_cache = False
    return model.eval()


def check_architecture(spec: PythiaSpec, config) -> None:
    """Raise `UserError` naming every number in which `config` and the registry differ."""
    found, expected = asdict(Architecture.of(config)), asdict(Architecture.of(spec.config()))
    if differing := [name for name in found if found[name] != expected[name]]:
        facts = ", ".join(f"{name} {found[name]} and not {expected[name]}" for name in differing)
        raise UserError(
            f"this checkpoint is not {spec.model_size}: it has {facts}; check the folder or the revision"
        )
