"""The shape of a GPT-NeoX model in nine integers: what an archive must store to stand alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gengap.errors import UserError

if TYPE_CHECKING:
    from transformers import GPTNeoXConfig

_LAYER_NORMS = ("input_layernorm", "post_attention_layernorm")


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
            raise UserError(
                "archives hold GPT-NeoX models with gelu, biases, untied embeddings and epsilon 1e-5 only"
            )
        rope = config.rope_parameters
        return cls(
            config.vocab_size,
            config.hidden_size,
            config.num_hidden_layers,
            config.num_attention_heads,
            config.intermediate_size,
            config.max_position_embeddings,
            round(1000 * rope.get("partial_rotary_factor", 1.0)),
            round(rope["rope_theta"]),
            int(config.use_parallel_residual),
        )

    def config(self) -> "GPTNeoXConfig":
        """The transformers configuration."""
        from transformers import GPTNeoXConfig

        return GPTNeoXConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.n_heads,
            intermediate_size=self.intermediate_size,
            max_position_embeddings=self.seq_len,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": float(self.rope_theta),
                "partial_rotary_factor": self.rotary_permille / 1000,
            },
            use_parallel_residual=bool(self.parallel_residual),
            tie_word_embeddings=False,
            use_cache=False,
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
