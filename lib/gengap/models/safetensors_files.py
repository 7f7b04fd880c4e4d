"""The safetensors of a checkpoint, one file or several with an index: are they whole, and do they hold floating-point weights?"""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gengap.errors import UserError
from gengap.files import check_listed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PATTERNS = "config.json", "adapter_config.json", WHOLE, INDEX, "model-?????-of-?????.safetensors"
PICKLES = "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack"
FLOATS = "F64", "F32", "F16", "BF16"


def files(folder: Path) -> dict[Path, set[str] | None]:
    """The files that hold the weights, each with the names that the index says it holds; `UserError` if they are not all there."""
    if not (folder / INDEX).exists():
        if (folder / WHOLE).is_file():
            return {folder / WHOLE: None}
        pickled = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        what = f"its weights are not safetensors ({pickled[0]})" if pickled else f"it holds no weights ({WHOLE})"
        raise UserError(
            f"{what}; a checkpoint without safetensors files has to be converted first, by `save_pretrained`"
        )
    if (folder / WHOLE).exists():
        raise UserError(f"it holds two checkpoints, {WHOLE} and the files of {INDEX}: remove one of them")
    try:
        names = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        found: dict[Path, set[str] | None] = {}
        for name, file in names.items():
            if Path(file).name != file or not file.endswith(".safetensors"):
                raise UserError(f"its {INDEX} names {file!r}, which is no file of this checkpoint")
            found.setdefault(folder / file, set()).add(name)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"its {INDEX} cannot be read ({error}); fetch the checkpoint again") from error
    if absent := [path.name for path in found if not path.is_file()]:
        raise UserError(f"{absent[0]} is missing, one of {len(found)} files; fetch the checkpoint again")
    return found


def check(folder: Path, model: "PreTrainedModel") -> None:
    """Raise `UserError` unless the files are whole, hold what their index says as floating-point numbers, and not far too little for `model`.

    Reads the headers alone. `model` has shapes and no weights; it says which names are of no account to it.
    """
    from safetensors import SafetensorError, safe_open

    ignored = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_unexpected or ()]
    n_held = 0
    for path, named in files(folder).items():
        check_listed(path)
        try:
            with safe_open(path, "pt") as file:
                found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                types = {name: part.get_dtype() for name, part in found.items()}
                held = sum(math.prod(part.get_shape()) for part in found.values())
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path.name} is damaged or cut short ({error}); fetch or save it again") from error
        if named is not None and named != set(types):
            odd = sorted(named ^ set(types))[0]
            raise UserError(f"{path.name} and {INDEX} do not agree about {odd}; fetch the checkpoint again")
        for name, kind in types.items():
            if kind not in FLOATS and not any(pattern.search(name) for pattern in ignored):
                raise UserError(f"{name} is stored as {kind}: give the checkpoint before it was quantized")
        n_held += held
    needed = sum(weight.numel() for name, weight in model.named_parameters() if name not in model.all_tied_weights_keys)
    if needed > 2 * n_held:  # what is missing would be made up before it is reported, in any amount
        raise UserError(
            f"its config.json names {needed:,} weights, and its files hold {n_held:,}: they are not of one model"
        )


def raise_absent(names: Iterable[str]) -> None:
    """Raise `UserError` if there are any: weights that the configuration names and the files do not hold in that shape."""
    if absent := sorted(names):
        raise UserError(
            f"{len(absent)} weights are missing or misshapen, such as {absent[0]}; fetch or save the checkpoint again, with its config.json"
        )
