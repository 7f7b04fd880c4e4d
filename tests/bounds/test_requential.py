"""Lengths of a requential code: by hand, one against the other, and the statement that needs no code by simulation."""

import math

import numpy as np
import pytest

from gengap.bounds.requential import STEP_OVERHEAD, certain_length, elias_delta_bits, expected_length, path_length

BITS = math.log(2)  # nats


def test_the_published_length_by_hand():
    found = expected_length([0.0, 3 * BITS], [0.0, (2 * BITS) ** 2], 0.01)
    g = 1 + 2 / math.log(2)
    assert found.divergence == pytest.approx(3)
    assert found.overhead == pytest.approx(2 * 5.21 + 2 * math.log2(4))
    assert found.fluctuation == pytest.approx(math.sqrt(((g * g + 1.5) ** 2 + (g * (2 + g) + 1.5) ** 2) / 0.01))
    c = 1 + math.log2(math.e) / math.e  # of log2 K over the divergence, as published; 1 for Elias' code
    assert pytest.approx(1 + c + 2 * math.log2(1 + c), abs=0.005) == STEP_OVERHEAD


def test_the_length_given_the_draws_by_hand():
    found = certain_length([math.log(7.0), math.log(1.0)], 1 / 16)  # 1 + r = 8 and 2
    assert found.divergence == pytest.approx(4)
    assert found.fluctuation == pytest.approx(4)
    length = 4 + 4 + 2 * (1 + 2 * math.log2(1 + 8 / 2))
    assert found.total == pytest.approx(math.ceil(length) + elias_delta_bits(math.ceil(length)))


def test_the_length_of_a_path_is_the_log_ratio_and_its_announcement():
    assert path_length([100 * BITS, -1.5 * BITS]).total == pytest.approx(99 + elias_delta_bits(99))
    assert path_length([-3.0]).total == 1 + elias_delta_bits(1)


def test_a_long_training_pays_next_to_nothing_but_its_divergence():
    rng = np.random.default_rng(0)
    kl = np.full(1000, 700.0)
    ratio = kl + 40 * rng.standard_normal(1000)
    published, given, path = (
        expected_length(kl, np.full(1000, 1600.0), 0.001),
        certain_length(ratio, 0.001),
        path_length(ratio),
    )
    assert path.total < given.total < published.total
    assert published.fluctuation > 0.1 * published.divergence
    assert given.total < 1.03 * path.total < 1.03 * 1.01 * published.divergence


@pytest.mark.parametrize("bad", [[], [np.nan], [[1.0]], [np.inf]])
def test_what_is_no_cost_of_steps_is_refused(bad):
    with pytest.raises(ValueError, match=r"NaN|finite"):
        certain_length(bad, 0.01)
    with pytest.raises(ValueError, match=r"NaN|finite|variances"):
        expected_length(bad, [1.0], 0.01)


def test_a_hypothesis_drawn_after_the_data_pays_its_log_ratio_and_no_less():
    """Statement T14b: log M_h > log Q(h)/P(h) + log(1/delta) no more often than delta, for a Q that looks for the worst h; without the ratio, far more often."""
    rng, n, m, delta = np.random.default_rng(1), 60, 400, 0.1
    bets = 0.5 * rng.choice([-1, 1], (m, n))  # hypothesis h bets this much on the tosses of a fair coin
    fails = {"paid": 0, "free": 0}
    for _ in range(3000):
        log_m = np.log1p(bets * rng.choice([-1, 1], n)).sum(1)  # log of a martingale of mean 1
        q = np.exp(2 * log_m - np.logaddexp.reduce(2 * log_m))
        h = rng.choice(m, p=q)
        fails["paid"] += log_m[h] > math.log(q[h] * m) - math.log(delta)
        fails["free"] += log_m[h] > -math.log(delta)
    assert fails["paid"] <= 3000 * delta
    assert fails["free"] > 3000 * delta + 4 * math.sqrt(3000 * delta)
    assert fails["paid"] > 0


def test_elias_code_lengths():
    """Of 1, of numbers of up to 53 bits, and on both sides of each power of two."""
    lengths = {1: 1, 2: 4, 3: 4, 4: 5, 7: 5, 8: 8, 15: 8, 16: 9, 255: 14, 256: 15, 2**52: 63}
    assert elias_delta_bits(list(lengths)).tolist() == list(lengths.values())
    assert elias_delta_bits(5).dtype == np.int64


def test_a_divergence_may_be_below_zero_by_rounding():
    assert expected_length([-0.009, 1.0], [0.0, 0.0], 0.1) == expected_length([0.0, 1.0], [0.0, 0.0], 0.1)
    for kl, variance in (([-0.011], [0.0]), ([0.0], [-1e-9]), ([1.0, 2.0], [1.0])):
        with pytest.raises(ValueError, match=r"at least -0.01$|at least 0$|\(2,\) divergences, \(1,\) variances"):
            expected_length(kl, variance, 0.1)


def test_batches_that_were_likelier_for_the_student():
    found = path_length([-5.0, 1.0])
    assert (found.divergence, found.fluctuation) == (0.0, 0.0)
    given = certain_length([-5.0, 1.0], 0.5)
    assert given.divergence == pytest.approx(math.log2((1 + math.exp(-5)) * (1 + math.e)))


@pytest.mark.parametrize("failure_prob", [0.0, 1.0, 1.5])
def test_a_failure_probability_lies_inside_the_unit_interval(failure_prob):
    with pytest.raises(ValueError, match="failure probability"):
        expected_length([1.0], [1.0], failure_prob)
    with pytest.raises(ValueError, match="failure probability"):
        certain_length([1.0], failure_prob)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_length([math.nan], [1.0], 0.1), "^kl hold 1 NaN"),
        (lambda: expected_length([math.inf], [1.0], 0.1), r"^kl must be finite numbers \(n_steps,\), at least -0.01$"),
        (lambda: expected_length([1.0], [math.nan], 0.1), "^variance hold 1 NaN"),
        (lambda: expected_length([1.0], [[1.0]], 0.1), r"^variance must be finite numbers \(n_steps,\), at least 0$"),
        (lambda: certain_length([math.nan], 0.1), "^log_ratio hold 1 NaN"),
        (lambda: certain_length(1.0, 0.1), "^log_ratio must be finite"),
        (lambda: path_length([math.nan]), "^log_ratio hold 1 NaN"),
        (lambda: path_length([]), "^log_ratio must be finite"),
        (lambda: path_length([-math.inf]), "^log_ratio must be finite"),
    ],
)
def test_what_is_refused_and_why(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_float32_costs_are_added_in_float64():
    kl, variance = np.float32([0.1, 2.3, 0.7]), np.float32([0.5, 1.9, 0.9])
    wide = kl.astype(float), variance.astype(float)
    assert expected_length(kl, variance, 0.1) == expected_length(*wide, 0.1)
    assert certain_length(kl, 0.1) == certain_length(wide[0], 0.1)
    assert path_length(kl) == path_length(wide[0])
