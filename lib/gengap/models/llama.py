"""A second architecture on the ladder's text: Llama's, so that one can tell what a finding owes to GPT-NeoX.

RMSNorm and no biases, SwiGLU, rotation of all channels, half as many heads of keys and values as of queries, an output head that is
the embedding. Everything else is as in the ladder: tokens, D = 20 N, schedule, batch.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from gengap.models.ladder import LadderSpec

if TYPE_CHECKING:
    from transformers import LlamaConfig

    from gengap.models.architecture import Architecture, Blueprint


@dataclass(frozen=True)
class LlamaSpec(LadderSpec):
    """A rung of Llama's architecture."""

    rotary_fraction: float = 1.0

    @property
    def n_kv_heads(self) -> int:
        """Heads of keys and values, each shared by two of queries."""
        return self.n_heads // 2

    @property
    def inner_size(self) -> int:
        """Of the gated layer: 8/3 of the width, as Llama's, rounded up to a multiple of four."""
        return 4 * math.ceil(2 * self.hidden_size / 3)

    @property
    def n_params(self) -> int:
        """N, the tied embedding counted once."""
        width = self.hidden_size
        attention = 2 * width**2 + 2 * width * (width // self.n_heads) * self.n_kv_heads
        per_layer = attention + 3 * width * self.inner_size + 2 * width  # two norms
        return self.vocab_size * width + self.n_layers * per_layer + width

    @property
    def n_embedding(self) -> int:
        return self.vocab_size * self.hidden_size

    def config(self) -> "LlamaConfig":
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.inner_size,
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.n_heads,
            num_key_value_heads=self.n_kv_heads,
            max_position_embeddings=self.seq_len,
            tie_word_embeddings=True,
            use_cache=False,
            bos_token_id=0,
            eos_token_id=0,
        )

    @cached_property
    def architecture(self) -> "Architecture | Blueprint":
        from gengap.models.architecture import architecture_of

        return architecture_of(self.config())


MODELS = (
    #         family    size  width layers heads batch  learning rate
    LlamaSpec("llama", "50k", 20, 2, 2, 8, 9.6e-3),
    LlamaSpec("llama", "100k", 32, 3, 4, 8, 7.6e-3),
    LlamaSpec("llama", "200k", 48, 4, 6, 8, 6.1e-3),
    LlamaSpec("llama", "400k", 64, 6, 4, 16, 5.3e-3),
    LlamaSpec("llama", "800k", 96, 6, 6, 16, 4.3e-3),
)
