"""The rows that Pythia was trained on, fetched one by one from the preshuffled Pile (Biderman et al. 2023).

The released file holds every training sequence in the order of training: rows of 2049 uint16 tokens, 1024 rows per step, cut
by bytes into shards, so that a row can straddle two of them. It is 600 GB long; a certificate reads a few thousand rows of it.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gengap.paths import atomic_path, build_dir
from gengap.tokens.patience import BadReply
from gengap.tokens.shards import N_CONNECTIONS, FlatFile

RUN_ROWS = 256  # neighbouring rows fetched by one request, at most
PACK_ROWS = 256  # rows kept by one write: what a kill loses at most, besides requests under way


def cache_dir() -> Path:
    return build_dir() / "cache" / "pile"


class RowCache(dict[int, np.ndarray]):
    """Row number -> (row_tokens,) view of a mapped pack on this machine; `add` keeps more.

    A pack is named by the SHA-256 of its content and written atomically, so that a kill at any moment leaves whole packs
    only; others are removed, not read.
    """

    def __init__(self, folder: Path, row_tokens: int):
        self.folder, self.row_tokens = folder, row_tokens
        for path in sorted(folder.glob("*.pack")):
            if hashlib.sha256(path.read_bytes()).hexdigest() == path.stem:
                self._map(path)
            else:
                path.unlink()

    def add(self, numbers: np.ndarray, rows: np.ndarray) -> None:
        """Keep `rows`, (n, row_tokens), under their `numbers`, (n,)."""
        head = np.array([len(numbers), *numbers], "<i8").tobytes()
        content = head + np.ascontiguousarray(rows, "<u2").tobytes()
        path = self.folder / f"{hashlib.sha256(content).hexdigest()}.pack"
        with atomic_path(path) as part:
            part.write_bytes(content)
        self._map(path)

    def _map(self, path: Path) -> None:
        n = int(np.fromfile(path, "<i8", 1)[0])
        numbers = np.fromfile(path, "<i8", n, offset=8)
        rows = np.memmap(path, "<u2", "r", offset=8 * (n + 1)).reshape(n, self.row_tokens)
        self.update(zip(numbers.tolist(), rows, strict=True))


class PileRows:
    """`n_rows` rows of the file from `first_row` on, as `gengap.tokens.rows.Rows`; each is fetched, checked and kept when first asked for."""

    def __init__(self, file: FlatFile, cache: RowCache, first_row: int, n_rows: int, vocab_size: int):
        self.file, self.cache = file, cache
        self.first_row, self.n_rows, self.vocab_size = first_row, n_rows, vocab_size
        self.row_bytes = 2 * cache.row_tokens

    def __len__(self) -> int:
        return self.n_rows

    @property
    def sha256(self) -> str:
        """Of the names and sizes of the shards, which is what can be known of 600 GB without reading them."""
        return self.file.layout_sha256

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        """The rows asked for, (n, row_tokens) uint16, in the order asked; missing ones are fetched.

        Raises `IndexError` outside the rows (of steps that the checkpoint has not seen), `UserError` if the source fails.
        """
        if isinstance(indices, slice):
            indices = np.arange(*indices.indices(len(self)))
        indices = np.asarray(indices)
        if indices.ndim != 1 or (indices.size and not 0 <= indices.min() <= indices.max() < len(self)):
            raise IndexError(f"row numbers must be one array of numbers from 0 to {len(self) - 1}")
        numbers = (indices + self.first_row).tolist()
        self._fetch(sorted({number for number in numbers if number not in self.cache}))
        return np.array([self.cache[number] for number in numbers], np.uint16).reshape(-1, self.cache.row_tokens)

    def _fetch(self, missing: list[int]) -> None:
        """Fetch rows in parallel and keep them pack by pack; what has arrived is kept when one fails."""
        if not missing:
            return
        pack: list[tuple[list[int], np.ndarray]] = []
        with (
            ThreadPoolExecutor(N_CONNECTIONS) as pool,
            tqdm(total=len(missing), desc="fetch rows", unit="row", unit_scale=True, disable=None) as bar,
        ):
            self.file.abandoned.clear()
            requests = {pool.submit(self._read_run, run): run for run in _runs(missing)}
            try:
                for done in as_completed(requests):
                    pack.append((requests[done], done.result()))
                    bar.update(len(requests[done]))
                    if sum(len(run) for run, _ in pack) >= PACK_ROWS:
                        self._keep(pack)
            except BaseException:  # a failed row, or Ctrl-C: the others need not try again
                self.file.abandoned.set()
                raise
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                self._keep(pack)

    def _keep(self, pack: list[tuple[range, np.ndarray]]) -> None:
        if pack:
            runs, rows = zip(*pack, strict=True)
            pack.clear()
            self.cache.add(np.concatenate(runs), np.concatenate(rows))

    def _read_run(self, run: list[int]) -> np.ndarray:
        """Neighbouring rows by one range, (n, row_tokens), checked."""

        def parse(content: bytes) -> np.ndarray:
            rows = np.frombuffer(content, "<u2").reshape(len(run), -1)
            if rows.max() >= self.vocab_size:
                raise BadReply(f"rows {run[0]} to {run[-1]} hold numbers that are no tokens")
            if not rows.any(axis=1).all():  # a hole in a half-copied file, no text
                raise BadReply(f"rows {run[0]} to {run[-1]} hold rows of zeros alone")
            return rows

        return self.file.read(run[0] * self.row_bytes, (run[-1] + 1) * self.row_bytes, parse)


def _runs(numbers: list[int]) -> Iterator[list[int]]:
    """Sorted row numbers as runs of at most `RUN_ROWS` neighbours."""
    for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
        for start in range(0, len(run), RUN_ROWS):
            yield run[start : start + RUN_ROWS].tolist()
