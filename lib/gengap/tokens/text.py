"""Rows of tokens from any text that `datasets` can stream: other corpora, other models' tokenizers.

Documents are tokenized as they come, joined by the tokenizer's end-of-text token and cut into rows of seq_len + 1 tokens. A
stream has no length, so a source gives the first `n_rows` rows. They are kept in a cache under the hash of what was asked for.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from gengap.errors import UserError
from gengap.paths import atomic_path, build_dir, file_sha256
from gengap.tokens.rows import TokenRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DOCUMENTS_PER_BATCH = 64  # tokenized together


@dataclass(frozen=True)
class TextSource:
    """What `datasets.load_dataset` is asked for, and the column that holds the text."""

    path: str  # "parquet", "json" or "text" with `data_files`, or a data set of the hub
    column: str = "text"
    name: str | None = None  # of one of a data set's configurations
    split: str = "train"
    data_files: tuple[str, ...] = ()  # of local files or addresses
    revision: str | None = None  # commit of a data set of the hub

    def documents(self) -> Iterator[str]:
        """The texts in the order of the source, without empty ones.

        Raises `UserError` if the source cannot be had, has no such column, or the column holds no text.
        """
        import datasets

        try:
            stream = datasets.load_dataset(
                self.path,
                self.name,
                split=self.split,
                data_files=list(self.data_files) or None,
                revision=self.revision,
                streaming=True,
            )
            for row in stream:
                if not isinstance(text := row.get(self.column), str):
                    raise UserError(
                        f"{self} has no text in a column {self.column!r}: it has {', '.join(map(repr, row))}"
                    )
                if text.strip():
                    yield text
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UserError(
                f"cannot read {self}: {reason}\ncheck name, split and files; data sets of the hub need the network "
                "(`gengap doctor`)"
            ) from error

    def __str__(self) -> str:
        return f"data set {self.path!r}{f' ({self.name})' if self.name else ''}, split {self.split!r}"


def cache_dir() -> Path:
    return build_dir() / "cache" / "text"


def text_rows(source: TextSource, tokenizer: "PreTrainedTokenizerBase", n_rows: int, seq_len: int) -> TokenRows:
    """The first `n_rows` rows of `source`, (n_rows, seq_len + 1), uint16 if the vocabulary allows, else uint32.

    Local files that have changed since are read anew. The first token of the first row is the tokenizer's end-of-text token,
    so that every token of the text is predicted once (but for each row's first).
    Raises `UserError` if there are fewer rows, if the source fails, and if the tokenizer has no end-of-text token.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("this tokenizer has no end-of-text token to put between documents: take another one")
    asked = asdict(source) | {
        "n_rows": n_rows,
        "row_tokens": seq_len + 1,
        "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "separator": tokenizer.eos_token_id,
        "files": {name: file_sha256(Path(name)) for name in source.data_files if Path(name).is_file()},
    }
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    path = cache_dir() / f"{key[:32]}.bin"
    dtype = np.dtype("<u2" if len(tokenizer) <= 2**16 else "<u4")
    n_bytes = n_rows * (seq_len + 1) * dtype.itemsize
    if not (sha256 := _kept(path, n_bytes)):
        rows = _read(source, tokenizer, n_rows, seq_len + 1, dtype)
        with atomic_path(path) as part:
            part.write_bytes(rows.tobytes())
        sha256 = file_sha256(path)
        with atomic_path(path.with_suffix(".json")) as part:  # last: it vouches for the rows
            part.write_text(json.dumps(asked | {"sha256": sha256}, indent=1) + "\n", encoding="utf-8")
    return TokenRows(np.memmap(path, dtype, "r").reshape(n_rows, seq_len + 1), sha256)


def _kept(path: Path, n_bytes: int) -> str:
    """The hash of the rows that lie there; "" unless they are whole and unaltered."""
    note = path.with_suffix(".json")
    if not (path.exists() and note.exists() and path.stat().st_size == n_bytes):
        return ""
    sha256 = json.loads(note.read_text(encoding="utf-8"))["sha256"]
    return sha256 if file_sha256(path) == sha256 else ""


def _read(source: TextSource, tokenizer, n_rows: int, row_tokens: int, dtype: np.dtype) -> np.ndarray:
    """(n_rows, row_tokens) from the stream."""
    wanted, separator = n_rows * row_tokens, tokenizer.eos_token_id
    tokens, n_tokens, documents = [np.array([separator], dtype)], 1, source.documents()
    with tqdm(total=wanted, desc="tokenize", unit="tok", unit_scale=True, disable=None) as bar:
        while n_tokens < wanted and (batch := list(islice(documents, DOCUMENTS_PER_BATCH))):
            for ids in tokenizer(batch, add_special_tokens=False)["input_ids"]:
                tokens.append(np.array([*ids, separator], dtype))
                n_tokens += len(tokens[-1])
                bar.update(len(tokens[-1]))
    if n_tokens < wanted:
        raise UserError(
            f"{source} holds {n_tokens:,} tokens, {n_tokens // row_tokens:,} rows of {row_tokens}: ask for fewer than "
            f"{n_rows:,} rows, or for shorter ones"
        )
    return np.concatenate(tokens)[:wanted].reshape(n_rows, row_tokens)
