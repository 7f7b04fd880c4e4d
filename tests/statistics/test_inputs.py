"""Rows that a model cannot read, and models in training mode: wherever they enter."""

import architectures
import numpy as np
import pytest
import torch

from gengap.bounds.grids import Tilt
from gengap.compression.curvature import gauss_newton, hessian
from gengap.errors import UserError
from gengap.statistics.inputs import check_rows
from gengap.statistics.per_token import tilted_statistics, token_statistics

TILT = Tilt(rate=0.5, safety=0.01, baseline_floor=0.0, grid_size=1, vocab_size=96)
READERS = {
    "losses": lambda model, rows: token_statistics(model, rows, (0.1,)).nll,
    "entropies": lambda model, rows: token_statistics(model, rows, (0.0, 0.1)).entropy,
    "tilted": lambda model, rows: tilted_statistics(model, rows, TILT).loss,
    "hessian": lambda model, rows: hessian(model, rows).matmul(probe(model)).numpy(),
    "gauss_newton": lambda model, rows: gauss_newton(model, rows).matmul(probe(model)).numpy(),
}


def probe(model):
    return torch.linspace(-1, 1, sum(weight.numel() for weight in model.parameters()))[:, None]


def some_rows(n_rows=4, n_tokens=17, dtype=np.int64):
    return np.random.default_rng(0).integers(0, 90, (n_rows, n_tokens), dtype=dtype)


def with_token(row, place, token):
    rows = some_rows()
    rows[row, place] = token
    return rows


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize(
    ("row", "place", "token"),
    [(1, 3, 96), (1, 16, 96), (0, 0, 50_000), (3, 16, 2**40), (2, 3, -1), (2, 16, -1), (1, 5, -100), (1, 16, -100)],
)
def test_a_token_outside_the_vocabulary_is_named_with_its_place(reader, row, place, token):
    with pytest.raises(UserError, match=rf"^token {token} \(row {row}, place {place}\) is none of the model's 96"):
        reader(architectures.model("gpt2"), with_token(row, place, token))


BAD_ROWS = {
    "floats": (some_rows().astype(float), "the rows hold float64, not integers"),
    "booleans": (some_rows() > 3, "the rows hold bool, not integers"),
    "words": (np.array([["a", "b"], ["c", "d"]]), "not integers"),
    "objects": (some_rows().astype(object), "the rows hold object, not integers"),
    "ragged": ([[1, 2, 3], [1, 2]], "are not a table of tokens"),
    "one row": (some_rows()[0], r"the shape \(17,\)"),
    "three axes": (some_rows()[None], r"the shape \(1, 4, 17\)"),
    "none": (some_rows()[:0], "there are no rows"),
    "one column": (some_rows()[:, :1], "rows of 1 tokens predict nothing"),
    "no column": (some_rows()[:, :0], "rows of 0 tokens predict nothing"),
    "longer than the positions": (some_rows(2, 66), "rows of 65 predicted tokens are longer than the 64 positions"),
    "masked": (np.ma.masked_equal(some_rows(), 3), "the rows are masked"),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize(("rows", "said"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_rows_that_are_none_are_refused(reader, rows, said):
    with pytest.raises(UserError, match=said):
        reader(architectures.model("gpt2"), rows)


@pytest.mark.parametrize("name", ["gptj", "opt", "llama", "gpt-neo"])
def test_the_positions_of_every_architecture_are_known(name):
    model = architectures.model(name)
    assert check_rows(model, some_rows(1, 65)).shape == (1, 65), "64 inputs are read, the 65th token is predicted"
    assert check_rows(model, some_rows(1, 64), n_targets=0).shape == (1, 64)
    for n_targets in (0, 1):
        with pytest.raises(UserError, match="longer than the 64 positions"):
            check_rows(model, some_rows(1, 65 + n_targets), n_targets)


def test_a_model_without_positions_has_no_limit():
    assert token_statistics(architectures.model("bloom"), some_rows(1, 129)).nll.shape == (1, 128)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.uint64, ">u4"])
def test_every_integer_type_reads_the_same(dtype):
    model, rows = architectures.model("gpt2"), some_rows()
    expected = token_statistics(model, rows).nll
    np.testing.assert_array_equal(token_statistics(model, rows.astype(dtype)).nll, expected)
    np.testing.assert_array_equal(token_statistics(model, rows.tolist()).nll, expected)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_a_model_in_training_mode_is_evaluated_without_dropout_and_given_back_as_it_came(reader):
    model = architectures.model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    expected = reader(model.eval(), some_rows())
    model.train()
    model.transformer.h[1].eval()  # as somebody who freezes a layer leaves it
    modes = [module.training for module in model.modules()]
    torch.manual_seed(0)
    np.testing.assert_array_equal(reader(model, some_rows()), expected)
    assert [module.training for module in model.modules()] == modes
    ids = torch.from_numpy(some_rows())
    assert not torch.equal(model(ids).logits, model(ids).logits), "its dropout is on again"


def test_the_mode_is_given_back_after_a_failure(monkeypatch):
    model = architectures.model("gpt2").train()
    model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        token_statistics(model, some_rows())
    assert model.training
