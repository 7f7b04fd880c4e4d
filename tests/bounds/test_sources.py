"""Sources with known conditionals: what they emit, and that their conditional risks are exact."""

import numpy as np
import pytest

from gengap.bounds import sources

RNG = np.random.default_rng


def all_sources():
    zipf = sources.zipf_probs(16)
    return {
        "iid": sources.iid(zipf),
        "markov": sources.markov(2, 5, 0.4, RNG(1)),
        "near-deterministic": sources.near_deterministic(7, 0.05),
        "rare token": sources.rare_token(6, 0.02),
        "change point": sources.change_point(zipf, zipf[::-1], time=20),
        "adversarial drift": sources.adversarial_drift(np.linspace(0.01, 0.3, 12), 4),
        "language-like": sources.language_like(32, RNG(2)),
    }


@pytest.fixture(params=list(all_sources()))
def source(request):
    return all_sources()[request.param]


def test_states_are_a_function_of_the_tokens(source):
    paths = source.sample(50, 40, RNG(3))
    np.testing.assert_array_equal(source.states(paths.tokens), paths.states)
    assert (paths.states[:, 0] == source.start).all()


def test_tokens_follow_the_rows(source):
    """Chi-square of each row that is visited often, against its own probabilities, by a normal bound per cell."""
    paths = source.sample(2000, 60, RNG(4))
    counts = np.zeros(source.probs.shape)
    np.add.at(counts, (paths.states.ravel(), paths.tokens.ravel()), 1)
    visits = counts.sum(axis=1, keepdims=True)
    spread = np.sqrt(visits * source.probs * (1 - source.probs))
    assert np.all(np.abs(counts - visits * source.probs) <= 6 * spread + 6)


def test_same_seed_same_paths(source):
    one, two = source.sample(3, 25, RNG(5)), source.sample(3, 25, RNG(5))
    np.testing.assert_array_equal(one.tokens, two.tokens)


def test_conditional_risk_is_the_mean_of_fresh_tokens(source):
    """Slow plain code: draw the next token afresh many times in each state and average its loss."""
    rng = RNG(6)
    log_q = np.log(rng.dirichlet(np.ones(source.vocab_size), size=source.n_states))
    risk = source.state_risk(log_q)
    for state in rng.integers(source.n_states, size=4):
        losses = -log_q[state][rng.choice(source.vocab_size, size=40_000, p=source.probs[state])]
        assert abs(losses.mean() - risk[state]) <= 5 * losses.std() / 200 + 1e-12


def test_predictors_by_state_and_by_position_agree(source):
    paths = source.sample(4, 30, RNG(7))
    log_q = np.log(RNG(8).dirichlet(np.ones(source.vocab_size), size=source.n_states))
    by_position = source.conditional_risk(paths.states, log_q[paths.states])
    np.testing.assert_allclose(by_position, source.state_risk(log_q)[paths.states], rtol=1e-13)
    losses = sources.token_loss(paths.tokens, paths.states, log_q)
    np.testing.assert_array_equal(losses, -np.take_along_axis(log_q[paths.states], paths.tokens[..., None], -1)[..., 0])


def test_no_predictor_beats_the_truth(source):
    log_q = np.log(RNG(9).dirichlet(np.ones(source.vocab_size), size=source.n_states))
    assert np.all(source.state_risk(log_q) >= source.entropies() - 1e-12)


def test_order_2_state_holds_the_last_two_tokens():
    source = sources.markov(2, 5, 0.4, RNG(1))
    tokens = source.sample(3, 30, RNG(2)).tokens
    np.testing.assert_array_equal(source.states(tokens)[:, 2:], 5 * tokens[:, :-2] + tokens[:, 1:-1])


def test_impossible_tokens_never_come_and_cost_nothing():
    source = sources.iid([0.0, 0.5, 0.0, 0.5, 0.0])
    assert set(np.unique(source.sample(100, 100, RNG(0)).tokens)) == {1, 3}
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(source.state_risk(np.log(source.probs)), np.log(2))


def test_change_point_changes_once_and_on_time():
    source = sources.change_point([1.0, 0.0], [0.0, 1.0], time=7)
    np.testing.assert_array_equal(source.sample(1, 12, RNG(0)).tokens[0], [0] * 7 + [1] * 5)


def test_adversary_lowers_the_balance_after_a_bad_token():
    source = sources.adversarial_drift(np.full(10, 0.5), 3)
    paths = source.sample(1, 200, RNG(0))
    tokens, states = paths.tokens[0], paths.states[0]
    moves = np.where(tokens == 2, np.maximum(states - 4, 0), np.minimum(states + 1, 9))
    np.testing.assert_array_equal(states[1:], moves[:-1])


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="distribution"):
        sources.iid([0.5, 0.4])
    with pytest.raises(ValueError, match="share a shape"):
        sources.Source(np.full((2, 2), 0.5), np.zeros((2, 3), dtype=int))
    with pytest.raises(ValueError, match="rows of probs"):
        sources.Source(np.full((1, 2), 0.5), np.array([[0, 1]]))
    source = sources.iid([0.5, 0.5])
    with pytest.raises(ValueError, match="log_probs must be"):
        source.conditional_risk(np.zeros(3, dtype=int), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="log_probs must be"):
        source.state_risk(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="NaN"):
        source.state_risk([[0.1, np.nan]])
