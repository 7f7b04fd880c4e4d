"""How many training tokens there are: the rows that a certificate counts, and one sentence for those that it does not.

D is the number of tokens that the rows predict, each once: one pass over a text, whatever the number of epochs (`gengap.tokens.repeats`).
"""

from dataclasses import dataclass

import numpy as np

from gengap.errors import UserError, check_whole
from gengap.tokens.memmaps import row_numbers
from gengap.tokens.repeats import survey
from gengap.tokens.rows import Rows


@dataclass(frozen=True)
class TrainingRows:
    """Rows in training order, each counted once, as `gengap.tokens.rows.Rows`. Use `open_rows` or `as_rows`."""

    rows: Rows | np.ndarray  # where they lie
    sha256: str  # of the rows counted: of their shape and tokens, whatever file they lie in
    source: str  # what they were read from, for people
    n_rows: int  # of those counted
    kept: np.ndarray | None = None  # numbers of the rows that are counted, where repeated ones are not
    notes: tuple[str, ...] = ()  # what is not counted, and why; one sentence each

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        indices = row_numbers(indices, self.n_rows)
        return np.asarray(self.rows[indices if self.kept is None else self.kept[indices]])

    @property
    def seq_len(self) -> int:
        """Predicted tokens of a row."""
        return self[:1].shape[1] - 1

    @property
    def n_train_tokens(self) -> int:
        """D: predicted tokens, each once."""
        return len(self) * self.seq_len


@dataclass(frozen=True)
class Limits:
    """What was asked for, whatever the format."""

    source: str
    seq_len: int | None
    vocab_size: int | None
    n_train_tokens: int | None
    n_rows: int | None


def check_numbers(**numbers: int | None) -> None:
    """Raise `UserError` for a number that is given and not a whole one from 1 on."""
    for name, number in numbers.items():
        if number is not None:
            check_whole(name, number, 1)


def count(rows: Rows | np.ndarray, limits: Limits, notes: tuple[str, ...] = (), each: bool = False) -> TrainingRows:
    """The rows that are counted, after one look at all of them; `each`: also those equal to an earlier one."""
    if not len(rows):
        raise UserError(f"{limits.source} holds no rows")
    seq_len = rows[:1].shape[1] - 1
    if seq_len < 1:
        raise UserError(
            f"{limits.source} has rows of one token, so that nothing is predicted: rows have seq_len + 1 tokens"
        )
    if limits.seq_len not in (None, seq_len):
        raise UserError(
            f"{limits.source} has rows of {seq_len + 1} tokens, {seq_len} of them predicted, not {limits.seq_len}"
        )
    n_rows, more = limit_rows(len(rows), seq_len, limits)
    found = survey(rows, n_rows, limits.vocab_size, limits.source, each)
    notes += more
    if found.kept is not None:
        notes += (f"{n_rows - len(found.kept):,} of {n_rows:,} rows equal an earlier one and are not counted again",)
        n_rows = len(found.kept)
    return TrainingRows(rows, found.sha256, limits.source, n_rows, found.kept, notes)


def limit_rows(there: int, seq_len: int, limits: Limits) -> tuple[int, tuple[str, ...]]:
    """How many of the rows that are there are counted, and what is to be said of it."""
    asked, notes = limits.n_train_tokens, []
    if limits.n_rows is not None and limits.n_rows > there:
        raise UserError(
            f"{limits.source} holds {there:,} rows, fewer than {limits.n_rows:,}: ask for those that there are"
        )
    n_rows = there if limits.n_rows is None else limits.n_rows
    if asked is not None:
        if asked < seq_len:
            raise UserError(
                f"{asked:,} training tokens do not fill a row of {seq_len:,}: give the number of tokens, not of rows"
            )
        if asked > n_rows * seq_len:
            notes.append(
                f"training read {asked:,} tokens, {asked / (n_rows * seq_len):.3g} times the {n_rows * seq_len:,} that there are: each is "
                "counted once, since another epoch changes the model and not the text"
            )
        n_rows = min(n_rows, asked // seq_len)
        if rest := asked % seq_len if n_rows < there else 0:
            notes.append(f"the last {rest:,} of {asked:,} training tokens fill no row and are not counted")
    return n_rows, tuple(notes)
