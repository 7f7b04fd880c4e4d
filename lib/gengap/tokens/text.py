"""Rows of tokens from text: files on this machine, or what `datasets` can stream; other corpora, other models' tokenizers.

Documents are tokenized as they come and joined by the tokenizer's end-of-text token. The tokens are kept in a cache under the hash of what
was asked for: the files' content among it, so that files that have changed are read anew.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from gengap.errors import UserError
from gengap.paths import atomic_path, build_dir, file_sha256
from gengap.tokens.memmaps import TokenFile, stamp
from gengap.tokens.readers import checked, json_texts, lines, parquet_texts
from gengap.tokens.rows import TokenRows
from gengap.tokens.tables import saved_table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DOCUMENTS_PER_BATCH = 64  # tokenized together
PART_CHARACTERS = 2**16  # of a text file that is one document


@dataclass(frozen=True)
class TextSource:
    """Texts in files of this machine or in a data set of `datasets`, and the column that holds them."""

    path: str  # "parquet", "json" or "text" with `data_files`; "saved" with a folder of `datasets` there; a data set of the hub
    column: str = "text"
    name: str | None = None  # of one of a data set's configurations
    split: str = "train"
    data_files: tuple[str, ...] = ()  # files or patterns of this machine, or addresses
    revision: str | None = None  # commit of a data set of the hub
    whole: bool = False  # "text": a file is one document, and not each of its lines

    def files(self) -> list[Path]:
        """The files of this machine that are read, patterns and folders resolved, in the order of reading."""
        found: list[Path] = []
        for name in self.data_files or (self.path,):
            path = Path(name)
            if path.is_dir():
                found += sorted(file for file in path.rglob("*") if file.is_file())
            elif path.is_file():
                found.append(path)
            elif self.data_files and "://" not in name:
                base = Path(path.anchor or ".")
                pattern = str(path.relative_to(path.anchor)) if path.anchor else name
                found += sorted(file for file in base.glob(pattern) if file.is_file())
        return found

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """(text, whether a document ends with it): documents, or the lines of one (`whole`); without empty ones and nulls.

        Raises `UserError` if the source cannot be had, is damaged, has no such column, or the column holds something else.
        """
        files = self.files()
        if self.path not in ("json", "text", "parquet") or not files or any("://" in name for name in self.data_files):
            yield from ((text, True) for text in self._streamed())
            return
        if self.split != "train":
            raise UserError(
                f"{self} is not there, since files have the split 'train' alone: check name, split and files"
            )
        for path in files:
            if self.path != "text":
                read = json_texts if self.path == "json" else parquet_texts
                yield from ((text, True) for text in read(path, self.column) if text and text.strip())
            elif self.whole:
                yield from ((part, False) for part in _parts(line for _, line in lines(path)))
                yield "", True
            else:
                yield from ((line.rstrip("\r\n"), True) for _, line in lines(path) if line.strip())

    def _streamed(self) -> Iterator[str]:
        import datasets

        try:
            for number, row in enumerate(self._stream(), 1):
                if self.column not in row:
                    raise UserError(
                        f"{self} has no text in a column {self.column!r}: it has {', '.join(map(repr, row))}"
                    )
                text = checked(row[self.column], self.column, f"{self}, row {number}", row)
                if text and text.strip():
                    yield text
        except UserError:
            raise
        except (OSError, ValueError, EOFError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UserError(
                f"cannot read {self}: {reason}\ncheck name, split and files; data sets of the hub need the network "
                "(`gengap doctor`)"
            ) from error

    def _stream(self):
        import datasets

        if self.path == "saved":
            return saved_table(Path(self.data_files[0]), self.split)
        files = list(self.data_files) or None
        options = {"split": self.split, "data_files": files, "revision": self.revision, "streaming": True}
        return datasets.load_dataset(self.path, self.name, **options)

    def __str__(self) -> str:
        if self.data_files:
            more = f" and {len(self.data_files) - 1} more" if len(self.data_files) > 1 else ""
            return f"data set {self.data_files[0]!r}{more}, split {self.split!r}"
        return f"data set {self.path!r}{f' ({self.name})' if self.name else ''}, split {self.split!r}"


def _parts(lines: Iterable[str]) -> Iterator[str]:
    """A text in parts of `PART_CHARACTERS` or a little more, each of whole lines, so that one tokenizes a text of any length."""
    held, size = [], 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= PART_CHARACTERS:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)


def cache_dir() -> Path:
    return build_dir() / "cache" / "text"


def text_rows(source: TextSource, tokenizer: "PreTrainedTokenizerBase", n_rows: int | None, seq_len: int) -> TokenRows:
    """The first `n_rows` rows of `source` (None: all that are full), (n_rows, seq_len + 1), uint16 if the vocabulary allows, else uint32.

    Local files that have changed since are read anew. The first token of the first row is the tokenizer's end-of-text token,
    so that every token of the text is predicted once (but for each row's first).
    Raises `UserError` if there are fewer rows, if the source fails, and if the tokenizer has no end-of-text token.
    """
    row_tokens = seq_len + 1

    def check(there: int) -> None:
        if there < (n_rows or 1) * row_tokens:
            raise UserError(
                f"{source} holds {there:,} tokens, {there // row_tokens:,} rows of {row_tokens}: ask for fewer than "
                f"{n_rows or 1:,} rows, or for shorter ones"
            )

    file = token_file(source, tokenizer, n_rows and n_rows * row_tokens, check)
    tokens = file.tokens()[: file.n_tokens // row_tokens * row_tokens]
    return TokenRows(tokens.reshape(-1, row_tokens), file_sha256(file.path))


def token_file(
    source: TextSource,
    tokenizer: "PreTrainedTokenizerBase",
    n_tokens: int | None = None,
    check: Callable[[int], None] = lambda there: None,
) -> TokenFile:
    """The first `n_tokens` tokens of `source` (None, or where there are fewer: all), flat, after one end-of-text token.

    `check` is called with their number before they are kept. Raises `UserError` as `TextSource.pieces` does, if the tokenizer has no
    end-of-text token, and if a file changes while it is read.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("this tokenizer has no end-of-text token to put between documents: take another one")
    files = source.files()
    before = {str(path): stamp(path) for path in files}
    asked = asdict(source) | {
        "n_tokens": n_tokens,
        "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "separator": tokenizer.eos_token_id,
        "files": {str(path): _file_sha256(path) for path in files},
    }
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    path = cache_dir() / f"{key[:32]}.bin"
    dtype = np.dtype("<u2" if len(tokenizer) <= 2**16 else "<u4")
    if not _kept(path):
        with atomic_path(path) as part:
            _write(part, source, tokenizer, n_tokens, dtype)
            check(part.stat().st_size // dtype.itemsize)
            if before != {str(path): stamp(path) for path in source.files()}:
                raise UserError(f"{source} changed while it was read: let nothing write to it, and start again")
        with atomic_path(path.with_suffix(".json")) as part:  # last: it vouches for the tokens
            part.write_text(json.dumps(asked | {"sha256": file_sha256(path)}, indent=1) + "\n", encoding="utf-8")
    return TokenFile(path, dtype, 0, path.stat().st_size // dtype.itemsize, stamp(path))


def _file_sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _kept(path: Path) -> bool:
    """Whether the tokens lie there, whole and unaltered."""
    note = path.with_suffix(".json")
    if not (path.exists() and note.exists()):
        return False
    try:
        return json.loads(note.read_text(encoding="utf-8"))["sha256"] == file_sha256(path)
    except (ValueError, TypeError, LookupError):
        return False


def _write(path: Path, source: TextSource, tokenizer, n_tokens: int | None, dtype: np.dtype) -> None:
    """The tokens of the stream into a file, batch by batch."""
    separator, pieces = tokenizer.eos_token_id, source.pieces()
    with (
        path.open("wb") as file,
        tqdm(total=n_tokens, desc="tokenize", unit="tok", unit_scale=True, disable=None) as bar,
    ):
        left = np.inf if n_tokens is None else n_tokens
        ids = [separator]
        while left > 0:
            tokens = np.array(ids, dtype)[: int(min(left, len(ids)))]
            tokens.tofile(file)
            left -= len(tokens)
            bar.update(len(tokens))
            if not (batch := list(islice(pieces, DOCUMENTS_PER_BATCH))):
                break
            found = tokenizer([text for text, _ in batch], add_special_tokens=False)["input_ids"]
            ids = [i for (_, ends), piece in zip(batch, found, strict=True) for i in (*piece, *([separator] * ends))]
