"""A model read over many rows, a chunk of them at a time: shared by processes, kept on disk, checked.

What is kept lies in a folder named by the hash of what decides the numbers, which several processes may fill together. Each
chunk is one file that holds its own hash and the run's: a truncated or altered one is computed again, one of another run refused.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from gengap import hardware
from gengap.errors import UserError
from gengap.paths import atomic_path, build_dir
from gengap.statistics import forward
from gengap.statistics.inputs import check_rows, evaluation_mode

_DIGEST = 32  # bytes of a SHA-256
TOKENS_PER_CHUNK = 2**14  # what a kill loses at most, beside what other processes have under way
ROWS_AT_POSITIONS = 4  # times as many rows in a chunk where one position of each is wanted: some are short, some equal
ARITHMETIC = 3  # part of a stored run's name: raise it when the numbers change


Measure = Callable[[list[int]], tuple[forward.Reduction, Callable[[np.ndarray], np.ndarray]]]
"""Of the numbers of some parts: the reduction for them, and what makes their values, one part after the other, from what it finds."""


def evaluate(
    model,
    rows: np.ndarray,
    measure: Measure,
    parts: Sequence[tuple[Any, int]],
    positions: np.ndarray | None = None,
    desc: str = "evaluate",
    store: Path | None = None,
    beside: torch.nn.Module | None = None,
) -> np.ndarray:
    """What `measure` makes of every token of `rows` (see `forward.reduce_logits`), (n_values, n_rows, seq_len) float32.

    The values come in `parts`: what decides each, as JSON, and how many values it has. With `store`, a folder, each part of each chunk is
    kept there as soon as it is known, and a later call with the same weights, rows and positions, for the same parts among others, computes
    only what is missing. Of several processes (`gengap.hardware`) each computes a share of the chunks and returns all of them.
    The model is read in evaluation mode and left in the mode that it came in. `beside` is a second model in evaluation mode, whose
    logits the reduction gets too. No `desc`, no bar. Raises `UserError` for rows that the model cannot read (`inputs.check_rows`), and if a value
    is not finite, which means a damaged or diverged checkpoint.
    """
    rows = check_rows(model, rows)
    n_rows, seq_len = len(rows), rows.shape[1] - 1
    ends = np.cumsum([n for _, n in parts])
    values = np.zeros((ends[-1], n_rows, seq_len if positions is None else 1), np.float32)
    places = [slice(end - n, end) for (_, n), end in zip(parts, ends, strict=True)]
    kept: list[ChunkStore] = []
    if store is not None:
        run = _run(model, rows, positions, beside)
        kept = [ChunkStore(store, run | {"settings": facts}) for facts, _ in parts]
    n_tokens = TOKENS_PER_CHUNK * (1 if positions is None else ROWS_AT_POSITIONS)
    starts = range(0, n_rows, max(1, n_tokens // seq_len))
    mine = {i: slice(starts[i], min(starts[i] + starts.step, n_rows)) for i in hardware.share(len(starts))}
    total = sum(part.stop - part.start for part in mine.values()) * seq_len
    with (
        evaluation_mode(model),
        tqdm(total=total, desc=desc, unit="tok", unit_scale=True, disable=None if desc else True) as bar,
    ):
        for index, chunk in mine.items():
            wanted = list(range(len(parts)))
            for i, chunks in enumerate(kept):
                if (known := chunks.load(index, values[places[i], chunk].shape, np.float32)) is not None:
                    values[places[i], chunk] = known
                    wanted.remove(i)
            if not wanted:
                bar.update((chunk.stop - chunk.start) * seq_len)
                continue
            reduction, finish = measure(wanted)
            at = None if positions is None else positions[chunk]
            found = forward.reduce_logits(
                model, rows[chunk], reduction, at, lambda n: bar.update(n * seq_len), beside
            ).numpy()
            found = finish(found)
            if not np.isfinite(found).all():
                raise UserError(
                    "the model's loss is not finite on some tokens: its checkpoint is damaged or has diverged"
                )
            for i, new in zip(wanted, np.split(found, np.cumsum([parts[i][1] for i in wanted])[:-1]), strict=True):
                values[places[i], chunk] = new
                if kept:
                    kept[i].save(index, values[places[i], chunk])
    return hardware.merge(values)


def _run(model, rows: np.ndarray, positions: np.ndarray | None, beside: torch.nn.Module | None = None) -> dict:
    """All that decides the numbers but what they are, and but sizes in memory, which move them by rounding only."""
    config = {k: v for k, v in model.config.to_dict().items() if k not in ("transformers_version", "_name_or_path")}
    return {
        "arithmetic": ARITHMETIC,
        "tokens_per_chunk": TOKENS_PER_CHUNK,
        "weights": weights_sha256(model),
        "architecture": config,
        "rows": rows_sha256(rows),
        "positions": "all" if positions is None else rows_sha256(np.asarray(positions)[:, None]),
    } | ({} if beside is None else {"beside": weights_sha256(beside)})


def weights_sha256(model: torch.nn.Module) -> str:
    """Of the names, types, shapes and bytes of all weights, by name; device and file layout do not matter."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def rows_sha256(rows: np.ndarray) -> str:
    """Of the tokens of `rows`, (n_rows, seq_len + 1), and their shape, as 32-bit numbers: the same for every integer type."""
    digest = hashlib.sha256(f"{rows.shape}\n".encode())
    for start in range(0, len(rows), 1024):
        digest.update(np.ascontiguousarray(rows[start : start + 1024], "<u4"))
    return digest.hexdigest()


def statistics_dir() -> Path:
    """Where this machine's evaluations are kept; may be deleted at any time."""
    return build_dir() / "cache" / "statistics"


class ChunkStore:
    """The chunks of one run, described by `run` (anything JSON can hold), below `base`; `UserError` if another is described there."""

    def __init__(self, base: Path, run: dict):
        description = json.dumps(run, sort_keys=True, indent=1) + "\n"
        self._run = hashlib.sha256(description.encode()).digest()
        self.folder = base / self._run.hex()[:32]
        path = self.folder / "run.json"
        if not path.exists():
            with atomic_path(path) as part:
                part.write_text(description, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != description:
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
        content = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            return None  # cut short or altered on the disk
        values = np.frombuffer(content, dtype, offset=2 * _DIGEST)
        if content[_DIGEST : 2 * _DIGEST] != self._run or values.size != np.prod(shape):
            raise UserError(f"{path} belongs to another run: delete {self.folder} and evaluate again")
        return values.reshape(shape)
