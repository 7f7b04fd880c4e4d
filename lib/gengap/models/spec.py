"""What every model of the book has to say of itself: its shape, its checkpoint, its rows, what it asks of a machine.

GPT-NeoX with untied embeddings unless a family says otherwise; `gengap.models.architecture` knows every shape.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from gengap.errors import UserError
from gengap.hardware import Finding
from gengap.models.architecture import Architecture
from gengap.models.loading import load_checkpoint
from gengap.paths import published_results_dir, run_results_dir

if TYPE_CHECKING:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

    from gengap.statistics.companion import Companion
    from gengap.tokens.rows import Rows

TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022, as rounded by the paper


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
    checkpoint_name: ClassVar[str] = "checkpoint"  # where it lies in the folder of its size, if it is trained here

    @abstractmethod
    def load(self) -> "GPTNeoXForCausalLM":
        """The checkpoint in evaluation mode: safetensors only, no remote code; `UserError` if it is not to be had."""

    @abstractmethod
    def train_rows(self) -> "Rows":
        """The rows it was trained on, (n_train_rows, seq_len + 1), in training order; `UserError` if they are not to be had."""

    @abstractmethod
    def heldout_rows(self) -> "Rows":
        """Rows that it was not trained on."""

    def companion(self) -> "Companion | None":
        """The models that it was while it was trained, as far as they are at hand: whatever was known before a row was read."""
        return None

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
