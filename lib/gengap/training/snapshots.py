"""The weights along a training, and moving averages of them: all that was known of the text before a token was read.

A snapshot is taken at the beginning of a step, before its batch is looked at, and holds the weights of that moment and
averages over the last shares of the steps so far, in float16. Snapshots lie denser where the loss falls faster: the i-th of
n at the fraction (i/n)^2 of the run. No digit of the training depends on them.
"""

from pathlib import Path

import torch

from gengap.models import sealed
from gengap.models.snapshots import ONLINE, average_name

N_SNAPSHOTS = 128
SHARES = (0.02, 0.05, 0.1, 0.2)  # of the steps so far, that an average remembers


def snapshot_steps(n_steps: int, n_snapshots: int = N_SNAPSHOTS) -> list[int]:
    """Steps at whose beginning a snapshot is taken, ascending from 0; short runs have fewer."""
    return sorted({n_steps * i * i // n_snapshots**2 for i in range(n_snapshots)})


class MovingAverages:
    """Exponential averages of a model's weights, each over a fixed share of the steps so far."""

    def __init__(self, model: torch.nn.Module, shares: tuple[float, ...] = SHARES):
        self._names, self._weights = zip(*model.named_parameters(), strict=True)
        self._averages = {share: [p.detach().clone() for p in self._weights] for share in shares}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights at the beginning of `step`."""
        for share, averages in self._averages.items():
            torch._foreach_lerp_(averages, self._weights, min(1.0, 1 / max(1.0, share * step)))

    def tensors(self) -> dict[str, torch.Tensor]:
        """By `average_name` and parameter, joined by a slash."""
        return {
            f"{average_name(share)}/{name}": p
            for share, averages in self._averages.items()
            for name, p in zip(self._names, averages, strict=True)
        }

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Go on from what `tensors` gave. Raises KeyError if something is missing."""
        for name, p in self.tensors().items():
            p.copy_(tensors[name])

    def save(self, path: Path) -> None:
        """Write a snapshot: the weights and their averages in float16; atomic."""
        online = {f"{ONLINE}/{name}": p.detach() for name, p in zip(self._names, self._weights, strict=True)}
        sealed.write(path, {name: p.half() for name, p in (online | self.tensors()).items()}, {})
