"""What is counted once: one pass over rows of tokens that names them, checks them and finds text that stands there twice.

The theorems speak of a sequence of D tokens and of any hypothesis that has a code, however it was found. More passes over the text in
training change the hypothesis, not the sequence, so D counts the tokens of one pass, whatever the number of epochs. A passage that
stands in the text twice is another matter: the second one is known once the first was read, nothing is drawn there, and a certificate
that counted it would claim more evidence than there is. The text without its repeats is a sequence like any other.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from gengap.errors import UserError

CHUNK_TOKENS = 2**16  # fits a cache
PASSAGE_TOKENS = 32
SAMPLED_PASSAGES = 2**20
MAX_REPEATED = 0.4  # of the passages; a text that stands there twice repeats nearly half of them, whatever the order of its documents
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that its powers have inverses modulo 2^64


class Survey(NamedTuple):
    """What one pass over rows finds."""

    sha256: str  # of the kept rows: of their shape and of their tokens as 32-bit numbers
    kept: np.ndarray | None  # numbers of the rows that do not repeat an earlier one; None if that is all of them
    repeated: float  # share of the passages of 32 tokens that stood in the text before, from a sample chosen by content


def survey(rows, n_rows: int, vocab_size: int | None, what: str, each: bool = False) -> Survey:
    """Look at the first `n_rows` of `rows`, (n, row_tokens) integers; `what` names them in messages. All are kept if
    `each` is true: those of the ladder's corpus, from which near-duplicate documents were removed before it was cut.

    Raises `UserError` for tokens that are negative or outside the vocabulary (naming the token and the row), and if nearly half of
    the text stands in it twice.
    """
    row_tokens = rows[:1].shape[1]
    limit = min(vocab_size or 2**32, 2**32)
    few = rows[: min(n_rows, 256)]
    joined = int(
        len(few) > 1 and np.array_equal(few[1:, 0], few[:-1, -1])
    )  # whether a row begins with the last token of the one before
    step = max(1, CHUNK_TOKENS // row_tokens)
    powers = _powers(step * row_tokens + PASSAGE_TOKENS)
    inverses = _powers(len(powers), pow(_MULTIPLIER, -1, 2**64))
    rarity = max(0, (n_rows * row_tokens // SAMPLED_PASSAGES).bit_length() - 1)  # one passage in 2^rarity is looked at
    digest = hashlib.sha256(f"{(n_rows, row_tokens)}\n".encode())
    hashes, sampled, places = np.empty(n_rows, np.uint64), [], []
    text, n_read = np.empty(0, np.uint64), 0  # the last tokens read, without those that rows share
    with tqdm(total=n_rows, desc="look at rows", unit="row", unit_scale=True, disable=None) as bar:
        for start in range(0, n_rows, step):
            chunk = rows[start : min(start + step, n_rows)]
            _check_tokens(chunk, start, limit, what)
            digest.update(np.ascontiguousarray(chunk, "<u4"))
            numbers = chunk.astype(np.uint64) + np.uint64(1)
            hashes[start : start + len(chunk)] = (numbers * powers[:row_tokens]).sum(axis=1)
            text = np.concatenate([text[max(0, len(text) - PASSAGE_TOKENS + 1) :], numbers[:, joined:].ravel()])
            n_read += numbers[:, joined:].size
            sums = np.zeros(len(text) + 1, np.uint64)
            np.cumsum(text * powers[: len(text)], out=sums[1:])
            passages = sums[PASSAGE_TOKENS:] - sums[:-PASSAGE_TOKENS]
            passages *= inverses[: len(passages)]  # the same wherever they stand
            chosen = np.flatnonzero(passages >> np.uint64(64 - rarity) == 0) if rarity else np.arange(len(passages))
            sampled.append(passages[chosen])
            places.append((n_read - len(text) + chosen) // (row_tokens - joined))
            bar.update(len(chunk))
    kept = None if each else _first_ones(rows, hashes)
    if kept is not None:
        digest = hashlib.sha256(f"{(len(kept), row_tokens)}\n".encode())
        for start in range(0, len(kept), step):
            digest.update(np.ascontiguousarray(rows[kept[start : start + step]], "<u4"))
    passages = np.concatenate(sampled)
    if kept is not None:
        passages = passages[np.isin(np.concatenate(places), kept)]
    passages.sort()
    repeated = float((passages[1:] == passages[:-1]).sum() / max(1, len(passages)))
    if repeated > MAX_REPEATED:
        raise UserError(
            f"{repeated:.0%} of the passages of {what} stood in it before: it holds a text more than once, or padding, and a certificate counts "
            "each token once; give the text of one epoch"
        )
    return Survey(digest.hexdigest(), kept, repeated)


def _powers(n: int, base: int = _MULTIPLIER) -> np.ndarray:
    """(n,) powers of `base` modulo 2^64."""
    found = np.full(n, base, np.uint64)
    found[0] = 1
    return np.cumprod(found, dtype=np.uint64)


def _check_tokens(chunk: np.ndarray, start: int, limit: int, what: str) -> None:
    if chunk.min() < 0 or chunk.max() >= limit:
        row, position = np.argwhere((chunk < 0) | (chunk >= limit))[0]
        raise UserError(
            f"{what} has the token {chunk[row, position]} in row {start + row}, outside the vocabulary of {limit:,}: it was made with "
            "another tokenizer, or is read with another dtype than it was written with"
        )


def _first_ones(rows, hashes: np.ndarray) -> np.ndarray | None:
    """Numbers of the rows that equal no earlier one, in order; None if that is all. Equal hashes are compared token by token."""
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[inverse] != np.arange(len(hashes)))
    if not len(again):
        return None
    kept = np.ones(len(hashes), bool)
    for part in np.array_split(again, 1 + len(again) // 1024):
        kept[part] = (rows[part] != rows[first[inverse[part]]]).any(axis=1)
    return None if kept.all() else np.flatnonzero(kept)
