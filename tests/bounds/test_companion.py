"""Bounds with a companion: every term in mpmath, both ways; the range against brute force; what they are for special companions.

How often they hold: test_companion_coverage.py.
"""

import math
from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest
from exact import drawn, exact, f, mean_of_rows, samples, sampling_error
from hypothesis import given, settings
from hypothesis import strategies as st

from gengap.bounds import companion_grids, smoothing
from gengap.bounds.companion import companion_bound, online_bound
from gengap.bounds.companion_grids import (
    COMPANION_SHARES,
    RATES,
    SHARES,
    Beside,
    CodedCompanion,
    CompanionChoice,
    Predictor,
    choose_companion,
    choose_share,
    predictors,
)
from gengap.bounds.concentration import freedman_direct
from gengap.bounds.grids import Choice
from gengap.bounds.terms import CodedModel
from gengap.bounds.theorems import tight_bound

V, N_WINDOWS, SEQ_LEN = 7, 40, 3
FLOOR, TRAIN_RISK, QUANTIZED_RISK = 0.02, 1.7, 1.75
CODED = CodedModel(60.0, N_WINDOWS * SEQ_LEN, V, failure_prob=0.02)
COMPANION = CodedCompanion(5.0, N_WINDOWS * SEQ_LEN, V, FLOOR, failure_prob=0.03)
RNG = np.random.default_rng(0)
MODEL = RNG.dirichlet(np.full(V, 0.5), (N_WINDOWS, SEQ_LEN))  # p_h, (n_windows, seq_len, V)
SMOOTH = 0.6 * MODEL + 0.4 * RNG.dirichlet(np.full(V, 0.5), (N_WINDOWS, SEQ_LEN))
TOKENS = np.minimum((RNG.random((N_WINDOWS, SEQ_LEN, 1)) > np.cumsum(MODEL, axis=-1)).sum(axis=-1), V - 1)
PREDICTORS = {"T12a": Predictor(0.3), "T12b": Predictor(0.2, hedged=True)}
SAMPLES = samples(N_WINDOWS, SEQ_LEN)


def distributions(predictor, floor=FLOOR, companion=SMOOTH, model=MODEL):
    """u and q, (..., V)."""
    u = (1 - floor) * companion + floor / V
    return u, (1 - predictor.alpha) * model + predictor.alpha * (u if predictor.hedged else 1 / V)


def beside(u, q, tokens=TOKENS):
    def of_token(values):
        return np.take_along_axis(values, tokens[..., None], axis=-1)[..., 0]

    z = np.log(u / q)
    loss, entropy, expected = of_token(-np.log(u)), -(u * np.log(u)).sum(axis=-1), ((u + q) / 2 * z).sum(axis=-1)
    return Beside(loss, entropy, of_token(z), expected, z.max(axis=-1))


def of_sample(sample, values):
    return Beside(*(drawn(sample, v) for v in values))


@pytest.fixture(autouse=True)
def _precision():
    with mp.workdps(30):
        yield


@pytest.fixture(params=SAMPLES)
def sample(request):
    return SAMPLES[request.param]


@pytest.fixture(params=PREDICTORS)
def predictor(request):
    return PREDICTORS[request.param]


def by_token(function, *arrays):
    """Rows of `function` of corresponding numbers."""
    return [[function(*at) for at in zip(*rows, strict=True)] for rows in zip(*arrays, strict=True)]


def own_charge(rate):
    """The greatest f(X^u, H) - X^u, at the ends of H - X^u."""
    most, log_v = mp.log(V / mp.mpf(FLOOR)), mp.log(V)
    return max(f(x, h, rate) - x for x, h in ((most, 0), (0, log_v)))


def greatest(predictor, rate, share):
    """The greatest X^u + f(Z, Y) over a fine net of X^u, Z and Y: what the distributions allow."""
    alpha, of_u = mp.mpf(predictor.alpha), mp.log(V / mp.mpf(FLOOR))
    most_z = -mp.log(alpha) if predictor.hedged else mp.log(V / alpha)
    most_x = of_u - mp.log(alpha) if predictor.hedged else mp.log(V / alpha)
    top, found = max(most_z / 2, most_z - share / rate), []
    for i in range(13):
        x = of_u * i / 12
        for j in range(13):
            z = min(most_z, most_x - x) * (12 - j) / 12 - x * j / 12
            for k in range(13):
                y = (z - share / rate) * (12 - k) / 12 + top * k / 12
                found.append(x + f(z, y, rate))
    return max(found)


def check(found, expected):
    """All fields of a bound, and what it adds them up to."""
    assert set(vars(found)) == set(expected)
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(float(value), rel=1e-11, abs=1e-11), name
    value = float(mp.fsum(expected[name] for name in found.TERMS))
    assert found.value == pytest.approx(value, rel=1e-12)
    assert found.gap == pytest.approx(value - TRAIN_RISK, rel=1e-11)


def common(sample, tokens, failure_prob):
    return {
        "train_risk": TRAIN_RISK,
        "floor": FLOOR,
        "companion_code_length_bits": 5,
        "failure_prob": failure_prob,
        "sampling_failure_prob": 0 if sample is None else sample.failure_prob,
        "n_tokens_evaluated": sum(map(len, tokens)),
    }


@pytest.mark.parametrize(("rate", "share"), [(0.6, 0.8), (2.5, 0.5), (0.15, 0.95)])
def test_companion_bound(sample, predictor, rate, share):
    own = 0.3
    given = of_sample(sample, beside(*distributions(predictor)))
    loss, entropy, excess, expected, most = map(exact, given)
    rate_, share_, d = mp.mpf(rate), mp.mpf(share), N_WINDOWS * SEQ_LEN
    own_rate = mp.mpf(own) / mp.log(V / mp.mpf(FLOOR))
    c = (65 * mp.log(2) + mp.log((3 + 1 + 7) * 36 * 7 / mp.mpf(0.02))) / d
    c_own = (5 * mp.log(2) + mp.log(32 / mp.mpf(0.03))) / d
    of_z = by_token(lambda z, e, m: f(z, max(e, m - share_ / rate_), rate_), excess, expected, most)
    of_u = by_token(lambda x, h: f(x, h, own_rate), loss, entropy)
    both = by_token(lambda a, b: a + b, of_u, of_z)
    top = greatest(predictor, rate_, share_) + own_charge(own_rate)
    mean_loss, mean_excess = mean_of_rows(loss), mean_of_rows(excess)
    expected_terms = {
        "quantization_gap": mp.mpf(QUANTIZED_RISK) - mp.mpf(TRAIN_RISK),
        "smoothing": mean_loss + mean_excess - mp.mpf(QUANTIZED_RISK),
        "deviation": c / rate_ + mean_of_rows(of_z) - mean_excess,
        "companion": c_own / own_rate + mean_of_rows(of_u) - mean_loss,
        "sampling": sampling_error(sample, both, mp.mpf(0), top),
        "complexity": c,
        "alpha": predictor.alpha,
        "hedged": predictor.hedged,
        "rate": rate,
        "s": share,
        "grid_size": 2772,
        "companion_risk": mean_loss,
        "companion_rate": own_rate,
        "code_length_bits": 60,
    }
    choice = CompanionChoice(predictor, rate, share)
    found = companion_bound(CODED, COMPANION, given, choice, own, TRAIN_RISK, QUANTIZED_RISK, sample)
    check(found, expected_terms | common(sample, loss, 0.05))


@pytest.mark.parametrize("own", [0.003, 0.3, 0.9])
def test_online_bound(sample, own):
    loss, entropy = (drawn(sample, values) for values in beside(*distributions(Predictor(0.3)))[:2])
    own_rate = mp.mpf(own) / mp.log(V / mp.mpf(FLOOR))
    of_u = by_token(lambda x, h: f(x, h, own_rate), exact(loss), exact(entropy))
    c_own = (5 * mp.log(2) + mp.log(32 / mp.mpf(0.03))) / (N_WINDOWS * SEQ_LEN)
    top = mp.log(V / mp.mpf(FLOOR)) + own_charge(own_rate)
    expected = {
        "information": mean_of_rows(exact(loss)) - mp.mpf(TRAIN_RISK),
        "companion": c_own / own_rate + mean_of_rows(of_u) - mean_of_rows(exact(loss)),
        "sampling": sampling_error(sample, of_u, mp.mpf(0), top),
        "companion_rate": own_rate,
    }
    found = online_bound(COMPANION, loss, entropy, own, TRAIN_RISK, sample)
    check(found, expected | common(sample, exact(loss), 0.03))


# The range.


def extremes(predictor, floor):
    """Pairs of p_h and u without its floor, (n, V) each: certain, blind and spread ones, and random mixtures of them."""
    rng, eye = np.random.default_rng(4), np.eye(V)
    ends = np.concatenate([eye[:2], [np.full(V, 1 / V)], (1 - eye[:2]) / (V - 1), rng.dirichlet(np.full(V, 0.1), 30)])
    weights = np.append(np.geomspace(1e-6, 0.5, 30), [0.0, 1.0])
    companions = np.concatenate([w * ends[0] + (1 - w) * ends for w in weights])
    models = np.concatenate([w * ends[1] + (1 - w) * ends for w in (0.0, 0.01, 0.3, 1.0)])
    return np.repeat(models, len(companions), axis=0), np.tile(companions, (len(models), 1))


@pytest.mark.parametrize("floor", [0.2, 0.001])
@pytest.mark.parametrize(("rate", "share"), [(0.05, 0.99), (0.3, 0.8), (1.0, 0.5), (4.0, 0.95)])
def test_no_prediction_leaves_the_range_and_some_come_near(predictor, rate, share, floor):
    companion, choice = replace(COMPANION, floor=floor), CompanionChoice(predictor, rate, share)
    models, companions = extremes(predictor, floor)
    u, q = distributions(predictor, floor, companions, models)
    found = -np.inf
    for token in (0, 1, V - 1):
        given = beside(u, q, np.full(len(u), token))
        assert np.all(given.expected <= given.most / 2 + 1e-12)
        found = max(found, (given.loss + choice.summand(given)).max())
    top = choice.greatest(companion)
    assert found <= top + 1e-9
    assert found > 0.8 * top or share / rate > companion.max_loss / 2  # then E[Z] > max Z - s/lambda, always
    assert float(greatest(predictor, mp.mpf(rate), mp.mpf(share))) == pytest.approx(
        choice.greatest(COMPANION), abs=1e-9
    )


def test_greatest_where_the_companion_can_lose_much_more_than_the_model():
    """The worst prediction is the companion's worst loss beside the greatest baseline, A'/2."""
    companion, rate = CodedCompanion(0.0, 100, 50304, floor=1e-4), mp.mpf(0.07)
    most, most_u = mp.log(50304 / mp.mpf(0.05)), mp.log(50304 / mp.mpf(1e-4))
    z, y = most - most_u, most / 2
    found = CompanionChoice(Predictor(0.05), 0.07, 0.5).greatest(companion)
    assert found == pytest.approx(float(most_u + f(z, y, rate)), rel=1e-12)


@pytest.mark.parametrize("share", [COMPANION_SHARES[0], 0.1, COMPANION_SHARES[-1]])
def test_range_of_the_companion_alone(share):
    """Any loss beside any entropy that leaves it possible."""
    u = (1 - FLOOR) * np.random.default_rng(1).dirichlet(np.full(V, 0.03), 4000) + FLOOR / V
    entropy = -(u * np.log(u)).sum(axis=1)
    found = COMPANION.summand(-np.log(u), np.tile(entropy[:, None], (1, V)), share) + np.log(u)
    assert 0.8 * COMPANION.charge_limit(share) < found.max() <= COMPANION.charge_limit(share)
    assert found.min() >= 0


# Special companions.


def test_a_uniform_companion_gives_the_bound_without_one():
    """T6: X^u = log V whatever the token, so Z = X^q - log V, and both baselines and bounds differ by that constant."""
    alpha, rate, share = 0.3, 0.6, 0.8
    u = np.full((N_WINDOWS, SEQ_LEN, V), 1 / V)
    q = (1 - alpha) * MODEL + alpha / V
    given = beside(u, q)
    choice = CompanionChoice(Predictor(alpha), rate, share)
    bound = companion_bound(CODED, replace(COMPANION, code_length_bits=0.0), given, choice, 0.3, 1.7, 1.7)
    x, greatest_loss = -np.log(np.take_along_axis(q, TOKENS[..., None], axis=2)[..., 0]), -np.log(q).min(axis=2)
    own = ((u + q) / 2 * -np.log(q)).sum(axis=2)
    baseline = np.maximum(own, greatest_loss - share / rate)  # known before the token, like those of `tight_bound`
    direct = freedman_direct(x.ravel(), baseline.ravel(), share / rate * (1 + 1e-9), bound.complexity, rate)
    assert bound.value - bound.companion == pytest.approx(direct, abs=1e-12)
    own_complexity = replace(COMPANION, code_length_bits=0.0).complexity
    assert bound.companion == pytest.approx(own_complexity / COMPANION.rate(0.3), abs=1e-12)  # X^u never varies


def test_the_bound_without_a_companion_differs_in_its_baseline_alone():
    """`tight_bound`, of the same predictor, rate and complexity, is T12 with u uniform and the paper's Y, less eps."""
    alpha, floor, s = 0.3, 1.83, 0.83
    choice = Choice(alpha, floor, s, companion_grids.GRID_SIZE, V)
    rate = s / (math.log(V / alpha) - floor)
    nll = -np.log(np.take_along_axis(MODEL, TOKENS[..., None], axis=2)[..., 0])
    entropy = smoothing.smoothed_entropy(np.log(MODEL), alpha)
    tight = tight_bound(CODED, nll, entropy, choice, 1.7)
    assert tight.rate == pytest.approx(rate, rel=1e-12)
    u, q = np.full((N_WINDOWS, SEQ_LEN, V), 1 / V), (1 - alpha) * MODEL + alpha / V
    given = beside(u, q)._replace(expected=np.maximum(entropy, floor) - math.log(V))
    companion = replace(COMPANION, code_length_bits=0.0)
    f_of_z = CompanionChoice(Predictor(alpha), rate, 30.0).summand(given)  # so large a share leaves Y as given
    direct = companion.with_model(CODED) / rate + math.log(V) + f_of_z.mean()
    assert tight.value == pytest.approx(direct, abs=1e-12)


def test_hedged_entirely_it_is_the_companion_s_own_bound():
    """alpha -> 1: Z -> 0, and what remains is R(u) <= mean X^u + eps and the price of the code, C/lambda."""
    alpha, rate = 1 - 1e-9, RATES[-1]
    given = beside(*distributions(Predictor(alpha, hedged=True)))
    share = choose_share(COMPANION, given.loss, given.entropy)
    choice = CompanionChoice(Predictor(alpha, hedged=True), rate, 0.5)
    hedged = companion_bound(CODED, COMPANION, given, choice, share, TRAIN_RISK, QUANTIZED_RISK)
    online = online_bound(COMPANION, given.loss, given.entropy, share, TRAIN_RISK)
    assert hedged.value == pytest.approx(online.value + hedged.complexity / rate, abs=1e-7)
    assert hedged.companion == online.companion


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(0.01, 0.99),
    st.sampled_from([0.02, 0.3, 5.0]),
    st.floats(0.05, 4),
    st.floats(0.5, 0.99),
)
def test_a_hedge_never_costs_more_than_its_logarithm(seed, alpha, spread, rate, share):
    """For every model: X^q <= X^u + log(1/alpha), so R(q) <= R(u) + log(1/alpha), and no summand says more than the range."""
    model = np.random.default_rng(seed).dirichlet(np.full(V, spread), (N_WINDOWS, SEQ_LEN))
    predictor = Predictor(alpha, hedged=True)
    given = beside(*distributions(predictor, model=np.nan_to_num(model)))
    assert np.all(given.excess <= given.most + 1e-12)
    assert np.all(given.most <= -math.log(alpha) + 1e-12)
    own = choose_share(COMPANION, given.loss, given.entropy)
    choice = CompanionChoice(predictor, rate, share)
    bound = companion_bound(CODED, COMPANION, given, choice, own, TRAIN_RISK, QUANTIZED_RISK)
    online = online_bound(COMPANION, given.loss, given.entropy, own, TRAIN_RISK)
    top = -math.log(alpha)
    assert (
        bound.value - online.value <= bound.complexity / rate + choice.greatest(COMPANION) - COMPANION.max_loss + 1e-9
    )
    assert bound.train_risk + bound.quantization_gap + bound.smoothing <= bound.companion_risk + top + 1e-9
    assert choice._replace(rate=4.0, share=0.5).greatest(COMPANION) <= COMPANION.max_loss + top + 0.05


# Choosing.


@pytest.mark.parametrize("range_cost", [0.0, 0.05])
def test_choice_is_the_least_bound_of_the_grid(predictor, range_cost):
    given = beside(*distributions(predictor))
    coded = replace(CODED, n_train_tokens=10**4)
    companion = replace(COMPANION, n_train_tokens=10**4)

    def cost(choice):
        mean = given.loss.mean() + choice.summand(given).mean()
        return companion.with_model(coded) / choice.rate + mean + range_cost * choice.greatest(companion)

    best = min((CompanionChoice(predictor, rate, s) for rate in RATES for s in SHARES), key=cost)
    worse = given._replace(excess=given.excess - 0.3, loss=given.loss + 1)
    others = {Predictor(0.9): worse, predictor: given, Predictor(0.01): worse}
    found = choose_companion(coded, companion, others, range_cost)
    assert found.predictor == predictor
    assert cost(found) == pytest.approx(cost(best), rel=0.002)

    def own_cost(share):
        mean = companion.summand(given.loss, given.entropy, share).mean()
        return companion.complexity / companion.rate(share) + mean + range_cost * companion.charge_limit(share)

    assert choose_share(companion, given.loss, given.entropy, range_cost) == min(COMPANION_SHARES, key=own_cost)
    if not range_cost:
        assert choose_companion(coded, companion, others) == found
        assert choose_share(companion, given.loss, given.entropy) == min(COMPANION_SHARES, key=own_cost)


def test_the_grid_is_what_is_paid_for():
    found = predictors(0.123)
    assert [p.hedged for p in found["companion"]] == 4 * [False]
    assert [p.hedged for p in found["hedged"]] == 7 * [True]
    assert len({*found["companion"], *found["hedged"]}) == companion_grids.N_PREDICTORS
    assert {*found["hedged_little"]} == {p for p in found["hedged"] if p.alpha < 0.051} < {*found["hedged"]}
    assert max(p.alpha for p in found["hedged_little"]) == 0.05
    assert companion_grids.N_PREDICTORS * len(RATES) * len(SHARES) == companion_grids.GRID_SIZE


# What cannot be.


def test_float32_gives_the_same_bound(predictor):
    given = beside(*distributions(predictor))
    rough = Beside(*(values.astype(np.float32) for values in given))
    choice = CompanionChoice(predictor, 4.0, 0.99)
    fine, coarse = (companion_bound(CODED, COMPANION, at, choice, 0.9, 1.7, 1.7).value for at in (given, rough))
    assert fine == pytest.approx(coarse, abs=1e-4)


@pytest.mark.parametrize("kind", ["betting", "Hoeffding", "every window"])
def test_the_worst_predictions_in_float32_stay_in_the_range(predictor, kind):
    """Every token the worst that the distributions allow, each number rounded up by a few float32 steps."""
    choice, sample = CompanionChoice(predictor, 4.0, 0.9), SAMPLES[kind]
    most_excess, most_loss = choice.limits(COMPANION)
    for loss in (max(0.0, most_loss - most_excess), COMPANION.max_loss):
        excess = min(most_excess, most_loss - loss)
        for most, entropy in ((max(excess, 0.0), 0.0), (most_excess, 0.0), (most_excess, math.log(V))):
            worst = Beside(loss, entropy, excess, most / 2, most)
            up = Beside(*(np.full((N_WINDOWS, SEQ_LEN), value + 3e-6, np.float32) for value in worst))
            bound = companion_bound(CODED, COMPANION, of_sample(sample, up), choice, 0.9, 1.7, 1.7, sample)
            assert loss + excess - 1e-4 < bound.value < np.inf
            assert bound.sampling >= 0


def changed(field, change):
    def make(given):
        values = getattr(given, field).copy()
        change(values)
        return given._replace(**{field: values})

    return make


def put(value):
    def change(values):
        values[1, 1] = value

    return change


WRONG = {
    "loss above log(V/eta)": (changed("loss", put(5.9)), "losses of the companion"),
    "negative loss": (changed("loss", put(-0.1)), "losses of the companion"),
    "infinite loss": (changed("loss", put(np.inf)), "losses of the companion"),
    "NaN": (changed("loss", put(np.nan)), "loss hold 1 NaN"),
    "NaN of Z": (changed("excess", put(np.nan)), "excess hold 1 NaN"),
    "NaN of E[Z]": (changed("expected", put(np.nan)), "expected hold 1 NaN"),
    "NaN of the range": (changed("most", put(np.nan)), "most hold 1 NaN"),
    "NaN of the entropy": (changed("entropy", put(np.nan)), "entropy hold 1 NaN"),
    "entropy above log V": (changed("entropy", put(1.96)), "entropies of the companion"),
    "negative entropy": (changed("entropy", put(-0.01)), "entropies of the companion"),
    "Z above its greatest": (lambda g: changed("excess", put(g.most[1, 1] + 0.01))(g), "excess beyond most"),
    "Z so low that q exceeds 1": (changed("excess", put(-6.0)), "losses of the predictor"),
    "range of another alpha": (changed("most", put(3.2)), "most in"),
    "negative range": (changed("most", put(-0.1)), "most in|beyond most"),
    "E[Z] above half of the range": (lambda g: changed("expected", put(g.most[1, 1]))(g), "expected beyond most / 2"),
    "infinite E[Z]": (changed("expected", put(np.inf)), "expected beyond most / 2"),
    "another shape": (lambda g: g._replace(most=g.most[:, :2]), "have shapes"),
    "entropies of another shape": (lambda g: g._replace(entropy=g.entropy[:, :2]), "entropies of shape"),
    "too few tokens": (lambda g: Beside(*(v[:-1] for v in g)), "117 of 120 training tokens: pass their sample"),
    "no tokens": (lambda g: Beside(*(v[:0] for v in g)), "losses of shape"),
    "text": (lambda g: g._replace(excess=np.full(g.loss.shape, "a")), "excess must be real numbers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_cannot_be_are_refused(name, predictor):
    make, message = WRONG[name]
    given = beside(*distributions(predictor))
    choice = CompanionChoice(predictor, 0.6, 0.8)
    companion_bound(CODED, COMPANION, given, choice, 0.3, 1.7, 1.7)
    with pytest.raises(ValueError, match=message) as error:
        companion_bound(CODED, COMPANION, make(given), choice, 0.3, 1.7, 1.7)
    assert "\n" not in str(error.value)


def limits_of(predictor):
    """What one token may be: a change that reaches the end of a range, the step beyond it, and how it is refused."""
    most_excess, most_loss = CompanionChoice(predictor, 0.6, 0.8).limits(COMPANION)
    top, log_v = COMPANION.max_loss, math.log(V)
    low_excess = min(0.0, most_loss - top) - 0.1
    loss = min(top, most_loss - 0.5)
    return {
        "loss": ({"loss": top, "excess": low_excess}, {"loss": 1}, "losses of the companion"),
        "no loss": ({"loss": 0.0, "excess": 0.0}, {"loss": -1}, "losses of the companion"),
        "entropy": ({"entropy": log_v}, {"entropy": 1}, "entropies of the companion"),
        "no entropy": ({"entropy": 0.0}, {"entropy": -1}, "entropies of the companion"),
        "loss of the predictor": (
            {"loss": loss, "excess": most_loss - loss, "most": min(most_excess, most_loss - loss), "expected": 0.0},
            {"excess": 1},
            "losses of the predictor",
        ),
        "no loss of the predictor": ({"loss": 1.0, "excess": -1.0}, {"excess": -1}, "losses of the predictor"),
        "range": ({"most": most_excess}, {"most": 1}, "most in"),
        "no range": ({"most": 0.0, "excess": -0.1, "loss": 1.0, "expected": -0.1}, {"most": -1}, "most in"),
        "expected": (
            {"most": 1.0, "expected": 0.5, "excess": 0.0, "loss": 1.0},
            {"expected": 1},
            "expected beyond most / 2",
        ),
        "excess": ({"most": 1.0, "expected": 0.0, "excess": 1.0, "loss": 1.0}, {"excess": 1}, "excess beyond most"),
    }


def at(given, **values):
    fields = {name: array.copy() for name, array in given._asdict().items()}
    for name, value in values.items():
        fields[name][1, 1] = value
    return Beside(**fields)


@pytest.mark.parametrize("name", list(limits_of(PREDICTORS["T12a"])))
def test_one_token_may_leave_a_range_by_rounding_and_by_no_more(name, predictor):
    ends, step, message = limits_of(predictor)[name]
    given, choice = beside(*distributions(predictor)), CompanionChoice(predictor, 0.6, 0.8)

    def bound(by):
        beyond = {field: value + by * step.get(field, 0) for field, value in ends.items()}
        return companion_bound(CODED, COMPANION, at(given, **beyond), choice, 0.3, 1.7, 1.7)

    assert bound(9e-4).value == pytest.approx(bound(0.0).value, abs=1e-4)
    if name in ("loss", "no loss", "excess"):  # what rounding added is taken off
        companion = bound(9e-4).companion_risk if "loss" in name else bound(9e-4).deviation
        assert companion == pytest.approx(
            bound(0.0).companion_risk if "loss" in name else bound(0.0).deviation, abs=1e-12
        )
    with pytest.raises(ValueError, match=f"^{message}"):
        bound(1.1e-3)


@pytest.mark.parametrize("field", ["most", "expected"])
def test_an_array_with_nan_is_named(field, predictor):
    given = beside(*distributions(predictor))
    given = given._replace(**{field: given.most * math.nan})
    with pytest.raises(ValueError, match=f"^{field} hold 120 NaN"):
        CompanionChoice(predictor, 0.6, 0.8).summand(given)
    with pytest.raises(ValueError, match=r"^entropy hold 120 NaN"):
        COMPANION.summand(given.loss, given.most * math.nan, 0.3)


def test_float32_is_summed_in_float64(predictor):
    rough = Beside(*(values.astype(np.float32) for values in beside(*distributions(predictor))))
    wide = Beside(*(values.astype(float) for values in rough))
    choice = CompanionChoice(predictor, 2.5, 0.5)
    np.testing.assert_array_equal(choice.summand(rough), choice.summand(wide))
    own = (COMPANION.summand(values.loss, values.entropy, 0.3) for values in (rough, wide))
    np.testing.assert_array_equal(*own)
    most = np.full((2, 1), math.log(V) + 1e-6)  # of an entropy
    own = (COMPANION.summand(np.ones((2, 1)), most.astype(kind), 0.3) for kind in (np.float32, float))
    np.testing.assert_array_equal(*own)
    given = replace(CODED, n_train_tokens=10**4), replace(COMPANION, n_train_tokens=10**4)
    many = Beside(*(np.tile(values, (500, 1)) for values in rough))
    assert choose_companion(*given, {predictor: many}) == choose_companion(*given, {predictor: wide})
    bounds = [companion_bound(CODED, COMPANION, values, choice, 0.3, 1.7, 1.7) for values in (rough, wide)]
    assert bounds[0].value == pytest.approx(bounds[1].value, rel=1e-14)


def test_another_training_vocabulary_predictor_or_floor_is_refused(predictor):
    given = beside(*distributions(predictor, floor=0.001, companion=np.eye(V)[TOKENS - 1]))
    choice = CompanionChoice(predictor, 0.6, 0.8)
    with pytest.raises(ValueError, match=r"losses of the companion .* another predictor or floor"):
        companion_bound(CODED, COMPANION, given, choice, 0.3, 1.7, 1.7)
    with pytest.raises(ValueError, match=r"losses of the companion .* another predictor or floor"):
        online_bound(COMPANION, given.loss, given.entropy, 0.3, 1.7)
    given = beside(*distributions(predictor))
    with pytest.raises(ValueError, match="another predictor or floor"):
        companion_bound(
            CODED, COMPANION, given, choice._replace(predictor=Predictor(0.9, predictor.hedged)), 0.3, 1.7, 1.7
        )
    for other in (replace(CODED, vocab_size=V + 1), replace(CODED, n_train_tokens=121)):
        with pytest.raises(
            ValueError, match=r"^the companion is of another training or another vocabulary than the model$"
        ):
            companion_bound(other, COMPANION, given, choice, 0.3, 1.7, 1.7)
    with pytest.raises(ValueError, match="drawn windows"):
        companion_bound(CODED, COMPANION, given, choice, 0.3, 1.7, 1.7, SAMPLES["betting"])
    with pytest.raises(ValueError, match="pass their sample"):
        online_bound(COMPANION, given.loss[1:], given.entropy[1:], 0.3, 1.7)
