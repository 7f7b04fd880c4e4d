"""What a training leaves beside its weights: the loss of every batch, and held-out losses along the way.

The last line of each file states its length and digest. Files that were published before they did so are listed with their digest
in `results/SHA256SUMS`.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gengap import files
from gengap.paths import atomic_path

MOST_PER_BYTE = 16  # bytes that a byte of a packed log may stand for: three, of real losses
_MOST = 2**28  # bytes of a log


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
        content = files.seal(f"{facts}\nstep,online_nll_nats\n{losses}".encode())
        with atomic_path(path) as part:
            part.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)

    @classmethod
    def read(cls, path: Path, n_steps: int | None = None) -> "TrainingLog":
        """Raises `UserError` if the file is not a whole loss log.

        One that states no length and digest of its own has to be listed among the published ones, or to have `n_steps` steps.
        """
        body, stated = _body(path, "loss log", "delete its folder and train the rung again")
        with files.one_sentence(f"{path} is no loss log", "delete its folder and train the rung again"):
            head, _, *lines = body.splitlines()
            facts = dict(fact.split("=") for fact in head.lstrip("# ").split())
            nll = _losses(lines).astype(np.float32)
            if not stated and n_steps is None:
                raise ValueError("it states no length and no digest, and is not listed among the published ones")
            if not stated and n_steps != len(nll):
                raise ValueError(f"it has {len(nll)} steps of {n_steps}")
            tokens_per_step, seconds = int(facts["tokens_per_step"]), float(facts["seconds"])
            if not (tokens_per_step > 0 and 0 <= seconds < np.inf):
                raise ValueError(f"tokens_per_step={tokens_per_step} seconds={seconds}")
            return cls(nll, tokens_per_step, seconds, facts["run"])


def write_heldout_log(path: Path, steps: tuple[int, ...], nll: np.ndarray) -> None:
    """Held-out losses, (n,) nats/token, after each of `steps`."""
    losses = "".join(f"{step},{loss:.9g}\n" for step, loss in zip(steps, nll, strict=True))
    with atomic_path(path) as part:
        part.write_bytes(files.seal(f"step,heldout_nll_nats\n{losses}".encode()))


def read_heldout_log(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(steps, losses) of `write_heldout_log`, both (n,); `UserError` if the file is not whole."""
    remedy = "delete its folder and train the rung again"
    body, stated = _body(path, "log of held-out losses", remedy)
    with files.one_sentence(f"{path} is no log of held-out losses", remedy):
        if not stated:
            raise ValueError("it states no length and no digest")
        steps, nll = np.loadtxt(body.splitlines()[1:], delimiter=",", ndmin=2).T
        if not (np.isfinite(nll).all() and (np.diff(steps) > 0).all()):
            raise ValueError("it holds losses that are no numbers, or steps out of order")
        return steps.astype(np.int64), nll


def _body(path: Path, kind: str, remedy: str) -> tuple[str, bool]:
    """What a log says, and whether that is vouched for: by its last line, or by the list of published files."""
    content = files.read(path, _MOST)
    unpacked = files.unpack(path, content, MOST_PER_BYTE * len(content) + 2**16, remedy)
    with files.one_sentence(f"{path} is no {kind}", remedy):
        body, sealed = files.unseal(unpacked)
        if not body.endswith(b"\n"):
            raise ValueError("its last line is cut")
        return body.decode("ascii"), sealed or files.is_published(path, hashlib.sha256(content).hexdigest())


def _losses(lines: list[str]) -> np.ndarray:
    """(n_steps,) of lines "step,loss"; ValueError for steps that are missing and losses that are no positive numbers."""
    steps, nll = np.loadtxt(lines, delimiter=",", ndmin=2).T
    if not np.array_equal(steps, np.arange(len(steps))):
        raise ValueError("steps are missing")
    if not (np.isfinite(nll).all() and (nll >= 0).all()):
        raise ValueError("it holds losses that are no numbers")
    return nll
