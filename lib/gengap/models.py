"""Which models there are: one dial, `model_size`, from which everything else follows.

Two families of the same architecture, GPT-NeoX with untied embeddings, rotary fraction 0.25 and parallel residual. The ladder
is small enough for a laptop: each rung is trained here, for one epoch on D = 20 N tokens, the compute-optimal ratio of
Hoffmann et al. (2022). Pythia (Biderman et al. 2023) was trained on the Pile, and its checkpoints are read as they were
released: each `stepN` has seen the first N batches.
"""

import difflib
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gengap import published
from gengap.errors import UserError
from gengap.paths import published_results_dir, run_results_dir

if TYPE_CHECKING:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022, as rounded by the paper


@dataclass(frozen=True)
class ModelSpec:
    """One model of a family. `model_size` is the key of `REGISTRY`.

    A family adds `vocab_size` (V), `seq_len` (predicted tokens per row), `rotary_fraction`, `n_train_rows` and `revision`.
    """

    family: str  # "ladder"
    size: str  # "100k"
    hidden_size: int  # width d
    n_layers: int
    n_heads: int

    @property
    def model_size(self) -> str:
        return f"{self.family}-{self.size}"

    @cached_property
    def n_params(self) -> int:
        """N, embeddings and output head included (the Pythia convention)."""
        d = self.hidden_size
        per_layer = 12 * d * d + 13 * d  # attention 4dd+4d, MLP 8dd+5d, two layer norms 4d
        return 2 * self.vocab_size * d + self.n_layers * per_layer + 2 * d

    @property
    def n_train_tokens(self) -> int:
        """D, the tokens that the checkpoint was trained to predict, each once."""
        return self.n_train_rows * self.seq_len

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


@dataclass(frozen=True)
class LadderSpec(ModelSpec):
    """A rung: trained here on the ladder's corpus."""

    batch_rows: int  # rows (windows) per optimizer step
    peak_lr: float  # learning rate of the stable phase
    vocab_size: int = 2048  # V, tokens
    seq_len: int = 256  # predicted tokens per row
    rotary_fraction: float = 0.25

    @property
    def revision(self) -> str:
        """A rung has one checkpoint, the last."""
        return "main"

    @cached_property
    def n_train_rows(self) -> int:
        """Rows of training data: D / seq_len, rounded to whole batches."""
        rows = TOKENS_PER_PARAMETER * self.n_params / self.seq_len
        return self.batch_rows * round(rows / self.batch_rows)

    @property
    def n_steps(self) -> int:
        return self.n_train_rows // self.batch_rows


@dataclass(frozen=True)
class PythiaSpec(ModelSpec):
    """A released checkpoint of Pythia, named by its training step; it has seen the first `step` batches and no more."""

    step: int  # optimizer steps behind this checkpoint
    vocab_size: int = 50304  # V, the width of the output: the tokenizer's 50277 padded for the hardware
    seq_len: int = 2048  # predicted tokens per row
    rotary_fraction: float = 0.25
    batch_rows: int = 1024  # rows (windows) per optimizer step

    @property
    def revision(self) -> str:
        """The branch of the released checkpoint."""
        return f"step{self.step}"

    @property
    def n_train_rows(self) -> int:
        return self.step * self.batch_rows

    @property
    def repository(self) -> str:
        """Where the hub keeps it."""
        return f"EleutherAI/{self.model_size}"

    def at(self, revision: str) -> "PythiaSpec":
        """The same model at another `stepN`; `UserError` if no such checkpoint was released."""
        facts = published.facts("pythia")
        match = re.fullmatch(r"step(\d+)", revision)
        step = int(match[1]) if match else -1
        early = step == 0 or (0 < step <= 512 and step.bit_count() == 1)
        if not (early or (0 < step <= facts["last_step"] and step % facts["checkpoint_every_steps"] == 0)):
            raise UserError(
                f"{self.model_size} has no checkpoint {revision!r}: there are {facts['checkpoints']}; "
                f"the compute-optimal one is {get(self.model_size).revision}"
            )
        return replace(self, step=step)


def _ladder(size: str, width: int, layers: int, heads: int, batch_rows: int, peak_lr: float) -> LadderSpec:
    return LadderSpec("ladder", size, width, layers, heads, batch_rows, peak_lr)


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


def _pythia(size: str, width: int, layers: int, heads: int, vocab_size: int = 50304) -> PythiaSpec:
    """With the first released checkpoint that has seen 20 N tokens or more (theory T5: up to a multiple of 1000 steps)."""
    tokens = published.compute_optimal_tokens(published.pythia_n_params()[size], TOKENS_PER_PARAMETER)
    step = tokens // published.facts("pythia")["tokens_per_step"]
    return PythiaSpec("pythia", size, width, layers, heads, step, vocab_size)


# Biderman et al. 2023, Table 1 and the released config.json files; parameter counts are tested against the published ones.
_PYTHIA = [
    # size   width layers heads  output width, padded to a multiple of 128 x (model parallel GPUs)
    _pythia("14m", 128, 6, 4),
    _pythia("31m", 256, 6, 8),
    _pythia("70m", 512, 6, 8),
    _pythia("160m", 768, 12, 12),
    _pythia("410m", 1024, 24, 16),
    _pythia("1b", 2048, 16, 8),
    _pythia("1.4b", 2048, 24, 16),
    _pythia("2.8b", 2560, 32, 32),
    _pythia("6.9b", 4096, 32, 32, 50432),
    _pythia("12b", 5120, 36, 40, 50688),
]

REGISTRY: dict[str, ModelSpec] = {spec.model_size: spec for spec in (*_LADDER, *_PYTHIA)}

DEFAULT_LADDER = ("ladder-50k", "ladder-100k", "ladder-200k")  # what `make book` trains itself


def get(model_size: str, revision: str = "") -> ModelSpec:
    """The model named `model_size` at `revision` ("": the compute-optimal checkpoint; else "stepN", Pythia only).

    Raises `UserError` for an unknown name, with the nearest ones, and for a revision that was not released.
    """
    if model_size not in REGISTRY:
        near = difflib.get_close_matches(str(model_size), REGISTRY, n=3, cutoff=0.5) or list(REGISTRY)
        raise UserError(f"unknown model size {model_size!r}: did you mean {' or '.join(near)}?")
    spec = REGISTRY[model_size]
    if revision in ("", spec.revision):
        return spec
    if not isinstance(spec, PythiaSpec):
        raise UserError(f"{model_size} has one checkpoint, not {revision!r}: leave the revision empty")
    return spec.at(revision)


def quantized_name(revision: str, method: str, bits: int) -> str:
    """File stem of everything that belongs to one quantization of one checkpoint."""
    return f"{revision}-{method}-{bits}bit"


def find_archive(spec: ModelSpec, method: str, bits: int) -> Path:
    """The quantized archive of a checkpoint; `UserError` naming the command that makes it."""
    path = spec.find(f"{quantized_name(spec.revision, method, bits)}.ggq")
    if path is None:
        revision = "" if spec == REGISTRY.get(spec.model_size) else f" --revision {spec.revision}"
        raise UserError(
            f"{spec.model_size} is not quantized yet: run "
            f"`gengap quantize {spec.model_size} --method {method} --bits {bits}{revision}`"
        )
    return path


def load(spec: ModelSpec, name: str = "checkpoint") -> "GPTNeoXForCausalLM":
    """The checkpoint in evaluation mode: a rung of this machine, else the published one; a released one for Pythia.

    A rung is float32 on the CPU; for Pythia see `gengap.checkpoints.load_pythia`. Only safetensors files are read and no
    remote code is run. Raises `UserError` if there is no checkpoint.
    """
    if isinstance(spec, PythiaSpec):
        from gengap import checkpoints

        return checkpoints.load_pythia(spec)
    folder = spec.find(name)
    if folder is None:
        raise UserError(
            f"there is no checkpoint of {spec.model_size}: `gengap train {spec.model_size}` makes it, `make book` the default rungs"
        )
    return load_folder(folder)


def load_folder(folder: Path) -> "GPTNeoXForCausalLM":
    """The checkpoint in a folder of `gengap.training`, float32, in evaluation mode."""
    import torch
    from transformers import GPTNeoXForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = GPTNeoXForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    return model.eval()
