"""A checkpoint in the hub's layout becomes a model, or is refused in one sentence: the one place where weights are read.

transformers fills in what a file lacks with random numbers, drops what the configuration does not name, unties what differs and lets
the configuration choose which code runs. Here a checkpoint is loaded if it holds exactly the weights that its configuration names, as
safetensors, by transformers' own class of a dense causal language model and by torch's own attention; nothing that a file says selects
code. All that can be known from the configuration and the headers of the files is checked before a weight is read.
"""

import re
import textwrap
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gengap import files, hardware
from gengap.errors import UserError
from gengap.models import safetensors_files
from gengap.models.architecture import attention_of
from gengap.models.configuration import IDLE

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

MAX_LAYERS = 1000  # of a model that is built to be compared with its files
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SMALL_FILES = "config.json", "adapter_config.json"
# Fields of a configuration that would choose code or files: the first are passed here, so that a usual value of theirs is of no account.
_ATTENTION = "attn_implementation", "_attn_implementation", "_attn_implementation_internal"
_USUAL_ATTENTION = None, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"
_OUTPUTS = "return_dict", "output_attentions", "output_hidden_states", "use_cache", "torchscript"
_SELECTS_CODE = {
    "quantization_config": "its weights are quantized already (quantization_config): give the checkpoint that was trained",
    "compression_config": "its weights are compressed (compression_config): give the checkpoint that was trained",
    "transformers_weights": "its config.json names a file of weights (transformers_weights): remove that field",
    "fusion_config": "its config.json asks for fused code (fusion_config): remove that field",
    "kernel_config": "its config.json asks for kernels (kernel_config): remove that field",
    "experts_implementation": "its config.json asks for code of experts: mixtures of experts are not supported",
    "_experts_implementation": "its config.json asks for code of experts: mixtures of experts are not supported",
}
# What a configuration may say without changing a prediction.
_IMMATERIAL = re.compile(
    rf"{IDLE.pattern}|pad_token_id|output_\w+|chunk_size_feed_forward|is_encoder_decoder|\w+_implementation"
)


def load_checkpoint(
    source: str | Path,
    revision: str | None = None,
    config: "PretrainedConfig | None" = None,
    *,
    name: str = "",
    **how: Any,
) -> "PreTrainedModel":
    """The dense causal language model in `source`, a folder or a repository of the hub, in evaluation mode.

    `revision` names a branch, tag or commit of the hub; `config`, if the model is known beforehand, is what it has to be: a file that
    says otherwise in any field that changes a prediction is refused, and the model is built from `config`; `name` is what errors call
    it then. `how` goes on to `from_pretrained`, such as `device_map`; `dtype` is float32 unless it says otherwise.
    Raises `UserError`, with the name of the field, file or tensor, if the checkpoint is not to be had; if it is no dense causal
    language model; if it holds other weights than its configuration names; and if a weight is not finite.

    >>> import gengap, tempfile
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> shape = LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    >>> folder = tempfile.mkdtemp()
    >>> LlamaForCausalLM(shape).half().save_pretrained(folder)
    >>> load_checkpoint(folder).dtype
    torch.float32
    """
    import torch

    what = f"{name} from {source}" if name else f"{source} {revision}" if revision else f"{source}"
    if not str(source):
        raise UserError("no checkpoint is named: give a folder, or the name of a repository on the hub")
    with _one_sentence(f"cannot load {what}"):
        local = Path(source).expanduser()
        folder = _local(local, revision) if local.exists() else _fetch(str(source), revision, _SMALL_FILES)
        fields = read_config(folder)
        model_class, found = _understand(fields)
        if config is not None:
            if other := differences(config, found):
                raise UserError(
                    f"it is not {name or 'the model that was asked for'}: it has {other}; check the folder or the revision"
                )
            found = config
        expected = _check_shape(model_class, found)
        if not local.exists():
            folder = _fetch(str(source), revision, safetensors_files.PATTERNS)
        safetensors_files.check(folder, expected)
        if not how:
            _require_memory(expected)
        how = {"dtype": torch.float32, "attn_implementation": attention_of(model_class, found)} | how
        model, report = model_class.from_pretrained(
            folder,
            config=found,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # they are refused below, all of them
            output_loading_info=True,
            **how,
        )
        _check_report(model, report)
    model.config.use_cache = False
    return model.eval()


@contextmanager
def _one_sentence(failure: str):
    """What goes wrong inside becomes a `UserError` that begins with `failure`; transformers' own remarks are not printed."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except UserError as error:
        raise UserError(f"{failure}: {error}") from error.__cause__
    except MemoryError:
        raise
    except Exception as error:  # whatever a file that others wrote leads to
        raise UserError(f"{failure}: {_reason(error)}") from error
    finally:
        logging.set_verbosity(verbosity)


def _reason(error: Exception) -> str:
    return textwrap.shorten(str(error), 240) or type(error).__name__


def _build(make: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """What `make` makes of a configuration; `UserError` for whatever it stumbles over."""
    try:
        return make(*arguments, **more)
    except Exception as error:  # transformers checks little of what a file says before it computes with it
        raise UserError(f"its config.json describes no model that can be built ({_reason(error)})") from error


def _local(folder: Path, revision: str | None) -> Path:
    if not folder.is_dir():
        raise UserError("it is a file: give the folder that holds config.json and the safetensors")
    if revision:
        raise UserError("a folder has no revisions: leave the revision empty, or give the name of a repository")
    return folder


def _fetch(repository: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """The files of a repository that match, in the hub's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    if not _HUB_ID.fullmatch(repository):
        raise UserError("there is no such folder")
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
    except RevisionNotFoundError as error:
        raise UserError("the hub has no such revision") from error
    except GatedRepoError as error:
        raise UserError(
            "the hub gives it to those alone who have asked for access: ask, and sign in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError("there is neither such a folder nor such a repository on the hub") from error
    except (OSError, HfHubHTTPError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"there is no such folder, and the hub cannot be read ({reason}); check the network (`gengap doctor`)"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """The fields of `folder`'s config.json without those that are settled here; `UserError` for one that selects other code."""
    path = folder / "config.json"
    if (folder / "adapter_config.json").exists():
        raise UserError("it holds an adapter, which is a part of a model: merge it into its model and save that")
    if not path.is_file():
        raise UserError("it holds no config.json: give the folder that a model was saved in")
    content = files.read(path, files.MOST_RECORD)
    fields = files.parse_json(content, "its config.json cannot be read", "fetch or save the checkpoint again")
    if not isinstance(fields, dict):
        raise UserError("its config.json is not an object of fields")
    for field in _ATTENTION:
        if (value := fields.pop(field, None)) not in _USUAL_ATTENTION:
            raise UserError(f"its config.json chooses the code of attention ({field} {value!r}): remove that field")
    for field, sentence in _SELECTS_CODE.items():
        if fields.pop(field, None) is not None:
            raise UserError(sentence)
    return {field: value for field, value in fields.items() if field not in _OUTPUTS}


def _understand(fields: dict[str, Any]) -> tuple[type["PreTrainedModel"], "PretrainedConfig"]:
    """The class and the configuration of a dense causal language model that transformers itself defines."""
    from transformers.models.auto import modeling_auto as auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind, own_code = fields.get("model_type"), fields.pop("auto_map", None)
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        also = " and brings code of its own, which is not run" if own_code else ""
        raise UserError(f"its config.json names a model that transformers does not have (model_type {kind!r}){also}")
    config_class = CONFIG_MAPPING[kind]
    config = _build(config_class.from_dict, fields)
    if config.is_encoder_decoder or config_class in auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        raise UserError(f"{kind} is an encoder with a decoder: only causal language models can be certified")
    if config_class in auto.MODEL_FOR_MASKED_LM_MAPPING:
        raise UserError(
            f"{kind} is an encoder, which sees the tokens it predicts: only causal language models can be certified"
        )
    if config_class not in auto.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(f"{kind} is no causal language model of transformers: only such models can be certified")
    model_class = auto.MODEL_FOR_CAUSAL_LM_MAPPING[config_class]
    named = fields.get("architectures") or [model_class.__name__]
    if model_class.__name__.lower() not in (str(one).lower() for one in named):
        raise UserError(
            f"its config.json names {named[0]}, which is not the causal language model {model_class.__name__}"
        )
    if config.get_text_config() is not config:
        raise UserError(f"{kind} is made of several models: save its language model alone")
    if model_class._is_stateful:
        raise UserError(f"{kind} carries a state from token to token: only models of attention can be certified")
    return model_class, config


def differences(asked: "PretrainedConfig", found: "PretrainedConfig") -> str:
    """Every field of `asked` that changes a prediction and has another value in `found`: "hidden_act 'relu' and not 'gelu'"."""
    has = found.to_dict()
    wrong = (
        f"{field} {has.get(field)!r} and not {value!r}"
        for field, value in asked.to_dict().items()
        if has.get(field) != value and not _IMMATERIAL.fullmatch(field)
    )
    return ", ".join(wrong)


def _check_shape(model_class: type["PreTrainedModel"], config: "PretrainedConfig") -> "PreTrainedModel":
    """The model without weights; `UserError` if it is not dense."""
    import torch
    from transformers.initialization import no_init_weights

    n_layers = getattr(config, "num_hidden_layers", 1)
    if not 1 <= n_layers <= MAX_LAYERS:
        raise UserError(f"its config.json names {n_layers} layers: between 1 and {MAX_LAYERS} are expected")
    with torch.device("meta"), no_init_weights():
        model = _build(model_class._from_config, config, attn_implementation=attention_of(model_class, config))
    mixtures = [
        type(module).__name__ for module in model.modules() if re.search(r"expert|moe", type(module).__name__, re.I)
    ]
    if mixtures:
        raise UserError(f"it is a mixture of experts ({mixtures[0]}): only dense models can be certified")
    if stacked := [name for name, weight in model.named_parameters() if weight.ndim > 2]:
        raise UserError(f"{stacked[0]} is no matrix: only models of matrices, norms and biases can be certified")
    return model


def _require_memory(model: "PreTrainedModel") -> None:
    """`UserError` unless the model fits into the memory that is free, in float32."""
    n_params = sum(weight.numel() for weight in model.parameters())
    if (needed := 4 * n_params) > (free := hardware.memory_bytes()):
        raise UserError(
            f"its {n_params:,} parameters take {needed / 1e9:.1f} GB in float32, and {free / 1e9:.1f} GB are free: take a larger machine"
        )


def _check_report(model: "PreTrainedModel", report: dict[str, Any]) -> None:
    """Raise `UserError` unless the files held exactly the weights of the model, all of them finite."""
    import torch

    safetensors_files.raise_absent(
        str(key[0] if isinstance(key, tuple) else key)
        for kind in ("missing_keys", "mismatched_keys")
        for key in report[kind]
    )
    if surplus := sorted(report["unexpected_keys"]):
        raise UserError(
            f"it holds {len(surplus)} weights that its config.json does not name, such as {surplus[0]}; fetch or save the checkpoint again"
        )
    if errors := [*report.get("error_msgs", ()), *map(str, (report.get("conversion_errors") or {}).values())]:
        raise UserError(errors[0].strip().partition("\n")[0])
    head = model.get_output_embeddings()
    if head is None:
        raise UserError("it has no output head: only causal language models can be certified")
    if model.config.tie_word_embeddings and head.weight is not model.get_input_embeddings().weight:
        raise UserError("its config.json ties the output head to the embeddings, and its file holds two different ones")
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise UserError(f"{name} holds NaN or infinite weights: it is damaged, or its training has diverged")
