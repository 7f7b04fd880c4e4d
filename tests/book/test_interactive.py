"""The interactive figures: staged from the library, and in a real browser, where a moved control must give the library's number."""

import copy
import itertools
import json
import math

import figure_pages
import nbformat
import numpy as np
import pytest
from browser import chromium, open_browser, serve
from projects import bare_project

from gengap import models, published
from gengap.book import site
from gengap.book.interactive import data, kept, supermartingale
from gengap.bounds import CodedModel, closed_form_azuma_gap, closed_form_gap, smoothing
from gengap.bounds.companion_grids import Beside, CompanionChoice, Predictor
from gengap.bounds.concentration import shifted_log
from gengap.errors import UserError
from gengap.laws import information
from gengap.laws.allocation import allocate
from gengap.laws.frontier import Curve, isoflop, nonembedding_exponent, nonembedding_frontier
from gengap.records import load_records, load_runs
from gengap.training import TrainingLog

RECORDS = {r.identity.model_size: r for r in load_records("ladder", "gptq", 4) if r.identity.revision == "main"}
in_browser = pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    html = figure_pages.build_pages(tmp_path_factory.mktemp("figures"))
    with serve(html) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with open_browser() as page:
        page.view(1280, 900)
        yield page


class Shown:
    """A figure in the browser."""

    def __init__(self, page, address, name):
        self.page = page
        page.open(f"{address}/{name}.html")
        page.wait("document.querySelector('.interactive-figure')?.dataset.state === 'ready'")
        self.data = page.evaluate("JSON.parse(document.querySelector('script.interactive-data').textContent)")
        assert page.errors == []

    def _control(self, key):
        return f"document.querySelector('.interactive-figure [data-key=\"{key}\"]')"

    def set(self, key, value):
        """Move a control: the place of a slider, the value of a select, the state of a box."""
        if isinstance(value, bool):
            act = f"if (c.checked !== {str(value).lower()}) c.click()"
        else:
            act = f"c.value = {str(value)!r}; for (const e of ['input', 'change']) c.dispatchEvent(new Event(e, {{bubbles: true}}))"
        self.page.evaluate(f"(() => {{ const c = {self._control(key)}; {act} }})()")

    def press(self, key):
        self.page.evaluate(f"{self._control(key)}.click()")

    def at(self, key):
        """The exact value that a slider stands for."""
        return float(self.page.evaluate(f"{self._control(key)}.dataset.value"))

    def number(self, key):
        """A number as the figure computed it, without complaint."""
        drawn = "new Promise(r => setTimeout(r))"
        found = self.page.evaluate(f"{drawn}.then(() => {self._control(key)}.getAttribute('value'))")
        assert self.page.errors == []
        return float(found)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# --- staging ------------------------------------------------------------------------------------------------------


def test_pages_ask_for_figures_by_their_names():
    texts = [
        "# A\n\n```{interactive} area\nWords.\n```\n",
        ":::{interactive} frontier\n:::\n",
        "see {interactive} nothing",
    ]
    assert data.asked_for(texts) == {"area", "frontier"}


def test_a_figure_that_there_is_not_or_whose_data_nobody_kept_is_refused():
    with pytest.raises(UserError, match="no interactive figure 'gap'"):
        data.make({"gap"}, {})
    with pytest.raises(UserError, match="'frontier' needs 'frontier', which no notebook kept"):
        data.make({"frontier"}, {})


def test_staging_takes_what_a_notebook_kept_to_the_page_that_asks_for_it(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(kept, "display", lambda bundle, raw: shown.update(bundle))
    kept.keep("frontier", figure_pages.kept()["frontier"])
    root = bare_project(tmp_path / "project")
    pair = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# A page"), nbformat.v4.new_code_cell("keep()")]
    )
    ran = copy.deepcopy(pair)
    ran.cells[1].execution_count = 1
    ran.cells[1].outputs = [
        nbformat.v4.new_output("display_data", data=shown),
        nbformat.v4.new_output("stream", name="stdout", text="words\n"),
    ]
    for name, text in {
        "book/index.md": "# A book\n\n```{interactive} frontier\nTry it.\n```\n",
        "_toc.yml": "format: jb-book\nroot: book/index\nchapters:\n  - file: notebooks/01_page\n",
        "_config.yml": "title: A book\nrepository: {url: ''}\n",
        "notebooks/01_page.ipynb": nbformat.writes(pair),
        "build/notebooks/01_page.ipynb": nbformat.writes(ran),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    stage = site.stage()
    staged = json.loads((stage / "interactive" / "frontier.json").read_text())
    close(staged["omega"], figure_pages.kept()["frontier"]["omega"])
    page = nbformat.read(stage / "notebooks" / "01_page.ipynb", as_version=4)
    assert [output.output_type for output in page.cells[1].outputs] == ["stream"]


def test_what_cannot_be_written_is_refused_where_it_is_kept():
    with pytest.raises(ValueError, match="not JSON compliant"):
        kept.keep("frontier", {"loss": math.nan})


def test_every_figure_is_small_and_has_a_script_and_a_twin():
    files = data.make(set(data.FIGURES), figure_pages.kept())
    assert set(files) == {f"interactive/{name}.json" for name in data.FIGURES}
    for name, content in files.items():
        assert len(content) < 150_000, name
        assert b'"twin"' in content
        assert (figure_pages.ROOT / "book" / "_static" / name.replace(".json", ".js")).is_file()


# --- the bound explorer -----------------------------------------------------------------------------------------------


@in_browser
def test_explorer_shows_what_is_certified(browser, address):
    figure = Shown(browser, address, "bound-explorer")
    for size in ("ladder-100k", "ladder-50k", "ladder-4.5m"):
        figure.set("model", size)
        bounds = RECORDS[size].bounds["nominal"]
        for kind in ("azuma", "paper", "tight"):
            close(figure.number(f"{kind}-gap"), getattr(bounds, kind).gap)
        if bounds.companion:
            close(figure.number("companion-gap"), bounds.companion.gap)


@in_browser
@pytest.mark.parametrize(
    "moves", [{"n": 120}, {"ratio": 90}, {"bits": 5}, {"v": 190, "delta": 30}, {"sigma": 3, "ratio": 150}]
)
def test_explorer_agrees_with_the_library(browser, address, moves):
    figure = Shown(browser, address, "bound-explorer")
    own = figure.at("sigma")
    for key, place in moves.items():
        figure.set(key, place)
    n, bits, sigma = figure.at("n"), figure.at("bits"), figure.at("sigma")
    coded = CodedModel(bits * n, round(n * figure.at("ratio")), int(figure.at("v")), figure.at("delta"))
    c = coded.complexity(coded.s_grid_size)
    close(figure.number("complexity"), c)
    close(figure.number("paper-gap"), closed_form_gap(coded, sigma))
    close(figure.number("azuma-gap"), closed_form_azuma_gap(coded))
    close(figure.number("evaluated-gap"), smoothing.worst_case_cost(c, coded.vocab_size) + sigma * math.sqrt(c))
    if "sigma" not in moves:  # then it follows the complexity
        at = RECORDS["ladder-100k"].bounds["nominal"].paper.complexity
        close(sigma, own * figure_pages.VARIATION.shape(c) / figure_pages.VARIATION.shape(at))


@in_browser
def test_measured_summands_stay_true_at_other_lengths_and_probabilities(browser, address):
    figure = Shown(browser, address, "bound-explorer")
    figure.set("bits", 20)
    figure.set("delta", 100)
    record = RECORDS["ladder-100k"]
    identity, bounds = record.identity, record.bounds["nominal"]
    assert figure.at("bits") != 4
    more = (figure.at("bits") - 4) * identity.n_params * math.log(2) / identity.n_train_tokens
    surer = math.log(bounds.tight.failure_prob / figure.at("delta")) / identity.n_train_tokens
    close(figure.number("tight-gap"), bounds.tight.gap + (more + surer) / bounds.tight.rate)
    extra = (more + surer) / bounds.companion.rate + surer / bounds.companion.companion_rate
    close(figure.number("companion-gap"), bounds.companion.gap + extra)


@in_browser
def test_explorer_has_the_published_models(browser, address):
    figure = Shown(browser, address, "bound-explorer")
    for model in published.bound_table():
        figure.set("model", f"Pythia {model.size}")
        coded = CodedModel(4 * model.n_params, model.n_train_tokens, 50304)
        close(figure.number("paper-gap"), closed_form_gap(coded, published.fitted_loss_variation(model.n_params)))
        assert abs(figure.number("paper-gap") - model.gap) < 0.07  # the rest is quantization
    names = {model["name"] for model in figure.data["models"]}
    assert names >= {model.name for model in published.released_models()} | set(RECORDS)


# --- the supermartingale ------------------------------------------------------------------------------------------------


def draw(source, text, n):
    """The figure's texts, by the same hash of text and step."""
    mask = 2**32 - 1

    def mix(h):
        h = (h ^ h >> 16) * 0x7FEB352D & mask
        h = (h ^ h >> 15) * 0x846CA68B & mask
        return h ^ h >> 16

    sums, tokens, state = np.cumsum(source.probs, axis=1), [], source.start
    for step in range(n):
        u = mix(mix(text + 1) ^ (step + 1) * 0x9E3779B1 & mask) / 2**32
        state = int(min(np.searchsorted(sums[state], u * sums[state, -1], side="right"), source.vocab_size - 1))
        tokens.append(state)
    return tokens


@in_browser
@pytest.mark.parametrize("baseline", ["entropy", "constant", "peeking"])
def test_supermartingale_agrees_with_the_library(browser, address, baseline):
    figure = Shown(browser, address, "supermartingale")
    figure.set("baseline", baseline)
    figure.set("s", 40)
    figure.set("c", 20)
    figure.press("draw")
    source, log_probs = supermartingale.process()
    n, s, budget = figure.data["n_tokens"], figure.at("s"), figure.data["n_tokens"] * figure.at("c")
    tokens = np.array([draw(source, text, n) for text in range(2 * figure.data["n_texts"])])
    states = source.states(tokens)
    x, risk = -log_probs[states, tokens], source.state_risk(log_probs)[states]
    entropy = smoothing.smoothed_entropy(log_probs, 1e-12)
    floor = np.full(source.n_states, figure.at("level")) if baseline == "constant" else entropy
    y = x + figure.at("level") if baseline == "peeking" else floor[states]
    loss_range = float(np.max(-log_probs - floor[:, None]))
    log_m = np.cumsum(np.log1p(s * (y - x) / loss_range) - s * (y - risk) / loss_range, axis=1)
    close(figure.number("range"), loss_range)
    close(figure.number("first"), log_m[0, -1])
    assert figure.number("texts") == len(tokens)
    assert figure.number("ever") == np.sum(log_m.max(axis=1) >= budget)
    assert figure.number("end") == np.sum(log_m[:, -1] >= budget)
    close(figure.number("allowed"), math.exp(-budget))


@in_browser
def test_only_a_baseline_that_peeks_breaks_the_promise(browser, address):
    figure = Shown(browser, address, "supermartingale")
    for _ in range(4):
        figure.press("draw")
    shares = {}
    for baseline in ("entropy", "constant", "peeking"):
        figure.set("baseline", baseline)
        shares[baseline] = figure.number("ever") / figure.number("texts")
    allowed = figure.number("allowed")
    assert max(shares["entropy"], shares["constant"]) <= allowed < shares["peeking"] / 2
    figure.set("baseline", "entropy")
    assert figure.number("paid") <= figure.number("chosen")


# --- the area ---------------------------------------------------------------------------------------------------------------


def log_of(size):
    spec = models.get(f"ladder-{size}")
    return spec, TrainingLog.read(spec.find("loss_log.csv"), spec.n_steps)


@in_browser
@pytest.mark.parametrize("size", ["50k", "400k", "4.5m"])
def test_area_agrees_with_the_library(browser, address, size):
    figure = Shown(browser, address, "area")
    figure.set("rung", size)
    (spec, log), record = log_of(size), RECORDS[f"ladder-{size}"]
    final = record.risks.train.mean
    content = information.from_log(log.online_nll, log.tokens_per_step, final, spec.n_params)
    close(figure.number("content"), content.bits / 1e6)
    close(figure.number("so-far"), content.bits / 1e6)
    close(figure.number("per-parameter"), content.bits_per_param)
    close(figure.number("per-token"), content.nats_per_token)
    figure.set("cursor", 12)
    read = figure.at("cursor") * log.tokens_per_step * len(log.online_nll)
    shown = next(rung for rung in figure.data["rungs"] if rung["name"] == size)
    seen = np.array(shown["tokens"])
    paid = np.cumsum(log.online_nll.astype(float))[seen // log.tokens_per_step - 1] * log.tokens_per_step
    close(figure.number("so-far"), (np.interp(read, seen, paid) - final * read) / math.log(2) / 1e6)
    figure.set("mode", "averaged")
    if record.online:
        close(figure.number("per-token"), record.online.information)
        close(figure.number("certified"), record.online.gap)
    else:
        assert math.isnan(figure.number("per-token"))


@in_browser
def test_a_cooled_copy_pays_less(browser, address):
    figure = Shown(browser, address, "area")
    figure.set("rung", "100k")
    figure.set("mode", "cooled")
    _, log = log_of("100k")
    final = RECORDS["ladder-100k"].risks.train.mean
    branches = [run for run in load_runs(["grid"]) if run.size == "100k" and run.length <= 1]
    tokens = [run.n_train_tokens for run in branches]
    losses = [*(run.train.mean for run in branches[:-1]), final]
    at = log.tokens_per_step * (np.arange(len(log.online_nll)) + 0.5)
    paid = np.where(at < tokens[0], log.online_nll, np.interp(np.log(at), np.log(tokens), losses))
    close(figure.number("content"), log.tokens_per_step * np.sum(paid - final) / math.log(2) / 1e6)
    cooled = figure.number("content")
    figure.set("mode", "online")
    assert 0 < cooled < figure.number("content")


# --- the frontier -----------------------------------------------------------------------------------------------------------


@in_browser
@pytest.mark.parametrize(("budget", "bits"), [(60, 4), (20, 2), (110, 9)])
def test_frontier_agrees_with_the_library(browser, address, budget, bits):
    figure = Shown(browser, address, "frontier")
    figure.set("flops", budget)
    figure.set("bits", bits)
    law, flops = figure_pages.bound_law(), figure.at("flops")
    found = allocate(law, flops, [figure.at("bits")])
    close(figure.number("bound-value"), found.value)
    close([figure.number("bound-size"), figure.number("bound-ratio")], [found.n_params, found.ratio])
    n, d = law.loss.optimum(flops)
    close(figure.number("loss-value"), law.loss(n, d))
    close([figure.number("loss-size"), figure.number("loss-ratio")], [n, d / n])
    np.testing.assert_allclose(figure.number("exponent"), law.loss.allocation_exponent, rtol=1e-4)


@in_browser
@pytest.mark.parametrize("count", ["n_params", "n_nonembedding"])
def test_frontier_shows_the_minima_of_the_runs(browser, address, count):
    figure = Shown(browser, address, "frontier")
    figure.set("embeddings", count == "n_params")
    runs = sorted(load_runs(["grid"]), key=lambda run: (run.shape.n_params, run.n_train_tokens))
    curves = [
        Curve(n, *np.array([(run.n_train_tokens, run.train.mean) for run in mine], float).T)
        for n, mine in itertools.groupby(runs, key=lambda run: getattr(run.shape, count))
    ]
    found = 0
    for place in range(20, 120, 4):
        figure.set("flops", place)
        optima, shown = isoflop(curves, [figure.at("flops")]), figure.number("runs-ratio")
        assert math.isnan(shown) == (not optima)
        if optima:
            close(shown, optima[0].n_tokens / optima[0].n_params)
            found += 1
    assert found >= 2


@in_browser
def test_frontier_without_embeddings_is_kaplans_count(browser, address):
    figure = Shown(browser, address, "frontier")
    figure.set("embeddings", False)
    law, omega = figure_pages.bound_law().loss, figure.data["omega"]
    tokens = figure.number("loss-ratio")  # a counted parameter
    outside = math.sqrt(figure.at("flops") / 6 / tokens)
    close(figure.number("loss-size"), outside + omega * outside ** (1 / 3))
    expected_tokens, flops = nonembedding_frontier(law, omega, outside)
    close([tokens * outside, figure.at("flops")], [expected_tokens, flops])
    exponent = float(nonembedding_exponent(law, omega, outside))
    np.testing.assert_allclose(figure.number("exponent"), exponent, rtol=1e-4)
    assert exponent > law.allocation_exponent


# --- the token viewer ---------------------------------------------------------------------------------------------------------


@in_browser
@pytest.mark.parametrize("place", [2, 7])
def test_token_viewer_agrees_with_the_library(browser, address, place):
    figure = Shown(browser, address, "token-viewer")
    figure.set("alpha", place)
    shown, alpha = figure.data, figure.at("alpha")
    assert alpha == shown["alphas"][place]
    x = smoothing.smoothed_nll(shown["nll"], alpha, shown["vocab_size"])
    y = np.array(shown["entropy"][place])
    rate = shown["s"] / float(smoothing.loss_range(alpha, shown["vocab_size"]))
    f = shifted_log(x, y, rate)
    close(figure.number("mean-loss"), x.mean())
    close(figure.number("stray"), math.sqrt(np.mean((x - y) ** 2)))
    close(figure.number("mean-summand"), f.mean())
    close(figure.number("rate"), rate)
    figure.set("reference", "companion")
    companion = shown["companion"]
    loss = np.array(companion["loss"])
    beside = Beside(loss, loss, x - loss, *(np.array(companion[name][place]) for name in ("expected", "most")))
    choice = CompanionChoice(Predictor(alpha), companion["rate"], companion["s"])
    close(figure.number("mean-loss"), beside.excess.mean())
    close(figure.number("mean-summand"), choice.summand(beside).mean())
    close(figure.number("charge"), choice.summand(beside).mean() - beside.excess.mean())


# --- every figure ---------------------------------------------------------------------------------------------------------


@in_browser
@pytest.mark.parametrize("name", data.FIGURES)
def test_figures_work_from_the_keyboard_and_speak(browser, address, name):
    figure = Shown(browser, address, name)
    root = "document.querySelector('.interactive-figure')"
    browser.evaluate(f"window.before = {root}.querySelector('.readout').innerHTML, 0")
    browser.evaluate(f"{root}.querySelector('input[type=range]:not(:disabled)').focus()")
    place = browser.evaluate("document.activeElement.value")
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="ArrowLeft", code="ArrowLeft", windowsVirtualKeyCode=37)
    browser.wait(f"document.activeElement.value !== '{place}'")
    browser.wait(f"{root}.querySelector('.readout').innerHTML !== window.before")
    outline = browser.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px", outline
    browser.wait(f"{root}.querySelector('[role=status]').textContent.length > 40")
    unnamed = browser.evaluate(
        f"[...{root}.querySelectorAll('input, select')].filter(c => !c.labels.length).map(c => c.outerHTML)"
    )
    assert unnamed == []
    controls = f"[...{root}.querySelectorAll('.control:not([hidden]) :is(input, select, button)')]"
    assert browser.evaluate(f"{controls}.every(c => c.getBoundingClientRect().height > 5)")  # no other script hides one
    assert browser.evaluate(f"{root}.querySelector('.stage > *').getAttribute('aria-label').length") > 30
    assert browser.evaluate(
        f"[...{root}.querySelectorAll('table')].every(t => t.caption && t.querySelector('th[scope]'))"
    )
    assert figure.page.errors == []


@in_browser
@pytest.mark.parametrize("name", data.FIGURES)
@pytest.mark.parametrize("width", [390, 1280])
def test_figures_fit_the_page(browser, address, name, width):
    browser.view(width, 900)
    Shown(browser, address, name)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    sizes = browser.evaluate(
        "[...document.querySelectorAll('.stage svg text')].map(t => parseFloat(getComputedStyle(t).fontSize))"
    )
    assert min(sizes, default=12) >= 11
    cut = browser.evaluate(
        "(() => { const box = document.querySelector('.stage').getBoundingClientRect();"
        " return [...document.querySelectorAll('.stage svg > text, .stage .axes text')].filter(t => { const r = t.getBoundingClientRect();"
        " return r.right > box.right + 1 || r.left < box.left - 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1;"
        " }).map(t => t.textContent); })()"
    )
    assert cut == []
    browser.view(1280, 900)


@in_browser
@pytest.mark.parametrize("name", data.FIGURES)
def test_without_scripts_a_table_stands_in_its_place(browser, address, name):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(f"{address}/{name}.html")
        shown = browser.evaluate("document.querySelector('.interactive-static table').getBoundingClientRect().height")
        assert shown > 50
        assert browser.evaluate("document.querySelector('.controls')") is None
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    Shown(browser, address, name)
    assert browser.evaluate("document.querySelector('.interactive-static').getBoundingClientRect().height") == 0


@in_browser
def test_texts_never_become_markup(browser, address):
    figure = Shown(browser, address, "token-viewer")
    assert "<b>&amp;" in figure.data["texts"]
    assert browser.evaluate("document.querySelector('.interactive-body b')") is None
    assert "<b>&amp;" in browser.evaluate("document.querySelector('.interactive-body').textContent")
