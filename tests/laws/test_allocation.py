"""The best N, D and bits for a bound: against closed forms, the condition of the optimum, and plain search."""

import itertools
import math
from functools import partial

import numpy as np
import pytest

from gengap.bounds import CodedModel, closed_form_gap
from gengap.laws.allocation import (
    BoundLaw,
    QuantizationLaw,
    VariationLaw,
    allocate,
    allocation_intervals,
    fit_quantization,
    fit_variation,
)
from gengap.laws.fits import ChinchillaLaw, fit_chinchilla
from gengap.laws.intervals import resample_noise

LAW = ChinchillaLaw(1.8172, 482.01, 2085.43, 0.3478, 0.3658)  # Besiroglu et al. 2024
SIZE_ALONE = ChinchillaLaw(0.5, 400.0, 0.0, 0.34, 0.28)  # A N^-alpha, whatever D
V = 50304


def constant(value):
    return lambda *places: np.full(np.shape(places[-1]), value)


def bound(loss=LAW, sigma=0.5, q=0.0, vocab_size=V):
    return BoundLaw(loss, constant(sigma), constant(q), vocab_size)


@pytest.mark.parametrize("ratio", [2.0, 20.0, 1000.0])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_gap_is_the_papers_closed_form(ratio, bits):
    n = 10**9
    coded = CodedModel(bits * n, int(ratio * n), V)
    found = float(bound(sigma=0.3).gap(n, ratio * n, bits))
    assert found == pytest.approx(closed_form_gap(coded, 0.3), rel=1e-6)  # log(|K|/delta) is nothing beside b N
    assert float(bound(sigma=0.3, q=0.25).gap(n, ratio * n, bits)) == pytest.approx(found + 0.25)


@pytest.mark.parametrize("flops", [1e12, 1e18, 1e24])
def test_without_a_gap_the_best_is_hoffmanns(flops):
    found = allocate(lambda n, d, b: LAW(n, d), flops)
    n, d = map(float, LAW.optimum(flops))
    assert (found.n_params, found.n_tokens) == pytest.approx((n, d), rel=1e-5)
    assert found.value == pytest.approx(float(LAW(n, d)), rel=1e-12)
    assert 6 * found.n_params * found.n_tokens == pytest.approx(flops)


@pytest.mark.parametrize("flops", [1e18, 1e22, 1e26])
@pytest.mark.parametrize("bits", [2, 4])
def test_optimum_of_one_term_in_closed_form(flops, bits):
    alpha, a = SIZE_ALONE.alpha, SIZE_ALONE.A
    squared = 6 * bits * math.log(2) / flops  # C = squared N^2
    parameters = allocate(bound(SIZE_ALONE, -math.sqrt(2)), flops, [bits])  # A N^-alpha + C log V
    assert parameters.n_params == pytest.approx(
        (alpha * a / (2 * squared * math.log(V))) ** (1 / (alpha + 2)), rel=1e-5
    )
    spread = allocate(bound(SIZE_ALONE, 0.5, vocab_size=1), flops, [bits])  # A N^-alpha + (Sigma + sqrt 2) sqrt C
    slope = (0.5 + math.sqrt(2)) * math.sqrt(squared)
    assert spread.n_params == pytest.approx((alpha * a / slope) ** (1 / (alpha + 1)), rel=1e-5)


@pytest.mark.parametrize("flops", [1e15, 1e20, 1e25])
@pytest.mark.parametrize("variation", [constant(0.5), VariationLaw(3.0, 0.0, 0.1, 0.02, 0.9)], ids=["constant", "of C"])
def test_at_the_optimum_the_terms_balance_as_derived(flops, variation):
    found, law = allocate(bound()._replace(variation=variation), flops), LAW
    n, d, c = found.n_params, found.n_tokens, 4 * math.log(2) / found.ratio
    sigma, beside = (float(variation(np.array(x), np.array(n))) for x in (c, c * 1.0001))
    elasticity = math.log(beside / sigma) / math.log(1.0001)
    spread = (1 + 2 * elasticity) * sigma + math.sqrt(2)
    right = law.beta * law.B * d**-law.beta + 2 * c * math.log(V) + spread * math.sqrt(c)
    assert law.alpha * law.A * n**-law.alpha == pytest.approx(right, rel=1e-4)
    of_loss = allocate(lambda n, d, b: law(n, d), flops)
    assert found.ratio > 1.5 * of_loss.ratio  # more tokens a parameter than the loss wants
    assert float(law(n, d)) > of_loss.value


@pytest.mark.parametrize("loss", [LAW, SIZE_ALONE, ChinchillaLaw(1.0, 50.0, 200.0, 0.5, 0.1)])
def test_tokens_a_parameter_grow_with_the_exponent_of_the_docstring(loss):
    law = bound(loss._replace(E=0.0), vocab_size=2)  # the floor moves no optimum, and would drown these digits
    early, late = (allocate(law, flops, ratios=(1e-3, 1e80)) for flops in (1e80, 1e84))
    measured = math.log(late.ratio / early.ratio) / math.log(1e4)
    assert measured == pytest.approx(law.ratio_exponent, abs=0.004)


def test_bits_are_chosen_with_everything_else():
    quantization = QuantizationLaw(30.0, 2 * math.log(2), 0.1, 0.3)
    law = BoundLaw(LAW, VariationLaw(4.0, 0.02, 0.1, 0.02, 0.9), quantization, V)
    found = allocate(law, 1e20, range(2, 9))
    ratios = np.geomspace(5, 5000, 1500)
    n = np.sqrt(1e20 / 6 / ratios)
    plain = min(
        (float(law(m, m * r, b)), b, r) for b, (m, r) in itertools.product(range(2, 9), zip(n, ratios, strict=True))
    )
    assert (found.value, found.bits) == (pytest.approx(plain[0], rel=1e-6), plain[1])
    assert found.ratio == pytest.approx(plain[2], rel=0.01)
    assert 2 < found.bits < 8
    harmless = law._replace(quantization=constant(0.0))
    assert allocate(harmless, 1e20, range(2, 9)).bits == 2
    assert allocate(harmless, 1e20, range(2, 9)).value < found.value


def test_a_best_ratio_at_the_end_of_the_search_is_refused():
    with pytest.raises(ValueError, match="widen them"):
        allocate(bound(), 1e20, ratios=(0.1, 5.0))
    with pytest.raises(ValueError, match="widen them"):
        allocate(bound(), 1e20, ratios=(1e4, 1e6))


# --- laws of the parts ----------------------------------------------------------------------------------------------

B, N, D = (
    np.array(column, float)
    for column in zip(*((b, n, r * n) for b in (2, 3, 4) for n in (1e5, 4e5, 1e6) for r in (5, 20, 80)), strict=True)
)


def test_laws_of_variation_and_quantization_are_found_again():
    variation, quantization = VariationLaw(3.3, 0.03, 0.2, 0.02, 0.9), QuantizationLaw(20.0, 1.4, 0.2, 0.6)
    c = B * math.log(2) * N / D
    assert fit_variation(c, N, variation(c, N)) == pytest.approx(variation, rel=1e-5)
    assert fit_quantization(B, N, D, quantization(B, N, D)) == pytest.approx(quantization)
    assert float(variation(0.02, 1e6)) == pytest.approx(3.3 * 1e6**-0.03 * 0.6)  # half-way from 1 to the floor
    assert float(variation(1e-9, 1e6)) == pytest.approx(3.3 * 1e6**-0.03, rel=1e-5)
    assert float(variation.shape(1e9)) == pytest.approx(0.2)
    assert float(variation.shape(0.02 * 2 ** (1 / 0.9))) == pytest.approx(0.2 + 0.8 / 3)
    assert float(quantization(4, 1e6, 1e8)) == pytest.approx(20 * math.exp(-5.6) * 1e6**-0.2 * 100**0.6)


def test_places_that_fix_no_law_are_refused():
    with pytest.raises(ValueError, match="vary sizes"):
        fit_variation(np.full(len(N), 0.14), N, np.ones(len(N)))  # along the frontier C is one number
    with pytest.raises(ValueError, match="vary sizes"):
        fit_variation(N / D, np.full(len(N), 1e5), np.ones(len(N)))
    with pytest.raises(ValueError, match="vary sizes"):
        fit_quantization(np.full(len(N), 4), N, D, np.ones(len(N)))
    with pytest.raises(ValueError, match="positive"):
        fit_quantization(B, N, D, np.zeros(len(N)))


def test_intervals_hold_the_truth_and_shrink_with_the_noise():
    truth, widths = allocate(bound(), 1e16), []
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e9, 5), np.geomspace(1e8, 1e11, 6)))
    for noise in (0.01, 0.001):
        losses = LAW(n, d) * np.exp(noise * np.random.default_rng(0).standard_normal(len(n)))
        fits = resample_noise(fit_chinchilla, n, d, losses, refit=partial(fit_chinchilla, start=LAW), n_replicates=40)
        found = allocation_intervals([bound(loss) for loss in fits.replicates], 1e16)
        assert found["ratio"].covers(truth.ratio)
        assert found["n_params"].covers(truth.n_params)
        assert found["bits"] == (4, 4)
        widths.append(found["ratio"].high / found["ratio"].low)
    assert 1 < widths[1] < widths[0] < 3
