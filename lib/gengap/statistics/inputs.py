"""What enters a model: rows of tokens that it knows, no longer than it can read, and a model in evaluation mode."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from gengap.errors import UserError

# What configurations call the number of positions; models without such a field (BLOOM) have no limit.
_POSITIONS = "max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length"


def check_rows(model, rows: Any, n_targets: int = 1) -> np.ndarray:
    """`rows` as an array of tokens that `model` has, (n_rows, seq_len + n_targets) integers, at least one row of one input.

    The last `n_targets` tokens of a row are predicted only. Raises `UserError` for rows that are masked, ragged or not integers,
    for none, for rows longer than the model's positions, and for a token outside its vocabulary, with its place.
    """
    if np.ma.isMaskedArray(rows):
        raise UserError("the rows are masked: give the rows of tokens themselves, without padding")
    try:
        rows = np.asarray(rows)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"the rows are not a table of tokens ({error}): give an array (n_rows, n_tokens) of integers"
        ) from error
    if rows.dtype.kind not in "iu":
        raise UserError(f"the rows hold {rows.dtype}, not integers: give the numbers of the tokens")
    if rows.ndim != 2:
        raise UserError(f"the rows have the shape {rows.shape}: give a table (n_rows, n_tokens)")
    if len(rows) == 0:
        raise UserError("there are no rows: give at least one")
    seq_len = rows.shape[1] - n_targets
    if seq_len < 1:
        raise UserError(f"rows of {rows.shape[1]} tokens predict nothing: a row needs at least {n_targets + 1}")
    if (limit := max_positions(model)) is not None and seq_len > limit:
        raise UserError(
            f"rows of {seq_len} predicted tokens are longer than the {limit} positions of the model: cut them shorter"
        )
    vocab_size = n_tokens(model)
    if rows.min() < 0 or rows.max() >= vocab_size:
        row, place = np.argwhere((rows < 0) | (rows >= vocab_size))[0]
        raise UserError(
            f"token {rows[row, place]} (row {row}, place {place}) is none of the model's {vocab_size}: "
            "tokenize with the model's own tokenizer, without padding or ignored labels"
        )
    return rows


def max_positions(model) -> int | None:
    """The longest context that the model was built for, tokens; None if it has no limit."""
    found = (getattr(model.config, name, None) for name in _POSITIONS)
    return next((limit for limit in found if isinstance(limit, int) and limit > 0), None)


def n_tokens(model) -> int:
    """V: tokens that the model can both read and predict."""
    known = [model.config.vocab_size]
    known += [
        part.weight.shape[0]
        for part in (model.get_input_embeddings(), model.get_output_embeddings())
        if part is not None
    ]
    return min(known)


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """No dropout inside; afterwards every module is in the mode that the caller had put it in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
