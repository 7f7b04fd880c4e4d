"""Everything that a resumed run needs, as named tensors in one safetensors file; the forks and waypoints of a trunk.

Runs of one rung that differ in length alone begin alike, until the shortest begins to cool down. The state at that point
is kept, and the next longer run goes on from there: one trunk carries all branches.

A large rung takes more hours than one machine may have at a time, and its whole state is too large to be committed. So
its trunk passes waypoints, steps at which *every* run rounds its state to a sixth of the size and goes on from the
rounded one. A waypoint is all of a run that another machine needs, and stopping there changes no digit.
"""

import lzma
import time
from pathlib import Path

import torch

from gengap import files
from gengap.errors import UserError
from gengap.models import sealed
from gengap.paths import atomic_path
from gengap.training.snapshots import MovingAverages

_MOST_PER_BYTE = 4  # bytes that a byte of a packed waypoint may stand for: less than two, of real weights
_REMEDY = "what can be computed again is"
# Numbers of two bytes: the upper one, sign and exponent, is told apart from the lower.
_PACKING = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 3, "lp": 1, "pb": 1}]


def refuse_other_run(found: str, wanted: str, folder: Path) -> None:
    """`UserError` unless both keys name the same run."""
    if found != wanted:
        raise UserError(f"{folder} belongs to another run (size, data, seed or settings): delete it and run again")


class TrainingState:
    """Weights, optimizer moments, the losses so far: what a run is at the beginning of a step."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.AdamW,
        n_steps: int,
        n_checks: int,
        averages: MovingAverages | None = None,
    ):
        self.model, self.optimizer, self.averages = model, optimizer, averages
        self.losses = torch.full((n_steps,), torch.nan)  # online loss of each step, nats/token
        self.checks = torch.full((n_checks,), torch.nan)  # held-out losses along the way, nats/token
        self._factors: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}  # of the second moments of matrices
        self._rounded_at = -1  # the step before which `round_off` was called last
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

    @torch.no_grad()
    def round_off(self) -> None:
        """Weights to float16, second moments of a matrix to rank one, first moments to zero; once before a step.

        Rank one is what Adafactor (Shazeer and Stern 2018) makes do with all the time; here the next twenty steps or so,
        which is all that the second moments remember, replace it. The first moments remember ten.
        """
        if self._rounded_at == self.step:
            return
        self._rounded_at = self.step
        for name, p in self.model.named_parameters():
            moments = self.optimizer.state[p]
            p.copy_(p.half())
            if p.ndim == 2:
                squares = moments["exp_avg_sq"]  # (rows, columns)
                self._factors[name] = squares.sum(1), squares.sum(0)
                squares.copy_(rank_one(*self._factors[name]))
            moments["exp_avg"].zero_()

    def save(self, path: Path, key: str, rounded: bool = False) -> None:
        """Write the state, atomically; `key` says whose it is, `rounded` that only what `round_off` has left is kept."""
        tensors = {"losses": self.losses, "checks": self.checks} | (self.averages.tensors() if self.averages else {})
        for name, p in self.model.named_parameters():
            tensors[f"model.{name}"] = p.detach().half() if rounded else p.detach()
            kept = dict(self.optimizer.state[p])
            if rounded:
                del kept["exp_avg"]
                if name in self._factors:
                    del kept["exp_avg_sq"]
                    kept["row_sums"], kept["column_sums"] = self._factors[name]
            tensors |= {f"optimizer.{name}.{moment}": value for moment, value in kept.items()}
        sealed.write(path, tensors, {"key": key, "seconds": repr(self.seconds)})
        self.saved = time.monotonic()

    def load(self, path: Path, key: str) -> None:
        """Go on from a file of `save`. Raises `Damaged` before anything is taken from it if it is, `UserError` if it is another run's."""
        tensors, facts = sealed.read(path, _REMEDY)
        with files.one_sentence(f"{path} is damaged", _REMEDY):
            found, seconds = facts["key"], float(facts["seconds"])
            weights = {name: tensors[f"model.{name}"] for name, _ in self.model.named_parameters()}
            if any(weights[name].shape != p.shape for name, p in self.model.named_parameters()):
                raise ValueError("its weights are of another shape")
            losses, checks = tensors["losses"], tensors["checks"]
        refuse_other_run(found, key, path.parent)
        if self.averages:
            try:
                self.averages.load(tensors)
            except KeyError as error:
                raise UserError(f"{path} has no moving averages of its weights: delete it and run again") from error
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(weights[name])
                prefix = f"optimizer.{name}."
                moments = {k.removeprefix(prefix): v.to(p.device) for k, v in tensors.items() if k.startswith(prefix)}
                if "row_sums" in moments:
                    self._factors[name] = moments.pop("row_sums"), moments.pop("column_sums")
                    moments["exp_avg_sq"] = rank_one(*self._factors[name])
                if "exp_avg_sq" in moments:  # before the first step there are none
                    moments.setdefault("exp_avg", torch.zeros_like(p))
                self.optimizer.state[p] = moments
        n_done = int(torch.isfinite(losses).sum())
        self.losses[:n_done] = losses[:n_done]
        if len(self.checks):
            self.checks = checks
        if self._factors:
            self._rounded_at = self.step
        self._seconds, self._started = seconds, time.monotonic()


def rank_one(row_sums: torch.Tensor, column_sums: torch.Tensor) -> torch.Tensor:
    """The matrix (rows, columns) of rank one with these sums, (rows,) and (columns,), none negative and of one total."""
    total = row_sums.sum().clamp(min=torch.finfo(row_sums.dtype).tiny)  # all zero: zero
    return torch.outer(row_sums / total, column_sums)


def fork_path(trunk: Path, step: int) -> Path:
    """Where a trunk keeps its state at the beginning of `step`, whole or as a waypoint."""
    return trunk / f"step-{step:07d}.safetensors"


def step_of_fork(path: Path) -> int:
    """The step of a `fork_path`, packed or not."""
    return int(path.name.split(".")[0].removeprefix("step-"))


def fork_steps(trunk: Path) -> list[int]:
    """Steps at which a trunk can be taken up again, in order."""
    return sorted(map(step_of_fork, trunk.glob("step-*.safetensors")))


def fork_weights(path: Path) -> dict[str, torch.Tensor]:
    """The model's tensors of a fork, by parameter name."""
    tensors = sealed.read(path, _REMEDY)[0]
    return {name.removeprefix("model."): p for name, p in tensors.items() if name.startswith("model.")}


def last_start(trunk: Path, until: int) -> Path | None:
    """The latest state, no later than at the beginning of step `until`, from which a run of this trunk can go on."""
    step = max((step for step in fork_steps(trunk) if step <= until), default=None)
    return None if step is None else fork_path(trunk, step)


def pack(path: Path, folder: Path) -> Path:
    """Copy a waypoint into `folder` without loss in five sixths of its size; the copy."""
    packed = folder / f"{path.name}.xz"
    with atomic_path(packed) as part:
        part.write_bytes(lzma.compress(path.read_bytes(), filters=_PACKING))
    return packed


def unpack_into(trunk: Path, folder: Path) -> None:
    """Bring the packed waypoints of `folder` into a trunk that has not come as far. `UserError` if one is damaged."""
    reached = max(fork_steps(trunk), default=-1)
    for path in folder.glob("step-*.safetensors.xz"):
        if step_of_fork(path) > reached:
            packed = files.read(path)
            state = files.unpack(path, packed, _MOST_PER_BYTE * len(packed) + 2**16)
            with atomic_path(trunk / path.stem) as part:
                part.write_bytes(state)
