"""The configuration of a model as text: every field that changes a prediction, and nothing else."""

import json
import re
from typing import TYPE_CHECKING, Any

from gengap.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Fields of a configuration that change no prediction.
IDLE = re.compile(
    r"transformers_version|_name_or_path|(torch_)?dtype|architectures|use_cache|[be]os_token_id|id2label|label2id|problem_type"
    r"|return_dict|output_attentions|output_hidden_states|_attn_implementation|.*dropout|.*pdrop|layerdrop|initializer_range|init_std"
)


def function_of(config: "PreTrainedConfig") -> dict[str, Any]:
    """The fields of a configuration that change the function."""
    return {name: value for name, value in config.to_diff_dict().items() if not IDLE.fullmatch(name)}


def configuration_of(config: "PreTrainedConfig") -> dict[str, Any]:
    """`function_of`, checked to give the same configuration again; raises `UserError` naming the fields that do not."""
    fields = function_of(config)
    for name, value in fields.items():
        try:
            canonical(value)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"the configuration's {name} cannot be written as JSON: no archive can hold this model"
            ) from error
    before, after = plain(fields), plain(function_of(config_of(plain(fields))))
    if lost := [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]:
        raise UserError(
            f"the configuration's {min(lost)} is not what it was once written and read: no archive can hold this model"
        )
    return fields


def canonical(value: Any) -> str:
    """JSON with sorted keys; TypeError or ValueError for what JSON does not hold."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives them back."""
    return json.loads(canonical(fields))


def config_of(fields: dict[str, Any]) -> "PreTrainedConfig":
    """The inverse of `configuration_of`; `UserError` for a type of model that is not known here, and for impossible fields."""
    from transformers import CONFIG_MAPPING

    kind = fields.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise UserError(
            f"this version of transformers knows no model of type {kind!r}: install the one that the model came with"
        )
    no_token = {"bos_token_id": None, "eos_token_id": None}  # the defaults may lie outside the vocabulary
    try:
        return CONFIG_MAPPING[kind].from_dict(no_token | fields)
    except Exception as error:  # whatever the fields of others lead to
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"transformers takes this configuration of type {kind!r} for impossible: {reason}") from error
