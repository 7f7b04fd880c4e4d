"""PolyPythias (van der Wal et al. 2025): nine more trainings of each of five Pythias, each with an order of the Pile of its own.

An order is published as three index maps into the tokenized Pile, which is 600 GB long. The folder in `GENGAP_PILE_SEEDS` holds both:
`seed3/` and so on with the maps (the hub's data set EleutherAI/pile-preshuffled-seeds), and the tokenized Pile beside them, one `.bin` with its `.idx`.
Seeds whose order or whose checkpoints are in doubt are refused with the reason.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gengap.errors import UserError
from gengap.hardware import Finding
from gengap.models.pythia import HELDOUT_STEPS, PythiaSpec, family

if TYPE_CHECKING:
    from gengap.tokens.counted import TrainingRows

SIZES = ("14m", "31m", "70m", "160m", "410m")
SEEDS = range(1, 10)


@dataclass(frozen=True)
class PolyPythiaSpec(PythiaSpec):
    """A released checkpoint of one seed, `size` "160m-seed3"; the seed decides the initial weights and the order of the text."""

    rows_variable: ClassVar[str] = "GENGAP_PILE_SEEDS"

    @property
    def repository(self) -> str:
        return f"EleutherAI/pythia-{self.size}"

    @property
    def doubt(self) -> str:
        """Why no certificate can be given for this seed; "" if nothing is known against it."""
        base, seed = self.size.split("-seed")
        if seed == "2":
            return "the published shuffle index of seed 2 is damaged, nine tenths of it are zeros (pythia issue 190)"
        if base == "160m" and seed == "1":
            return "released runs of the 160m model with this seed are reported not to descend from their step 0 (pythia issue 203)"
        return ""

    def at(self, revision: str) -> "PolyPythiaSpec":
        self._refuse_doubt()
        return super().at(revision)

    def load(self):
        self._refuse_doubt()
        return super().load()

    def fits(self, memory_bytes: int, gpu_bytes: list[int]) -> str:
        return "" if self.doubt else super().fits(memory_bytes, gpu_bytes)

    def train_rows(self, patience: object = None) -> "TrainingRows":
        """The rows that the checkpoint has seen, (step x 1024, 2049), in the order of training."""
        if self.step == 0:
            raise UserError(f"{self.model_size} at step0 has seen no data: choose a later revision")
        return self._rows(0, self.n_train_rows)

    def heldout_rows(self, patience: object = None) -> "TrainingRows":
        """Rows of the 1000 steps after the checkpoint."""
        return self._rows(self.n_train_rows, HELDOUT_STEPS * self.batch_rows)

    def _rows(self, first_row: int, n_rows: int) -> "TrainingRows":
        from gengap.tokens.counted import TrainingRows
        from gengap.tokens.orders import megatron_rows

        self._refuse_doubt()
        folder = Path(os.environ.get(self.rows_variable, ""))
        data = sorted(folder.glob("*.idx")) if os.environ.get(self.rows_variable) else []
        if len(data) != 1:
            raise UserError(
                f"the rows of {self.model_size} are put together from the tokenized Pile and the maps of its seed: set {self.rows_variable} "
                "to a folder with one .bin and .idx, and the maps in seed1/ to seed9/"
            )
        rows = megatron_rows(data[0], folder / f"seed{self.size.split('-seed')[1]}", self.seq_len)
        if first_row + n_rows > len(rows) and (first_row == 0 or first_row >= len(rows)):
            raise UserError(
                f"{folder} holds {len(rows):,} rows of {self.size}, fewer than {self.revision} needs: fetch it again"
            )
        n_rows = min(n_rows, len(rows) - first_row)
        return TrainingRows(
            rows, rows.sha256, str(folder), n_rows, np.arange(first_row, first_row + n_rows) if first_row else None
        )

    def _refuse_doubt(self) -> None:
        if self.doubt:
            raise UserError(f"{self.model_size} cannot be certified: {self.doubt}; take another seed")

    @classmethod
    def sources(cls) -> Iterator[Finding]:
        if folder := os.environ.get(cls.rows_variable):
            yield Finding("rows of seeds", Path(folder).is_dir(), folder, f"mend or unset {cls.rows_variable}")


# Each size at the compute-optimal step of Pythia's: the counts are the same.
MODELS = tuple(
    spec
    for seed in SEEDS
    for spec in family(
        "polypythia",
        lambda name, size, *shape, seed=seed, **more: PolyPythiaSpec(name, f"{size}-seed{seed}", *shape, **more),
    )
    if spec.size.split("-")[0] in SIZES
)
