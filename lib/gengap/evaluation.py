"""A model read over many rows, a chunk of them at a time: shared by processes, kept on disk, checked."""

from pathlib import Path

import numpy as np

from gengap import forward, parallel, progress
from gengap.chunk_store import ChunkStore
from gengap.errors import UserError
from gengap.fingerprints import rows_sha256, weights_sha256

TOKENS_PER_CHUNK = 2**14  # what a kill loses at most, beside what other processes have under way
ARITHMETIC = 1  # part of a stored run's name: raise it when the numbers change


def evaluate(
    model,
    rows: np.ndarray,
    reduction: forward.Reduction,
    n_values: int,
    dtype: type,
    settings: dict,
    positions: np.ndarray | None = None,
    desc: str = "evaluate",
    store: Path | None = None,
) -> np.ndarray:
    """What `reduction` makes of every token of `rows` (see `forward.reduce_logits`), (n_values, n_rows, seq_len) of `dtype`.

    With `store`, a folder, each chunk is kept there as soon as it is known, and a later call with the same weights, rows,
    positions and `settings` (what decides the reduction, as JSON) computes only what is missing. Of several
    processes (`gengap.parallel`) each computes a share of the chunks and returns all of them.
    Raises `UserError` if a value is not finite, which means a damaged or diverged checkpoint.
    """
    forward.check(model)
    n_rows, seq_len = len(rows), rows.shape[1] - 1
    values = np.zeros((n_values, n_rows, seq_len if positions is None else 1), dtype)
    kept = None
    if store is not None:
        kept = ChunkStore(store, _run(model, rows, settings, positions))
    chunk_rows = max(1, TOKENS_PER_CHUNK // seq_len)
    chunks = [slice(start, min(start + chunk_rows, n_rows)) for start in range(0, n_rows, chunk_rows)]
    mine = parallel.share(len(chunks))
    total = sum(chunks[i].stop - chunks[i].start for i in mine) * seq_len
    with progress.bar(total=total, desc=desc, unit="tok") as bar:
        for index in mine:
            part = chunks[index]
            known = kept and kept.load(index, values[:, part].shape, dtype)
            if known is not None:
                values[:, part] = known
                bar.update((part.stop - part.start) * seq_len)
                continue
            at = None if positions is None else positions[part]
            found = forward.reduce_logits(
                model, rows[part], reduction, at, lambda n: bar.update(n * seq_len)
            ).numpy()
            if not np.isfinite(found).all():
                raise UserError(
                    "the model's loss is not finite on some tokens: its checkpoint is damaged or has diverged"
                )
            values[:, part] = found
            if kept:
                kept.save(index, values[:, part])
    return parallel.merge(values)


def _run(model, rows: np.ndarray, settings: dict, positions: np.ndarray | None) -> dict:
    """All that decides the numbers, sizes in memory aside, which move them by rounding only."""
    config = {
        k: v for k, v in model.config.to_dict().items() if k not in ("transformers_version", "_name_or_path")
    }
    return {
        "arithmetic": ARITHMETIC,
        "tokens_per_chunk": TOKENS_PER_CHUNK,
        "weights": weights_sha256(model),
        "architecture": config,
        "rows": rows_sha256(rows),
        "positions": "all" if positions is None else rows_sha256(np.asarray(positions)[:, None]),
        "settings": settings,
    }
