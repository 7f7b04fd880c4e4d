"""Two models in training and the averages of their weights: what a requential training is at the beginning of a step."""

import copy
import time
from pathlib import Path

import torch

from gengap import files
from gengap.models import sealed
from gengap.requential.recipe import COSTS
from gengap.training.loop import new_model, new_optimizer
from gengap.training.state import refuse_other_run

REMEDY = "what can be computed again is"


class Learner:
    """A model with its optimizer, and the average of its weights that it predicts with."""

    def __init__(self, spec, seed: int):
        self.model = new_model(spec, seed).train()
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.begin_again(spec)

    def begin_again(self, spec) -> None:
        """Forget the gradients of the past."""
        self.optimizer = new_optimizer(self.model, spec)

    @torch.no_grad()
    def take_over(self, weights: torch.nn.Module) -> None:
        """Be another model."""
        for mine in (self.model, self.average):
            torch._foreach_copy_(list(mine.parameters()), list(weights.parameters()))

    @torch.no_grad()
    def take_in(self, window: float) -> None:
        """The weights of now into the average, which remembers about `window` steps."""
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 / max(1.0, window))

    def tensors(self) -> dict[str, torch.Tensor]:
        found = {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        found |= {f"average.{name}": p for name, p in self.average.named_parameters()}
        for name, p in self.model.named_parameters():
            found |= {f"optimizer.{name}.{moment}": value for moment, value in self.optimizer.state[p].items()}
        return found

    @torch.no_grad()
    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        for kind, model in (("model", self.model), ("average", self.average)):
            for name, p in model.named_parameters():
                p.copy_(tensors[f"{kind}.{name}"])
        for name, p in self.model.named_parameters():
            prefix = f"optimizer.{name}."
            self.optimizer.state[p] = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


class RequentialState:
    """Student and teacher, the last token of each row that is drawn, and what every step has cost."""

    def __init__(self, spec, seed: int, most_steps: int, n_slots: int):
        self.student, self.teacher = Learner(spec, seed), Learner(spec, seed)
        self.slots = torch.zeros(n_slots, dtype=torch.int64)  # token 0, which separates documents
        self.costs = torch.full((most_steps, len(COSTS)), torch.nan, dtype=torch.float64)
        self.step = self.teacher_step = 0
        self._seconds, self._started = 0.0, time.monotonic()
        self.saved = self._started

    @property
    def seconds(self) -> float:
        """Wall clock of this process and of earlier ones."""
        return self._seconds + time.monotonic() - self._started

    def save(self, path: Path, key: str) -> None:
        """Atomically; `key` says whose it is."""
        tensors = {"costs": self.costs, "slots": self.slots}
        for who in ("student", "teacher"):
            tensors |= {f"{who}.{name}": tensor for name, tensor in getattr(self, who).tensors().items()}
        facts = {
            "key": key,
            "seconds": repr(self.seconds),
            "step": str(self.step),
            "teacher_step": str(self.teacher_step),
        }
        sealed.write(path, tensors, facts)
        self.saved = time.monotonic()

    def load(self, path: Path, key: str) -> None:
        """Go on from a file of `save`. Raises `Damaged` if it is, `UserError` if it is another run's."""
        tensors, facts = sealed.read(path, REMEDY)
        with files.one_sentence(f"{path} is damaged", REMEDY):
            found, self._seconds = facts["key"], float(facts["seconds"])
            self.step, self.teacher_step = int(facts["step"]), int(facts["teacher_step"])
            self.costs.copy_(tensors["costs"])
            self.slots = tensors["slots"]
        refuse_other_run(found, key, path.parent)
        for who in ("student", "teacher"):
            getattr(self, who).load(
                {k.removeprefix(f"{who}."): v for k, v in tensors.items() if k.startswith(f"{who}.")}
            )
        self._started = time.monotonic()
