"""Results of a long evaluation on disk, chunk by chunk, so that a run killed at any moment goes on where it was.

A run is named by the hash of what decides its numbers and has a folder of that name. Each chunk is one file, written atomically,
that holds its own hash and the run's: a truncated or altered one is computed again, one of another run is refused. Several
processes may fill a folder together.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from gengap.errors import UserError
from gengap.paths import atomic_path, build_dir

_DIGEST = 32  # bytes of a SHA-256


def cache_dir() -> Path:
    """Where this machine's evaluations are kept; may be deleted at any time."""
    return build_dir() / "cache" / "statistics"


class ChunkStore:
    """The chunks of one run, described by `run` (anything JSON can hold), below `base`.

    Raises `UserError` if its folder holds another run's description.
    """

    def __init__(self, base: Path, run: dict):
        description = json.dumps(run, sort_keys=True, indent=1) + "\n"
        self._run = hashlib.sha256(description.encode()).digest()
        self.folder = base / self._run.hex()[:32]
        path = self.folder / "run.json"
        if not path.exists():
            with atomic_path(path) as part:
                part.write_text(description)
        elif path.read_text() != description:
            raise UserError(f"{path} describes another run than its name says: delete {self.folder}")

    def path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.chunk"

    def save(self, index: int, values: np.ndarray) -> None:
        """Keep one chunk; on return it is on disk."""
        content = self._run + np.ascontiguousarray(values).tobytes()
        with atomic_path(self.path(index)) as part:
            part.write_bytes(hashlib.sha256(content).digest() + content)

    def load(self, index: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
        """A chunk as it was saved; None if it is missing or damaged. Raises `UserError` for a chunk of another run."""
        path = self.path(index)
        if not path.exists():
            return None
        content = path.read_bytes()
        if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            return None  # cut short or altered on the disk
        values = np.frombuffer(content, dtype, offset=2 * _DIGEST)
        if content[_DIGEST : 2 * _DIGEST] != self._run or values.size != np.prod(shape):
            raise UserError(f"{path} belongs to another run: delete {self.folder} and evaluate again")
        return values.reshape(shape)
