"""The bounds against the published table, exact sources and one another; golden values of their terms: test_golden.py."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from gengap import published
from gengap.bounds import sampling, smoothing
from gengap.bounds.grids import Choice, Grid, Tilt, choose, tight_grid
from gengap.bounds.terms import AzumaBound, CodedModel, PaperBound, TightBound
from gengap.bounds.theorems import (
    azuma_bound,
    closed_form_azuma_gap,
    closed_form_gap,
    paper_bound,
    tight_bound,
    tightening_steps,
)

V = 11


def contexts(n_contexts, seed, vocab_size=V, scale=2.5):
    """(n_contexts, V) log-probabilities, from nearly uniform to nearly certain."""
    rng = np.random.default_rng(seed)
    logits = rng.uniform(0.1, scale, (n_contexts, 1)) * rng.standard_normal((n_contexts, vocab_size))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


class Source:
    """Tokens from contexts drawn in turn; the model is a wrong version of the truth, so that there is a gap."""

    def __init__(self, alphas, n_contexts=30, seed=0):
        self.alphas = tuple(map(float, alphas))
        self.truth = np.exp(contexts(n_contexts, seed))
        self.model = contexts(n_contexts, seed) * 1.5
        self.model -= np.logaddexp.reduce(self.model, axis=1, keepdims=True)
        self.entropies = np.stack([smoothing.smoothed_entropy(self.model, a) for a in self.alphas])

    def draw(self, shape, rng):
        """nll, (A, ...) entropies and the contexts."""
        context = rng.integers(len(self.truth), size=shape)
        below = rng.random(shape)[..., None] > np.cumsum(self.truth[context], axis=-1)
        token = np.minimum(below.sum(axis=-1), V - 1)
        return -self.model[context, token], self.entropies[:, context], context

    def risk(self, alpha, context):
        """The risk that is bounded: expected smoothed loss given each context, averaged."""
        x = smoothing.smoothed_nll(-self.model, alpha, V)
        return (self.truth * x).sum(axis=1)[context].mean()


# Published: the authors' comparison table. Closed forms to four digits, computed by hand from the paper's Thm 3.4 and from
# Azuma's inequality with the best alpha.
CLOSED_FORMS = {
    "70m": (1.669, 2.857),
    "160m": (1.814, 3.049),
    "410m": (2.135, 3.374),
    "1b": (2.106, 3.371),
    "1.4b": (2.097, 3.369),
    "2.8b": (2.116, 3.396),
    "6.9b": (2.126, 3.412),
}


@pytest.mark.parametrize("column", published.bound_table(), ids=lambda column: column.size)
def test_closed_forms_reproduce_the_published_table(column):
    coded = CodedModel(4 * column.n_params, column.n_train_tokens, published.facts("pythia")["vocab_size"])
    gap = closed_form_gap(coded, published.fitted_loss_variation(column.n_params))
    azuma_gap = closed_form_azuma_gap(coded)
    np.testing.assert_allclose((gap, azuma_gap), CLOSED_FORMS[column.size], atol=0.002)
    np.testing.assert_allclose((gap, azuma_gap), (column.gap, column.azuma_gap), atol=0.07)


def test_published_facts_name_their_sources_and_their_sections():
    for section in ("settings", "pythia", "bound_table", "chinchilla", "kaplan2020"):
        assert published.facts(section)["source"]
    with pytest.raises(KeyError, match="it has settings"):
        published.facts("nothing")
    assert published.compute_optimal_tokens(published.pythia_n_params()["6.9b"]) == 66_000 * 2_097_152


def test_bounds_hold_on_an_exact_source():
    """Risk of the smoothed model known exactly; constants chosen on the same data that the bound is made of."""
    n_runs, n_tokens, failure_prob = 300, 1500, 0.2
    coded = CodedModel(0.0, n_tokens, V, failure_prob, s_grid_size=20)
    source = Source([coded.paper_alpha, 0.005, 0.05])
    floors = tight_grid(source.alphas, V, n_floors=4).floors
    grid = Grid(source.alphas, floors, np.array([0.05, 0.2, 0.5, 0.8, 0.95]))
    rng, misses = np.random.default_rng(2), {"paper": 0, "tight": 0, "azuma": 0}
    for _ in range(n_runs):
        nll, entropies, context = source.draw(n_tokens, rng)
        choice = choose(nll, entropies, grid, V, coded.complexity(grid.size))
        tight = tight_bound(coded, nll, entropies[source.alphas.index(choice.alpha)], choice, nll.mean())
        paper = paper_bound(coded, nll, entropies[0], nll.mean())
        azuma = azuma_bound(coded, nll, nll.mean())
        for name, bound in {"tight": tight, "paper": paper, "azuma": azuma}.items():
            misses[name] += bound.value < source.risk(bound.alpha, context)
    assert max(misses.values()) <= binom.ppf(0.9999, n_runs, failure_prob), misses


def test_without_its_complexity_the_bound_would_fail():
    """The same test with C left out: it must notice."""
    coded = CodedModel(0.0, 1500, V, 0.2)
    source, rng, misses = Source([0.05]), np.random.default_rng(2), 0
    choice = Choice(0.05, 0.8, 0.05, 1, V)
    for _ in range(300):
        nll, entropies, context = source.draw(1500, rng)
        bound = tight_bound(coded, nll, entropies[0], choice, nll.mean())
        misses += bound.value - bound.complexity / bound.rate < source.risk(0.05, context)
    assert misses > binom.ppf(0.9999, 300, 0.2)


@pytest.fixture(scope="module")
def windows():
    """A population of 400 windows of 16 tokens at three smoothing weights."""
    coded = CodedModel(900.0, 400 * 16, V, 0.001)
    source = Source([0.02, coded.paper_alpha, 0.2], seed=3)
    nll, entropies, _ = source.draw((400, 16), np.random.default_rng(4))
    return coded, source.alphas, nll, entropies


def test_certificates_lie_above_the_evaluation_of_all_windows(windows):
    coded, alphas, nll, entropies = windows
    grid, misses, n_runs = tight_grid(alphas, V, n_floors=4), {"tight": 0, "paper": 0, "azuma": 0}, 150
    for seed in range(n_runs):
        sample = sampling.draw_windows(400, 40, 80, 0.2, np.random.default_rng(seed))
        part, h = nll[sample.windows], entropies[:, sample.windows]
        choice = choose(part[:40], h[:, :40], grid, V, coded.complexity(grid.size))
        at = alphas.index(choice.alpha)
        tight = tight_bound(coded, part, h[at], choice, part.mean(), sample)
        misses["tight"] += tight.value < tight_bound(coded, nll, entropies[at], choice, nll.mean()).value
        paper = paper_bound(coded, part, h[1], part.mean(), sample)
        own = Choice(paper.alpha, float(smoothing.min_nll(paper.alpha, V)), paper.s, 1000, V)
        misses["paper"] += paper.value < tight_bound(coded, nll, entropies[1], own, nll.mean()).value
        azuma = azuma_bound(coded, part, part.mean(), sample)
        smoothed = smoothing.smoothed_nll(nll, azuma.alpha, V).mean()
        misses["azuma"] += azuma.value < smoothed + azuma.deviation
        assert tight.sampling_failure_prob == 0.2
        assert tight.n_tokens_evaluated == 120 * 16
    assert max(misses.values()) <= binom.ppf(0.9999, n_runs, 0.2), misses


def test_each_gain_tightens(windows):
    coded, alphas, nll, entropies = windows
    coded = replace(coded, n_train_tokens=nll.size)
    steps = tightening_steps(coded, nll, entropies, alphas, nll.mean())
    values = [step.value for step in steps.values()]
    assert list(steps) == ["paper", "measured", "entropy floor", "raised baseline", "chosen"]
    assert values[1] < values[0]
    paid = math.log(tight_grid(alphas, V).size) / nll.size * 10  # what larger grids cost
    assert np.all(np.diff(values[1:]) < paid)
    assert values[-1] < values[1]
    np.testing.assert_allclose(steps["measured"].terms()["quantization_gap"], 0, atol=1e-12)


def test_steps_of_a_sample_are_bounds_with_that_grid(windows):
    coded, alphas, nll, entropies = windows
    sample = sampling.draw_windows(400, 40, 80, 0.2, np.random.default_rng(7))
    part, h, own = nll[sample.windows], entropies[:, sample.windows], alphas[1]
    steps = tightening_steps(coded, part, h, np.array(alphas), 1.5, sample)
    assert steps["paper"] == paper_bound(coded, part, h[1], 1.5, sample)
    whole = tight_grid(alphas, V)
    floors = {
        "measured": [[float(smoothing.min_nll(own, V))]],
        "entropy floor": [[float(smoothing.entropy_floor(own, V))]],
        "raised baseline": whole.floors[1:2],
    }
    of_steps = {name: Grid((own,), np.array(floor), whole.s_grid) for name, floor in floors.items()} | {"chosen": whole}
    for name, grid in of_steps.items():
        rows = [alphas.index(alpha) for alpha in grid.alphas]
        c = coded.complexity(grid.size)
        choice = choose(part[:40], h[rows, :40], grid, V, c, sample.range_cost)
        expected = tight_bound(coded, part, h[alphas.index(choice.alpha)], choice, 1.5, sample)
        assert steps[name] == expected, name


def test_the_paper_s_alpha_is_found_among_others_but_for_rounding(windows):
    coded, alphas, nll, entropies = windows
    near = (alphas[0], alphas[1] * (1 + 8e-7), alphas[2])
    assert set(tightening_steps(coded, nll, entropies, near, 1.5)) > {"paper", "chosen"}
    with pytest.raises(ValueError, match="must hold the paper's"):
        tightening_steps(coded, nll, entropies, (alphas[0], alphas[1] * (1 + 1.2e-6), alphas[2]), 1.5)


@pytest.mark.parametrize(("dtype", "right", "wrong"), [(np.float64, 0.9e-3, 1.1e-3), (np.float16, 5e-3, 1.5e-2)])
def test_entropies_may_leave_their_range_by_rounding(windows, dtype, right, wrong):
    coded, _, nll, _ = windows
    choice = Choice(0.2, 2.3, 0.9, 1, V)
    low, high = float(smoothing.entropy_floor(0.2, V)), math.log(V)

    def bound(entropy):
        values = np.full(nll.shape, 2.0, dtype)
        values[3, 4] = entropy
        return tight_bound(coded, nll, values, choice, 1.5)

    assert math.isfinite(bound(high + right).value)
    assert math.isfinite(bound(low - right).value)
    for entropy in (high + wrong, low - wrong):
        with pytest.raises(ValueError, match="evaluate them at this alpha"):
            bound(entropy)


def test_one_token_is_enough():
    assert tight_bound(CodedModel(0.0, 1, V), [1.0], [2.0], Choice(0.2, 1.0, 0.9, 1, V), 1.0).n_tokens_evaluated == 1


def test_search_finds_what_the_whole_grid_holds(windows):
    coded, alphas, nll, entropies = windows
    grid = tight_grid(alphas, V, n_floors=8, s_grid_size=50)
    choice = choose(nll, entropies, grid, V, coded.complexity(grid.size))
    best = min(
        tight_bound(coded, nll, entropies[a], Choice(alpha, float(y0), float(s), grid.size, V), nll.mean()).value
        for a, alpha in enumerate(alphas)
        for y0 in grid.floors[a]
        for s in grid.s_grid[::2]
    )
    found = tight_bound(coded, nll, entropies[alphas.index(choice.alpha)], choice, nll.mean()).value
    assert found <= best + 1e-9
    assert choice.grid_size == 3 * 8 * 50


@given(
    alpha=st.floats(1e-3, 0.6), part=st.floats(0, 0.99), s=st.floats(0.01, 0.99), x=st.floats(0, 1), y=st.floats(0, 1)
)
def test_summand_stays_in_its_range(alpha, part, s, x, y):
    floor, top = float(smoothing.min_nll(alpha, V)), float(smoothing.max_nll(alpha, V))
    choice = Choice(alpha, floor + part * (math.log(V) - floor), s, 1, V)
    loss, baseline = (floor + x * (top - floor), choice.baseline_floor + y * (math.log(V) - choice.baseline_floor))
    rate = choice.rate
    f = baseline - math.log1p(rate * (baseline - loss)) / rate
    lower, upper = choice.summand_range
    assert loss - 1e-9 <= f
    assert lower - 1e-9 <= f <= upper + 1e-9


lengths = st.floats(0, 1e5)
deltas = st.floats(1e-6, 0.5)


@given(lengths=st.tuples(lengths, lengths), deltas=st.tuples(deltas, deltas), doubled=st.booleans())
@settings(max_examples=40, deadline=None)
def test_bounds_are_monotone_in_code_length_confidence_and_tokens(lengths, deltas, doubled):
    source = Source([0.05])
    nll, entropies, _ = source.draw(64, np.random.default_rng(5))

    def values(length, delta, times=1):
        coded = CodedModel(length, 64 * times, V, delta, s_grid_size=50)
        losses = np.tile(nll, times)
        alpha = coded.paper_alpha
        h = np.tile(smoothing.smoothed_entropy(source.model, alpha).mean(), 64 * times)  # any legal baseline
        tight = tight_bound(coded, losses, np.tile(entropies[0], times), Choice(0.05, 0.9, 0.5, 10, V), 0.0)
        azuma = azuma_bound(coded, losses, 0.0, alphas=np.linspace(0.01, 0.9, 30))
        closed = closed_form_gap(coded, 1.0)
        return np.array([paper_bound(coded, losses, h, 0.0).value, tight.value, azuma.value, closed])

    short, long = sorted(lengths)
    low, high = sorted(deltas)
    tolerance = 1e-9
    assert np.all(values(short, low)[1:] <= values(long, low)[1:] + tolerance)
    assert np.all(values(short, high)[1:] <= values(short, low)[1:] + tolerance)
    assert np.all(values(short, low, times=2) <= values(short, low) + tolerance) or not doubled


def test_bound_grows_with_the_range():
    source = Source([0.05])
    nll, entropies, _ = source.draw(400, np.random.default_rng(6))
    entropy = np.maximum(entropies[0], 1.0)
    coded = CodedModel(100.0, 400, V)

    def best(y0):
        grid = Grid((0.05,), np.array([[y0]]), np.linspace(0.001, 0.999, 999))
        choice = choose(nll, entropy[None], grid, V, coded.complexity(grid.size))
        return tight_bound(coded, nll, entropy, choice, 0.0).value

    values = [best(y0) for y0 in (0.0, 0.3, 0.6, 1.0)]  # every baseline is at least 1: only the range changes
    assert np.all(np.diff(values) < 1e-6)
    assert values[-1] < values[0] - 0.01


def test_float32_statistics_lose_nothing(windows):
    coded, alphas, nll, entropies = windows
    choice = Choice(alphas[0], 1.0, 0.9, 1, V)
    exact = tight_bound(coded, nll, entropies[0], choice, 1.5).value
    single = tight_bound(coded, nll.astype(np.float32), entropies[0].astype(np.float32), choice, 1.5).value
    np.testing.assert_allclose(single, exact, atol=1e-7)
    rough = nll.astype(np.float32)
    assert azuma_bound(coded, rough, 1.5).value == pytest.approx(
        azuma_bound(coded, rough.astype(float), 1.5).value, rel=1e-14
    )
    alphas = np.float32([0.1, 0.3])
    assert closed_form_azuma_gap(coded, alphas) == closed_form_azuma_gap(coded, alphas.astype(float))
    loss, tilt = np.minimum(rough, 2) + np.float32(0.3), Tilt(0.2, 0.05, 1.2, 1, V)
    of_single, of_double = (
        tight_bound(coded, rough, entropies[0], tilt, 1.5, loss=loss.astype(kind)).value for kind in (np.float32, float)
    )
    assert of_single == pytest.approx(of_double, rel=1e-14)


def test_terms_sum_to_the_value(windows):
    coded, alphas, nll, entropies = windows
    for bound in tightening_steps(coded, nll, entropies, alphas, 1.5).values():
        assert isinstance(bound, PaperBound | TightBound | AzumaBound)
        np.testing.assert_allclose(sum(bound.terms().values()), bound.value, rtol=1e-14)
        np.testing.assert_allclose(bound.gap, bound.value - 1.5, rtol=1e-12)
        assert all(isinstance(value, float) for value in bound.terms().values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nll": lambda nll: nll[:100]}, "1600 of 6400 training tokens: pass their sample"),
        ({"nll": lambda nll: nll[:0]}, "no tokens"),
        ({"nll": lambda nll: np.where(nll == nll.max(), np.nan, nll)}, "NaN"),
        ({"nll": lambda nll: nll - 30}, "at least 0"),
        ({"entropy": lambda h: h[:, :3]}, "shape"),
        ({"entropy": lambda h: h * 0}, "evaluate them at this alpha"),
        ({"entropy": lambda h: h * np.nan}, "NaN"),
        ({"entropy": lambda h: h + 9}, "evaluate them at this alpha"),
        ({"choice": Choice(0.2, 1.0, 1.0, 1, V)}, "its limit"),
        ({"choice": Choice(0.2, 9.0, 0.5, 1, V)}, "must be below"),
        ({"coded": CodedModel(900.0, 6400, V, 1.5)}, "failure_prob"),
        ({"coded": CodedModel(-1.0, 6400, V)}, "code length"),
    ],
)
def test_misuse_is_refused(windows, change, message):
    coded, alphas, nll, entropies = windows
    arguments = {
        "coded": change.get("coded", coded),
        "nll": change.get("nll", lambda a: a)(nll),
        "entropy": change.get("entropy", lambda a: a)(entropies[2]),
        "choice": change.get("choice", Choice(alphas[2], 1.0, 0.9, 1, V)),
    }
    with pytest.raises(ValueError, match=message):
        tight_bound(**arguments, train_risk=1.5)


NAN = np.full(4, math.nan)
FOUR, TILT = CodedModel(0.0, 4, V), Tilt(0.2, 0.05, 1.2, 1, V)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paper_bound(FOUR, NAN, np.ones(4), 1.0), "^nll hold 4 NaN"),
        (lambda: paper_bound(FOUR, np.ones(4), NAN, 1.0), "^entropy hold 4 NaN"),
        (lambda: paper_bound(FOUR, np.ones(4), np.full(4, 2.3), math.inf), "^train_risk must be a finite number of nats, got inf"),
        (lambda: azuma_bound(FOUR, np.ones(4), math.nan), "^train_risk must be a finite"),
        (lambda: azuma_bound(FOUR, np.ones(4), 1.0, alphas=NAN), "^alphas hold 4 NaN"),
        (lambda: azuma_bound(FOUR, [], 1.0), "^no tokens: nll is empty$"),
        (lambda: azuma_bound(FOUR, np.ones(5), 1.0), "^nll holds 5 of 4 training tokens: pass their sample$"),
        (lambda: tight_bound(FOUR, np.ones(4), np.ones(4), TILT, math.inf, loss=np.ones(4)), "^train_risk must be a finite"),
        (lambda: tight_bound(FOUR, np.ones(4), np.ones(4), TILT, 1.0, loss=NAN), "^loss hold 4 NaN"),
        (lambda: tight_bound(FOUR, np.ones(4), NAN, TILT, 1.0, loss=np.ones(4)), "^entropy hold 4 NaN"),
        (lambda: tight_bound(FOUR, np.ones(4), np.ones(3), TILT, 1.0, loss=np.ones(4)), r"have shape \(4,\) and \(3,\), nll \(4,\)"),
        (lambda: tight_bound(FOUR, np.ones(4), np.ones(4), TILT, 1.0, loss=np.ones(3)), r"have shape \(3,\) and \(4,\), nll \(4,\)"),
        (lambda: tight_bound(FOUR, np.ones(4), np.ones(3), TILT, 1.0, loss=np.ones(3)), r"have shape \(3,\) and \(3,\), nll \(4,\)"),
        (lambda: tight_bound(FOUR, np.ones(4), np.ones(4), TILT, 1.0), "^the smoothed model's `loss` goes with a `Tilt`, and with a `Tilt` alone$"),
        (lambda: tight_bound(FOUR, np.ones(4), np.ones(4), Choice(0.2, 1.0, 0.9, 1, V), 1.0, loss=np.ones(4)), "with a `Tilt` alone"),
        (lambda: tight_bound(FOUR, np.ones(4), np.ones(4), Choice(0.2, 1.0, 0.9, 1, V + 1), 1.0), "is not of a vocabulary of 11 tokens"),
        (lambda: tightening_steps(FOUR, NAN, np.ones((1, 4)), [0.5], 1.0), "^nll hold 4 NaN"),
        (lambda: tightening_steps(FOUR, np.ones(4), NAN[None], [0.5], 1.0), "^entropies hold 4 NaN"),
        (lambda: tightening_steps(FOUR, np.ones(4), np.ones((1, 4)), [math.nan], 1.0), "^alphas hold 1 NaN"),
    ],
)  # fmt: skip
def test_what_is_refused_and_why(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_missing_paper_alpha_is_named(windows):
    coded, alphas, nll, entropies = windows
    with pytest.raises(ValueError, match="must hold the paper's"):
        tightening_steps(coded, nll, entropies[[0, 2]], (alphas[0], alphas[2]), 1.5)
    with pytest.raises(ValueError, match="entropies per alpha"):
        choose(nll, entropies[:, :5], tight_grid(alphas, V), V, 0.1)


def test_range_cost_is_minimized_with_the_bound(windows):
    """The search with worst tokens added equals a plain minimum of bound + beta max f."""
    coded, alphas, nll, entropies = windows
    grid, beta = tight_grid(alphas[:1], V, n_floors=3, s_grid_size=200), 0.02
    found = choose(nll, entropies[:1], grid, V, coded.complexity(grid.size), beta)

    def cost(choice):
        bound = tight_bound(coded, nll, entropies[0], choice, nll.mean()).value
        return bound + beta * choice.summand_range[1]

    best = min(
        (Choice(alphas[0], float(y0), float(s), grid.size, V) for y0 in grid.floors[0] for s in grid.s_grid), key=cost
    )
    np.testing.assert_allclose(found, best, rtol=1e-12)
    assert found.s < choose(nll, entropies[:1], grid, V, coded.complexity(grid.size)).s


def test_knowing_the_certificate_improves_it(windows):
    coded, alphas, nll, entropies = windows
    grid, values = tight_grid(alphas[1:2], V), []
    sample = sampling.draw_windows(400, 60, 120, 0.01, np.random.default_rng(1))
    part, h = nll[sample.windows], entropies[1, sample.windows]
    for range_cost in (0.0, sample.range_cost):
        choice = choose(part[:60], h[None, :60], grid, V, coded.complexity(grid.size), range_cost)
        values.append(tight_bound(coded, part, h, choice, part.mean(), sample).value)
    assert values[1] < values[0]


def test_bounds_import_numpy_alone_and_fast():
    code = (
        "import sys, time; import numpy; start = time.process_time(); "
        "from gengap.bounds import classical, coverage, sampling, streaming, theorems; "
        "seconds = time.process_time() - start; assert seconds < 0.5, seconds; "
        "print(*sorted({'torch', 'transformers', 'scipy', 'pydantic'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
