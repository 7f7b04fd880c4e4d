"""What a decoder must know of a dense causal language model to name and shape its weights, and to rebuild it.

`Architecture` says it of GPT-NeoX as the ladder and Pythia use it, in nine integers; `Blueprint` of any other model of
transformers, by its configuration and its named tensors. Both answer the same questions, and `architecture_of` picks the first
where it suffices.
"""

import copy
import json
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from gengap.errors import UserError
from gengap.models.configuration import canonical, config_of, configuration_of, function_of, plain

if TYPE_CHECKING:
    from transformers import GPTNeoXConfig, PreTrainedConfig, PreTrainedModel

_LAYER_NORMS = ("input_layernorm", "post_attention_layernorm")
# What transformers calls the first five fields of an architecture.
_NAMES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
LARGEST_WEIGHT = 65504.0  # of float16, in which scales, norms and biases are stored


class _Named:
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor, by name."""
        return self.matrices() | {name: (size,) for name, size in self.vectors().items()}


@dataclass(frozen=True)
class Architecture(_Named):
    """A GPT-NeoX model in nine integers, the header of its archive: the order of the fields is part of the format."""

    vocab_size: int  # V
    hidden_size: int
    n_layers: int
    n_heads: int
    intermediate_size: int
    seq_len: int  # longest context, tokens
    rotary_permille: int  # rotary fraction x 1000
    rope_theta: int
    parallel_residual: int  # 0 or 1

    embedding = "gpt_neox.embed_in.weight"
    head = "lm_head.weight"
    transposed = frozenset()

    @classmethod
    def of(cls, config: "GPTNeoXConfig") -> "Architecture":
        """Raises `UserError` for settings that nine integers do not hold."""
        if config.model_type == "gpt_neox":
            rope = config.rope_parameters
            found = cls(
                *(getattr(config, name) for name in _NAMES),
                config.max_position_embeddings,
                round(1000 * rope.get("partial_rotary_factor", 1.0)),
                round(rope["rope_theta"]),
                int(config.use_parallel_residual),
            )
            if found.matches(config):
                return found
        raise UserError(
            "nine integers describe GPT-NeoX models with gelu, biases, untied embeddings and epsilon 1e-5 only"
        )

    def config(self, **more: Any) -> "GPTNeoXConfig":
        """The transformers configuration; `more` are fields that change no function, such as token ids."""
        from transformers import GPTNeoXConfig

        rotary = self.rotary_permille / 1000
        rope = {"rope_type": "default", "rope_theta": float(self.rope_theta), "partial_rotary_factor": rotary}
        return GPTNeoXConfig(
            **dict(zip(_NAMES, astuple(self), strict=False)),
            max_position_embeddings=self.seq_len,
            rope_parameters=rope,
            use_parallel_residual=bool(self.parallel_residual),
            tie_word_embeddings=False,
            use_cache=False,
            **more,
        )

    def matches(self, config: "PreTrainedConfig") -> bool:
        """Whether `config` describes this model."""
        unpadded = {"pad_token_id": None}  # changes the gradient of an embedding alone
        return plain(function_of(self.config()) | unpadded) == plain(function_of(config) | unpadded)

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Names and shapes (outputs, inputs) of the matrices, in the order in which they are stored."""
        hidden, inner = self.hidden_size, self.intermediate_size
        shapes = {self.embedding: (self.vocab_size, hidden)}
        for layer in range(self.n_layers):
            prefix = f"gpt_neox.layers.{layer}"
            shapes[f"{prefix}.attention.query_key_value.weight"] = (3 * hidden, hidden)
            shapes[f"{prefix}.attention.dense.weight"] = (hidden, hidden)
            shapes[f"{prefix}.mlp.dense_h_to_4h.weight"] = (inner, hidden)
            shapes[f"{prefix}.mlp.dense_4h_to_h.weight"] = (hidden, inner)
        return shapes | {self.head: (self.vocab_size, hidden)}

    def vectors(self) -> dict[str, int]:
        """Names and sizes of norms and biases in the order of storage: weights of norms first."""
        norms = [f"gpt_neox.layers.{i}.{n}" for i in range(self.n_layers) for n in _LAYER_NORMS]
        norms.append("gpt_neox.final_layer_norm")
        sizes = {f"{norm}.{part}": self.hidden_size for part in ("weight", "bias") for norm in norms}
        for name, (rows, _) in self.matrices().items():
            if name.startswith("gpt_neox.layers."):
                sizes[name.removesuffix("weight") + "bias"] = rows
        return sizes

    @property
    def n_params(self) -> int:
        """N, without forming anything of that size."""
        per_layer = 4 * self.hidden_size**2 + 2 * self.hidden_size * self.intermediate_size
        per_layer += 9 * self.hidden_size + self.intermediate_size  # biases 3h + h + inner + h, two norms 4h
        return 2 * self.vocab_size * self.hidden_size + self.n_layers * per_layer + 2 * self.hidden_size


@dataclass(frozen=True)
class Blueprint(_Named):
    """Any dense causal language model of transformers: its configuration, and its tensors by name."""

    configuration: str  # every field that changes the function, as JSON with sorted keys
    tensors: tuple[tuple[str, tuple[int, ...]], ...]  # as `named_parameters` lists them, matrices as (outputs, inputs)
    transposed: frozenset[str]  # matrices that the model keeps as (inputs, outputs): GPT-2's
    embedding: str  # name of the matrix that tokens enter by
    head: str  # and of that which gives the logits, the same one if tied

    @classmethod
    def of(cls, model: "PreTrainedModel") -> "Blueprint":
        """Raises `UserError` for a model that is not dense, or that its configuration does not rebuild."""
        from torch import nn
        from transformers.pytorch_utils import Conv1D

        _require_own_class(model)
        text = canonical(configuration_of(model.config))
        names = {parameter: name for name, parameter in model.named_parameters()}
        ends = [getattr(m, "weight", None) for m in (model.get_input_embeddings(), model.get_output_embeddings())]
        if not all(end in names for end in ends):
            raise UserError(
                f"{type(model).__name__} has no embedding or no output head of its own: it is not quantized here"
            )
        maps = (m for m in model.modules() if isinstance(m, nn.Linear | nn.Embedding | Conv1D))
        turned = {m.weight: isinstance(m, Conv1D) for m in maps}
        for parameter, name in names.items():
            if parameter.ndim != 1 and (parameter.ndim != 2 or parameter not in turned):
                raise UserError(
                    f"{name}, of shape {tuple(parameter.shape)}, is no norm, no bias and no matrix of a linear map or of an "
                    "embedding: only dense models are quantized here"
                )
        everywhere = dict(model.named_parameters(remove_duplicate=False))
        if shared := [n for n, p in everywhere.items() if n != names[p] and p is not ends[0]]:
            raise UserError(
                f"{shared[0]} is shared with another layer: only the embedding and the output head may be one"
            )
        kept = sorted(model.state_dict().keys() - everywhere.keys())
        if kept and model.device.type != "meta":
            fresh = build(config_of(json.loads(text))).state_dict()
            if changed := [
                n for n in kept if n not in fresh or not fresh[n].equal(model.state_dict()[n].cpu().float())
            ]:
                raise UserError(
                    f"{changed[0]} is no parameter, and not what the configuration makes it: such models are not quantized here"
                )
        transposed = frozenset(name for parameter, name in names.items() if turned.get(parameter))
        shapes = ((n, tuple(p.shape)[:: -1 if n in transposed else 1]) for p, n in names.items())
        return cls(text, tuple(shapes), transposed, *(names[end] for end in ends))

    def config(self, **more: Any) -> "PreTrainedConfig":
        """The transformers configuration; `UserError` if this version of transformers does not know it."""
        return config_of(json.loads(self.configuration) | {"use_cache": False} | more)

    def matches(self, config: "PreTrainedConfig") -> bool:
        """Whether `config` describes this model."""
        return json.loads(self.configuration) == plain(function_of(config))

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Names and shapes (outputs, inputs) of the matrices, in the order in which they are stored."""
        return {name: shape for name, shape in self.tensors if len(shape) == 2}

    def vectors(self) -> dict[str, int]:
        """Names and sizes of norms and biases, in the order of storage."""
        return {name: shape[0] for name, shape in self.tensors if len(shape) == 1}

    @property
    def n_params(self) -> int:
        """N, a tied matrix counted once."""
        matrices = sum(rows * cols for rows, cols in self.matrices().values())
        return matrices + sum(self.vectors().values())


def architecture_of(model: "PreTrainedModel | PreTrainedConfig") -> Architecture | Blueprint:
    """The shape of a dense causal language model, or of those with that configuration: what an archive begins with.

    Raises `UserError` for a model that is not dense (fused experts, matrices of no linear map, state beside the parameters),
    for one that is not of transformers' own classes, and for a configuration that does not survive being written down.
    """
    from transformers import PreTrainedConfig

    if isinstance(model, PreTrainedConfig):
        model = build(model, "meta")
    blueprint = Blueprint.of(model)
    try:
        architecture = Architecture.of(model.config)
    except UserError:
        return blueprint
    return architecture if dict(blueprint.tensors) == architecture.shapes() else blueprint


def build(config: "PreTrainedConfig", device: str = "cpu") -> "PreTrainedModel":
    """An untrained model of that configuration, float32, in evaluation mode; the caller's random numbers are left alone.

    No code is taken from the hub, that of attention included.
    """
    import torch
    from transformers import AutoModelForCausalLM

    attention = "eager" if _soft_caps(config) else None  # None: torch's fused code where the model knows it
    with torch.random.fork_rng(devices=[]), torch.device(device):
        model = AutoModelForCausalLM.from_config(
            copy.deepcopy(config), dtype=torch.float32, attn_implementation=attention, trust_remote_code=False
        )
    return model.eval()


def attention_of(model: "PreTrainedModel | type[PreTrainedModel]", config: "PreTrainedConfig") -> str:
    """torch's fused attention, but where transformers does without it, or where it would leave out a soft cap of the scores."""
    return "eager" if not model._supports_sdpa or _soft_caps(config) else "sdpa"


def _soft_caps(config: "PreTrainedConfig") -> bool:
    return getattr(config, "attn_logit_softcapping", None) is not None


def refuse_unusable_weights(model: "PreTrainedModel") -> None:
    """Raise `UserError` naming the first tensor that holds NaN, an infinite number or one beyond float16."""
    for name, parameter in model.named_parameters():
        low, high = (float(x) for x in parameter.detach().aminmax())
        if not (low >= -LARGEST_WEIGHT and high <= LARGEST_WEIGHT):
            raise UserError(
                f"{name} holds values from {low:g} to {high:g}: weights must be finite and at most {LARGEST_WEIGHT:.0f}, "
                "look for an overflow in training or in a conversion"
            )


def _require_own_class(model: "PreTrainedModel") -> None:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    config = model.config
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or type(model) is not MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]:
        raise UserError(
            f"{type(model).__name__} is no causal language model of transformers: an archive could not rebuild it"
        )
