"""Do the bounds with a companion hold as often as they say? 10,000 simulated paths for each setting and each predictor.

The model is the worst of its code, found after a look at the path; failures stay within the binomial upper limit of delta (level
1e-4; seeds are fixed). Two settings are so bad that a statement fails nearly as often as it may; and of each way in which a
companion can know its token, a pair of settings shows that the bound holds without it and fails with it.
"""

import math
from functools import lru_cache

import numpy as np
import pytest
from scipy import stats

from gengap.bounds import companion_settings, learners, sources
from gengap.bounds.companion import companion_bound, online_bound
from gengap.bounds.companion_coverage import FLOOR, Companion, deviations, violations
from gengap.bounds.companion_grids import (
    COMPANION_SHARES,
    GRID_SIZE,
    CodedCompanion,
    CompanionChoice,
    Predictor,
    choose_share,
)
from gengap.bounds.concentration import complexity
from gengap.bounds.terms import CodedModel

N_PATHS, N_STEPS = 10_000, 80
FAILURE_PROBS = [0.01, 0.05, 0.2]
PREDICTORS = {"T12a": Predictor(0.05), "T12b": Predictor(0.05, hedged=True)}


def allowed(failure_prob, n_paths=N_PATHS):
    """The number of violations that a probability of failure_prob exceeds once in 10,000 experiments."""
    return stats.binom.ppf(1 - 1e-4, n_paths, failure_prob)


@lru_cache(maxsize=1)  # the tests of one setting follow each other
def simulate(name, kind):
    setting = companion_settings.setting(name, N_STEPS)
    return deviations(setting, PREDICTORS[kind], N_PATHS, N_STEPS, seed=7)


@pytest.mark.parametrize("failure_prob", FAILURE_PROBS)
@pytest.mark.parametrize("kind", PREDICTORS)
@pytest.mark.parametrize("name", companion_settings.SETTINGS)
def test_bounds_with_a_companion_hold(name, kind, failure_prob):
    """R(u), the mean of Z and R(q), of the worst hypothesis: at the last step, and at eight times at once."""
    counts = violations(simulate(name, kind), failure_prob)
    assert max(counts.values()) <= allowed(failure_prob), counts


@pytest.mark.parametrize("kind", PREDICTORS)
def test_the_worst_code_uses_up_the_failure_probability(kind):
    """Four rare tokens, four hypotheses, each blind to one: some token never came, with nearly the probability allowed.

    One rate, so chosen that Y = max Z - s/lambda lies near the mean of Z.
    """
    n, alpha, floor, s = 160, 1e-3, 1e-4, 0.999
    setting = companion_settings.rare_tokens(4, 1.02 * complexity(n, 0.05, code_length_bits=2))
    u = (1 - floor) * setting.source.probs[0] + floor / 5
    q = (1 - alpha) * setting.models[0, 0] + alpha * (u if kind == "T12b" else 1 / 5)
    z = np.log(u / q)
    found = deviations(
        setting, PREDICTORS[kind]._replace(alpha=alpha), N_PATHS, n, 7, [s / (z[0] - z[1])], [s], [0.1], floor
    )
    assert 0.7 * 0.05 * N_PATHS <= violations(found, 0.05)["excess"] <= allowed(0.05)


def test_the_worst_companion_uses_up_the_failure_probability():
    """A token of probability just above C that the companion holds impossible, but for its floor, and that never came."""
    setting = companion_settings.unforeseen(1.02 * complexity(N_STEPS, 0.05))
    found = deviations(setting, Predictor(0.05), N_PATHS, N_STEPS, 7, [0.1], [0.7], [0.999])
    assert 0.8 * 0.05 * N_PATHS <= violations(found, 0.05)["companion"] <= allowed(0.05)


@pytest.mark.parametrize("kind", PREDICTORS)
@pytest.mark.parametrize("name", companion_settings.mistakes(240))
def test_each_way_to_lose_predictability_breaks_the_bound(name, kind):
    n_paths, n = 200, 960 if "skipped" in name else 240
    right, wrong = (
        violations(deviations(setting, PREDICTORS[kind], n_paths, n, 7, [0.3, 1.0, 4.0], [0.5, 0.98]), 0.05)
        for setting in companion_settings.mistakes(n)[name]
    )
    assert max(right.values()) <= allowed(0.05, n_paths), right
    assert wrong["risk"] > 4 * allowed(0.05, n_paths), wrong
    if not name.startswith("Y"):  # which T13 knows nothing of
        assert wrong["companion"] > 4 * allowed(0.05, n_paths), wrong


@pytest.mark.parametrize("kind", PREDICTORS)
def test_what_is_simulated_is_what_the_library_bounds(kind):
    """The bound of the library, path by path, against the sums from which violations are counted; for every hypothesis."""
    n, n_paths, failure_prob, predictor = 80, 6, 0.05, PREDICTORS[kind]
    setting = companion_settings.setting("Markov, gradient descent learns", n)
    setting = setting._replace(models=setting.models[:2])
    found = deviations(setting, predictor, n_paths, n, 3, [0.8], [0.7], COMPANION_SHARES)
    of_companion, of_excess = (values[:, -1] for values in found.beyond(failure_prob))
    paths = setting.source.sample(n_paths, n, np.random.default_rng(3))
    u = (1 - FLOOR) * learners.online(setting.source, paths) + FLOOR / 4
    told = Companion.along(setting, learners.online, paths, FLOOR)
    coded, companion = CodedModel(setting.code_length_bits, n, 4, failure_prob), CodedCompanion(0, n, 4, FLOOR, 0.05)
    truth = setting.source.probs.T[:, paths.states]
    choice = CompanionChoice(predictor, 0.8, 0.7)
    grid = math.log(GRID_SIZE) / (0.8 * n)  # which the library pays and these sums, of one choice, do not
    for path in range(n_paths):
        beyond = []
        for picks in np.ndindex(*(2,) * 4):  # one of two in each of the four contexts
            model = setting.models[list(picks), range(4)]
            q = (1 - predictor.alpha) * model.T[:, paths.states]
            q += predictor.alpha * (u if predictor.hedged else 1 / 4)
            beside, _ = told.beside(predictor, model, paths.states, paths)
            beside = type(beside)(*(values[path] for values in beside))
            share = choose_share(companion, beside.loss, beside.entropy)
            bound = companion_bound(coded, companion, beside, choice, share, 0.0, 0.0)
            beyond.append((-truth * np.log(q)).sum(axis=0)[path].mean() - bound.value + grid)
        online = online_bound(companion, beside.loss, beside.entropy, share, 0.0)
        risk = (-truth * np.log(u)).sum(axis=0)[path].mean()
        assert risk - online.value == pytest.approx(of_companion[path] / n, abs=1e-12)
        assert max(beyond) == pytest.approx((of_companion + of_excess)[path] / n, abs=1e-12)


def test_settings_are_what_their_names_say():
    for name in companion_settings.SETTINGS:
        setting = companion_settings.setting(name, 80)
        paths = setting.source.sample(50, 80, np.random.default_rng(1))
        u = setting.companion(setting.source, paths)
        assert u.shape == (setting.source.vocab_size, 50, 80)
        np.testing.assert_allclose(u.sum(axis=0), 1, atol=1e-12)
        np.testing.assert_allclose(setting.models.sum(axis=-1), 1, atol=1e-12)
    with pytest.raises(ValueError, match="there are iid Zipf"):
        companion_settings.setting("fair coin", 10)


RULES = {
    "counts": learners.counts,
    "last counts": lambda source, paths: learners.counts(source, paths, memory=5),
    "mixture": learners.mixture(np.random.default_rng(0).dirichlet(np.ones(4), (3, 4))),
    "luck": learners.luck(np.full(4, 0.25), np.array([0.5, 0.3, 0.2, 0.0]), 3),
    "online": learners.online,
    "snapshots": learners.snapshots,
    "average": learners.average,
    "cooled": learners.cooled,
}


@pytest.mark.parametrize("name", RULES)
def test_rules_predict_from_what_came_before(name):
    """Change a token: nothing before it moves, itself included, and something after it does."""
    source = sources.markov(1, 4, 0.5, np.random.default_rng(11))
    before = source.sample(20, 64, np.random.default_rng(1))
    tokens = before.tokens.copy()
    tokens[:, 30] = (tokens[:, 30] + 1) % 4
    after = before._replace(tokens=tokens, states=source.states(tokens))
    moved = np.abs(RULES[name](source, before) - RULES[name](source, after)).max(axis=(0, 1))  # (n,)
    assert moved[:31].max() == 0
    assert moved[31:].max() > 1e-3


def test_counts_and_descent_against_plain_loops():
    source = sources.markov(1, 3, 0.5, np.random.default_rng(11))
    paths = source.sample(2, 24, np.random.default_rng(1))
    counts, weights = np.full((3, 3), 0.5), np.zeros((3, 3))
    online, counted = learners.online(source, paths, 0.7)[:, 1], learners.counts(source, paths)[:, 1]
    for k, (state, token) in enumerate(zip(paths.states[1], paths.tokens[1], strict=True)):
        np.testing.assert_allclose(counted[:, k], counts[state] / counts[state].sum(), atol=1e-14)
        counts[state, token] += 1
        if k % learners.BATCH == 0:
            used = weights.copy()
        u = np.exp(used[state]) / np.exp(used[state]).sum()
        np.testing.assert_allclose(online[:, k], u, atol=1e-14)
        weights[state] += 0.7 * ((np.arange(3) == token) - u)


def test_a_longer_code_costs_what_it_says():
    setting = companion_settings.setting("Markov, average of weights", 80)
    found = deviations(setting, Predictor(0.05), 50, 80, 0)
    assert setting.code_length_bits == pytest.approx(4 * math.log2(3))
    free = found._replace(code_length_bits=0.0)
    least = 4 * math.log(3) / max(found.rates)
    assert np.all(free.beyond(0.05)[1] - found.beyond(0.05)[1] >= least - 1e-9)
