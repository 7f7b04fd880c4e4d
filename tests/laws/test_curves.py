"""Learning rates: the vertex of a known parabola, its error against simulation, the rule over widths."""

import numpy as np
import pytest

from gengap.errors import UserError
from gengap.laws import curves

RATES = 0.02 * 2.0 ** np.arange(-1, 1.5, 0.5)
BEST, CURVATURE, SEED_ERROR = 0.026, 0.09, 0.004


def losses(rates):
    return 4.4 + 0.5 * CURVATURE * np.log(rates / BEST) ** 2


def test_vertex_of_a_parabola_is_found_exactly():
    found = curves.best_rate(RATES, losses(RATES), SEED_ERROR)
    np.testing.assert_allclose([found.rate, found.loss, found.curvature], [BEST, 4.4, CURVATURE])
    assert found.excess(0.02) == pytest.approx(losses(0.02) - 4.4)
    assert found.excess(found.rate) == 0


def test_stated_error_is_the_spread_over_seeds():
    rng = np.random.default_rng(0)
    found = [
        curves.best_rate(RATES, losses(RATES) + rng.normal(0, SEED_ERROR, len(RATES)), SEED_ERROR) for _ in range(2000)
    ]
    stated = curves.best_rate(RATES, losses(RATES), SEED_ERROR).relative_error
    quartiles = np.quantile([np.log(best.rate / BEST) for best in found], [0.25, 0.75])
    assert stated == pytest.approx(np.diff(quartiles)[0] / 1.349, rel=0.1)


def test_losses_without_a_minimum_are_refused():
    with pytest.raises(UserError, match="try rates further out"):
        curves.best_rate(RATES, 4.0 - np.log(RATES) ** 2, SEED_ERROR)
    with pytest.raises(UserError, match="at least three"):
        curves.best_rate(RATES[:2], losses(RATES[:2]), SEED_ERROR)


def test_rule_over_widths_recovers_its_exponent():
    widths = np.array([12, 20, 36])
    optima = [curves.BestRate(0.1 * w**-0.7, error, 4.0, 0.1) for w, error in zip(widths, (0.1, 0.2, 0.1), strict=True)]
    rule = curves.transfer_rule(widths, optima)
    np.testing.assert_allclose([rule.coefficient, rule.exponent], [0.1, 0.7])
    assert rule(64) == pytest.approx(0.1 * 64**-0.7)
    assert 0 < rule.exponent_error < 0.5
    worse = [best._replace(relative_error=2 * best.relative_error) for best in optima]
    assert curves.transfer_rule(widths, worse).exponent_error == pytest.approx(2 * rule.exponent_error)
    with pytest.raises(UserError, match="second rung"):
        curves.transfer_rule([12], optima[:1])


def test_rule_of_a_known_exponent_takes_its_coefficient_from_the_widths_tuned():
    optima = [curves.BestRate(0.1 * 12**-0.7, 0.1, 4.0, 0.1), curves.BestRate(0.2 * 20**-0.7, 0.1, 4.0, 0.1)]
    rule = curves.transfer_rule([12, 20], optima, 0.7)
    np.testing.assert_allclose([rule.coefficient, rule.exponent], [0.1 * 2**0.5, 0.7])
    surer = [optima[0]._replace(relative_error=1e-6), optima[1]]
    assert curves.transfer_rule([12, 20], surer, 0.7)(12) == pytest.approx(optima[0].rate)


def test_rates_far_from_the_best_have_no_part_in_the_parabola():
    rates = np.append(RATES, [1.0, 2.0])
    far = np.append(losses(RATES), [9.0, 9.0])
    np.testing.assert_allclose(
        curves.tuned(rates, far, SEED_ERROR), curves.best_rate(RATES, losses(RATES), SEED_ERROR), rtol=1e-9
    )
    few = curves.tuned(rates[[0, 2, 4, 5, 6]], far[[0, 2, 4, 5, 6]], SEED_ERROR)  # four at least
    np.testing.assert_allclose(few, curves.best_rate(rates[[0, 2, 4, 5]], far[[0, 2, 4, 5]], SEED_ERROR), rtol=1e-9)


def test_tokens_to_a_loss_lie_between_the_bins():
    curve = curves.BinnedCurve(np.array([10.0, 100.0, 1000.0]), np.array([4.0, 3.0, 3.5]), np.zeros(3))
    assert curve.tokens_to_reach(3.5) == pytest.approx(10**1.5)
    assert curve.tokens_to_reach(3.2) == pytest.approx(10**1.8)  # a later rise does not undo it
    assert np.isnan(curve.tokens_to_reach(2.9))
