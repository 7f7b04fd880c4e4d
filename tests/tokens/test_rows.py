"""Repeated pairs: against a plain reader with a set, and by hand."""

import itertools

import numpy as np

from gengap.tokens.rows import repeated_pairs


def slow(row):
    seen, found = set(), []
    for pair in itertools.pairwise(row):
        found.append(pair in seen)
        seen.add(pair)
    return found


def test_second_time_counts_and_the_first_does_not():
    a, b, c = 5, 0, 7
    #                     ab     bc     ca     ab    bc    cb     bb     bb
    np.testing.assert_array_equal(
        repeated_pairs([[a, b, c, a, b, c, b, b, b]]), [[False, False, False, True, True, False, False, True]]
    )


def test_same_as_reading_row_by_row():
    rows = np.random.default_rng(0).integers(0, 9, (40, 33)).astype(np.uint16)
    rows[0] = 2047  # products of 16-bit numbers would overflow
    found = repeated_pairs(rows)
    np.testing.assert_array_equal(found, [slow(row) for row in rows.tolist()])
    assert 0.1 < found.mean() < 0.9


def test_rows_know_nothing_of_each_other():
    rows = np.tile(np.arange(20), (3, 1))
    assert not repeated_pairs(rows).any()
    assert repeated_pairs(rows[:, :1]).shape == (3, 0)
