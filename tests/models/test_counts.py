"""Models that count: read as any other, and never with a token that was not there before."""

import math
from itertools import pairwise

import numpy as np
import pytest

from gengap.bounds.companion_grids import Predictor
from gengap.models.counts import TRUST, bigram, counting_companion, uniform_companion
from gengap.statistics.companion import FLOOR, beside_statistics
from gengap.training.loop import new_model

N_ROWS, EVERY = 40, 8


@pytest.fixture
def rows(small_rows):
    return small_rows[:N_ROWS]


def read(companion, rows, numbers=None):
    """What a bound is told of `companion` beside an untrained network."""
    from projects import SMALL

    numbers = np.arange(len(rows)) if numbers is None else numbers
    return beside_statistics(new_model(SMALL, 0).eval(), companion, rows[numbers], numbers, [Predictor(0.1)], "")


def by_hand(rows, vocab_size, number, order):
    """X^u of one row, token by token, from a dictionary of the rows before it."""
    before, pairs, begun = rows[: number // EVERY * EVERY], {}, {}
    single = dict.fromkeys(range(vocab_size), 1.0)
    for row in before.tolist():
        for a, b in pairwise(row):
            pairs[a, b], begun[a] = pairs.get((a, b), 0) + 1, begun.get(a, 0) + 1
            single[b] += 1
    losses = []
    for a, b in pairwise(rows[number].tolist()):
        p = single[b] / sum(single.values())
        if order == "bigram":
            p = (pairs.get((a, b), 0) + TRUST * p) / (begun.get(a, 0) + TRUST)
        losses.append(-math.log((1 - FLOOR) * p + FLOOR / vocab_size))
    return losses


@pytest.mark.parametrize("order", ["unigram", "bigram"])
def test_counts_are_those_of_the_rows_before(rows, order):
    found = read(counting_companion(rows, 512, order, EVERY), rows)
    for number in (0, 7, 8, 29, 39):
        np.testing.assert_allclose(found.loss[number], by_hand(rows, 512, number, order), rtol=1e-4)


@pytest.mark.parametrize("order", ["unigram", "bigram"])
def test_no_row_from_its_own_on_has_a_part_in_what_is_said_of_it(rows, order):
    plain, changed = rows.astype(np.int64), rows.astype(np.int64)
    changed[24:] = (changed[24:] + 1) % 512
    one, other = (counting_companion(some, 512, order, EVERY) for some in (plain, changed))
    numbers = np.arange(32)  # rows 24 to 31 are read beside the counts of the first 24
    assert np.array_equal(read(one, plain, numbers).loss, read(other, plain, numbers).loss)
    later = np.arange(32, 40)
    assert not np.allclose(read(one, plain, later).loss, read(other, plain, later).loss)


def test_pairs_learn_more_than_single_tokens_and_these_more_than_nothing(rows):
    kinds = uniform_companion(512), counting_companion(rows, 512, "unigram"), counting_companion(rows, 512, "bigram")
    uniform, single, pairs = (read(u, rows) for u in kinds)
    np.testing.assert_allclose(uniform.loss, math.log(512), rtol=1e-5)
    np.testing.assert_allclose(uniform.entropy, math.log(512), rtol=1e-5)
    assert pairs.loss.mean() < single.loss.mean() - 0.1 < uniform.loss.mean() - 0.2


def test_tables_hold_distributions(rows):
    table = bigram(rows, 512)
    np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-12)
    assert table.min() > 0
