"""What a training leaves beside its weights: the loss of every batch, and held-out losses along the way."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gengap.errors import UserError
from gengap.paths import atomic_path


@dataclass(frozen=True)
class TrainingLog:
    """The online loss of one run, as a file: plain, or compressed if its name ends in `.gz` (the same bytes every time)."""

    online_nll: np.ndarray  # (n_steps,) mean NLL of each batch before its update, nats/token
    tokens_per_step: int
    seconds: float  # of all training processes together
    run_key: str  # hash of size, data, seed and settings: which run this was

    def write(self, path: Path) -> None:
        """Nine digits a loss, so that `read` gives the same float32 back."""
        facts = f"# tokens_per_step={self.tokens_per_step} seconds={self.seconds:.1f} run={self.run_key}"
        losses = "".join(f"{step},{nll:.9g}\n" for step, nll in enumerate(self.online_nll))
        content = f"{facts}\nstep,online_nll_nats\n{losses}".encode()
        with atomic_path(path) as part:
            part.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)

    @classmethod
    def read(cls, path: Path) -> "TrainingLog":
        """Raises `UserError` if the file is not a whole loss log."""
        try:
            content = path.read_bytes()
            text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
            head, _, *lines = text.splitlines()
            facts = dict(fact.split("=") for fact in head.lstrip("# ").split())
            steps, nll = np.loadtxt(lines, delimiter=",", ndmin=2).T
            if not np.array_equal(steps, np.arange(len(steps))):
                raise ValueError("steps are missing")
            return cls(nll.astype(np.float32), int(facts["tokens_per_step"]), float(facts["seconds"]), facts["run"])
        except (OSError, EOFError, ValueError, KeyError) as error:
            raise UserError(f"{path} is no loss log ({error}): delete its folder and train the rung again") from error


def write_heldout_log(path: Path, steps: tuple[int, ...], nll: np.ndarray) -> None:
    """Held-out losses, (n,) nats/token, after each of `steps`."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8") as file:
        file.write("step,heldout_nll_nats\n")
        file.writelines(f"{step},{loss:.9g}\n" for step, loss in zip(steps, nll, strict=True))


def read_heldout_log(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(steps, losses) of `write_heldout_log`, both (n,)."""
    steps, nll = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2).T
    return steps.astype(np.int64), nll
