"""Rows in a data set of `datasets` that is tokenized and cut already, as the examples of `transformers` do it (`group_texts`)."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gengap.errors import UserError
from gengap.tokens.memmaps import row_numbers

if TYPE_CHECKING:
    import datasets

TOKENS_COLUMN = "input_ids"


class TableRows:
    """The lists in one column, all of one length, as rows; they are mapped from the files of the data set."""

    def __init__(self, table: "datasets.Dataset", column: str, what: str):
        import pyarrow.compute as pc

        self.table, self.column = table.select_columns([column]).with_format("arrow"), column
        lengths = set()
        for batch in self.table.iter(2**12):
            lengths |= set(pc.unique(pc.list_value_length(batch.column(0))).to_pylist())
        if len(lengths) != 1 or None in lengths:
            raise UserError(
                f"{what} holds lists of {len(lengths)} different lengths in {column!r}: join them, cut them into blocks of one length "
                "(`group_texts` in the examples of transformers) and save that"
            )
        (self.row_tokens,) = lengths

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        """(n, row_tokens) in the order asked; `IndexError` outside the rows."""
        indices = row_numbers(indices, len(self))
        found = self.table[indices.tolist()].column(0).combine_chunks().flatten()
        return found.to_numpy(zero_copy_only=False).reshape(len(indices), self.row_tokens)


def token_column(table: "datasets.Dataset", column: str) -> str | None:
    """The column of lists of integers that is asked for, or, where there is no such column at all, the usual one; else None."""
    name = column if column in table.column_names else TOKENS_COLUMN
    if name not in table.column_names:
        return None
    feature = table.features[name]
    inner = getattr(feature, "feature", None)
    return name if inner is not None and "int" in str(getattr(inner, "dtype", "")) else None


def saved_table(folder: Path, split: str) -> "datasets.Dataset":
    """What `save_to_disk` has written; `UserError` if it is damaged or has no such split."""
    import datasets
    import pyarrow

    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"cannot read data set {str(folder)!r}: {reason}; is it whole?") from error
    if not isinstance(found, datasets.DatasetDict):
        return found
    if split not in found:
        raise UserError(f"{folder} has no split {split!r}: it has {', '.join(map(repr, found))}")
    return found[split]
