"""Whatever a person has as training text, as rows of tokens in training order: the first thing that a certificate asks for.

>>> rows = open_rows("data/train.bin", seq_len=1024)  # doctest: +SKIP
>>> len(rows), rows.n_train_tokens, rows[:4].shape  # doctest: +SKIP

What is read, told from the path:

- `.bin`: nanoGPT's flat tokens; with an `.idx` beside it Megatron's documents (`gengap.tokens.memmaps`). `.npy`: rows, or flat tokens;
- `.jsonl`, `.json`, `.ndjson`, `.parquet`, `.txt`, the first and last also as `.gz`, `.bz2`, `.xz`, `.zst`: text, with the model's
  tokenizer (`gengap.tokens.text`), documents joined by its end-of-text token; a `.txt` file is one document;
- a folder of such files, or a pattern (`data/*.jsonl`), in the order of their names;
- a folder that `datasets` has saved, with texts, or with blocks of tokens of one length in `input_ids`; the name of a data set of the
  hub, with texts;
- a folder of the ladder's corpus (with its manifest); a folder of the preshuffled Pile's shards.

Every token is predicted once: rows of a flat source overlap by one token, those of files that hold rows are taken as they are. The
order may be any that no one chose after looking at the text: the stored one always is, also for a model that read its text shuffled.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gengap.errors import UserError
from gengap.paths import file_sha256
from gengap.tokens.corpus import read_manifest
from gengap.tokens.counted import Limits, TrainingRows, check_numbers, count, limit_rows
from gengap.tokens.files import data_files
from gengap.tokens.memmaps import FileRows, TokenFile, flat_file, megatron_file, npy_file
from gengap.tokens.rows import Rows
from gengap.tokens.tables import TOKENS_COLUMN, TableRows, saved_table, token_column
from gengap.tokens.text import TextSource, token_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def open_rows(
    source: "str | Path | Sequence | np.ndarray | Rows",
    *,
    seq_len: int | None = None,
    dtype: str | None = None,
    vocab_size: int | None = None,
    n_train_tokens: int | None = None,
    n_rows: int | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    column: str = "text",
    name: str | None = None,
    split: str = "train",
    revision: str | None = None,
) -> TrainingRows:
    """The training rows in `source`: a path, a pattern or a name as this module lists them, or an array (`as_rows`).

    `seq_len` is the number of predicted tokens per row, needed for flat tokens and for text; `dtype` that of a flat `.bin`, if it cannot
    be told; `vocab_size` the model's, so that tokens outside it are found. `n_train_tokens` is what the model was trained on, each
    reading counted: if it is less than there is, the first rows are taken; if it is more, training read the text again, and D
    stays the number of tokens that there are (see `gengap.tokens.repeats`). `tokenizer`, `column`, `name` (of a configuration),
    `split` and `revision` are for text. Rows equal to an earlier one are not counted. All of this is said in `notes`.

    Raises `UserError` with one sentence for whatever cannot be read, is damaged, is no text or no tokens, or is not one text read once.
    """
    check_numbers(seq_len=seq_len, vocab_size=vocab_size, n_train_tokens=n_train_tokens, n_rows=n_rows)
    if not isinstance(source, str | Path):
        return as_rows(source, seq_len=seq_len, vocab_size=vocab_size, n_train_tokens=n_train_tokens, n_rows=n_rows)
    limits = Limits(str(source), seq_len, vocab_size, n_train_tokens, n_rows)
    kind, files = data_files(source)
    if kind in ("bin", "npy", "megatron"):
        return count(_binary_rows(kind, files, limits, dtype), limits)
    if dtype is not None:
        raise UserError(f"{source} holds no flat tokens, so it has no dtype to give: leave it out")
    if kind == "corpus":
        return count(_corpus_rows(files[0], limits), limits, each=True)
    if kind == "shards":
        return _shards(str(source), limits)
    if kind == "saved":
        table = saved_table(files[0], split)
        if tokens := token_column(table, column):
            return count(TableRows(table, tokens, str(source)), limits)
    if tokenizer is None:
        raise UserError(f"{source} is text: give the tokenizer that the model was trained with")
    if seq_len is None:
        raise UserError(f"{source} is text: give seq_len, the number of predicted tokens in a row")
    kinds = {"jsonl": "json", "txt": "text", "parquet": "parquet", "saved": "saved", "hub": str(source)}
    text = TextSource(kinds[kind], column, name, split, tuple(map(str, files)), revision, kind == "txt")
    wanted = (
        None if n_rows is None and n_train_tokens is None else _least(n_rows, n_train_tokens, seq_len) * seq_len + 1
    )
    file = token_file(text, tokenizer, wanted)
    limits = replace(limits, vocab_size=vocab_size or len(tokenizer))
    return count(_cut([file], limits), limits)


def as_rows(
    array: "np.ndarray | Sequence | Rows",
    *,
    seq_len: int | None = None,
    vocab_size: int | None = None,
    n_train_tokens: int | None = None,
    n_rows: int | None = None,
) -> TrainingRows:
    """Rows that are in memory already: (n_rows, seq_len + 1) integers, (n,) with `seq_len`, a list of rows, a tensor, or `Rows`.

    Converted once; the array is not copied where it is an array of integers, so leave it as it is. Raises `UserError` for masks, for
    numbers that are not integers, for rows of different lengths, and as `open_rows` does.
    """
    check_numbers(seq_len=seq_len, vocab_size=vocab_size, n_train_tokens=n_train_tokens, n_rows=n_rows)
    limits = Limits("the array of rows", seq_len, vocab_size, n_train_tokens, n_rows)
    if isinstance(array, TrainingRows):
        return count(array, replace(limits, source=array.source), array.notes)
    if isinstance(array, np.ma.MaskedArray):
        raise UserError(
            "the rows are a masked array: fill or drop what is masked, since every token of a row is predicted"
        )
    if hasattr(array, "sha256"):
        return count(array, limits)
    if hasattr(array, "column_names") and hasattr(array, "features"):
        if tokens := token_column(array, TOKENS_COLUMN):
            return count(TableRows(array, tokens, "the data set"), limits)
        raise UserError(
            f"the data set has no lists of tokens in a column {TOKENS_COLUMN!r}: tokenize it, or save it and give its folder"
        )
    try:
        if hasattr(array, "detach"):
            array = array.detach().cpu()
        elif not hasattr(array, "__array__") and not isinstance(array, list | tuple):
            array = [array[i] for i in range(len(array))]
        tokens = np.asarray(array)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise UserError(
            "the rows are no array of integers: cut them to rows of one length, seq_len + 1 tokens each"
        ) from error
    if tokens.dtype.kind not in "iu":
        raise UserError(f"the rows hold numbers of type {tokens.dtype}: tokens are integers")
    if tokens.ndim == 1 and seq_len is not None:
        _enough(limits.source, len(tokens), seq_len)
        tokens = np.lib.stride_tricks.sliding_window_view(tokens, seq_len + 1)[::seq_len]
    if tokens.ndim != 2:
        raise UserError(
            f"the rows have the shape {tokens.shape}: give (n_rows, seq_len + 1), or flat tokens and seq_len"
        )
    return count(tokens, limits)


def _binary_rows(kind: str, files: list[Path], limits: Limits, dtype: str | None) -> FileRows:
    if kind == "megatron":
        return _cut([megatron_file(path) for path in files], limits)
    if kind == "bin":
        return _cut([flat_file(path, dtype, limits.vocab_size) for path in files], limits)
    arrays = [npy_file(path) for path in files]
    if all(len(shape) == 1 for _, shape in arrays):
        return _cut([file for file, _ in arrays], limits)
    widths = {shape[1] if len(shape) == 2 else None for _, shape in arrays}
    if len(widths) > 1:
        raise UserError(f"{limits.source} holds arrays of different row lengths: give those of one length")
    (width,) = widths
    return _stored([file for file, _ in arrays], width, limits)


def _cut(files: list[TokenFile], limits: Limits) -> FileRows:
    """Flat tokens as rows that overlap by one token."""
    if limits.seq_len is None:
        raise UserError(f"{limits.source} holds flat tokens: give seq_len, the number of predicted tokens in a row")
    _enough(limits.source, max(file.n_tokens for file in files), limits.seq_len)
    return FileRows(files, limits.seq_len + 1, limits.seq_len)


def _stored(files: list[TokenFile], row_tokens: int, limits: Limits) -> FileRows:
    """Rows as they are stored."""
    if row_tokens < 2 or not sum(file.n_tokens for file in files):
        raise UserError(f"{limits.source} has no row of two tokens or more, so that nothing is predicted")
    if limits.seq_len not in (None, row_tokens - 1):
        raise UserError(
            f"{limits.source} holds rows of {row_tokens} tokens, {row_tokens - 1} of them predicted, not {limits.seq_len}: leave seq_len out"
        )
    return FileRows(files, row_tokens, row_tokens)


def _enough(source: str, n_tokens: int, seq_len: int) -> None:
    if n_tokens <= seq_len:
        raise UserError(
            f"{source} holds {n_tokens:,} tokens, too few for a row of {seq_len} and one: take a smaller seq_len"
        )


def _corpus_rows(path: Path, limits: Limits) -> FileRows:
    """The ladder's training text, or its held-out text, by the manifest."""
    manifest = path.with_name("manifest.json")
    facts = read_manifest(manifest, f"take {path.name} to a folder of its own")
    file = flat_file(path, "uint16")
    if file_sha256(path) != facts["sha256"][path.stem]:
        raise UserError(f"{path} is not the file of its manifest: delete {manifest} and run `gengap corpus`")
    return _stored([file], facts["row_tokens"], limits)


def _shards(url: str, limits: Limits) -> TrainingRows:
    """The preshuffled Pile's rows, of which those that are asked for are read; they are not searched for repeats."""
    from gengap.tokens.pile import PileRows, RowCache, cache_dir
    from gengap.tokens.shards import open_shards

    row_tokens, file = (limits.seq_len or 2048) + 1, open_shards(url)
    there, rest = divmod(file.size, 2 * row_tokens)
    if rest and file.complete:
        raise UserError(f"{url}: {file.size:,} bytes are no whole number of rows of {row_tokens} tokens: give seq_len")
    n_rows, notes = limit_rows(there, row_tokens - 1, limits)
    cache = RowCache(cache_dir() / file.source_sha256[:16], row_tokens)
    rows = PileRows(file, cache, 0, n_rows, limits.vocab_size or 2**16)
    return TrainingRows(rows, rows.sha256, url, n_rows, notes=notes)


def _least(n_rows: int | None, n_train_tokens: int | None, seq_len: int) -> int:
    """Rows asked for by either number."""
    return min(n for n in (n_rows, n_train_tokens and max(1, n_train_tokens // seq_len)) if n is not None)
