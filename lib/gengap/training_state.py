"""Everything that a resumed run needs, as named tensors in one safetensors file; and the forks of a trunk.

Runs of one rung that differ in length alone begin alike: warmup, then a constant rate, until the shortest begins to cool down.
The state at that point is kept, and the next longer run goes on from there: one trunk carries all branches.
"""

import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gengap.errors import UserError
from gengap.paths import atomic_path


def refuse_other_run(found: str, wanted: str, folder: Path) -> None:
    """`UserError` unless both keys name the same run."""
    if found != wanted:
        raise UserError(
            f"{folder} belongs to another run (size, data, seed or settings): delete it and run again"
        )


class TrainingState:
    """Weights, optimizer moments, the losses so far: what a run is at the beginning of a step."""

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.AdamW, n_steps: int, n_checks: int):
        self.model, self.optimizer = model, optimizer
        self.losses = torch.full((n_steps,), torch.nan)  # online loss of each step, nats/token
        self.checks = torch.full((n_checks,), torch.nan)  # held-out losses along the way, nats/token
        self._seconds = 0.0
        self._started = self.saved = time.monotonic()

    @property
    def step(self) -> int:
        """The step to be taken next."""
        return int(torch.isfinite(self.losses).sum())

    @property
    def seconds(self) -> float:
        """Wall clock of this run, of earlier processes and of the trunk it grew from."""
        return self._seconds + time.monotonic() - self._started

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        for name, p in self.model.named_parameters():
            tensors |= {f"optimizer.{name}.{key}": value for key, value in self.optimizer.state[p].items()}
        return tensors | {"losses": self.losses, "checks": self.checks}

    def save(self, path: Path, key: str) -> None:
        """Write the state, atomically; `key` says whose it is."""
        with atomic_path(path) as part:
            save_file(self._tensors(), part, metadata={"key": key, "seconds": repr(self.seconds)})
        self.saved = time.monotonic()

    def load(self, path: Path, key: str) -> None:
        """Go on from a file of `save`. Raises `UserError` if it is damaged or another run's."""
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            found, seconds = facts["key"], float(facts["seconds"])
        except Exception as error:  # safetensors raises its own classes for damaged files
            raise UserError(f"{path} is damaged ({error}): delete it and run again") from error
        refuse_other_run(found, key, path.parent)
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(tensors[f"model.{name}"])
                prefix = f"optimizer.{name}."
                self.optimizer.state[p] = {
                    key.removeprefix(prefix): value
                    for key, value in tensors.items()
                    if key.startswith(prefix)
                }
        n_done = int(torch.isfinite(tensors["losses"]).sum())
        self.losses[:n_done] = tensors["losses"][:n_done]
        if len(self.checks):
            self.checks = tensors["checks"]
        self._seconds = seconds
        self._started = time.monotonic()


def fork_path(trunk: Path, step: int) -> Path:
    """Where a trunk keeps its state at the beginning of `step`."""
    return trunk / f"step-{step:07d}.safetensors"


def fork_steps(trunk: Path) -> list[int]:
    """Steps at which a trunk can be taken up again, in order."""
    return sorted(int(path.stem.removeprefix("step-")) for path in trunk.glob("step-*.safetensors"))


def fork_weights(path: Path) -> dict[str, torch.Tensor]:
    """The model's tensors of a fork, by parameter name."""
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith("model.")]  # noqa: SIM118 (no mapping)
        return {name.removeprefix("model."): file.get_tensor(name) for name in names}
