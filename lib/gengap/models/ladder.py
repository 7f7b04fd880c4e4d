"""The ladder: models small enough for a laptop, trained here on text that every reader can get byte for byte.

GPT-NeoX with untied embeddings, rotary fraction 0.25 and parallel residual, as Pythia. Each rung is trained for one epoch on
D = 20 N tokens, the compute-optimal ratio of Hoffmann et al. (2022): its revision "main". At other lengths of the same training
it has other revisions, "4x" on four times as many tokens; from other initial weights "seed1" and "seed2".

Two more families are trained in the same way: `gengap.models.llama` has another architecture, `gengap.models.dictionary` reads another text.
"""

from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from gengap.errors import UserError
from gengap.models.loading import load_checkpoint
from gengap.models.spec import TOKENS_PER_PARAMETER, ModelSpec

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM

    from gengap.statistics.companion import Companion
    from gengap.tokens.corpus import Text
    from gengap.tokens.rows import TokenRows


# Lengths of a rung's trainings: D over the compute-optimal tokens, as far as one epoch of the corpus goes.
_SHORT = (0.25, 0.5, 1.0, 2.0)
LENGTHS: dict[str, tuple[float, ...]] = {
    "ladder-50k": (*_SHORT, 4.0, 8.0, 16.0, 32.0),
    "ladder-100k": (*_SHORT, 4.0, 8.0, 32.0),
    "ladder-200k": (*_SHORT, 4.0, 8.0),
    "ladder-300k": (*_SHORT, 4.0, 8.0),
    "ladder-400k": (*_SHORT, 4.0, 8.0),
    "ladder-800k": (*_SHORT, 4.0),
    "ladder-1.5m": _SHORT,
    "ladder-3m": (0.25, 0.5, 1.0),
    "ladder-4.5m": (0.25, 0.5, 1.0),
}

SEEDS: dict[str, tuple[int, ...]] = {"llama-100k": (1, 2), "dictionary-100k": (1, 2)}  # beside 0


def grid_run(length: float) -> str:
    """The name of a rung's training of this length among its runs (`gengap.workflow.plan`)."""
    return f"grid-{length:g}x"


FRONTIER = grid_run(1)  # the run whose checkpoint and log are the rung's own


def run_place(name: str) -> Path:
    """Where checkpoint and log of a run lie in the folder of its rung: for the frontier that folder itself."""
    return Path() if name == FRONTIER else Path("runs", name)


def checkpoint_name(revision: str) -> str:
    """Where the checkpoint of a revision lies in the folder of its rung."""
    branch = revision.replace("seed", "seed-") if revision.startswith("seed") else f"grid-{revision}"
    return str(run_place(FRONTIER if revision == "main" else branch) / "checkpoint")


@dataclass(frozen=True)
class LadderSpec(ModelSpec):
    """A rung: trained here on the ladder's corpus. Its fields are part of the name of every run (`gengap.training.run`)."""

    batch_rows: int  # rows (windows) per optimizer step
    peak_lr: float  # learning rate of the stable phase
    vocab_size: int = 2048  # V, tokens
    seq_len: int = 256  # predicted tokens per row
    rotary_fraction: float = 0.25

    trained_here = True
    length: ClassVar[float] = 1.0  # D over the compute-optimal tokens
    seed: ClassVar[int] = 0  # of the initial weights

    @cached_property
    def n_steps(self) -> int:
        """Batches of training data: D / seq_len, rounded to whole ones."""
        optimal = round(TOKENS_PER_PARAMETER * self.n_params / self.seq_len / self.batch_rows)
        return max(1, round(self.length * optimal))

    @property
    def n_train_rows(self) -> int:
        return self.batch_rows * self.n_steps

    @property
    def n_embedding(self) -> int:
        """Parameters of the embedding and of the output head."""
        return 2 * self.vocab_size * self.hidden_size

    @property
    def revision(self) -> str:
        return f"seed{self.seed}" if self.seed else _revision(self.length)

    def revisions(self) -> list[str]:
        seeds = SEEDS.get(self.model_size, ())
        return [*map(_revision, LENGTHS.get(self.model_size, (1.0,))), *(f"seed{seed}" for seed in seeds)]

    def at(self, revision: str) -> "LadderSpec":
        if revision == self.revision:
            return self
        kind, shape = self._frontier, {field.name: getattr(self, field.name) for field in fields(self._frontier)}
        for length in LENGTHS.get(self.model_size, (1.0,)):
            if revision == _revision(length):
                return kind(**shape) if length == 1 else _of_length(kind)(**shape, length=length)
        for seed in SEEDS.get(self.model_size, ()):
            if revision == f"seed{seed}":
                return _of_seed(kind)(**shape, seed=seed)
        raise UserError(
            f"{self.model_size} has no training of length {revision!r}: choose one of {', '.join(self.revisions())}"
        )

    @property
    def _frontier(self) -> "type[LadderSpec]":
        """The class of the rung itself."""
        return type(self)

    @property
    def checkpoint_name(self) -> str:
        return checkpoint_name(self.revision)

    def run_dir(self) -> Path:
        """Where this machine's training of this length writes."""
        return (self.results_dir() / self.checkpoint_name).parent

    def load(self) -> "GPTNeoXForCausalLM":
        """This machine's checkpoint, else the published one, in float32 on the CPU; `UserError` if it is not of this rung's shape."""
        if folder := self.find(self.checkpoint_name):
            return load_checkpoint(folder, config=self.config(), name=self.model_size)
        if self.length == 1:
            raise UserError(
                f"there is no checkpoint of {self.model_size}: `gengap train {self.model_size}` makes it, `make book` the default rungs"
            )
        raise UserError(
            f"there is no checkpoint of {self.model_size} at {self.revision}: "
            f"`gengap train {self.model_size} --revision {self.revision}` makes it"
        )

    @property
    def text(self) -> "Text":
        """What it is trained on."""
        from gengap.tokens.corpus import CODE

        return CODE

    def all_rows(self) -> "TokenRows":
        """Every training row of its text, of which it is trained on the first."""
        from gengap.tokens.corpus import corpus_rows

        return self._of_our_length(corpus_rows("train", self.text))

    def train_rows(self) -> "TokenRows":
        """The first rows of its text."""
        everything = self.all_rows()
        if len(everything) < self.n_train_rows:
            raise UserError(
                f"{self.model_size} needs {self.n_train_rows} rows, the corpus has {len(everything)}: "
                f"take a smaller size or add packages to {self.text.lock}"
            )
        return everything.first(self.n_train_rows)

    def heldout_rows(self) -> "TokenRows":
        """Of the text's held-out documents."""
        from gengap.tokens.corpus import corpus_rows

        return self._of_our_length(corpus_rows("heldout", self.text))

    def companion(self) -> "Companion | None":
        """The snapshots that this machine's training left (`gengap train` with --snapshots)."""
        from gengap.models.snapshots import companion_of

        return companion_of(self.run_dir() / "snapshots", self.batch_rows, self.config())

    def _of_our_length(self, rows: "TokenRows") -> "TokenRows":
        if rows.rows.shape[1] != self.seq_len + 1:
            raise UserError(
                f"{self.model_size} reads rows of {self.seq_len + 1} tokens, those in build/{self.text.name} have {rows.rows.shape[1]}: "
                f"{self.text.remedy}"
            )
        return rows

    def memory_bytes(self) -> int:
        return 2_500_000_000  # a run at its peak: the interpreter, torch, the statistics of its windows


@cache
def _of_length(kind: type[LadderSpec]) -> type[LadderSpec]:
    @dataclass(frozen=True)
    class RungOfLength(kind):
        """A rung off the frontier: the same training, longer or shorter, on the first rows of the text."""

        length: float = 1.0
        _frontier = kind

    return RungOfLength


@cache
def _of_seed(kind: type[LadderSpec]) -> type[LadderSpec]:
    @dataclass(frozen=True)
    class RungOfSeed(kind):
        """A rung from other initial weights, on the same rows in the same order."""

        seed: int = 0
        _frontier = kind

    return RungOfSeed


def _revision(length: float) -> str:
    return "main" if length == 1 else f"{length:g}x"


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
