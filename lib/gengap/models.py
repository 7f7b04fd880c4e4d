"""Which models there are: one dial, `model_size`, from which everything else follows.

The ladder is a family of GPT-NeoX models, the architecture of Pythia (Biderman et al. 2023): untied embeddings,
rotary fraction 0.25, parallel residual. It is small enough for a laptop, and each rung is trained for one epoch on
D = 20 N tokens, the compute-optimal ratio of Hoffmann et al. (2022).
"""

import difflib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gengap.errors import UserError
from gengap.paths import published_results_dir, run_results_dir

if TYPE_CHECKING:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022, as rounded by the paper


@dataclass(frozen=True)
class ModelSpec:
    """One model of a family. `model_size` is the key of `REGISTRY`."""

    family: str  # "ladder"
    size: str  # "100k"
    hidden_size: int  # width d
    n_layers: int
    n_heads: int
    batch_rows: int  # rows (windows) per optimizer step
    peak_lr: float  # learning rate of the stable phase
    vocab_size: int = 2048  # V, tokens
    seq_len: int = 256  # predicted tokens per row
    rotary_fraction: float = 0.25

    @property
    def model_size(self) -> str:
        return f"{self.family}-{self.size}"

    @cached_property
    def n_params(self) -> int:
        """N, embeddings and output head included (the Pythia convention)."""
        d = self.hidden_size
        per_layer = 12 * d * d + 13 * d  # attention 4dd+4d, MLP 8dd+5d, two layer norms 4d
        return 2 * self.vocab_size * d + self.n_layers * per_layer + 2 * d

    @cached_property
    def n_train_rows(self) -> int:
        """Rows of training data: D / seq_len, rounded to whole batches."""
        rows = TOKENS_PER_PARAMETER * self.n_params / self.seq_len
        return self.batch_rows * round(rows / self.batch_rows)

    @property
    def n_train_tokens(self) -> int:
        """D, the tokens predicted in one epoch of training."""
        return self.n_train_rows * self.seq_len

    @property
    def n_steps(self) -> int:
        return self.n_train_rows // self.batch_rows

    def config(self) -> "GPTNeoXConfig":
        """The transformers configuration of this architecture."""
        from transformers import GPTNeoXConfig

        return GPTNeoXConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.n_heads,
            intermediate_size=4 * self.hidden_size,
            max_position_embeddings=self.seq_len,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": self.rotary_fraction,
            },
            use_parallel_residual=True,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
            use_cache=False,
        )

    def results_dir(self) -> Path:
        """Where this machine's runs write."""
        return run_results_dir() / self.family / self.size

    def find(self, name: str) -> Path | None:
        """This machine's file or folder `name` for the model, else the published one, else None."""
        for base in (run_results_dir(), published_results_dir()):
            if (path := base / self.family / self.size / name).exists():
                return path
        return None


def _ladder(size: str, width: int, layers: int, heads: int, batch_rows: int, peak_lr: float) -> ModelSpec:
    return ModelSpec("ladder", size, width, layers, heads, batch_rows, peak_lr)


_LADDER = [
    # size  width layers heads batch  learning rate
    _ladder("50k", 12, 2, 1, 8, 2.0e-2),
    _ladder("100k", 20, 3, 2, 8, 1.5e-2),
    _ladder("200k", 36, 3, 3, 8, 1.2e-2),
    _ladder("300k", 48, 3, 4, 8, 1.0e-2),
    _ladder("400k", 64, 3, 4, 16, 8e-3),
    _ladder("800k", 96, 4, 6, 16, 5e-3),
    _ladder("1.5m", 128, 5, 8, 16, 4e-3),
    _ladder("3m", 192, 5, 8, 32, 3e-3),
    _ladder("4.5m", 224, 6, 8, 32, 3e-3),
]

REGISTRY: dict[str, ModelSpec] = {spec.model_size: spec for spec in _LADDER}

DEFAULT_LADDER = ("ladder-50k", "ladder-100k", "ladder-200k")  # what `make book` trains itself


def get(model_size: str) -> ModelSpec:
    """The model named `model_size`; `UserError` with the nearest names if there is none."""
    if model_size in REGISTRY:
        return REGISTRY[model_size]
    near = difflib.get_close_matches(str(model_size), REGISTRY, n=3, cutoff=0.5) or list(REGISTRY)
    raise UserError(f"unknown model size {model_size!r}: did you mean {' or '.join(near)}?")


def quantized_name(revision: str, method: str, bits: int) -> str:
    """File stem of everything that belongs to one quantization of one checkpoint."""
    return f"{revision}-{method}-{bits}bit"


def load(spec: ModelSpec, name: str = "checkpoint") -> "GPTNeoXForCausalLM":
    """The trained checkpoint as a float32 model in evaluation mode, this machine's if there is one, else the published.

    Only safetensors files are read and no remote code is run. Raises `UserError` if there is no checkpoint.
    """
    import torch
    from transformers import GPTNeoXForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = spec.find(name)
    if folder is None:
        raise UserError(
            f"there is no checkpoint of {spec.model_size}: `gengap train {spec.model_size}` makes it, `make book` the default rungs"
        )
    model = GPTNeoXForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    return model.eval()
