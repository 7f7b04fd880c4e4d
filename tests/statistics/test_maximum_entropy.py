"""Maximum-entropy smoothing of a model: against the plain reference, its stated range, and exact sources."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from gengap.bounds import smoothing
from gengap.bounds.grids import Tilt, TiltGrid, choose_tilt
from gengap.bounds.terms import CodedModel
from gengap.bounds.theorems import tight_bound
from gengap.errors import UserError
from gengap.statistics.maximum_entropy import Mixture, mixed_entropies, n_moments, solve
from gengap.statistics.per_token import (
    TokenStatistics,
    _measure,
    _mixture,
    loss_and_entropies,
    tilted_statistics,
    token_statistics,
)

V = 23


def predictions(n, seed, vocab_size=V):
    """(n, V) log-probabilities, from nearly uniform to nearly certain."""
    rng = np.random.default_rng(seed)
    logits = rng.uniform(0.0, 12.0, (n, 1)) * rng.standard_normal((n, vocab_size))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def reference(log_probs, tilt):
    """log q (n, V) and its entropy (n,), by the plain definition."""
    mixed = smoothing.smoothed_nll(-log_probs, tilt.safety, log_probs.shape[1])
    return smoothing.maximum_entropy_smoothing(-mixed, tilt.rate)


def tilt_tokens(log_probs, tokens, tilt):
    """Loss and entropy of tokens, (n,) each."""
    needed = n_moments([tilt])
    nll, *moments = loss_and_entropies(torch.tensor(log_probs).float(), torch.as_tensor(tokens), (), needed).numpy()
    entropy = solve(np.array(moments), [tilt]).astype(np.float32)
    return TokenStatistics(nll, np.empty((0, *nll.shape)), (), tilt.vocab_size, (tilt,), entropy).tilted(tilt)


@pytest.mark.parametrize("rate", [0.06, 0.15, 0.4, 10.0])
@pytest.mark.parametrize("safety", [1e-3, 3e-2])
def test_streamed_tokens_equal_the_reference_and_stay_in_the_range(rate, safety):
    tilt = Tilt(rate, safety, 0.0, 1, V)
    log_probs = predictions(300, 0)
    log_q, entropy = reference(log_probs, tilt)
    f = []
    for token in range(V):
        loss, found = tilt_tokens(log_probs, np.full(300, token), tilt)
        np.testing.assert_allclose(loss, -log_q[:, token], atol=2e-5)
        np.testing.assert_allclose(found, entropy, atol=2e-5)
        f.append(tilt.summand(loss, found))
    low, high = tilt.summand_range
    assert low <= np.min(f)
    assert np.max(f) <= high
    assert entropy.min() >= tilt.least_entropy - 1e-9


def hard_and_easy(vocab_size):
    """Predictions whose iterations differ in length: one-hot, halves, uniform, and all between."""
    corners = np.full((3, vocab_size), -60.0)
    corners[0, 0] = corners[1, :2] = corners[2] = 0.0
    return np.concatenate([corners, predictions(37, 1, vocab_size), predictions(10, 2, vocab_size) * 0.05])


@pytest.mark.parametrize("vocab_size", [V, 2048])
def test_every_prediction_of_the_grid_is_solved_and_normalized(vocab_size):
    """At the ends and the middle of the rates and safeties that `TiltGrid` holds, and beyond them."""
    log_probs, grid = hard_and_easy(vocab_size), TiltGrid()
    log_probs -= np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
    rows, tokens = np.arange(len(log_probs)), np.random.default_rng(3).integers(vocab_size, size=len(log_probs))
    for rate in (*grid.rates[::12], 2.0, 10.0):
        for safety in (*grid.safeties[::2], 0.4):
            tilt = Tilt(rate, safety, 0.0, 1, vocab_size)
            loss, entropy = tilt_tokens(log_probs, tokens, tilt)
            cap = entropy[:, None] + 1 / rate
            mixed = -smoothing.smoothed_nll(-log_probs, safety, vocab_size)
            log_q = smoothing.lambert_w_of_exp(mixed + cap - math.log(rate)) - cap
            np.testing.assert_allclose(np.exp(log_q).sum(axis=1), 1, atol=4e-6)
            np.testing.assert_allclose(loss, -log_q[rows, tokens], atol=1e-5)


def test_losses_of_all_tokens_form_a_distribution():
    tilt = Tilt(0.15, 1e-2, 0.0, 1, V)
    log_probs = predictions(50, 1)
    losses = [tilt_tokens(log_probs, np.full(50, token), tilt).loss for token in range(V)]
    np.testing.assert_allclose(np.exp(np.negative(losses)).sum(0), 1, atol=2e-6)


@pytest.mark.parametrize("rate", [0.06, 0.18, 0.4])
def test_a_prediction_is_smoothed_alone_as_in_any_company(rate):
    """Else q would depend on contexts that come later: it would not be predictable."""
    log_probs, tilt = hard_and_easy(2048), Tilt(rate, 1e-3, 0.0, 1, 2048)
    tokens = np.arange(len(log_probs))
    together = np.stack(tilt_tokens(log_probs, tokens, tilt))
    alone = [tilt_tokens(log_probs[[i]], tokens[[i]], tilt) for i in range(len(log_probs))]
    np.testing.assert_allclose(np.concatenate(alone, 1), together, rtol=0, atol=1e-6)
    backwards = np.stack(tilt_tokens(log_probs[::-1].copy(), tokens[::-1].copy(), tilt))
    np.testing.assert_allclose(backwards[:, ::-1], together, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [0.06, 0.18, 0.4])
def test_the_steps_of_one_prediction_do_not_depend_on_those_of_others(rate):
    """To the last digits of a product of matrices: a prediction that is done stays while others go on."""
    log_probs, tilt = hard_and_easy(2048), Tilt(rate, 1e-3, 0.0, 1, 2048)
    logits, tokens = torch.tensor(log_probs).double(), torch.zeros(len(log_probs), dtype=torch.int64)
    moments = loss_and_entropies(logits, tokens, (), n_moments([tilt])).numpy()[1:]
    together = solve(moments, [tilt])
    alone = [solve(moments[:, [i]], [tilt]) for i in range(moments.shape[1])]
    np.testing.assert_allclose(np.concatenate(alone, 1), together, rtol=0, atol=1e-12)


def test_all_tilts_of_one_reading_are_what_each_is_alone():
    """And in any order, since a safety's moments are shared by its rates."""
    model, rows = small_model(), np.random.default_rng(0).integers(V, size=(5, 17))
    tilts = [Tilt(rate, safety, 0.0, 1, V) for safety in (1e-3, 0.06) for rate in (0.06, 0.4)]
    together = token_statistics(model, rows, (0.1,), tilts=tilts)
    backwards = token_statistics(model, rows, tilts=tilts[::-1])
    for tilt in tilts:
        alone = tilted_statistics(model, rows, tilt)
        np.testing.assert_array_equal(together.tilted(tilt), alone)
        np.testing.assert_array_equal(backwards.tilted(tilt._replace(baseline_floor=2.0)), alone)
    np.testing.assert_array_equal(together[1:3].tilted(tilt).loss, alone.loss[1:3])
    with pytest.raises(ValueError, match="not in list"):
        together.tilted(Tilt(0.2, 1e-3, 0.0, 1, V))


@pytest.mark.parametrize("vocab_size", [V, 2048])
def test_entropies_of_mixtures_follow_from_the_moments(vocab_size):
    """As they are by themselves, for every prediction of the grid."""
    log_probs = torch.tensor(hard_and_easy(vocab_size))
    tokens, mixtures = (
        torch.zeros(len(log_probs), dtype=torch.int64),
        [Mixture(a, 1e-2, vocab_size) for a in (0.01, 0.05, 0.5)],
    )
    directly = loss_and_entropies(log_probs.clone(), tokens, [m.alpha for m in mixtures]).numpy()[1:]
    moments = loss_and_entropies(log_probs.clone(), tokens, (), n_moments([], mixtures)).numpy()[1:]
    np.testing.assert_allclose(mixed_entropies(moments, mixtures), directly, rtol=0, atol=2e-6)


def test_a_reading_with_tilts_takes_entropies_from_their_moments_where_it_may():
    model, rows = small_model(), np.random.default_rng(0).integers(V, size=(40, 17))
    tilts, alphas = [Tilt(0.2, safety, 0.0, 1, V) for safety in (1e-3, 1e-2)], (0.0, 2e-3, 0.05, 0.5)
    kinds = [_mixture(alpha, tilts) for alpha in alphas]
    assert kinds == [0.0, 2e-3, Mixture(0.05, 1e-2, V), Mixture(0.5, 1e-2, V)]
    reduction, _ = _measure(kinds, tilts, [1, 2, 3])
    assert reduction.keywords == {"alphas": [0.0, 2e-3], "moments": n_moments([], kinds[2:3])}
    alone, together = token_statistics(model, rows, alphas), token_statistics(model, rows, alphas, tilts=tilts)
    np.testing.assert_array_equal(together.entropy[:2], alone.entropy[:2])
    np.testing.assert_allclose(together.entropy, alone.entropy, rtol=0, atol=5e-6)
    assert abs(together.entropy.mean(dtype=float) - alone.entropy.mean(dtype=float)) < 2e-7


@pytest.mark.parametrize("vocab_size", [V, 2048, 50304])
def test_a_wider_vocabulary_and_a_smaller_safety_need_more_moments_never_many(vocab_size):
    needed = n_moments(TiltGrid().tilts(vocab_size))
    assert sorted(needed.values()) == [needed[safety] for safety in sorted(needed, reverse=True)]
    assert 10 < needed[0.06] < needed[1e-3] < 45


def test_a_damaged_model_is_refused_and_not_taken_for_a_uniform_one():
    model, rows = small_model(), np.random.default_rng(0).integers(V, size=(3, 17))
    with torch.no_grad():
        model.lm_head.weight[5] = torch.nan
    with pytest.raises(UserError, match="damaged or has diverged"):
        tilted_statistics(model, rows, Tilt(0.2, 1e-2, 0.0, 1, V))


@pytest.mark.parametrize("floor", [0.0, 1.0, 2.5, 4.0])
@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_the_range_holds_for_raised_baselines_and_is_nearly_reached(rate, floor):
    tilt = Tilt(rate, 1e-2, floor, 1, V)
    corner = np.full((1, V), -np.inf)
    corner[0, 0] = 0.0
    log_probs = np.concatenate([corner, predictions(3000, 2), predictions(3000, 3) * 0 - math.log(V)])
    log_q, entropy = reference(log_probs, tilt)
    f = tilt.summand(-log_q, np.broadcast_to(entropy[:, None], log_q.shape))
    high = tilt.summand_range[1]
    assert f.max() <= high
    if floor == 0.0:
        assert f.max() >= high - 2


def small_model():
    config = GPTNeoXConfig(
        vocab_size=V,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPTNeoXForCausalLM(config).eval()


def test_streaming_equals_one_pass_over_the_logits():
    model = small_model()
    rows = np.random.default_rng(0).integers(V, size=(11, 17)).astype(np.uint16)
    tilt = Tilt(0.2, 1e-2, 0.0, 1, V)
    found = tilted_statistics(model, rows, tilt)
    tokens = torch.from_numpy(rows.astype(np.int64))
    with torch.inference_mode():
        log_probs = model(input_ids=tokens[:, :-1]).logits.double().log_softmax(-1).flatten(0, 1).numpy()
    log_q, entropy = reference(log_probs, tilt)
    loss = -np.take_along_axis(log_q, tokens[:, 1:].flatten()[:, None].numpy(), axis=1)
    np.testing.assert_allclose(found.loss, loss.reshape(11, 16), atol=1e-5)
    np.testing.assert_allclose(found.entropy, entropy.reshape(11, 16), atol=1e-5)


def draw(truth, model_tables, n, rng):
    """Contexts (n,), tokens (n,) of an exact source."""
    context = rng.integers(len(truth), size=n)
    token = (rng.random((n, 1)) > np.cumsum(truth[context], axis=1)).sum(axis=1)
    return context, np.minimum(token, V - 1)


def test_bound_holds_on_an_exact_source_and_its_terms_add_up():
    n_runs, n, failure_prob = 300, 1500, 0.2
    truth = np.exp(predictions(30, 4))
    model = predictions(30, 4) * 1.5
    model -= np.logaddexp.reduce(model, axis=1, keepdims=True)
    grid = TiltGrid((0.1, 0.25), (1e-2,), (0.0, 1.5))
    coded, rng, misses = CodedModel(0.0, n, V, failure_prob), np.random.default_rng(5), 0
    tables = {
        tilt: reference(model, Tilt(*tilt, 0.0, 1, V)) for tilt in ((r, s) for r in grid.rates for s in grid.safeties)
    }
    for _ in range(n_runs):
        context, token = draw(truth, tables, n, rng)

        def evaluate(tilt, context=context, token=token):
            log_q, entropy = tables[tilt.rate, tilt.safety]
            return -log_q[context, token], entropy[context]

        tilt = choose_tilt(evaluate, grid, V, coded.complexity(grid.size))
        loss, entropy = evaluate(tilt)
        nll = -model[context, token]
        bound = tight_bound(coded, nll, entropy, tilt, nll.mean(), loss=loss)
        log_q = tables[tilt.rate, tilt.safety][0]
        misses += bound.value < -(truth * log_q).sum(axis=1)[context].mean()
        np.testing.assert_allclose(
            bound.value, bound.complexity / bound.rate + tilt.summand(loss, entropy).mean(), rtol=1e-12
        )
    assert misses <= binom.ppf(0.9999, n_runs, failure_prob)
    assert bound.smoother == "maximum entropy"


def test_losses_of_another_tilt_are_refused():
    model = predictions(40, 6)
    nll, coded = -model[:, 0], CodedModel(10.0, 40, V)
    log_q, entropy = reference(model, Tilt(0.06, 1e-6, 0.0, 1, V))
    with pytest.raises(ValueError, match=r"evaluate at Tilt|rate = "):
        tight_bound(coded, nll, entropy - 1.0, Tilt(0.06, 0.3, 0.0, 1, V), 1.0, loss=-log_q[:, 0])
    with pytest.raises(ValueError, match="have shape"):
        tight_bound(coded, nll, entropy[:3], Tilt(0.06, 1e-6, 0.0, 1, V), 1.0, loss=-log_q[:3, 0])
    with pytest.raises(ValueError, match="goes with a `Tilt`"):
        tight_bound(coded, nll, entropy, Tilt(0.06, 1e-6, 0.0, 1, V), 1.0)
    with pytest.raises(ValueError, match="vocabulary of 23"):
        tight_bound(coded, nll, entropy, Tilt(0.06, 1e-6, 0.0, 1, V + 1), 1.0, loss=-log_q[:, 0])
