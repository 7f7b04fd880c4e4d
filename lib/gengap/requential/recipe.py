"""How a requential code is made: the recipes by name, and everything else that its digits depend on. No torch here.

A student is trained on what a teacher draws, step by step as its rung is trained on text. Both begin with the same weights, both predict
with averages of theirs. The recipes differ in what keeps the teacher near the student, since only the distance between their predictions is paid for.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from gengap.errors import UserError
from gengap.models.ladder import LadderSpec
from gengap.training.run import Run

Control = Literal[
    "", "random", "repeated"
]  # read in place of the text: tokens drawn uniformly, one token again and again


@dataclass(frozen=True)
class Recipe:
    """What a teacher does beside learning from the text."""

    project: bool = False  # now and then the student, trained back to the loss that the teacher had
    threshold: float = 0.0  # nats a token: it waits while the distance is greater; 0: never
    least_window: int = 50  # steps that its average remembers at least
    teacher_share: float = 0.1  # of the steps so far, that its average remembers
    student_share: float = 0.01  # that the student's does


RECIPES = {
    "plain": Recipe(least_window=1, teacher_share=1e-9, student_share=1e-9),  # no averages
    "smoothing": Recipe(),
    "projection": Recipe(project=True),
    "threshold": Recipe(threshold=0.1),
}
FIRST_PROJECTION, PROJECTION_FACTOR = 100, 1.5  # at the steps 100, 150, 225, ...
MOST_WAITING = 2.0  # steps of the student while its teacher waits, over the steps of the rung
#: What each step of a training has cost: nats of the batch (twice), nats^2 (twice), nats/token (twice), and the steps of the teacher so far.
COSTS = ("kl", "log_ratio", "token_variance", "row_variance", "student_loss", "teacher_loss", "teacher_step")
ROWS_AT_ONCE = 64  # drawn from one state of the teacher: for small models 64 rows cost twice as much as 8


def record_name(recipe_name: str, control: str, batch_rows: int, seed: int) -> str:
    """ "requential-projection-seed0"; an empty control and the rung's own batch (0 rows) are not named."""
    more = (f"-{control}" if control else "") + (f"-rows{batch_rows}" if batch_rows else "")
    return f"requential-{recipe_name}{more}-seed{seed}"


@dataclass(frozen=True)
class Requential:
    """One training of a student, and what its digits depend on."""

    spec: LadderSpec
    recipe_name: str = "smoothing"
    seed: int = 0  # of the initial weights and of all draws
    control: Control = ""
    batch_rows: int = 0  # that the student learns from in a step; 0: as many as its rung

    def __post_init__(self):
        if self.recipe_name not in RECIPES:
            raise UserError(f"no recipe {self.recipe_name!r}: choose one of {', '.join(RECIPES)}")
        if self.rows_per_step < 1 or ROWS_AT_ONCE % self.rows_per_step:
            raise UserError(
                f"{self.batch_rows} rows a step: choose a divisor of {ROWS_AT_ONCE}, or 0 for as many as the rung has"
            )

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.recipe_name]

    @property
    def run(self) -> Run:
        """The rung's own training, which is the teacher's."""
        return Run(self.spec, precision="float32")

    @property
    def rows_per_step(self) -> int:
        return self.batch_rows or self.spec.batch_rows

    @property
    def tokens_per_step(self) -> int:
        return self.rows_per_step * self.spec.seq_len

    @property
    def steps_per_draw(self) -> int:
        return ROWS_AT_ONCE // self.rows_per_step

    @property
    def most_steps(self) -> int:
        """Of the student."""
        n_steps = self.run.n_steps
        return round((1 + MOST_WAITING) * n_steps) if self.recipe.threshold else n_steps

    @property
    def projections(self) -> list[int]:
        """Steps after which the teacher begins again where the student is."""
        steps, step = [], float(FIRST_PROJECTION)
        while self.recipe.project and step < self.run.n_steps:
            steps.append(round(step))
            step *= PROJECTION_FACTOR
        return steps

    @property
    def name(self) -> str:
        """Of its record."""
        return record_name(self.recipe_name, self.control, self.batch_rows, self.seed)

    def key(self, data_sha256: str) -> str:
        """Hash of everything that the digits depend on."""
        facts = [self.run.key(data_sha256), asdict(self.recipe), FIRST_PROJECTION, PROJECTION_FACTOR, MOST_WAITING]
        facts += [ROWS_AT_ONCE, self.seed, self.control, self.rows_per_step]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def random(self, step: int, purpose: int = 0) -> np.random.Generator:
        """Counter-based random numbers of one step, the same wherever they are asked for."""
        return np.random.Generator(np.random.Philox(key=[self.seed, step], counter=[0, 0, 0, purpose]))
