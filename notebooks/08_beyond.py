# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: caption,tags,mystnb,-all
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Ground truth: a source that is known exactly
#
# How much of a certified gap is real? A bound says that the {term}`token-wise risk` is at most so much. Of a language model nobody knows the risk, so nobody can say. Here we train transformers on texts whose next-token
# probabilities are a table. Then the risk {eq}`eq-token-wise-risk` is a sum, and the truth stands beside every bound.
#
# **Answer.** Every bound lies above the truth, and far above it. After one reading hardly any of the gap is generalization. Nearly all that is not smoothing or quantization is the price of a long code.
#
# :::{table} The questions of this page
# | question | answer |
# |---|---|
# | Does a bound lie below the truth? | no: {glue:text}`n_bounds` bounds on {glue:text}`n_models` models, none |
# | How large is the true gap? | after one reading {glue:text}`true_gap_smallest:.3f` (smallest model) and {glue:text}`true_gap_largest:.3f` nats (largest); after {glue:text}`n_repeats:.0f` readings {glue:text}`true_gap_repeated:.2f` |
# | How large does the paper's bound say it is? | {glue:text}`paper_gap_smallest:.2f` and {glue:text}`paper_gap_largest:.2f` nats; after {glue:text}`n_repeats:.0f` readings {glue:text}`paper_gap_repeated:.2f` |
# | What part of a certified gap is real? | largest model: {glue:text}`real_paper_largest:.0f` % of the paper's, {glue:text}`real_ours_largest:.0f` % of ours, {glue:text}`real_companion:.0f` % with a companion |
# | What is the rest? | price of the code: {glue:text}`with_code:.3f` nats of it would be {glue:text}`fixed_in_advance:.3f` for a model fixed beforehand |
# :::
#
# | | |
# |---|---|
# | **Paper section** | 3.3 (Thm 3.4), seen from where the paper cannot stand; the experiment is ours |
# | **Reads** | nothing: texts are drawn from sources made here |
# | **Writes** | small checkpoints under `build/sources/` |
# | **Runtime** | {glue:text}`runtime_seconds:.0f` seconds on one core, training included |

# %% tags=["parameters"]
vocab_size: int = 64  # V, tokens of the source and of the models
seq_len: int = 128  # predicted tokens per row
widths: list = [8, 16, 24]  # hidden sizes of the models, heads of 8; the smallest has one layer, others two
repeated_width: int = 16  # hidden size of the models on the two harder texts
n_repeats: int = 20  # times that the text of one of them is read
failure_prob: float = 0.01  # delta of each bound
bits: int = 4  # per quantized weight
group_size: int = 128  # weights that share a scale
seed: int = 0  # of sources, texts, models

# %% tags=["hide-input"]
import hashlib
import math
import time
from dataclasses import replace
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from transformers import GPTNeoXForCausalLM
from transformers.utils import logging

from gengap.book.figures import named_axis, stacked_bars
from gengap.book.glue import glue_all
from gengap.bounds import (
    PAPER_S_GRID_SIZE,
    CodedModel,
    azuma_bound,
    grids,
    paper_bound,
    smoothing,
    sources,
    tight_bound,
)
from gengap.bounds.companion import companion_bound, online_bound
from gengap.bounds.companion_grids import (
    COMPANION_PART,
    CodedCompanion,
    choose_companion,
    choose_share,
    predictors,
)
from gengap.compression import archive
from gengap.compression.layerwise import quantize
from gengap.models.ladder import LadderSpec
from gengap.models.loading import load_checkpoint
from gengap.models.snapshots import companion_of
from gengap.paths import build_dir
from gengap.statistics import tilted_statistics, token_statistics
from gengap.statistics.companion import Companion, beside_statistics
from gengap.tokens import TokenRows, sample_rows
from gengap.training import train
from gengap.units import nats_from_bits

plt.style.use("gengap.book")
logging.disable_progress_bar()
torch.set_num_threads(1)
started = time.monotonic()
rng = np.random.default_rng(seed)

# %% [markdown]
# ## Two sources
#
# Both remember two tokens. The next token's distribution is a row of a table with $V^2$ rows, known exactly:
#
# * **language-like**: each of the last two tokens has a say of its own, with weights 0.6 and 0.4. What it says is a row of a source with text's mixture of easy and hard steps ({doc}`01_freedman`). A small transformer can find
#   this structure.
# * **random table**: every pair of tokens has a row of its own, drawn from a Dirichlet distribution. There is nothing to find but the table, and the table is larger than the models.


# %% caption="The sources: states, entropy rate, and loss of guessing"
def two_token_source(last, earlier, weight):
    """p(x | a, b) = weight * last(x | b) + (1 - weight) * earlier(x | a): an order-2 source from two of order 1."""
    v = last.vocab_size
    probs = weight * last.probs[None, :, :] + (1 - weight) * earlier.probs[:, None, :]  # (a, b, x)
    return sources.Source(probs.reshape(v * v, v), np.arange(v * v)[:, None] * v % (v * v) + np.arange(v))


table_of = {
    "language-like": two_token_source(
        sources.language_like(vocab_size, rng), sources.language_like(vocab_size, rng), 0.6
    ),
    "random table": sources.markov(2, vocab_size, 0.1, rng),
}


def entropy_rate(source, n_steps=500):
    """Mean entropy of the next token under the stationary distribution of the states, nats per token."""
    share = np.full(source.n_states, 1 / source.n_states)  # (n_states,)
    for _ in range(n_steps):
        flow = share[:, None] * source.probs  # (n_states, V)
        before, share = share, np.bincount(source.next_state.ravel(), flow.ravel(), source.n_states)
    np.testing.assert_allclose(share, before, atol=1e-12)  # it has settled
    return float(share @ source.entropies())


pd.DataFrame(
    {
        "states": {name: s.n_states for name, s in table_of.items()},
        "entropy rate, nats": {name: entropy_rate(s) for name, s in table_of.items()},
        "guessing, nats": math.log(vocab_size),
    }
).style.format("{:.3f}", subset=["entropy rate, nats", "guessing, nats"])

# %% [markdown]
# ## Texts and models
#
# A text is made of independent rows, each begun in the same start state. So the state before each token is a function of the row itself, and it is all that the past says about the next token. A row's first token is given, the others are
# predicted.
#
# The models are rungs below the ladder's first: same architecture, same training, one epoch, $D = 20N$ tokens. Two more situations should make the true gap larger. One is the random table. The other is a text of $D = N$ tokens that is read
# {glue:text}`n_repeats:.0f` times over. There $D$ still counts the tokens *drawn*: the bound does not care how often a text is read.


# %%
class Run(NamedTuple):
    """One text and the model trained on it."""

    source: sources.Source
    spec: LadderSpec
    rows: np.ndarray  # (n_rows, seq_len + 1) uint16, each token drawn once
    states: np.ndarray  # (n_rows, seq_len) state of the source before each predicted token
    model: GPTNeoXForCausalLM
    companion: Companion  # what the model was before each row, in its first reading
    training_seconds: float


def train_on(source, width, n_reads=1):
    """Draw a text, train a model on it for one epoch (`n_reads` epochs of a text as much shorter)."""
    layers, peak_lr = (1, 2e-2) if width <= 8 else (2, 1.5e-2 if width <= 16 else 1e-2)
    heads = max(1, width // 8)
    spec = LadderSpec("source", f"w{width}", width, layers, heads, 2, peak_lr, vocab_size, seq_len)
    text = source.sample(spec.n_train_rows // n_reads, seq_len + 1, np.random.default_rng([seed, width]))
    rows = text.tokens.astype(np.uint16)
    assert np.array_equal(source.states(rows), text.states)  # known from the row itself
    all_reads = np.resize(rows, (spec.n_train_rows, seq_len + 1))
    shown = TokenRows(all_reads, hashlib.sha256(rows.tobytes()).hexdigest())
    key = hashlib.sha256(f"{spec} {shown.sha256} {n_reads} {seed}".encode()).hexdigest()[:12]
    folder = build_dir() / "sources" / f"{spec.size}-{key}"  # a finished model is not trained again
    log = train(spec, shown, folder, seed, snapshots=True)
    model = load_checkpoint(folder / "checkpoint", config=spec.config())
    companion = companion_of(folder / "snapshots", spec.batch_rows, spec.config())
    return Run(source, spec, rows, text.states[:, 1:], model, companion, log.seconds)


before_training = time.monotonic()
language, table = table_of.values()
runs = {f"width {width}": train_on(language, width) for width in widths}
by_size = list(runs)  # the one-epoch models of the language-like source
runs["random table"] = train_on(table, repeated_width)
runs["read many times"] = train_on(language, repeated_width, n_repeats)
training_seconds = time.monotonic() - before_training

# %% [markdown]
# Each model is quantized as in {doc}`03_quantization`. Its code length is that of a file, with scales and norms included.

# %% caption="The models, their texts and their codes"
coded, quantized = {}, {}
for name, run in runs.items():
    calibration = sample_rows(run.rows, 128, seed)[:, :-1]
    codes = quantize(run.model, "gptq", bits, group_size, calibration, seed)
    path = build_dir() / "sources" / f"{name.replace(' ', '-')}.ggq"
    length_bits = archive.write(codes, run.spec.config(), path)
    quantized[name] = archive.read(path, run.spec.config()).build(run.spec.config())
    coded[name] = CodedModel(length_bits, run.states.size, vocab_size, failure_prob)
complexity_of = {name: c.complexity(PAPER_S_GRID_SIZE) for name, c in coded.items()}
pd.DataFrame(
    {
        "N, parameters": {name: run.spec.n_params for name, run in runs.items()},
        "D, tokens": {name: run.states.size for name, run in runs.items()},
        "L(h), bits": {name: c.code_length_bits for name, c in coded.items()},
        "bits per parameter": {k: c.code_length_bits / runs[k].spec.n_params for k, c in coded.items()},
        "complexity, nats/token": complexity_of,
    }
).style.format("{:,.0f}").format("{:.3f}", subset=["bits per parameter", "complexity, nats/token"])

# %% [markdown]
# ## The true risk
#
# In state $i$ the source emits token $x$ with probability $p(x\mid i)$. With $i_k$ the state before token $k$, and $X_k(x)$ the loss that the model *would* have suffered at $x$,
#
# $$
# R(h) = \frac1D\sum_{k=1}^{D}\mathbb E[X_k\mid\mathcal F_{k-1}] = \frac1D\sum_{k=1}^{D}\sum_{x=1}^{V} p(x\mid i_k)\,X_k(x) .
# $$ (eq-source-true-risk)
#
# This is the *token-wise* risk on the training contexts, which all these bounds are about. The contexts stay those of the training text. Only the next tokens are drawn afresh, and the sum draws all of them at once. It is not the risk on
# a new text.


# %%
def conditional_risk(probs, losses):
    """The inner sum of equation (source-true-risk): (n, V) p(x | i_k) and X_k(x), to (n,) nats."""
    return np.sum(probs * losses, axis=-1)


@torch.inference_mode()
def predictions(model, rows, batch_rows=64):
    """Yield (slice of rows, log-probabilities (batch, seq, V) float64) of all next tokens, a batch at a time."""
    for start in range(0, len(rows), batch_rows):
        part = slice(start, start + batch_rows)
        inputs = torch.from_numpy(rows[part, :-1].astype(np.int64))
        yield part, model(input_ids=inputs).logits.double().log_softmax(-1).numpy()


def true_risk(run, model, smoothers):
    """R(h), nats per token, of `model` smoothed in each way: name -> function (log_probs, rows' slice) -> X_k(x)."""
    totals = dict.fromkeys(smoothers, 0.0)
    for part, log_probs in predictions(model, run.rows):
        for name, loss_of in smoothers.items():
            risks = run.source.conditional_risk(run.states[part], -loss_of(log_probs, part))
            totals[name] += float(risks.sum())
    return {name: total / run.states.size for name, total in totals.items()}


def unsmoothed(log_probs, part):
    """X_k(x) of the model itself."""
    return -log_probs


first = runs[by_size[0]]
part, log_probs = next(predictions(first.model, first.rows))
by_hand = conditional_risk(first.source.probs[first.states[part]], -log_probs)
np.testing.assert_allclose(first.source.conditional_risk(first.states[part], log_probs), by_hand, rtol=1e-12)

# %% [markdown]
# The sum claims to be what would happen if every next token were drawn afresh. So we draw them, in each of the contexts of the smallest model's text, and compare:

# %%
levels = np.cumsum(first.source.probs, axis=1)
fresh_losses = []
for part, log_probs in predictions(first.model, first.rows):
    drawn = rng.random((*first.states[part].shape, 1))
    fresh = np.minimum((levels[first.states[part]] < drawn).sum(axis=-1), vocab_size - 1)  # (batch, seq)
    fresh_losses.append(-np.take_along_axis(log_probs, fresh[..., None], axis=-1)[..., 0])
fresh_losses = np.concatenate(fresh_losses)  # (n_rows, seq_len)
exact = true_risk(first, first.model, {"h": unsmoothed})["h"]
standard_error = fresh_losses.std() / math.sqrt(fresh_losses.size)
assert abs(fresh_losses.mean() - exact) < 4 * standard_error
glue_all(fresh_mean=fresh_losses.mean(), fresh_error=standard_error, fresh_exact=exact)

# %% [markdown]
# Drawn: {glue:text}`fresh_mean:.4f` $\pm$ {glue:text}`fresh_error:.4f` nats; computed: {glue:text}`fresh_exact:.4f`.
#
# ## The gap of the model that was trained
#
# Before any bound: by how much is the training loss too good? Four columns help to judge.
#
# :::{table} Columns of the next table
# | column | meaning |
# |---|---|
# | source's own gap | that of the true distribution, which has learnt nothing: the luck of the draw |
# | learnt from noise | what the model's gap has beyond it |
# | excess | true risk less the entropy of the source in these contexts, below which no model can be |
# | $N/D$ | what Akaike's correction expects of a maximum likelihood fit of $N$ regular parameters; one pass of stochastic gradient descent is not such a fit |
# :::

# %% caption="Gaps of the trained models, nats per token, which the source makes known"
evaluated, gaps = {}, {}
alphas_of = {
    name: sorted({*np.geomspace(0.01, 0.5, 7), c.paper_alpha}) for name, c in coded.items()
}  # fixed but for the paper's weight, which depends on L(h) alone
for name, run in runs.items():
    evaluated[name] = token_statistics(quantized[name], run.rows, alphas_of[name])
    train_risk = token_statistics(run.model, run.rows).nll.mean(dtype=np.float64)
    entropies = run.source.entropies()[run.states]  # (n_rows, seq_len)
    with np.errstate(divide="ignore"):
        own_losses = -np.log(run.source.probs[run.states, run.rows[:, 1:]])
    risk = true_risk(run, run.model, {"h": unsmoothed})["h"]
    gaps[name] = {
        "training loss": train_risk,
        "true risk": risk,
        "true gap": risk - train_risk,
        "source's own gap": (entropies - own_losses).mean(),
        "entropy": entropies.mean(),
        "excess": risk - entropies.mean(),
        "learnt from noise": risk - train_risk - (entropies - own_losses).mean(),
        "N/D": run.spec.n_params / run.states.size,
    }
gaps = pd.DataFrame(gaps).T
once = gaps.drop("read many times")
assert (once["true gap"] < once["N/D"] / 2).all()
assert (gaps["excess"] > 0).all()  # Gibbs: no model is better than the truth
gaps.style.format("{:.4f}")

# %% [markdown]
# After one reading a text has taught a model little of its noise. The true gap of the largest model is {glue:text}`true_gap_largest:.3f` nats, where $N/D$ is {glue:text}`akaike_largest:.2f`. Each token was new when the model met it: no gradient
# had seen it before, so the loss suffered was an honest sample of the risk at that moment. What remains comes from the steps after the meeting.
#
# This argument needs one epoch. After {glue:text}`n_repeats:.0f` readings the gap is {glue:text}`true_gap_repeated:.2f` nats. On the random table it is small for the opposite reason: the model has learnt next to nothing, and its risk lies
# {glue:text}`excess_table:.2f` nats above the entropy.
#
# ## Every bound beside the truth
#
# All bounds are evaluated on all $D$ tokens, so that nothing is left to sampling, with the archive's code length. Each bounds the risk of a predictor of its own: the quantized model, smoothed in the way that suits this bound. So each is
# compared with the true risk of *its* predictor:
#
# * *Azuma, paper, uniform mixing*: $X_k(x) = -\log((1-\alpha)\,p_h(x) + \alpha/V)$, each with its own $\alpha$.
# * *maximum entropy*: the predictor of {prf:ref}`thm-maximum-entropy`. With $p$ the model's prediction after a little mixing, and $H_k$ the predictor's own entropy, known from the evaluation of the bound,
#
# $$
# X_k(x) = c_k - W\!\left(\frac{p(x)\,e^{c_k}}{\lambda}\right), \qquad c_k = H_k + \frac1\lambda .
# $$ (eq-source-maximum-entropy)
#
# * *companion* ({doc}`11_companion`): a uniform mixture again; the {term}`companion`, here what the model was before each row, enters the proof only.
# * *lightly hedged, hedged, online*: the model mixed with at most 5 % of its companion, with more of it, and that companion itself.
#
# The model that read its text many times had a companion as well: what it was in its first reading.


# %%
def maximum_entropy_losses(log_probs, entropy, tilt):
    """X_k(x) of equation (source-maximum-entropy): (..., V) log p_h and (...) entropies, to (..., V) nats."""
    log_p = np.log((1 - tilt.safety) * np.exp(log_probs) + tilt.safety / log_probs.shape[-1])
    c = entropy[..., None] + 1 / tilt.rate
    return c - smoothing.lambert_w_of_exp(log_p + c - math.log(tilt.rate))


def mixed_losses(alpha):
    """X_k(x) of the model mixed with the uniform distribution."""
    return lambda log_probs, part: smoothing.smoothed_nll(-log_probs, alpha, vocab_size)


tilt_grid = grids.TiltGrid(
    rates=tuple(map(float, np.geomspace(0.1, 10.0, 37))),
    safeties=(3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.4),
    floors=tuple(map(float, np.linspace(0, math.log(vocab_size), 25))),
)


def companion_probs(companion, rows):
    """(n_rows, seq_len, V) float32: what the companion of each row predicted."""
    probs = np.empty((*rows[:, 1:].shape, vocab_size), np.float32)
    for i, places in companion.groups(range(len(rows))):
        earlier = companion.load(i)
        for part, log_probs in predictions(earlier, rows[places]):
            probs[places[part]] = (1 - companion.floor) * np.exp(log_probs) + companion.floor / vocab_size
    return probs


def hedged_losses(alpha, probs):
    """X_k(x) of the model mixed with its companion of that moment; with alpha = 1 that of the companion itself."""
    return lambda log_probs, part: -np.log((1 - alpha) * np.exp(log_probs) + alpha * probs[part])


def bounds_with_companion(name):
    """Statements T12 and T13 on one run, and the smoothers of their predictors."""
    run, c, train_risk = runs[name], coded[name], gaps.loc[name, "training loss"]
    quantized_risk = evaluated[name].nll.mean(dtype=np.float64)
    offered = predictors(c.paper_alpha)
    every = list(dict.fromkeys(p for among in offered.values() for p in among))
    beside = beside_statistics(quantized[name], run.companion, run.rows, range(len(run.rows)), every)
    rule, floor = run.companion.code_length_bits, run.companion.floor
    known = CodedCompanion(rule, c.n_train_tokens, vocab_size, floor, COMPANION_PART * failure_prob)
    c = replace(c, failure_prob=(1 - COMPANION_PART) * failure_prob)
    share = choose_share(known, beside.loss, beside.entropy)
    probs = companion_probs(run.companion, run.rows)
    named = {"companion": "companion", "hedged_little": "lightly hedged", "hedged": "hedged"}
    found, smoothers = {}, {}
    for kind, among in offered.items():
        choice = choose_companion(c, known, {p: beside.of[p] for p in among})
        chosen = beside.of[choice.predictor], choice, share
        bound = companion_bound(c, known, *chosen, train_risk, quantized_risk)
        found[named[kind]] = bound
        smoothers[named[kind]] = (
            hedged_losses(bound.alpha, probs) if bound.hedged else mixed_losses(bound.alpha)
        )
    found["online"] = online_bound(known, beside.loss, beside.entropy, share, train_risk)
    return found, smoothers | {"online": hedged_losses(1.0, probs)}


def all_bounds(name):
    """Every bound on one run, and for each the smoother of the predictor that it speaks of."""
    run, c, model = runs[name], coded[name], quantized[name]
    nll, entropies, alphas = evaluated[name].nll, evaluated[name].entropy, evaluated[name].alphas
    entropy_at = dict(zip(alphas, entropies, strict=True))  # alpha -> (n_rows, seq_len)
    train_risk = gaps.loc[name, "training loss"]
    grid = grids.tight_grid(alphas, vocab_size)
    choice = grids.choose(nll, entropies, grid, vocab_size, c.complexity(grid.size))
    few = run.rows[:: max(1, len(run.rows) // 64)]  # any element of a grid is admissible
    pilot = token_statistics(model, few, tilts=tilt_grid.tilts(vocab_size))
    tilt = grids.choose_tilt(pilot.tilted, tilt_grid, vocab_size, c.complexity(tilt_grid.size))
    tilted = tilted_statistics(model, run.rows, tilt)
    found = {
        "Azuma": azuma_bound(c, nll, train_risk),
        "paper": paper_bound(c, nll, entropy_at[c.paper_alpha], train_risk),
        "uniform mixing": tight_bound(c, nll, entropy_at[choice.alpha], choice, train_risk),
        "maximum entropy": tight_bound(c, nll, tilted.entropy, tilt, train_risk, loss=tilted.loss),
    }
    smoothers = {kind: mixed_losses(bound.alpha) for kind, bound in found.items()}
    with_companion, other_smoothers = bounds_with_companion(name)

    def maximum_entropy(log_probs, part):
        losses = maximum_entropy_losses(log_probs, tilted.entropy[part], tilt)
        np.testing.assert_allclose(np.exp(-losses).sum(axis=-1), 1, atol=1e-3)
        seen = np.take_along_axis(losses, run.rows[part, 1:, None].astype(np.int64), axis=-1)[..., 0]
        np.testing.assert_allclose(seen, tilted.loss[part], atol=1e-3)  # the predictor that was bounded
        return losses

    smoothers |= {"maximum entropy": maximum_entropy, "quantized, not smoothed": unsmoothed}
    return found | with_companion, smoothers | other_smoothers


found, truth = {}, {}
for name, run in runs.items():
    found[name], smoothers = all_bounds(name)
    truth[name] = true_risk(run, quantized[name], smoothers)
    for kind, bound in found[name].items():
        assert bound.value > truth[name][kind], f"{name}: the {kind} bound lies below the true risk"
at_the_end = [name for name in runs if found[name]["maximum entropy"].rate == tilt_grid.rates[-1]]
assert at_the_end == ["random table", "read many times"]

# %% [markdown]
# Every bound lies above the truth, as the assertion says. That takes a companion that had not seen the row. Suppose that the model which read its text {glue:text}`n_repeats:.0f` times were its own companion:

# %%
name = "read many times"
run, c = runs[name], coded[name]
leaky = Companion("after-the-last-reading", (0,), lambda i: run.model)
known = CodedCompanion(leaky.code_length_bits, c.n_train_tokens, vocab_size, leaky.floor, failure_prob)
seen = beside_statistics(quantized[name], leaky, run.rows, range(len(run.rows)), ())
risk = gaps.loc[name, "training loss"]
leaked = online_bound(
    known, seen.loss, seen.entropy, choose_share(known, seen.loss, seen.entropy), risk
).value
leaked_truth = true_risk(run, run.model, {"u": hedged_losses(1.0, companion_probs(leaky, run.rows))})["u"]
assert leaked < leaked_truth  # no certificate: its companion knew the tokens
glue_all(leaked=leaked, leaked_truth=leaked_truth)

# %% [markdown]
# The same formula "certifies" {glue:text}`leaked:.3f` nats where the truth is {glue:text}`leaked_truth:.3f`. A companion that knows the tokens gives no certificate.
#
# How far do the real certificates lie above the truth? For the models that read the language-like text once:

# %% mystnb={"figure": {"caption": "What is true and what is certified, for models trained for one epoch on the language-like source. Each bound (archive code length) concerns its own smoothed version of the quantized model; two true risks are shown: of the trained model itself, hardly above its training loss, and of its maximum-entropy version, which our bound with that name is about. Dashed: the entropy of the source, and the loss of guessing.", "name": "fig-source-truth"}, "image": {"alt": "Nats per token against parameters for three models. Training loss and true risk of the trained model coincide and fall towards the dashed entropy of the source. Above them, all falling: the true risk of the maximum-entropy predictor, our two bounds, which nearly coincide, the paper's bound and the Azuma bound."}}
sizes = [runs[name].spec.n_params for name in by_size]
log_vocab = math.log(vocab_size)
rate = entropy_rate(language)
bounds = pd.DataFrame({name: {kind: b.value for kind, b in found[name].items()} for name in by_size}).T
series = {
    "Azuma bound": (bounds["Azuma"], "^-C3"),
    "paper's bound": (bounds["paper"], "s-C1"),
    "our bound, uniform mixing": (bounds["uniform mixing"], "d:C2"),
    "our bound, maximum entropy": (bounds["maximum entropy"], "D-C2"),
    "our bound with a companion": (bounds["companion"], "P-C4"),
    "true risk, maximum entropy": ([truth[name]["maximum entropy"] for name in by_size], "X-C0"),
    "true risk of the trained model": (list(gaps.loc[by_size, "true risk"]), "+-C0"),
    "training loss": (list(gaps.loc[by_size, "training loss"]), "o-C6"),
}
fig, ax = plt.subplots(figsize=(6.4, 4.8))
for label, (values, style) in series.items():
    assert (np.diff(values) < 0).all(), f"{label} does not fall with size"
    big = {"markersize": 10, "markerfacecolor": "none"} if label.endswith("mixing") else {}
    ax.plot(sizes, values, style, label=label, **big | ({"markersize": 13} if style[0] == "+" else {}))
for height, text in ((log_vocab, "guessing"), (rate, "entropy of the source")):
    ax.axhline(height, linestyle="--", color="C5", linewidth=1.2)
    ax.annotate(text, (sizes[0], height), (0, 4), textcoords="offset points", color="C5", fontsize="small")
ax.set(xscale="log", xlabel="parameters", ylabel="nats per token")
named_axis(ax.xaxis, sizes, [f"{size:,}" for size in sizes])
fig.legend(loc="outside lower center", ncols=2)
plt.show()

# %% [markdown]
# The gap of a bound is its distance from the training loss $\hat R_h$ of the model that was trained. Part of that distance is real: the bound's predictor is quantized and smoothed, so it *is* worse, and it has a generalization gap of its own.
# The rest is the price of not knowing.

# %% caption="Truth and bounds, nats per token, and how much of each gap is real"
entries = {
    (name, kind): {
        "bound": bound.value,
        "true risk": truth[name][kind],
        "bound's gap": bound.gap,
        "true gap": truth[name][kind] - bound.train_risk,
        "real, %": 100 * (truth[name][kind] - bound.train_risk) / bound.gap,
    }
    for name in runs
    for kind, bound in found[name].items()
}
comparison = pd.DataFrame(entries).T
comparison.style.format("{:.3f}").format("{:.0f}", subset=["real, %"])

# %% [markdown]
# ## What the rest pays for
#
# For our bound with maximum entropy the gap can be laid out completely, since the following is an identity. With $\hat R_{\mathrm s}$ and $R_{\mathrm s}$ the training loss and the true risk of the smoothed model,
#
# $$
# \begin{aligned}
# \text{bound} - \hat R_h = {} & \underbrace{\hat R_{\mathrm s} - \hat R_h}_{\text{quantization, smoothing}} + \underbrace{R_{\mathrm s} - \hat R_{\mathrm s}}_{\text{generalization}} +
# \underbrace{\frac{L(h)\log 2}{\lambda D}}_{\text{code length}} + \underbrace{\frac{\log(|G|/\delta)}{\lambda D}}_{\text{certainty}} \\
# & {} + \underbrace{\frac1D\sum_k (f_k - X_k) - (R_{\mathrm s} - \hat R_{\mathrm s})}_{\text{variation}} .
# \end{aligned}
# $$ (eq-source-parts)
#
# The first two parts are real. The third is the cost of describing the model: the bound must hold for all $2^{L(h)}$ models that have as short a code, and some of those memorized the text. The fourth is what a statement about a single
# model would cost.


# %% caption="The gap of our bound, taken apart, nats per token"
def parts_of_gap(name, kind="maximum entropy"):
    """The terms of equation (source-parts), nats."""
    bound, c = found[name][kind], coded[name]
    generalization = truth[name][kind] - (bound.train_risk + bound.quantization_gap + bound.smoothing)
    code = nats_from_bits(c.code_length_bits) / c.n_train_tokens / bound.rate
    certainty = math.log(bound.grid_size / c.failure_prob) / c.n_train_tokens / bound.rate
    return {
        "quantization and smoothing": bound.quantization_gap + bound.smoothing,
        "generalization": generalization,
        "code length": code,
        "certainty": certainty,
        "variation": bound.deviation - code - certainty - generalization,
    }


parts = pd.DataFrame({name: parts_of_gap(name) for name in runs}).T
whole = [found[name]["maximum entropy"].gap for name in runs]
np.testing.assert_allclose(parts.sum(axis=1), whole, rtol=1e-9)
parts.style.format("{:.4f}")

# %% mystnb={"figure": {"caption": "The gap of our bound with maximum entropy, taken apart. What lies to the left of the grey tick is real: the quantized and smoothed model is worse than the trained one, by that much. What lies to the right comes from what the bound does not know.", "name": "fig-source-parts"}, "image": {"alt": "Five horizontal stacked bars, one per model, of the maximum-entropy bound's gap in nats: quantization and smoothing, a thin slice of generalization, then code length, certainty, invisible, and variation, the last about as long as the code length. The bar of the text that is read many times is the longest, that of the random table the shortest."}}
fig, ax = plt.subplots(figsize=(6.4, 3.6))
styles = {name: (name, color) for name, color in zip(parts, ["C4", "C3", "C1", "C5", "C0"], strict=True)}
stacked_bars(ax, parts, styles, horizontal=True)
real = parts[["quantization and smoothing", "generalization"]].sum(axis=1)
ax.vlines(real, np.arange(len(parts)) - 0.42, np.arange(len(parts)) + 0.42, color="0.5", linewidth=1.5)
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
ax.set(xlabel="nats per token above the training loss", xlim=(0, None))
fig.legend(loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# Does the slack come from the code length or from the inequality? A long code asks for a large $\lambda$, and then every stray loss counts. So take the same inequality, smoothed model and tokens, but pretend that the model had been fixed before
# the text was drawn: $L(h) = 0$, and $\lambda$ may be small.

# %% caption="The same inequality for a model fixed in advance, nats per token"
without_code = {}
for name in by_size:
    c, kind = replace(coded[name], code_length_bits=0.0), found[name]["uniform mixing"]
    at = evaluated[name].alphas.index(kind.alpha)
    grid = grids.tight_grid([kind.alpha], vocab_size)
    entropy = evaluated[name].entropy[at]
    choice = grids.choose(evaluated[name].nll, entropy[None], grid, vocab_size, c.complexity(grid.size))
    fixed = tight_bound(c, evaluated[name].nll, entropy, choice, kind.train_risk)
    without_code[name] = {"with the code length": kind.deviation, "fixed in advance": fixed.deviation}
without_code = pd.DataFrame(without_code).T
without_code.style.format("{:.4f}")

# %%
smallest, largest = by_size[0], by_size[-1]
assert (parts.loc[by_size, "generalization"] < 0.05 * parts.loc[by_size].sum(axis=1)).all()  # "hardly any"
assert (without_code["fixed in advance"] < 0.1 * without_code["with the code length"]).all()  # "nearly all"
assert found["read many times"]["maximum entropy"].value > log_vocab  # it warns
real_share = comparison["real, %"]
places = {"smallest": smallest, "largest": largest, "table": "random table", "repeated": "read many times"}
for place, name in places.items():
    glue_all(**{f"true_gap_{place}": gaps.loc[name, "true gap"], f"excess_{place}": gaps.loc[name, "excess"]})
    glue_all(**{f"akaike_{place}": gaps.loc[name, "N/D"], f"paper_gap_{place}": found[name]["paper"].gap})
    glue_all(**{f"real_paper_{place}": real_share[name, "paper"]})
    glue_all(**{f"real_ours_{place}": real_share[name, "maximum entropy"]})
    glue_all(**{f"our_gap_{place}": found[name]["maximum entropy"].gap})
    glue_all(**{f"bound_{place}": found[name]["maximum entropy"].value})
    glue_all(**{f"generalization_{place}": parts.loc[name, "generalization"]})
glue_all(**{f"useful_{kind.split()[0].lower()}": (bounds[kind] < log_vocab).sum() for kind in bounds})
mixed_best = [name for name in runs if found[name]["uniform mixing"].gap < found[name]["maximum entropy"].gap]
glue_all(
    n_kinds=len(bounds.columns),
    companion_gap=found[largest]["companion"].gap,
    online_gap=found[largest]["online"].gap,
)
glue_all(hedged_gap=found[largest]["hedged"].gap, real_companion=real_share[largest, "companion"])
glue_all(n_models=len(runs))
glue_all(mixing_wins=", ".join(mixed_best) or "none", n_sizes=len(by_size), n_bounds=len(comparison))
glue_all(n_tokens=vocab_size, failure_prob=failure_prob, n_repeats=n_repeats, log_vocab=log_vocab)
glue_all(bits_per_parameter=coded[largest].code_length_bits / runs[largest].spec.n_params)
glue_all(with_code=without_code.loc[largest, "with the code length"])
glue_all(fixed_in_advance=without_code.loc[largest, "fixed in advance"])
rest_seconds = time.monotonic() - started - training_seconds
glue_all(runtime_seconds=rest_seconds + sum(run.training_seconds for run in runs.values()))

# %% [markdown]
# For the largest model that read its text once, the slack of the bound (uniform mixing) over the smoothed training loss falls from {glue:text}`with_code:.3f` to {glue:text}`fixed_in_advance:.3f` nats. Nearly all of it was paid for one thing: a code of
# {glue:text}`bits_per_parameter:.2f` bits a parameter, for a model that was given 20 tokens a parameter. The model did not use that capacity to memorize, but its code does not say so. A shorter description of the *same* model would lower the
# bound.
#
# ## What agreed, what did not
#
# * **Agreed**: all {glue:text}`n_bounds` bounds, {glue:text}`n_kinds` on each of {glue:text}`n_models` models, lie above the true risk of their predictors. Each may fail with probability {glue:text}`failure_prob`. A few texts cannot show how often one does;
#   {doc}`01_freedman` counts it, where texts are cheap.
# * **Agreed**: loss, true risk and bounds fall together with size, and order the models in the same way.
# * **Different from what a gap suggests**: of the real part almost all is the smoothing and quantization that we asked for. Generalization proper is {glue:text}`generalization_largest:.4f` of our {glue:text}`our_gap_largest:.2f` nats for the largest
#   model. A larger real share is no merit by itself: our bound smooths more, which costs risk and buys range.
# * **A companion pays**: for the largest model and the uniform mixture the gap falls to {glue:text}`companion_gap:.2f` nats. Hedged it is {glue:text}`hedged_gap:.2f`, and {glue:text}`online_gap:.2f` for the companion alone.
# * **Different**: maximum entropy is the better smoothing where the model is calibrated. Uniform mixing gave the lower bound for: {glue:text}`mixing_wins`.
# * **Not shown by the bound**: all {glue:text}`n_sizes` models that read language-like text once are better than guessing. Azuma's inequality certifies it for {glue:text}`useful_azuma` of them, the paper's bound for {glue:text}`useful_paper`, ours for
#   {glue:text}`useful_maximum`. Guessing among so few tokens costs {glue:text}`log_vocab:.2f` nats only, which leaves little room.
# * **The other way round**: where a text was read {glue:text}`n_repeats:.0f` times there is a gap to be warned of, and the bound does warn. It is {glue:text}`bound_repeated:.2f` nats, above guessing. There and on the random table the best constants lie at the end of
#   their grid. The smoothed predictor all but guesses: the bound has given up on the model.
# * **Left open**: these sources have {glue:text}`n_tokens` tokens and a memory of two. That a language model's true gap is as small can be expected after one epoch, for the reason given above. It cannot be computed.

# %% [markdown]
# ## Exercises
#
# ```{exercise} One state, by hand
# :label: ex-beyond-1
#
# In some state there are three tokens.
#
# :::{table} Probabilities of the next token
# | | first | second | third |
# |---|---|---|---|
# | source | 0.7 | 0.2 | 0.1 |
# | model | 0.5 | 0.3 | 0.2 |
# :::
#
# What does this state contribute to the sum {eq}`eq-source-true-risk`? What is the least that any model could contribute? What
# is the difference called?
# ```
#
# ```{solution-start} ex-beyond-1
# :class: dropdown
# ```

# %%
p, q = np.array([0.7, 0.2, 0.1]), np.array([0.5, 0.3, 0.2])
term, least = conditional_risk(p, -np.log(q)), conditional_risk(p, -np.log(p))
np.testing.assert_allclose([term, least], [0.8869, 0.8018], atol=5e-5)
np.testing.assert_allclose(term - least, (p * np.log(p / q)).sum())

# %% [markdown]
# $0.7 \log 2 + 0.2 \log\frac{10}{3} + 0.1 \log 5 = 0.887$ nats. The least is the entropy, 0.802, at $q = p$. The difference, 0.085, is the Kullback-Leibler divergence from $q$ to $p$; averaged over the contexts it is the column *excess*.
#
# ```{solution-end}
# ```
#
# ```{exercise} The luck of the draw
# :label: ex-beyond-2
#
# The source's own gap has mean zero. Draw some texts of 2,048 and some of 32,768 tokens from the language-like source. How does the standard deviation of its own gap fall with the length, and how large would you expect it to be for the text of the largest model?
# ```
#
# ```{solution-start} ex-beyond-2
# :class: dropdown
# ```


# %% caption="The luck of the draw: spread of the source's own gap"
def own_gaps(n_rows, n_texts=100):
    """Of so many texts, the mean entropy less the mean loss of the true distribution, nats/token."""
    own_rng = np.random.default_rng([seed, n_rows])
    for _ in range(n_texts):
        text = language.sample(n_rows, seq_len + 1, own_rng)
        before, after = text.states[:, 1:], text.tokens[:, 1:]
        yield (language.entropies()[before] + np.log(language.probs[before, after])).mean()


short, long = (float(np.std(list(own_gaps(n_rows)), ddof=1)) for n_rows in (16, 256))
expected = long * math.sqrt(256 / len(runs[largest].rows))
assert 3 < short / long < 5.3  # four, but for chance
assert abs(gaps.loc[largest, "source's own gap"]) < 4 * expected
glue_all(
    luck_short=short, luck_long=long, luck_expected=expected, luck_seen=gaps.loc[largest, "source's own gap"]
)
pd.Series(
    {"2,048 tokens": short, "32,768 tokens": long, "expected of the largest model's text": expected}
).to_frame("standard deviation, nats")

# %% [markdown]
# The differences are those of a {term}`martingale`, so they are uncorrelated and the standard deviation falls as $1/\sqrt n$: sixteen times the tokens, a quarter of it ({glue:text}`luck_short:.4f` and {glue:text}`luck_long:.4f` nats). For the text of the largest model one
# expects about {glue:text}`luck_expected:.4f`; it was {glue:text}`luck_seen:+.4f`.
#
# ```{solution-end}
# ```
#
# ```{exercise} Reading twice
# :label: ex-beyond-3
#
# Somebody counts every reading as new text: $D$ is then {glue:text}`n_repeats:.0f` times as large and the complexity as much smaller. The martingale inequality still holds for that longer sequence. Why is the certificate worth nothing? How large would the true gap be that it speaks of?
# ```
#
# ```{solution-start} ex-beyond-3
# :class: dropdown
# ```
#
# In the second reading a token is no longer random: given the past, it is known. So $\mathbb E[X_k \mid \mathcal F_{k-1}] = X_k$ there, and only the first reading adds to the gap. The inequality is true, but it bounds another risk, in which all but one of the readings
# have a gap of zero.

# %%
repeated = gaps.loc["read many times"]
diluted = (repeated["true risk"] + (n_repeats - 1) * repeated["training loss"]) / n_repeats
assert repeated["true risk"] - repeated["training loss"] > 10 * (diluted - repeated["training loss"])
glue_all(diluted_gap=diluted - repeated["training loss"])

# %% [markdown]
# That gap is {glue:text}`diluted_gap:.3f` nats, the true one divided by the number of readings. $D$ has to count the tokens drawn.
#
# ```{solution-end}
# ```
