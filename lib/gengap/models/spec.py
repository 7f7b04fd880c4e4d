"""What every model of the book has to say of itself: its shape, its checkpoint, its rows, what it asks of a machine.

All of them are of one architecture so far, GPT-NeoX with untied embeddings; `Architecture` is its shape in nine integers.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gengap.errors import UserError
from gengap.hardware import Finding
from gengap.models.loading import load_checkpoint
from gengap.paths import published_results_dir, run_results_dir

if TYPE_CHECKING:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

    from gengap.tokens.rows import Rows

TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022, as rounded by the paper
_LAYER_NORMS = ("input_layernorm", "post_attention_layernorm")
# What transformers calls the first five fields of an architecture.
_NAMES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


@dataclass(frozen=True)
class Architecture:
    """What a decoder must know of a GPT-NeoX model to name and shape its weights, and to rebuild it."""

    vocab_size: int  # V
    hidden_size: int
    n_layers: int
    n_heads: int
    intermediate_size: int
    seq_len: int  # longest context, tokens
    rotary_permille: int  # rotary fraction x 1000
    rope_theta: int
    parallel_residual: int  # 0 or 1

    @classmethod
    def of(cls, config: "GPTNeoXConfig") -> "Architecture":
        """Raises `UserError` for settings that the file format has no field for."""
        plain = (config.hidden_act, config.layer_norm_eps, config.attention_bias, config.tie_word_embeddings)
        if plain != ("gelu", 1e-5, True, False):
            raise UserError("archives hold GPT-NeoX models with gelu, biases, untied embeddings and epsilon 1e-5 only")
        rope = config.rope_parameters
        return cls(
            *(getattr(config, name) for name in _NAMES),
            config.max_position_embeddings,
            round(1000 * rope.get("partial_rotary_factor", 1.0)),
            round(rope["rope_theta"]),
            int(config.use_parallel_residual),
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

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Names and shapes of the matrices, in the order in which they are stored."""
        hidden, inner = self.hidden_size, self.intermediate_size
        shapes = {"gpt_neox.embed_in.weight": (self.vocab_size, hidden)}
        for layer in range(self.n_layers):
            prefix = f"gpt_neox.layers.{layer}"
            shapes[f"{prefix}.attention.query_key_value.weight"] = (3 * hidden, hidden)
            shapes[f"{prefix}.attention.dense.weight"] = (hidden, hidden)
            shapes[f"{prefix}.mlp.dense_h_to_4h.weight"] = (inner, hidden)
            shapes[f"{prefix}.mlp.dense_4h_to_h.weight"] = (hidden, inner)
        return shapes | {"lm_head.weight": (self.vocab_size, hidden)}

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
class ModelSpec(ABC):
    """One model of a family. `model_size` is the key of `gengap.models.REGISTRY`.

    A family adds, as fields or properties, `vocab_size` (V), `seq_len` (predicted tokens per row), `rotary_fraction` and
    `n_train_rows`, and answers the abstract methods; one with several checkpoints also `revision`, `revisions` and `at`.
    """

    family: str  # "ladder"
    size: str  # "100k"
    hidden_size: int  # width d
    n_layers: int
    n_heads: int

    trained_here: ClassVar[bool] = False  # by `gengap train`; else released checkpoints are read
    uses_gpu: ClassVar[bool] = False  # if there is one
    revision: ClassVar[str] = "main"  # the name of the checkpoint

    @abstractmethod
    def load(self) -> "GPTNeoXForCausalLM":
        """The checkpoint in evaluation mode: safetensors only, no remote code; `UserError` if it is not to be had."""

    @abstractmethod
    def train_rows(self) -> "Rows":
        """The rows it was trained on, (n_train_rows, seq_len + 1), in training order; `UserError` if they are not to be had."""

    @abstractmethod
    def heldout_rows(self) -> "Rows":
        """Rows that it was not trained on."""

    @abstractmethod
    def memory_bytes(self) -> int:
        """Main memory for its certificate at the peak."""

    def fits(self, memory_bytes: int, gpu_bytes: list[int]) -> str:
        """In which numbers a machine with so much free memory, and so much on each of its GPUs, can run it; "" if in none."""
        return "float32" if self.memory_bytes() <= memory_bytes else ""

    def revisions(self) -> list[str]:
        """Every checkpoint that there is, by training time."""
        return [self.revision]

    def at(self, revision: str) -> "ModelSpec":
        """The same model at another revision; `UserError` if there is no such checkpoint."""
        raise UserError(f"{self.model_size} has one checkpoint, not {revision!r}: leave the revision empty")

    @classmethod
    def sources(cls) -> Iterator[Finding]:
        """Where checkpoints and rows of the family come from on this machine, for `gengap doctor`."""
        return iter(())

    @property
    def model_size(self) -> str:
        return f"{self.family}-{self.size}"

    @cached_property
    def architecture(self) -> Architecture:
        """GPT-NeoX as the family uses it: inner width four times the width, parallel residual."""
        sizes = self.vocab_size, self.hidden_size, self.n_layers, self.n_heads, 4 * self.hidden_size, self.seq_len
        rotary = round(1000 * self.rotary_fraction)
        return Architecture(*sizes, rotary_permille=rotary, rope_theta=10000, parallel_residual=1)

    @property
    def n_params(self) -> int:
        """N, embeddings and output head included (the Pythia convention)."""
        return self.architecture.n_params

    @property
    def n_train_tokens(self) -> int:
        """D, the tokens that the checkpoint was trained to predict, each once."""
        return self.n_train_rows * self.seq_len

    def config(self) -> "GPTNeoXConfig":
        """The transformers configuration of this architecture."""
        return self.architecture.config(bos_token_id=0, eos_token_id=0)

    def results_dir(self) -> Path:
        """Where this machine's runs write."""
        return run_results_dir() / self.family / self.size

    def find(self, name: str) -> Path | None:
        """This machine's file or folder `name` for the model, else the published one, else None."""
        paths = (base / self.family / self.size / name for base in (run_results_dir(), published_results_dir()))
        return next(filter(Path.exists, paths), None)

    def find_archive(self, method: str, bits: int) -> Path:
        """The quantized archive of the checkpoint; `UserError` naming the command that makes it."""
        if path := self.find(f"{quantized_name(self.revision, method, bits)}.ggq"):
            return path
        raise UserError(
            f"{self.model_size} is not quantized yet: run `gengap quantize {self.model_size} --revision {self.revision} "
            f"--method {method} --bits {bits}`"
        )


def quantized_name(revision: str, method: str, bits: int) -> str:
    """File stem of everything that belongs to one quantization of one checkpoint."""
    return f"{revision}-{method}-{bits}bit"


def load_folder(folder: Path) -> "PreTrainedModel":
    """The checkpoint in a folder of `gengap.training`, float32, in evaluation mode; `UserError` as `load_checkpoint`."""
    return load_checkpoint(folder)
