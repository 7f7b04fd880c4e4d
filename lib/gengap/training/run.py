"""What is trained: a rung, for how long, on how much text, from which seed; and the schedule. No torch here.

The schedule is warmup-stable-decay. A run of D tokens is constant until 0.8 D and then cools down to zero; the warmup is
that of the rung's compute-optimal run, whatever D. So all lengths share one trunk, and each costs little more than its
own last fifth.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from gengap.models.ladder import LadderSpec

Precision = Literal["float32", "bfloat16"]
Device = Literal["cpu", "cuda"]
BFLOAT16_FROM = 500_000  # parameters: below, conversions cost more than the faster products save
WARMUP_SHARE = 0.02  # of the steps: linear warmup
DECAY_SHARE = 0.2  # of the steps: linear decay to zero at the end (warmup-stable-decay)
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1  # of matrices; none on norms and biases
GRADIENT_CLIP = 1.0
WAYPOINTS_FROM = 2_000_000  # parameters: more than an hour of one core
WAYPOINTS = 20  # in a compute-optimal run, evenly spaced (see `gengap.training.state`)


@dataclass(frozen=True)
class Schedule:
    """Warmup-stable-decay: linear up, constant, linear to zero over the last 20 % of the steps."""

    n_steps: int
    warmup_steps: int  # 2 % of the rung's compute-optimal run
    peak: float  # learning rate of the stable phase

    @property
    def decay_steps(self) -> int:
        return max(1, round(DECAY_SHARE * self.n_steps))

    @property
    def fork_step(self) -> int:
        """Up to here a longer run takes the same steps."""
        return self.n_steps - self.decay_steps

    def rate(self, step: int) -> float:
        """Learning rate of `step` = 0 .. n_steps - 1."""
        return self.peak * min(1.0, (step + 1) / self.warmup_steps, (self.n_steps - step) / self.decay_steps)


@dataclass(frozen=True)
class Run:
    """One training, and what its digits depend on."""

    spec: LadderSpec
    length: float = 1.0  # D over the compute-optimal 20 N
    seed: int = 0  # of the initial weights
    unique_share: float = 1.0  # of the D tokens; below 1 the same batches come again in the same order
    precision: Precision | None = None  # None: by size, on a GPU float32
    device: Device = "cpu"

    @property
    def schedule(self) -> Schedule:
        warmup = max(1, round(WARMUP_SHARE * self.spec.n_steps))
        return Schedule(max(1, round(self.length * self.spec.n_steps)), warmup, self.spec.peak_lr)

    @property
    def n_steps(self) -> int:
        return self.schedule.n_steps

    @property
    def tokens_per_step(self) -> int:
        return self.spec.batch_rows * self.spec.seq_len

    @property
    def n_unique_steps(self) -> int:
        """Different batches."""
        return max(1, round(self.unique_share * self.n_steps))

    @property
    def n_rows(self) -> int:
        """Different rows."""
        return self.n_unique_steps * self.spec.batch_rows

    @property
    def waypoints(self) -> range:
        """Steps of its trunk before which its state is rounded; empty for the smaller rungs."""
        every = max(1, self.spec.n_steps // WAYPOINTS)
        end = self.schedule.fork_step + 1 if self.spec.n_params >= WAYPOINTS_FROM else 0
        return range(every, end, every)

    @cached_property
    def computed_in(self) -> Precision:
        """By size and device, never by machine, so that sums are taken in the same order everywhere."""
        small = self.spec.n_params < BFLOAT16_FROM or self.device != "cpu"
        return self.precision or ("float32" if small else "bfloat16")

    def key(self, data_sha256: str) -> str:
        """Hash of everything that the digits of the run depend on."""
        return self._hash(data_sha256, {"length": float(self.length)} if self.length != 1 else {})

    def trunk_key(self, data_sha256: str) -> str:
        """Hash of everything that runs of all lengths have in common."""
        return self._hash(data_sha256, {"length": None})

    def _hash(self, data_sha256: str, more: dict) -> str:
        settings = [WARMUP_SHARE, DECAY_SHARE, BETAS, WEIGHT_DECAY, GRADIENT_CLIP]
        facts = [asdict(self.spec), data_sha256, self.seed, *settings]
        if self.unique_share != 1:
            more = more | {"unique_share": self.unique_share}
        if self.computed_in != "float32":
            more = more | {"precision": self.computed_in}
        if self.device != "cpu":
            more = more | {"device": self.device}
        if self.spec.n_params >= WAYPOINTS_FROM:
            more = more | {"waypoints": WAYPOINTS}
        return hashlib.sha256(json.dumps([*facts, more] if more else facts).encode()).hexdigest()


class Checks(NamedTuple):
    """Held-out losses along the way."""

    rows: np.ndarray  # (n, seq_len + 1) tokens never trained on
    steps: tuple[int, ...]  # after which they are evaluated, ascending
