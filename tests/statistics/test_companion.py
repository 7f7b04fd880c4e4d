"""A model and its companion read side by side: numbers by hand, groups of rows, and what may not be looked at."""

import numpy as np
import pytest
import torch
from tiny_models import tiny_companion, tiny_config, tiny_model, token_rows

from gengap.bounds.companion_grids import Predictor
from gengap.errors import UserError
from gengap.statistics.companion import Companion, beside_statistics, beside_tokens
from gengap.statistics.evaluation import weights_sha256

PREDICTORS = (Predictor(0.1), Predictor(0.02), Predictor(0.3, hedged=True))


@pytest.fixture(scope="module")
def model():
    return tiny_model(tiny_config())


def by_hand(logits, beside, tokens, floor):
    """In float64, straight from the definitions."""
    p, u = (x.double().softmax(-1).numpy() for x in (logits, beside))
    u = (1 - floor) * u + floor / p.shape[-1]
    at = np.arange(len(tokens)), tokens.numpy()
    found = [-np.log(u[at]), -(u * np.log(u)).sum(-1)]
    for alpha, hedged in PREDICTORS:
        q = (1 - alpha) * p + alpha * (u if hedged else 1 / p.shape[-1])
        z = np.log(u / q)
        found += [z[at], ((q + u) / 2 * z).sum(-1), z.max(-1)]
    return np.stack(found)


@pytest.mark.parametrize("scale", [1.0, 30.0])  # soft predictions, and nearly certain ones
def test_every_number_is_that_of_its_definition(scale):
    generator = torch.Generator().manual_seed(0)
    logits, beside = scale * torch.randn(2, 50, 96, generator=generator)
    tokens = torch.randint(96, (50,), generator=generator)
    wanted = by_hand(logits, beside, tokens, 0.01)
    found = beside_tokens(logits.clone(), beside.clone(), tokens, PREDICTORS, 0.01)
    np.testing.assert_allclose(found, wanted, atol=3e-5)
    assert (found[2::3] <= found[4::3]).all()  # no token gives more than the most, to the last digit


def test_the_companion_alone_needs_no_predictor(model):
    companion, rows = tiny_companion(model), token_rows(4)
    alone, beside = (beside_statistics(model, companion, rows, range(4), some) for some in ((), PREDICTORS))
    assert not alone.of
    np.testing.assert_array_equal(alone.loss, beside.loss)
    np.testing.assert_array_equal(alone.entropy, beside.entropy)


def test_each_row_is_read_beside_the_last_model_known_before_it(model):
    companion, rows = tiny_companion(model, (0, 10, 30)), token_rows(40)
    numbers = [35, 0, 9, 10, 29, 30]
    found = beside_statistics(model, companion, rows[numbers], numbers, PREDICTORS)
    assert {i: list(places) for i, places in companion.groups(numbers)} == {0: [1, 2], 1: [3, 4], 2: [0, 5]}
    for place, (number, which) in enumerate(zip(numbers, (2, 0, 0, 1, 1, 2), strict=True)):
        earlier = companion.load(which)
        with torch.inference_mode():
            ids = torch.from_numpy(rows[number : number + 1].astype(np.int64))
            logits, beside = (m(input_ids=ids[:, :-1]).logits[0] for m in (model, earlier))
        wanted = by_hand(logits, beside, ids[0, 1:], companion.floor)
        np.testing.assert_allclose(found.loss[place], wanted[0], atol=3e-5)
        np.testing.assert_allclose(found.entropy[place], wanted[1], atol=3e-5)
        for k, predictor in enumerate(PREDICTORS):
            of = found.of[predictor]
            for values, right in zip(of[2:], wanted[2 + 3 * k :][:3], strict=True):
                np.testing.assert_allclose(values[place], right, atol=3e-5)
    assert found.sha256 == companion.sha256(numbers) != companion.sha256([0])


def test_a_token_changes_nothing_that_is_known_before_it(model):
    companion, rows = tiny_companion(model), token_rows(1)
    other = rows.copy()
    other[0, 20] = (other[0, 20] + 1) % 96
    before, after = (beside_statistics(model, companion, r, [5], PREDICTORS) for r in (rows, other))
    for predictor in PREDICTORS:
        first, second = before.of[predictor], after.of[predictor]
        for name in ("entropy", "expected", "most"):  # all that Y is made of
            known = slice(20)  # of the predictions of tokens 1 to 20
            np.testing.assert_array_equal(getattr(first, name)[0, known], getattr(second, name)[0, known])
        assert first.excess[0, 19] != second.excess[0, 19]
        np.testing.assert_array_equal(first.excess[0, :19], second.excess[0, :19])


def test_what_is_known_is_not_evaluated_again(model, tmp_path):
    rows = token_rows(12)

    loads = []
    companion = tiny_companion(model)
    counted = Companion("counted", companion.starts, lambda i: (loads.append(i), companion.load(i))[1])
    first = beside_statistics(model, counted, rows, range(12), PREDICTORS, store=tmp_path)
    for path in list(tmp_path.glob("*/*.chunk"))[1:]:
        path.unlink()  # as if killed after the first group
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.chunk")}
    second = beside_statistics(model, counted, rows, range(12), PREDICTORS, store=tmp_path)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    for one, other in zip(first.of.values(), second.of.values(), strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)
    assert first.sha256 == second.sha256


def test_other_weights_of_the_companion_are_another_evaluation(model, tmp_path):
    rows, numbers = token_rows(4), [0, 1, 2, 3]
    one, other = tiny_companion(model), tiny_companion(tiny_model(tiny_config(), seed=3))
    first = beside_statistics(model, one, rows, numbers, PREDICTORS, store=tmp_path)
    second = beside_statistics(model, other, rows, numbers, PREDICTORS, store=tmp_path)
    assert first.sha256 != second.sha256
    assert not np.allclose(first.loss, second.loss)
    assert weights_sha256(one.load(0)) != weights_sha256(other.load(0))


@pytest.mark.parametrize("starts", [(), (1, 2), (0, 0), (0, 5, 3)])
def test_snapshots_begin_before_the_first_row_and_follow_in_order(model, starts):
    with pytest.raises(UserError, match="the first is known before row 0"):
        Companion("late", starts, lambda i: model)
