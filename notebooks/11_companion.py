# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,mystnb,-all
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
# # What do you pay for?
#
# | | |
# |---|---|
# | **Paper section** | 3 and 5: both halves of the paper, as the ends of one curve; the theorems of this page are ours |
# | **Reads** | a rung's checkpoint, archive and training rows, the snapshots of its training, and the records of all rungs |
# | **Writes** | two small checkpoints under `build/controls/` |
# | **Runtime** | {glue:text}`runtime_seconds:.0f` seconds on one core |
#
# The paper's bound charges a model for every nat by which its losses stray. Most of that straying is not the model's doing: some tokens are hard, for everyone. This page subtracts from each loss
# the loss of another model, one that was there *before* the token was read, and pays for the difference alone. For the paper's own predictor, with the same data and the same code, about half of the gap goes away.
#
# Every bound here is about the token-wise risk on the training contexts, equation {eq}`eq-token-wise-risk`, and each names the predictor $q$ that it is about. "Gap" always means: above the
# training loss of the final, unquantized model.

# %% tags=["parameters"]
model_size: str = "ladder-50k"  # a rung that was trained here, with snapshots
method: str = "gptq"  # quantizer
bits: int = 4  # per quantized weight, the paper's setting
n_windows: int = 256  # training windows drawn for the estimates of this page
n_test_windows: int = 1_000  # held-out windows drawn
n_steps_of_controls: int = 80  # training steps of each control that is trained
n_texts: int = 200  # short texts from known sources, for each mistake
failure_prob: float = 0.01  # delta of each bound
seed: int = 0  # of samples, controls, texts

# %%
import hashlib
import math
import time
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.stats import binom

from gengap import models
from gengap.book.figures import FAMILIES, TERMS, family_panels, named_axis, size_axis, stacked_bars
from gengap.book.glue import glue_all, glue_range
from gengap.book.interactive.kept import keep
from gengap.book.interactive.tokens import describe, token_texts
from gengap.bounds import CodedModel, draw_windows, split_failure_prob
from gengap.bounds.classical import betting_upper, hoeffding_upper
from gengap.bounds.companion import companion_bound
from gengap.bounds.companion_coverage import deviations, violations
from gengap.bounds.companion_grids import (
    COMPANION_PART,
    LITTLE,
    N_PREDICTORS,
    CompanionChoice,
    Predictor,
    choose_companion,
    choose_share,
)
from gengap.bounds.companion_settings import mistakes
from gengap.bounds.smoothing import max_nll, min_nll, smoothed_nll
from gengap.compression import METHODS, Hypothesis, compress
from gengap.errors import UserError
from gengap.laws import trend
from gengap.models.counts import counting_companion, uniform_companion
from gengap.models.loading import load_checkpoint
from gengap.models.snapshots import ONLINE, average_name, companion_of
from gengap.paths import build_dir
from gengap.records import load_records
from gengap.records.gaps import gaps
from gengap.statistics import token_statistics
from gengap.statistics.companion import Companion, beside_statistics
from gengap.tokens import TokenRows, sample_rows
from gengap.training import Run, TrainingLog, train_run
from gengap.training.loop import new_model
from gengap.units import bits_from_nats
from gengap.workflow.companions import coded_companion
from gengap.workflow.jobs import BEST_CODE

plt.style.use("gengap.book")
torch.set_num_threads(1)
started = time.process_time()

spec = models.get(model_size)
companion = spec.companion()
if companion is None:
    raise UserError(
        f"this page needs snapshots of the training of {model_size}, which are not published: run `gengap train {model_size} "
        f"--snapshots`, about a minute (first delete {spec.results_dir() / 'loss_log.csv'} if it is there)"
    )
checkpoint, rows = spec.load(), spec.train_rows()
hypothesis = Hypothesis.read(spec.find_archive(method, bits), method, bits, spec.config())
model = hypothesis.build(checkpoint)
records = load_records(spec.family, method, bits)
record = next((r for r in records if r.identity.model_size == model_size and r.online), None)
if record is None:
    raise UserError(
        f"there is no record of {model_size} with a companion: run `gengap run {model_size} --method {method} --bits {bits}`"
    )

# %% [markdown]
# ## Hard tokens are hard for everyone
#
# Take the model of this page, {glue:text}`model_size`, in the form that the paper bounds: quantized to {glue:text}`bits:d` bits and mixed with a little of the uniform distribution. Beside it stands its **companion** $u$: for each training row the
# model *as it was before that row was read*, an average of the weights over the last 10 % of the steps up to there, kept as a snapshot. {glue:text}`n_snapshots:d` snapshots were taken along the training, denser at its start. Nothing in $u$ has seen the row. (That rule was preferred to others after a look at this text, so {glue:text}`rule_bits:.0f` bits are paid for it, enough for {glue:text}`n_rules:,.0f` rules.)
#
# We draw {glue:text}`n_windows:d` of the {glue:text}`n_rows:,` training windows and look at three numbers for each token: $X^q$, what the final model loses; $X^u$, what its companion loses; and the difference $Z = X^q - X^u$.

# %%
budget = split_failure_prob(failure_prob)
vocab_size, n_train_tokens = spec.vocab_size, spec.n_train_tokens
coded = CodedModel(hypothesis.code_length_bits["archive"], n_train_tokens, vocab_size, budget.martingale)
rng = np.random.default_rng([seed, 11])  # its own stream: no model has been fitted to this draw
sample = draw_windows(len(rows), n_windows // 2, n_windows - n_windows // 2, budget.sampling, rng)
drawn = rows[sample.windows]  # (n_windows, seq_len + 1)
paper_alpha = coded.paper_alpha  # C/(1+C)
train_risk = float(token_statistics(checkpoint, drawn).nll.mean(dtype=np.float64))
quantized = token_statistics(model, drawn, [paper_alpha])


def beside_of(h, u, predictors):
    """The companion u and predictors made of the model h, on the windows drawn."""
    return beside_statistics(h, u, drawn, sample.windows, predictors)


paper_predictor = Predictor(paper_alpha)
hedges = [
    Predictor(alpha, hedged=True) for alpha in (0.003, 0.01, LITTLE, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 0.97)
]
assert 1 + len(hedges) <= N_PREDICTORS  # so many are paid for
statistics = beside_of(model, companion, [paper_predictor, *hedges])
of_paper = statistics.of[paper_predictor]
loss_q, loss_u, z = (
    of_paper.loss + of_paper.excess,
    of_paper.loss,
    of_paper.excess,
)  # (n_windows, seq_len) nats
strays = {
    "X, from the model's entropy": loss_q - quantized.entropy[0],
    "Z, from what is expected of it": z - of_paper.expected,
}
spread = {name: float(np.sqrt(np.mean(values.astype(float) ** 2))) for name, values in strays.items()}

# %% mystnb={"figure": {"caption": "Above: a stretch of one training window, token by token; the losses of the final model (quantized, smoothed) and of its companion, and their difference. Below: how far, over all tokens drawn, the loss strays from the model's own entropy, which the paper's bound pays for, and the difference from its expectation, which this page's bounds pay for.", "name": "fig-companion-strays"}, "image": {"alt": "Above, three lines over fifty tokens: two losses that jump between 0 and 10 nats nearly together, and their difference, which stays near zero. Below, two histograms on a logarithmic scale: the difference is concentrated about zero, the loss spread several times as wide."}}
window = int(np.argsort(sample.windows)[len(sample.windows) // 2])  # half-way through the training
stretch = slice(100, 150)
fig, (above, below) = plt.subplots(2, 1, figsize=(6.4, 6))
for values, label, style in (
    (loss_q, "$X^q$, final model", "C0-"),
    (loss_u, "$X^u$, companion", "C1-"),
    (z, "$Z$, difference", "C2-"),
):
    above.plot(values[window, stretch], style, label=label, linewidth=1.4)
above.set(xlabel="token of the window", ylabel="nats")
for (label, values), color in zip(strays.items(), ("C0", "C2"), strict=True):
    below.hist(
        values.ravel(),
        np.linspace(-8, 10, 73),
        density=True,
        histtype="step",
        color=color,
        label=label,
        linewidth=1.6,
    )
below.set(yscale="log", xlabel="nats", ylabel="density")
above.legend(loc="upper right", ncols=3)
below.legend(loc="upper right")
plt.show()

# %%
assert spread["Z, from what is expected of it"] < spread["X, from the model's entropy"]
glue_all(
    model_size=model_size, bits=bits, n_snapshots=len(companion.starts), n_windows=n_windows, n_rows=len(rows)
)
glue_all(stray_x=spread["X, from the model's entropy"], stray_z=spread["Z, from what is expected of it"])
glue_all(
    variance_share=100
    * (spread["Z, from what is expected of it"] / spread["X, from the model's entropy"]) ** 2
)
glue_all(loss_u=loss_u.mean() - train_risk, least_alpha=100 * hedges[0].alpha)
glue_all(rule_bits=companion.code_length_bits, n_rules=2**companion.code_length_bits)

# %% tags=["remove-cell"]
row, number = drawn[window], int(sample.windows[window])  # the token viewer of chapter 02 shows a part of it
keep(
    "token-viewer",
    describe(record, model, companion, row, number, token_texts(spec, row[1:]), slice(80, 200)),
)

# %% [markdown]
# The loss strays by {glue:text}`stray_x:.2f` nats from what the model expects (root mean square), the difference by {glue:text}`stray_z:.2f`: its variance is {glue:text}`variance_share:.0f` % of the other. The companion is the worse model, by {glue:text}`loss_u:.2f` nats on average, but it stumbles over the same tokens.
#
# Why does that help? A bound has to answer for a model that was chosen after the text was seen, among all models with as short a code. Its risk is split in two:
#
# $$
# \text{risk of } q \;=\; \text{risk of } u \;+\; \text{mean of } \mathbb E[Z] .
# $$
#
# The companion was *not* chosen after the text: at each token it was already there. So its risk is close to what it lost, and that costs next to nothing. Only the second part depends on the chosen model, so only there the code has to be paid, at a price set by how much $Z$ varies.
#
# ## The statement
#
# Let $u_k$ be the companion's distribution for token $k$, and write
#
# $$
# X^u_k = -\log u_k(x_k), \qquad X^q_k = -\log q_k(x_k), \qquad Z_k = X^q_k - X^u_k = \log \frac{u_k(x_k)}{q_k(x_k)},
# $$ (eq-companion-losses)
#
# where $q_k$ is the predictor whose risk is bounded. As functions of a token $v$ that could come, $X^u_k(v)$, $X^q_k(v)$ and $Z_k(v)$ are known before $x_k$ is.
#
# What must be known when:
#
# * **Before the text** ($\mathcal F_0$): the tokenizer, $D$, the order in which rows are read, all seeds; the code (which string of bits stands for which $h$) with the arithmetic that its decoder computes in; the rule
#   that makes $u$; the finite grids of constants.
# * **Before token $k$** ($\mathcal F_{k-1}$): $u_k$, a function of $\mathcal F_0$ and $x_1, \dots, x_{k-1}$; for each $h$ and each element $g$ of the grid the distribution $q_k$, a function of $h$, $g$ and $\mathcal F_{k-1}$; and
#   the baseline $Y_k$. No later token may have touched any of them, not through weights updated too early, nor through a number that is shared by a batch.
# * **After the text**: which $h$ and which $g$. That choice is free, because the statement holds for all of them at once.
#
# Both distributions are positive on every token, with $u_k \ge \eta/V$ with a constant $\eta > 0$, and $X^q_k(v)$ bounded, so that all expectations exist. Let $H_k$ be the entropy of $u_k$ and $x^u_{\max} = \log(V/\eta)$.
#
# :::{prf:theorem} A predictable companion (ours)
# :label: thm-companion
# :class: ours
#
# Let $G$ and $G_u$ be finite, $L(h)$ the length of a prefix-free code and $L(u)$ that of the rule that makes $u$ ($0$ if there was no choice). For every $h$ and $g \in G$ let $\lambda > 0$ and let $Y_k$ be predictable, with $1 + \lambda\,(Y_k - Z_k(v)) > 0$
# for *every* token $v$. For every element of $G_u$ let $0 < \lambda_u < 1/x^u_{\max}$. Put
#
# $$
# \begin{aligned}
# \mathcal C &= \frac1D \Bigl( (L(h) + L(u)) \log 2 + \log\frac{|G|}{\delta_1} \Bigr), \\
# \mathcal C_u &= \frac1D \Bigl( L(u) \log 2 + \log\frac{|G_u|}{\delta_2} \Bigr) .
# \end{aligned}
# $$ (eq-companion-complexity)
#
# With probability at least $1 - \delta_1 - \delta_2$, for all $h$, all of $G$ and all of $G_u$ at once,
#
# $$
# R(q) \;\le\; \frac{\mathcal C_u}{\lambda_u} + \frac1D \sum_{k=1}^D f^u_k \;+\; \frac{\mathcal C}{\lambda} + \frac1D \sum_{k=1}^D f^Z_k,
# $$ (eq-companion)
#
# $$
# \begin{aligned}
# f^u_k &= H_k - \frac{1}{\lambda_u} \log\bigl(1 + \lambda_u (H_k - X^u_k)\bigr), \\
# f^Z_k &= Y_k - \frac1\lambda \log\bigl(1 + \lambda\,(Y_k - Z_k)\bigr) .
# \end{aligned}
# $$ (eq-companion-summands)
# :::
#
# The first two terms are the companion's own risk, bounded: the mean of $X^u$ and a small remainder, which we write $\varepsilon$.
#
# :::{prf:proof}
# Fix a rule $u$, one of those that the code of rules can name.
#
# 1. *The companion's own risk.* $H_k$ is predictable, and $X^u_k - H_k \le x^u_{\max}$ for every token, so $1 + \lambda_u (H_k - X^u_k) \ge 1 - \lambda_u x^u_{\max} > 0$. As in steps 1 to 3 of {prf:ref}`thm-freedman`,
#    $\prod_k (1 + \lambda_u (H_k - X^u_k))\, e^{-\lambda_u \mathbb E[H_k - X^u_k \mid \mathcal F_{k-1}]}$ is a non-negative supermartingale that starts at 1. It ever reaches $|G_u|\, 2^{L(u)}/\delta_2$ with probability at most
#    $\delta_2\, 2^{-L(u)}/|G_u|$. Where it does not, the logarithm, divided by $\lambda_u D$, says
#    $\frac1D \sum \mathbb E[X^u_k \mid \mathcal F_{k-1}] \le \mathcal C_u/\lambda_u + \frac1D \sum f^u_k$.
# 2. *The difference.* For fixed $h$ and $g$, $\prod_k (1 + \lambda (Y_k - Z_k))\, e^{-\lambda\, \mathbb E[Y_k - Z_k \mid \mathcal F_{k-1}]}$ is such a supermartingale too: the factors are positive by assumption, $Y_k$ is predictable, and
#    $1 + a \le e^a$ for $a = \lambda\,\mathbb E[Y_k - Z_k \mid \mathcal F_{k-1}]$. It reaches $|G|\, 2^{L(h) + L(u)}/\delta_1$ with probability at most $\delta_1\, 2^{-L(h) - L(u)}/|G|$; where it does not,
#    $\frac1D \sum \mathbb E[Z_k \mid \mathcal F_{k-1}] \le \mathcal C/\lambda + \frac1D \sum f^Z_k$.
# 3. *All at once.* Kraft's inequality says $\sum_h 2^{-L(h)} \le 1$ and $\sum_u 2^{-L(u)} \le 1$. There are countably many codes, so the union is an event, and its probability is at most the sum: $\delta_2$ for the first kind, $\delta_1$ for the second.
# 4. *Add.* $\mathbb E[X^q_k \mid \mathcal F_{k-1}] = \mathbb E[X^u_k \mid \mathcal F_{k-1}] + \mathbb E[Z_k \mid \mathcal F_{k-1}]$. $\square$
# :::
#
# Step 1 knows nothing of $h$: it is one statement about one sequence, so its $\mathcal C_u$ holds no code length of a model and $\varepsilon$ is small. Step 2 pays for $h$, but only for how much $q$ differs from $u$. With $u$ uniform, $X^u = \log V$ is constant, and what is left
# is equation {eq}`eq-tight`.
#
# Nothing in the proof uses that $X^u$ is a log loss. Any bounded $\ell_k(x_k)$, with a function $\ell_k$ that is known before $x_k$, may take its place, for example $\min(X^u_k, c)$ with a constant $c$, if $Z_k = X^q_k - \ell_k(x_k)$ and $H_k$ becomes the mean of $\ell_k$ under $u_k$.
#
# (companion-losing-predictability)=
# What does *not* qualify as $u_k$: the weights after the update in which token $k$ took part; the next snapshot instead of the last; a copy that was cooled down on tokens from $k$ on; an average that holds later weights; a model in its second pass over the text; a batch that was skipped after a look at it.
# And $X^u$ and the $u$ in $Z$ must be the same numbers: same weights, same precision, same $\eta$.
#
# ### The predictable range
#
# How large can $Z$ be? For a fixed range one would have to assume the worst token in the worst context. But the worst token of *this* context is known before the token comes.
#
# :::{prf:theorem} The predictable range (ours)
# :label: thm-predictable-range
# :class: ours
#
# Let $q_k = p_s = (1-\alpha)\, p_h + \alpha/V$, the paper's predictor, and
#
# $$
# m_k = \max_v \log \frac{u_k(v)}{q_k(v)} \;\le\; \log \frac V\alpha .
# $$ (eq-predictable-range)
#
# For every predictable $b_k$, every $s \in (0, 1)$ and *every* $\lambda > 0$, the baseline
#
# $$
# Y_k = \max\bigl(b_k,\; m_k - s/\lambda\bigr)
# $$ (eq-companion-baseline)
#
# is predictable, and $1 + \lambda\,(Y_k - Z_k(v)) \ge 1 - s > 0$ for every token $v$. So {prf:ref}`thm-companion` holds with it, for the predictor $p_s$, a function of the context alone.
# :::
#
# :::{prf:proof}
# $u_k$ and $q_k$ are functions of $\mathcal F_{k-1}$, hence so are the maximum $m_k$ over the finite vocabulary and $Y_k$. For every $v$, $Z_k(v) \le m_k$, so $Y_k - Z_k(v) \ge (m_k - s/\lambda) - m_k = -s/\lambda$. The bound on $m_k$ is $u_k \le 1$ and $q_k \ge \alpha/V$. $\square$
# :::
#
# A fixed range asks for $\lambda < 1/\log(V/\alpha)$ everywhere. Here $\lambda$ is free: a larger one makes the code cheaper, $\mathcal C/\lambda$, and is paid for by a raised baseline in those contexts alone where some token is much likelier under $u$ than under $q$. We take
#
# $$
# b_k = \mathbb E_{v \sim (q_k + u_k)/2}\, Z_k(v) = \tfrac12 \bigl( \mathrm{KL}(u_k \,\|\, q_k) - \mathrm{KL}(q_k \,\|\, u_k) \bigr),
# $$ (eq-companion-base)
#
# half way between what $Z$ is on average if tokens come as $u$ says, $\mathrm{KL}(u\|q)$, and if they come as $q$ says, $-\mathrm{KL}(q\|u)$.
#
# The two equations as code. The rest of this page is made with them.


# %%
def summand(z, baseline, rate):
    """f^Z of equation (companion-summands), nats."""
    return baseline - np.log1p(rate * (baseline - z)) / rate


def baseline_of(beside, rate, s):
    """Y of equation (companion-baseline): what is expected of Z, raised where some token could cost too much."""
    return np.maximum(beside.expected, beside.most - s / rate)


class Estimate(NamedTuple):
    """A bound of this page: constants chosen on the windows drawn, without the error of that sample."""

    gap: float  # over the training loss of the final model, nats/token
    loss: float  # of q on the tokens drawn, over the same, nats/token
    choice: CompanionChoice  # predictor, lambda, s


def shares_of(coded):
    """The model with its part of delta, and the companion's."""
    return replace(coded, failure_prob=(1 - COMPANION_PART) * coded.failure_prob)


def own_risk(u, loss, entropy):
    """mean X^u + eps, nats/token: the bound on R(u), equation (online)."""
    known = coded_companion(u, coded)
    share = choose_share(known, loss, entropy)
    return known.complexity / known.rate(share) + float(known.summand(loss, entropy, share).mean())


def estimate(coded, u, among):
    """The least bound over some predictors, {predictor: Beside}: equation (companion)."""
    known, of_h = coded_companion(u, coded), shares_of(coded)
    choice = choose_companion(of_h, known, among)
    beside = among[choice.predictor]
    f = summand(beside.excess, baseline_of(beside, choice.rate, choice.share), choice.rate)
    bound = (
        own_risk(u, beside.loss, beside.entropy) + known.with_model(of_h) / choice.rate + f.mean(dtype=float)
    )
    loss = (beside.loss + beside.excess).mean(dtype=float)
    return Estimate(float(bound) - train_risk, float(loss) - train_risk, choice)


def only(statistics, predictor):
    """What `estimate` takes, of one predictor."""
    return {predictor: statistics.of[predictor]}


of_context = estimate(coded, companion, only(statistics, paper_predictor))
rate, s = of_context.choice.rate, of_context.choice.share
y = baseline_of(of_paper, rate, s).astype(float)
assert (1 + rate * (y - of_paper.most) >= 1 - s - 1e-6).all()  # whatever the token
raised = float((of_paper.most - s / rate > of_paper.expected).mean())
by_library = companion_bound(
    shares_of(coded),
    coded_companion(companion, coded),
    of_paper,
    of_context.choice,
    choose_share(coded_companion(companion, coded), statistics.loss, statistics.entropy),
    train_risk,
    float(quantized.nll.mean(dtype=np.float64)),
    sample,
)
np.testing.assert_allclose(
    of_context.gap, by_library.gap - by_library.sampling, atol=1e-4
)  # the equation is the library's
pd.Series(
    {
        "lambda, 1/nats": rate,
        "largest lambda with a fixed range": 1 / math.log(vocab_size / paper_alpha),
        "share of tokens whose range is paid, %": 100 * raised,
        "gap, estimate (nats)": of_context.gap,
    },
    name="the paper's predictor, with a companion",
).to_frame().style.format("{:.3f}")

# %% [markdown]
# ## Half of the gap, for the paper's own predictor
#
# That was an estimate from a small sample, which this page makes of everything it compares. The *certificate*, from more windows and with its sampling error counted, is in the record of the model ({doc}`05_bound`). Four kinds of bound from the same tokens and the same code. The paper's and the last are about the same predictor: the quantized model, with a weight $\alpha$ of the uniform distribution, {glue:text}`alpha_paper:.3f` in the paper's bound and {glue:text}`alpha_companion:.3f` in ours at 4 bits (chosen among the paper's and three others, which is paid for).

# %%
paid = {"nominal": "4 bits a parameter" if bits == 4 else "nominal", "archive": "the file"}
certified = pd.DataFrame(
    {
        (kind, paid[name]): {
            "gap": bound.gap,
            "of the paper's": bound.gap / record.bounds["nominal"].paper.gap,
        }
        for name in paid
        for kind, bound in {
            "Azuma": record.bounds[name].azuma,
            "paper, Thm 3.4": record.bounds[name].paper,
            "without a companion, best smoothing": record.bounds[name].tight,
            "with a companion": record.bounds[name].companion,
        }.items()
    }
).T
certified.index.names = "bound", "code"
certified.sort_index(level="code", sort_remaining=False).style.format("{:.3f}")

# %%
nominal, archive = record.bounds["nominal"], record.bounds["archive"]
assert nominal.companion.gap < nominal.tight.gap < nominal.paper.gap
assert archive.companion.gap < archive.tight.gap < archive.paper.gap
assert not nominal.companion.hedged  # it never sees the companion
glue_all(
    paper_gap=nominal.paper.gap,
    companion_gap=nominal.companion.gap,
    companion_archive_gap=archive.companion.gap,
)
glue_all(
    companion_ratio=nominal.companion.gap / nominal.paper.gap,
    companion_archive_ratio=archive.companion.gap / nominal.paper.gap,
)
glue_all(tight_ratio=nominal.tight.gap / nominal.paper.gap, raised=100 * raised)
glue_all(alpha_paper=nominal.paper.alpha, alpha_companion=nominal.companion.alpha)
glue_all(rate=rate, fixed_rate=1 / math.log(vocab_size / paper_alpha))
assert nominal.companion.gap < 0.56 * nominal.paper.gap  # about half

# %% [markdown]
# At 4 bits a parameter the paper's gap of {glue:text}`paper_gap:.2f` nats becomes {glue:text}`companion_gap:.2f`, {glue:text}`companion_ratio:.2f` of it; with the length of the file {glue:text}`companion_archive_gap:.2f`, {glue:text}`companion_archive_ratio:.2f`. The predictor is a function of the context alone and never sees the companion: who uses
# it needs no snapshot. The companion lives in the proof. (The best bound without one has {glue:text}`tight_ratio:.2f` of the paper's gap.)
#
# Two things make the number. The range: a fixed one would allow $\lambda < {}$ {glue:text}`fixed_rate:.2f`, the predictable one lets us take {glue:text}`rate:.2f` and asks {glue:text}`raised:.0f` % of the tokens to pay for it. And the spread of $Z$, which makes the larger $\lambda$ worth its price.
#
# ## One curve, from compression to prediction
#
# So far the companion was only in the proof. It may also take part in the prediction.
#
# :::{prf:theorem} Hedging (ours)
# :label: thm-hedging
# :class: ours
#
# Let $q_k = (1-\alpha)\, p_h + \alpha\, u_k$. Then $Z_k(v) \le m_k \le \log\frac1\alpha$ for every token, whatever $h$, $u$ and $V$; {prf:ref}`thm-companion` holds with the baseline {eq}`eq-companion-baseline` for every $\lambda > 0$ and $s \in (0,1)$; and always
#
# $$
# R(q) \;\le\; R(u) + \log\tfrac1\alpha .
# $$ (eq-hedging)
# :::
#
# :::{prf:proof}
# $q_k \ge \alpha\, u_k$ gives $m_k \le \log\frac1\alpha$; the rest is the proof of {prf:ref}`thm-predictable-range`. Equation {eq}`eq-hedging` is $X^q_k \le X^u_k + \log\frac1\alpha$, averaged. $\square$
# :::
#
# The vocabulary is gone from the range. The price is that this $q$ is the final model *hedged with weight $\alpha$ by the model of that moment*, and not a function of the context alone: wherever its bound is shown, the page says so. As $\alpha \to 0$ what is bounded is the final model, by its code;
# as $\alpha \to 1$ it is the companion, which needs no code.
#
# Mixing is one way to hedge. The best one, for a model that is calibrated, follows from the argument of {prf:ref}`thm-maximum-entropy`, with $u$ where the uniform distribution was.
#
# :::{prf:theorem} The best hedge (ours)
# :label: thm-best-hedge
# :class: ours
#
# Fix $\lambda > 0$ and positive distributions $p$ and $u$. For all $q$ and $Y$ with $1 + \lambda\,(Y - \log (u/q)) > 0$,
#
# $$
# \mathbb E_p\, f^Z \;\ge\; \max_{p^*} \Bigl\{ -\mathrm{KL}(p^* \,\|\, u) - \tfrac1\lambda\, \mathrm{KL}(p \,\|\, p^*) \Bigr\},
# $$ (eq-best-hedge)
#
# with equality when $q = p^*$ is the maximizer and $Y = -\mathrm{KL}(p^*\|u)$. With the one $c$ for which it sums to one,
#
# $$
# p^* = u\, e^{w - c}, \qquad w = W\!\Bigl( \frac{e^c}{\lambda}\, \frac pu \Bigr), \qquad c = Y + \tfrac1\lambda .
# $$ (eq-best-hedge-shape)
# :::
#
# :::{prf:proof}
# For every distribution $p^*$, Jensen's inequality gives $\mathbb E_p \log(1 + \lambda (Y - Z)) \le \mathrm{KL}(p\|p^*) + \log \mathbb E_{p^*}[1 + \lambda (Y - Z)]$, and the last term is at most $\lambda\,(Y - \mathbb E_{p^*} Z)$, where
# $\mathbb E_{p^*} Z = \mathrm{KL}(p^*\|q) - \mathrm{KL}(p^*\|u) \ge -\mathrm{KL}(p^*\|u)$. Hence $\mathbb E_p f^Z \ge -\mathrm{KL}(p^*\|u) - \frac1\lambda \mathrm{KL}(p\|p^*)$, concave in $p^*$. Its maximizer solves
# $p^* (1 + \lambda\,(Y + \log (p^*/u))) = p$ with a multiplier named $Y$; summing over tokens gives $Y = -\mathrm{KL}(p^*\|u)$, and then $1 + \lambda (Y - Z) = p/p^*$ at $q = p^*$: equality. With $p^* = u\, e^{w-c}$ the equation reads $\lambda w\, e^{w - c} = p/u$. $\square$
# :::
#
# Between the ends lies a family of predictors, one for each weight $\alpha$, and each has its bound. Here is the whole curve, with the code length of the file.

# %% mystnb={"figure": {"caption": "Certified gap (estimate) over the final model's training loss, for the final model hedged with weight alpha by the companion of each moment. Left end: the paper's smoothed model, which never sees the companion. Right end: the companion itself, which needs no code. Broken line: what the hedged predictor really loses on the same tokens.", "name": "fig-companion-curve"}, "image": {"alt": "A curve of the gap against the weight of the companion on a log-odds axis: it falls from about 0.9 nats at the left to about a half near one half and rises a little towards the right end; a marker at each end, and below it a broken line for the predictor's own training loss."}}
curve = {p.alpha: estimate(coded, companion, only(statistics, p)) for p in hedges}
alone = own_risk(companion, statistics.loss, statistics.entropy) - train_risk
alphas = np.array(list(curve))
log_odds = np.log(alphas / (1 - alphas))
ends = log_odds[0] - 1.3, log_odds[-1] + 1.3
best_alpha = min(curve, key=lambda alpha: curve[alpha].gap)
fig, ax = plt.subplots()
ax.plot(log_odds, [found.gap for found in curve.values()], "o-C4", label="hedged with weight α: bound")
ax.plot(log_odds, [found.loss for found in curve.values()], "--C4", label="its training loss")
ax.plot(ends[0], of_context.gap, "sC2", markersize=8, label="final model, smoothed: bound")
ax.plot(ends[1], alone, "DC1", markersize=8, label="companion alone: bound")
shown = [0.003, 0.01, LITTLE, 0.2, 0.5, 0.9]
named_axis(
    ax.xaxis,
    [ends[0], *np.log(np.array(shown) / (1 - np.array(shown))), ends[1]],
    ["final", *map("{:g}".format, shown), "online"],
)
ax.set(xlabel="weight α of the companion", ylabel="nats above the training loss")
fig.legend(loc="outside lower center", ncols=2)
plt.show()

# %%
for found, alpha in zip(curve.values(), alphas, strict=True):
    assert found.loss <= float(statistics.loss.mean()) - train_risk + math.log(
        1 / alpha
    )  # equation (hedging), on the data
    assert found.gap > found.loss  # a bound lies above what it bounds on average
named = {
    "final model, smoothed": of_context,
    "hedged with 5 %": curve[LITTLE],
    f"hedged with {best_alpha:.0%}, the best": curve[best_alpha],
}
table = pd.DataFrame(
    {
        name: {"gap": f.gap, "q's training loss": f.loss, "price": f.gap - f.loss, "lambda": f.choice.rate}
        for name, f in named.items()
    }
).T
table.loc["companion alone"] = [
    alone,
    statistics.loss.mean() - train_risk,
    alone - (statistics.loss.mean() - train_risk),
    math.nan,
]
assert curve[0.003].gap > of_context.gap
assert archive.hedged_little.gap > record.online.gap > archive.hedged.gap
glue_all(alone=alone)
glue_all(
    little_ratio=archive.hedged_little.gap / nominal.paper.gap,
    hedged_ratio=archive.hedged.gap / nominal.paper.gap,
)
glue_all(
    hedged_little_gap=archive.hedged_little.gap,
    hedged_gap=archive.hedged.gap,
    hedged_alpha=100 * archive.hedged.alpha,
)
glue_all(little_alpha=100 * archive.hedged_little.alpha)
table.style.format("{:.3f}", na_rep="none")

# %% [markdown]
# The paper has two halves. The first bounds the final model by its *compression*; the second measures how much training taught it, by *prequential coding*, and asks what a code that short would give. They are the two ends of this curve. At the left $q$ is a function of the context, coded in the file; at the right it is the sequence of online models, with no code. The least
# bound lies between: certified, {glue:text}`hedged_gap:.2f` nats at {glue:text}`hedged_alpha:.0f` % of the companion, {glue:text}`hedged_ratio:.2f` of the paper's nominal gap, and {glue:text}`hedged_little_gap:.2f` ({glue:text}`little_ratio:.2f`) at {glue:text}`little_alpha:.0f` %.
#
# A small weight does not lead smoothly to the final model: hedged with {glue:text}`least_alpha:.1f` % the bound lies above that of the model smoothed in the paper's way, because so little of $u$ protects from hardly anything. Nor is a little hedging always better than the companion alone; here, with {glue:text}`little_alpha:.0f` %, it is not (for other sizes see the end of this page).
#
# These are not gaps of the final model. A hedged predictor needs the snapshot of the moment, in every context; its bound says how well *that pair* predicts. Only the left end speaks of the model that is kept when training is over.
#
# ## Where each nat goes
#
# Certified bounds from the record, with the length of the file; what they add to the training loss, term by term.

# %% mystnb={"figure": {"caption": "What each certified bound adds to the training loss of the final model, taken apart: the paper's, ours without and with a companion in the proof, the model hedged by its companion with two weights, the companion alone. The loss variation of the last four is that of the companion's own risk. Parameters and variation together: the price of the code, after all constants have been chosen.", "name": "fig-companion-terms"}, "image": {"alt": "Six stacked bars: the paper's bound, the tallest, is made of parameters, loss variation, smoothing, quantization and sampling; the bound without a companion and the one with it are made mostly of parameters and variation, ever shorter; the hedged ones shorter still; that of the companion alone is nearly all information content."}}
bars = {
    "paper": archive.paper,
    "without": archive.tight,
    "with": archive.companion,
    f"hedged\n{archive.hedged_little.alpha:.0%}": archive.hedged_little,
    f"hedged\n{archive.hedged.alpha:.0%}": archive.hedged,
    "alone": record.online,
}
styles = {name: style for name, style in TERMS.items() if name != "train_risk"} | {
    "information": ("information content", "0.55")
}
terms = (
    pd.DataFrame({name: bound.terms() for name, bound in bars.items()}).T.drop(columns="train_risk").fillna(0)
)
terms["loss_variation"] += terms.pop("companion")
np.testing.assert_allclose(terms.sum(axis=1), [bound.gap for bound in bars.values()], atol=1e-9)
fig, ax = plt.subplots(figsize=(6.4, 4.6))
stacked_bars(ax, terms, styles)
for place, bound in enumerate(bars.values()):
    ax.text(place, bound.gap + 0.02, f"{bound.gap:.2f}", ha="center", fontsize="small")
ax.set(ylabel="nats per token above the training loss")
ax.grid(axis="x", visible=False)
fig.legend(loc="outside lower center", ncols=3)
plt.show()

# %%
twin = terms.rename(columns={name: label for name, (label, _) in styles.items()}).assign(
    gap=terms.sum(axis=1)
)
twin.index = [name.replace("\n", " ") for name in twin.index]
glue_all(
    price_without=archive.tight.deviation,
    price_with=archive.companion.deviation,
    price_hedged=archive.hedged.deviation,
)
glue_all(smoothing_paper=archive.paper.smoothing, smoothing_companion=archive.companion.smoothing)
glue_all(
    eps=record.online.companion,
)
twin.T.style.format("{:.3f}")

# %% [markdown]
# * The **code** costs {glue:text}`price_without:.2f` nats without a companion, {glue:text}`price_with:.2f` with it, {glue:text}`price_hedged:.2f` when hedged: the same file, the same number of bits. What changes is the price of a bit.
# * **Smoothing** costs the paper's bound {glue:text}`smoothing_paper:.2f` nats, a worst case; the real cost of the same mixing is {glue:text}`smoothing_companion:.2f`. Hedging can make it negative: the companion helps.
# * The **companion's own risk** lies at most {glue:text}`eps:.3f` nats above what it lost. That is all that the new freedom costs.
#
# ## The companion alone
#
# At the right end of the curve no model is coded at all.
#
# :::{prf:theorem} The information content is a certified gap (ours)
# :label: thm-online
# :class: ours
#
# Let $u$ be predictable with $u_k \ge \eta/V$. With probability at least $1 - \delta$, with $\mathcal C_u$ at $\delta_2 = \delta$,
#
# $$
# R(u) \;\le\; \min_{\lambda_u \in G_u} \Bigl\{ \frac{\mathcal C_u}{\lambda_u} + \frac1D \sum_{k=1}^D f^u_k \Bigr\} \;=\; \frac1D \sum_{k=1}^D X^u_k + \varepsilon \;=\; \hat R_h + \frac{K(h)}{D} + \varepsilon, \qquad K(h) := \sum_{k=1}^D X^u_k - D\, \hat R_h .
# $$ (eq-online)
# :::
#
# :::{prf:proof}
# Step 1 of {prf:ref}`thm-companion`; the second equation is the definition of $K(h)$, and the first that of $\varepsilon$. $\square$
# :::
#
# If $u$ is the online model, $K(h)$ is the quantity of {prf:ref}`thm-information-content`. There it was an estimate of a code length that nobody can send. Here it needs no code, no quantization and no Kolmogorov complexity: divided by $D$ it is the certified gap between the risk of the *online predictors* and the loss of the final model. It is a
# statement about those predictors and not about the final model.
#
# A training log holds $X^{\log}_k$ of a model without the floor $\eta$. With $u = (1-\eta)\, u^{\log} + \eta/V$,
#
# $$
# X^u_k \;\le\; X^{\log}_k + \log \frac{1}{1-\eta},
# $$ (eq-online-log)
#
# so the mean of a log certifies {eq}`eq-online`, with Azuma's inequality for $\varepsilon$ where entropies were not logged.


# %%
log = TrainingLog.read(spec.find("loss_log.csv"), spec.n_steps)
known = coded_companion(companion, coded)
azuma = known.max_loss * math.sqrt(math.log(1 / failure_prob) / (2 * n_train_tokens))  # nats
assert log.online_nll.size * log.tokens_per_step == n_train_tokens
from_log = {
    "information content": log.online_nll.mean() - record.risks.train.mean,
    "floor": -math.log(1 - companion.floor),
    "companion's risk": azuma,
    "sampling": 0.0,
}
from_record = {
    "information content": record.online.information,
    "floor": 0.0,
    "companion's risk": record.online.companion,
    "sampling": record.online.sampling,
}
certificates = pd.DataFrame(
    {"online model, from its log": from_log, f"{companion.name}, from the record": from_record}
).T
certificates["certified gap"] = certificates.sum(axis=1)
glue_all(log_gap=certificates["certified gap"].iloc[0], online_gap=record.online.gap)
information_bits = bits_from_nats(record.online.information * n_train_tokens)
glue_all(bits_per_parameter=information_bits / spec.n_params, files=information_bits / coded.code_length_bits)
assert (certificates["certified gap"] + record.risks.train.mean < math.log(vocab_size)).all()  # not vacuous
certificates.style.format("{:.3f}")

# %% [markdown]
# So the quantity that chapter {doc}`04_prequential` could only *read as if* someone found a code of that length is a certificate as it stands: {glue:text}`log_gap:.2f` nats from nothing but the training log, {glue:text}`online_gap:.2f` for the average of the weights. That is {glue:text}`bits_per_parameter:.1f` bits a parameter: as a code for the final model it would be
# {glue:text}`files:.1f` times the file. But nobody has to send it. What it certifies is about the predictors that were there along the way, and not about the final model.
#
# ## Is this progressive validation in disguise?
#
# A critic will say: of course the bound is small. You validate each snapshot on text that it has not seen, which works for any sequence of models, and hang the final model on it. The companion does all the work, the code of $h$ is decoration.
#
# There is an exact answer.
#
# :::{prf:theorem} Two codes (ours)
# :label: thm-two-codes
# :class: ours
#
# With $r_k(v) = u_k(v)\, \bigl(1 + \lambda\,(Y_k - Z_k(v))\bigr)\, e^{-\lambda Y_k}$, a sub-distribution ($\sum_v r_k(v) \le 1$), and $L(u) = 0$, the bound {eq}`eq-companion` lies below the bound {eq}`eq-online` of the companion alone, both with the same $\varepsilon$, if and only if
#
# $$
# L(h) \log 2 + \log\frac{|G|}{\delta_1} + \sum_{k=1}^D -\log r_k(x_k) \;<\; \sum_{k=1}^D -\log u_k(x_k) .
# $$ (eq-two-codes)
# :::
#
# :::{prf:proof}
# $\sum_v r_k(v) = \bigl(1 + \lambda\,(Y_k - \mathrm{KL}(u_k\|q_k))\bigr)\, e^{-\lambda Y_k} \le (1 + \lambda Y_k)\, e^{-\lambda Y_k} \le 1$. The difference of the bounds is $\mathcal C/\lambda + \frac1D \sum f^Z_k$, and
# $\lambda D$ times it is $L(h) \log 2 + \log(|G|/\delta_1) + \sum_k \bigl( \lambda Y_k - \log(1 + \lambda (Y_k - Z_k)) \bigr)$, in which each term of the sum is $-\log r_k(x_k) + \log u_k(x_k)$. $\square$
# :::
#
# A hypothesis helps exactly if it *and* its code together describe the text in fewer nats than the companion does alone. A memorizer does not: what it saves on the text it pays in $L(h)$.
#
# Both sides, computed:


# %%
def two_codes(found, beside):
    """Both sides of equation (two-codes), nats per token, and the difference of the bounds."""
    known, of_h = coded_companion(companion, coded), shares_of(coded)
    rate = found.choice.rate
    y = baseline_of(beside, rate, found.choice.share).astype(float)
    code_of_text = beside.loss + rate * y - np.log1p(rate * (y - beside.excess))  # -log r
    return {
        "code of h": known.with_model(of_h),
        "text by r": code_of_text.mean(),
        "h and text": known.with_model(of_h) + code_of_text.mean(),
        "text by u": beside.loss.mean(dtype=float),
        "shorter?": "yes"
        if known.with_model(of_h) + code_of_text.mean() < beside.loss.mean(dtype=float)
        else "no",
        "below u alone": alone - found.gap,
    }


def sums_of_r(choice, number):
    """(seq_len,) sum of r over the vocabulary, for a predictor and the training row of this number."""
    (place, _), row = (
        next(companion.groups([number])),
        torch.from_numpy(rows[[number]][:, :-1].astype(np.int64)),
    )
    with torch.inference_mode():
        p, u = (m(row).logits[0].double().softmax(-1).numpy() for m in (model, companion.load(place)))
    u = (1 - companion.floor) * u + companion.floor / vocab_size
    alpha, hedged = choice.predictor
    q = (1 - alpha) * p + alpha * (u if hedged else 1 / vocab_size)
    z = np.log(u / q)  # (seq_len, V)
    y = np.maximum(((q + u) / 2 * z).sum(-1), z.max(-1) - choice.share / choice.rate)[:, None]
    return (u * (1 + choice.rate * (y - z)) * np.exp(-choice.rate * y)).sum(-1)


for found in named.values():
    assert (sums_of_r(found.choice, int(sample.windows[0])) <= 1 + 1e-9).all()
sides = pd.DataFrame({name: two_codes(f, statistics.of[f.choice.predictor]) for name, f in named.items()}).T
lengths = (sides["text by u"] - sides["h and text"]).astype(float)
rates = [f.choice.rate for f in named.values()]
np.testing.assert_allclose(lengths / rates, sides["below u alone"].astype(float), atol=1e-4)  # the theorem
numbers = [name for name in sides if name != "shorter?"]
sides.style.format("{:.4f}", subset=numbers)

# %%
hedged_name, final_name = list(named)[-1], next(iter(named))
assert lengths[hedged_name] > 0
glue_all(saved_bits=bits_from_nats(lengths[hedged_name] * n_train_tokens))
glue_all(final_verdict="shorter" if lengths[final_name] > 0 else "longer")
glue_all(h_bits=coded.code_length_bits)

# %% [markdown]
# Hedged with its best weight, the model *and* its code of {glue:text}`h_bits:,.0f` bits describe the text in {glue:text}`saved_bits:,.0f` bits fewer than the companion alone; the file pays for itself. For the paper's predictor the two together are {glue:text}`final_verdict` than the companion's code: its bound lies above that of $u$, and so it must. It buys something else, a statement about a model that
# needs no companion. No hypothesis can be carried below its companion without a merit of its own: the theorem is an equivalence, and the controls below put it to the test.
#
# ## Controls
#
# If the companion did all the work, any $h$ would do. So we take models that know nothing, with the same companion, the same windows and the same bounds:
#
# * **untrained**: the code is the seed of its weights, 24 bits;
# * **shuffled**: trained for {glue:text}`n_steps_of_controls:d` steps on the same tokens in random order, quantized and coded like the real one;
# * **overfitted**: trained as long on 32 rows alone, again and again.

# %%
everything = rows[:]


def trained(name, text):
    """A model of the rung's shape trained on `text`, quantized and coded in the same way."""
    digest = hashlib.sha256(text.tobytes()).hexdigest()
    run = Run(spec, length=n_steps_of_controls / spec.n_steps, seed=seed)
    folder = (
        build_dir() / "controls" / f"{name}-{run.key(digest)[:12]}"
    )  # a finished model is not trained again
    train_run(run, TokenRows(text, digest), folder)
    coded_h = compress(load_checkpoint(folder / "checkpoint", config=spec.config()), text, method, bits)
    return coded_h.build(checkpoint), coded_h.code_length_bits["archive"]


n_rows_of_controls = n_steps_of_controls * spec.batch_rows
shuffled = rng.permutation(everything.ravel())[: n_rows_of_controls * everything.shape[1]]
controls = {
    "the model of this page": (model, coded.code_length_bits),
    "untrained": (new_model(spec, seed + 1).eval(), 24.0),
    "shuffled": trained("shuffled", shuffled.reshape(-1, everything.shape[1])),
    "overfitted": trained(
        "overfitted", np.resize(everything[:32], (n_rows_of_controls, everything.shape[1]))
    ),
}
tried = [paper_predictor, *(p for p in hedges if p.alpha in (LITTLE, 0.2, 0.5, 0.9))]
outcomes = {}
for name, (h, length_bits) in controls.items():
    found, coded_h = beside_of(h, companion, tried), replace(coded, code_length_bits=length_bits)
    little, among = only(found, tried[1]), {p: found.of[p] for p in tried[1:]}
    outcomes[name] = {
        "L(h), bits": length_bits,
        "smoothed": estimate(coded_h, companion, only(found, paper_predictor)).gap,
        "hedged, 5 %": estimate(coded_h, companion, little).gap,
        "hedged, best": estimate(coded_h, companion, among).gap,
    }
outcomes = pd.DataFrame(outcomes).T
assert outcomes["hedged, best"].iloc[0] < alone < outcomes["hedged, best"].iloc[1:].min()
assert (outcomes.iloc[1:, 1:] > outcomes.iloc[0, 1:]).all(axis=None)
outcomes.style.format("{:,.0f}", subset=["L(h), bits"]).format("{:.3f}", subset=list(outcomes)[1:])

# %% [markdown]
# The companion alone has {glue:text}`alone:.3f`. No control gets below it, at any weight tried; the trained model does.
#
# One more model tries to cheat: a **memorizer**. It takes the trained model and *buys* tokens: its code lists them, and it predicts them with certainty. The list is coded by the companion itself, $-\log u(x)$ for each.


# %%
def memorizer(beside, alpha, bought):
    """Beside of the hedged model with the tokens `bought` (n, seq_len) known to it: q = (1-alpha) 1[v = x] + alpha u there."""
    u = np.exp(-beside.loss.astype(float))
    q = 1 - alpha + alpha * u
    z, others = np.log(u / q), math.log(1 / alpha)
    expected = ((q + u) * z + (2 - q - u) * others) / 2
    changed = {"excess": z, "expected": expected, "most": np.full_like(z, others)}
    return beside._replace(
        **{name: np.where(bought, value, getattr(beside, name)) for name, value in changed.items()}
    )


buyer = Predictor(LITTLE, hedged=True)
of_buyer = {}
order = rng.random(loss_u.shape)  # which tokens: a rule fixed before the text costs no bits
for share in (0.0, 0.02, 0.1, 0.3, 1.0):
    bought = order < share
    price = bits_from_nats(float((bought * loss_u.astype(float)).mean()) * n_train_tokens)
    found = estimate(
        replace(coded, code_length_bits=coded.code_length_bits + price),
        companion,
        {buyer: memorizer(statistics.of[buyer], LITTLE, bought)},
    )
    of_buyer[f"{share:.0%}"] = {
        "training loss": found.loss + train_risk,
        "bound": found.gap + train_risk,
        "gap": found.gap,
    }
of_buyer = pd.DataFrame(of_buyer).T.rename_axis("tokens bought")
assert (np.diff(of_buyer["training loss"]) < 0).all()
assert (np.diff(of_buyer["bound"]) > 0).all()
np.testing.assert_allclose(of_buyer["gap"].iloc[0], curve[LITTLE].gap, atol=1e-6)
glue_all(n_steps_of_controls=n_steps_of_controls, log_vocab=math.log(vocab_size))
for place, row in (("first", 0), ("last", -1)):
    glue_all(
        **{
            f"memorizer_loss_{place}": of_buyer["training loss"].iloc[row],
            f"memorizer_bound_{place}": of_buyer["bound"].iloc[row],
        }
    )
of_buyer.style.format("{:.3f}")

# %% [markdown]
# Its training loss falls from {glue:text}`memorizer_loss_first:.2f` to {glue:text}`memorizer_loss_last:.2f`, its bound rises from {glue:text}`memorizer_bound_first:.2f` to {glue:text}`memorizer_bound_last:.2f`, beyond guessing ({glue:text}`log_vocab:.2f`). The equation of the two codes says why: a token in the list costs there what it would have cost in the text, and a better code for the list would have been a better predictor.
#
# ## Leaks: smaller numbers that are no certificates
#
# Everything rests on one word: *before*. A snapshot that has seen the token it is asked about gives a smaller number, and the number means nothing.


# %%
def late(u):
    """The snapshots off by one: each row is read beside the first one that has seen it."""
    return replace(u, name=f"{u.name}, off by one", starts=u.starts[:-1], load=lambda i: u.load(i + 1))


def snapshots(which):
    """The same snapshots of another average, or of the weights themselves."""
    return companion_of(spec.results_dir() / "snapshots", spec.batch_rows, spec.config(), which)


small_hedge = Predictor(LITTLE, hedged=True)


@cache
def outcome(u):
    """The bounds of this page with another companion."""
    found = beside_of(model, u, [paper_predictor, small_hedge])
    return {
        "loss of u": float(found.loss.mean(dtype=float)) - train_risk,
        "u alone": own_risk(u, found.loss, found.entropy) - train_risk,
        "smoothed": estimate(coded, u, only(found, paper_predictor)).gap,
        "hedged, 5 %": estimate(coded, u, only(found, small_hedge)).gap,
        "Z strays": float(
            np.sqrt(
                np.mean(
                    (found.of[paper_predictor].excess - found.of[paper_predictor].expected).astype(float) ** 2
                )
            )
        ),
    }


online = snapshots(ONLINE)
leaks = {
    "online": outcome(online),
    "online, off by one": outcome(late(online)),
    companion.name: outcome(companion),
    f"{companion.name}, off by one": outcome(late(companion)),
    "a second epoch": outcome(Companion("second epoch", (0,), lambda i: checkpoint)),
}
leaks = pd.DataFrame(leaks).T
assert leaks.loc["online, off by one", "u alone"] < leaks.loc["online", "u alone"]
assert leaks.loc[f"{companion.name}, off by one", "u alone"] < leaks.loc[companion.name, "u alone"]
assert leaks.loc["a second epoch", "u alone"] < leaks["u alone"].drop("a second epoch").min()
leaks.style.format("{:.3f}")

# %% [markdown]
# Each leak is worth something, and nothing in the numbers tells a leak from a good companion. To see that they are wrong one has to know the truth. So we take sources whose probabilities are a table, companions that learn a table along the text, batch by batch, and as $h$ the *worst* hypothesis of its code, found after a look at each text (`gengap.bounds.companion_settings`). For each
# mistake there are two settings that differ in one slip. On {glue:text}`n_texts:d` texts of each: how often does the true risk exceed its bound, which may happen with probability {glue:text}`failure_prob:g`?


# %%
@cache
def violated(mistake, slip, predictor):
    """Share of the texts, in %, on which bounds fail: on q with the worst hypothesis, on u alone."""
    n = 960 if mistake == "batches skipped after a look" else 240  # tokens of a text
    setting = mistakes(n)[mistake][slip]
    found = violations(
        deviations(setting, predictor, n_texts, n, seed, (0.3, 1.0, 4.0), (0.5, 0.98)), failure_prob
    )
    return 100 * found["risk"] / n_texts, 100 * found["companion"] / n_texts


kinds = {"smoothed": Predictor(LITTLE), "hedged, 5 %": Predictor(LITTLE, hedged=True)}
rows_of_table = {}
for mistake in mistakes(240):
    for slip, word in enumerate(("before", "not before")):
        on_q = {name: violated(mistake, slip, predictor)[0] for name, predictor in kinds.items()}
        rows_of_table[mistake, word] = on_q | {"u alone": violated(mistake, slip, kinds["smoothed"])[1]}
verdicts = pd.DataFrame(rows_of_table).T.rename_axis(["mistake", "what is used was known"])
right, wrong = (verdicts.xs(word, level=1) for word in ("before", "not before"))
assert (right <= 100 * binom.ppf(1 - 1e-4, n_texts, failure_prob) / n_texts).all(axis=None)
assert (wrong[list(kinds)] > 20).all(axis=None)
glue_all(n_texts=n_texts, failure_prob=failure_prob, n_mistakes=len(wrong))
glue_all(right_most=right.max(axis=None), wrong_least=wrong[list(kinds)].min(axis=None))
verdicts.style.format("{:.0f} %")

# %% [markdown]
# What was known before fails on at most {glue:text}`right_most:.1f` % of the texts. Each of the {glue:text}`n_mistakes:d` mistakes breaks the bound on $q$ on at least {glue:text}`wrong_least:.0f` % of them. (A $Y$ that looks at the token does no harm to the companion alone, which has none.) {doc}`08_beyond` shows how far off the number is for a transformer whose companion had read the text before.
#
# ## Which companion?
#
# Any predictable sequence will do, and what it is worth can be measured. The same bounds, the same model and the same windows, with other companions: the uniform distribution, which brings back the bound without a companion; counts of all rows so far, of single tokens and of pairs; an untrained network; one fixed checkpoint, an
# early one; the weights of the moment; and averages of them over the last shares of the steps.


# %%
def chosen(u, places):
    """The same rule with some of its snapshots alone."""
    places = [int(i) for i in places]
    return replace(u, starts=tuple(u.starts[i] for i in places), load=lambda i: u.load(places[i]))


early = int(np.searchsorted(online.starts, len(rows) // 8))
companions = {
    "uniform": uniform_companion(vocab_size),
    "untrained network": Companion("untrained", (0,), lambda i: new_model(spec, seed + 1).eval()),
    "single tokens, counted": counting_companion(everything, vocab_size, "unigram", 64),
    "pairs, counted": counting_companion(everything, vocab_size, "bigram", 64),
    "one fixed checkpoint": chosen(online, [0, early]),
    "online weights": online,
    "average, 2 %": snapshots(average_name(0.02)),
    "average, 5 %": snapshots(average_name(0.05)),
    "average, 10 %": companion,
    "average, 20 %": snapshots(average_name(0.2)),
}
compared = pd.DataFrame({name: outcome(u) for name, u in companions.items()}).T
compared.style.format("{:.3f}")

# %% mystnb={"figure": {"caption": "What makes a companion good for the paper's predictor: how closely its losses follow the model's (right), rather than its own loss (left). Each mark is a companion of the table; round ones are snapshots of the training.", "name": "fig-companion-kinds"}, "image": {"alt": "Two panels with the gap of the smoothed final model on the vertical axis. Left, against the companion's own loss: pair counts, with the smallest loss of all, have a large gap. Right, against how far Z strays: the marks rise along a line."}}
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.4), sharey=True)
networks = [name for name in compared.index if name.startswith(("average", "online"))]
for ax, column in zip(axes, ("loss of u", "Z strays"), strict=True):
    for name in compared.index:
        ax.plot(
            compared.loc[name, column], compared.loc[name, "smoothed"], "oC2" if name in networks else "sC1"
        )
    for name, place in {
        "uniform": (0, 7),
        "pairs, counted": (0, -14),
        "one fixed checkpoint": (0, 7),
        "average, 10 %": (0, -14),
    }.items():
        at = compared.loc[name, [column, "smoothed"]]
        ax.annotate(name, at, place, textcoords="offset points", ha="center", fontsize="x-small")
    ax.margins(x=0.25, y=0.12)
axes[0].set(xlabel="loss of u, nats above the final model's", ylabel="gap of the smoothed model")
axes[1].set(xlabel="how far Z strays, nats")
plt.show()

# %%
by_stray = compared["Z strays"].corr(compared["smoothed"], method="spearman")
by_loss = compared["loss of u"].corr(compared["smoothed"], method="spearman")
network_gaps = compared.loc[networks, "smoothed"]
assert compared["smoothed"].idxmin() in networks
assert (
    compared.loc["uniform", "smoothed"] > compared["smoothed"].max() - 0.02
)  # no worse one, but for an untrained network
glue_all(by_stray=by_stray, by_loss=by_loss, pairs_loss=compared.loc["pairs, counted", "loss of u"])
glue_all(
    pairs_alone=compared.loc["pairs, counted", "u alone"],
    pairs_smoothed=compared.loc["pairs, counted", "smoothed"],
)
glue_range("networks", network_gaps)
thinned = {}
for n in (5, 10, 20, 40):
    thinned[f"{n} snapshots"] = outcome(
        chosen(companion, np.linspace(0, len(companion.starts) - 1, n).astype(int))
    )
thinned["all"] = outcome(companion)
thinned = pd.DataFrame(thinned).T
glue_all(
    few_gap=thinned["smoothed"].iloc[0],
    twenty_gap=thinned.loc["20 snapshots", "smoothed"],
    all_gap=thinned["smoothed"].iloc[-1],
)
thinned.drop(columns="Z strays").style.format("{:.3f}")

# %% [markdown]
# * For the **paper's predictor** a companion is the better the closer its losses follow the model's: over these companions the rank correlation of the gap with how far $Z$ strays is {glue:text}`by_stray:.2f`, with the companion's own loss {glue:text}`by_loss:.2f`. Online weights and all averages give nearly the same, {glue:text}`networks_least:.2f` to {glue:text}`networks_most:.2f`.
# * The counted **pairs** make the point. On this small rung they predict the next token, online, as well as the trained model does at the end: their loss is {glue:text}`pairs_loss:+.3f` nats from its training loss, and alone they are certified at a gap of {glue:text}`pairs_alone:.2f`. As a companion of the model they are worth little, {glue:text}`pairs_smoothed:.2f` nats, because they stumble over other tokens. A good companion need not be a good
#   *predictor*; it has to be a good *double*. (That a table of pairs does so well says how little a network of this size can hold. Nothing about the final model follows from it.)
# * Snapshots need not be many: {glue:text}`few_gap:.2f` nats with 5 of them, {glue:text}`twenty_gap:.2f` with 20, {glue:text}`all_gap:.2f` with all. Released checkpoints will do, if the text was read once and its order is known.
#
# ## What a test set gives, and why it explains nothing
#
# There is a cheaper way to a number: keep some text aside. The same predictor on {glue:text}`n_test_windows:,` held-out windows, bounded by Hoeffding's inequality and by betting ({doc}`05_bound`):

# %%
heldout = spec.heldout_rows()
unseen = sample_rows(heldout, n_test_windows, seed)
test_nll = token_statistics(model, unseen).nll
test_losses = smoothed_nll(test_nll, paper_alpha, vocab_size).mean(axis=1)  # (n_test_windows,) nats
test_range = min_nll(paper_alpha, vocab_size), max_nll(paper_alpha, vocab_size)
shuffled_losses = np.random.default_rng([seed, 14]).permutation(test_losses)  # betting must not see an order
test_set = (
    pd.Series(
        {
            "mean": test_losses.mean(),
            "betting": betting_upper(shuffled_losses, *test_range, failure_prob, len(heldout)),
            "Hoeffding": float(hoeffding_upper(test_losses, *test_range, failure_prob)),
        }
    )
    - record.risks.train.mean
)
assert test_set["mean"] < test_set["betting"] < test_set["Hoeffding"]
assert test_set["betting"] < min(record.online.gap, archive.hedged.gap)
glue_all(
    test_mean=test_set["mean"],
    test_betting=test_set["betting"],
    test_hoeffding=test_set["Hoeffding"],
    n_test_windows=len(unseen),
)
test_set.rename("above the training loss, nats").to_frame().style.format("{:.3f}")

# %% [markdown]
# {glue:text}`test_mean:.2f` nats is what it loses there above the training loss; {glue:text}`test_betting:.2f` is certified by betting ({glue:text}`test_hoeffding:.2f` by Hoeffding), below every certificate of this page. (It speaks of another risk: the mean over the {glue:text}`n_heldout:,` held-out rows, from which the windows were drawn.) Why bother with anything else? Because it would be the same number for a model that was found by magic. It holds whatever the training was, however many parameters the model has and however few tokens it
# saw; so it cannot say what any of these have to do with it. It is a measurement of *that* a model generalizes. The bounds of this book are made of the code length, the number of tokens and the variation of the losses, and what moves them is an explanation, as far as they are small: {glue:text}`test_betting:.2f` against {glue:text}`companion_gap:.2f` is
# how far they are from being a complete one. And they use the training text alone, none is set aside.
#
# ## What falls with scale?
#
# "Provably generalize better with scale", says the paper's title. At a fixed 4 bits a parameter and 20 tokens a parameter, does the *gap* fall? Here are all rungs with a record, for every kind of bound, at the nominal length, and in the figure those of {doc}`13_elsewhere` beside them. (For the one with a companion the predictor is the paper's.)

# %% mystnb={"figure": {"caption": "Certified gaps at 4 bits a parameter against size, a panel for each family, one marker for each rung that has a record with that kind of bound, nats per token.", "name": "fig-companion-scale"}, "image": {"alt": "A panel for each family: gap in nats against parameters on a logarithmic axis for six kinds of bound: the paper's lies highest, near 1.9; below it those without a companion, with one, of the companion alone and hedged."}}
KINDS = {
    "paper": (lambda r: r.bounds["nominal"].paper, "s-C1"),
    "no companion": (lambda r: r.bounds["nominal"].tight, "D-C3"),
    "with a companion": (lambda r: r.bounds["nominal"].companion, "o-C2"),
    "hedged, at most 5 %": (lambda r: r.bounds["nominal"].hedged_little, "^-C4"),
    "hedged, best": (lambda r: r.bounds["nominal"].hedged, "v-C0"),
    "companion alone": (lambda r: r.online, "P-C5"),
}
sizes = {r.identity.size: r.identity.n_params for r in records}
by_kind = pd.DataFrame(
    {
        kind: {r.identity.size: getattr(of(r), "gap", math.nan) for r in records}
        for kind, (of, _) in KINDS.items()
    }
)
shown = {name: load_records(name, method, bits) for name in FAMILIES if name != spec.family}
shown = {spec.family: records} | {name: found for name, found in shown.items() if found}
fig, axes = family_panels(shown, 4.4)
for ax, found in zip(axes, shown.values(), strict=True):
    n_params = {r.identity.size: r.identity.n_params for r in found}
    for kind, (of, style) in KINDS.items():
        heights = [getattr(of(r), "gap", math.nan) for r in found]
        there = np.isfinite(heights)
        ax.plot(np.array(list(n_params.values()))[there], np.array(heights)[there], style, label=kind)
    size_axis(ax, n_params)
axes[0].set(ylabel="gap, nats per token", ylim=(0, None))
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()


# %%
def seen_trend(gaps_by_size):
    """Exponent of the gap in N with its 95 % interval, and what it says."""
    there = gaps_by_size.dropna()
    if len(there) < 4:
        return {"rungs": len(there), "gap ~ N^k": "", "95 %": "", "verdict": "has too few rungs"}
    seen = trend(np.array([sizes[size] for size in there.index], float), there.to_numpy())
    k = seen.towards_larger
    where = f"bent; at {there.index[-1]} " if seen.bent else ""
    return {
        "rungs": len(there),
        "gap ~ N^k": f"{where}{k.value:+.3f}",
        "95 %": f"{k.low:+.3f} to {k.high:+.3f}",
        "verdict": k.word,
    }


trends = pd.DataFrame({kind: seen_trend(by_kind[kind]) for kind in KINDS}).T
with_companion = by_kind.dropna()
assert (with_companion["with a companion"] < with_companion["no companion"]).all()
assert (
    with_companion["hedged, best"] < with_companion["hedged, at most 5 %"] + 0.01
).all()  # but for the pilot's choice
missing = [size for size in by_kind.index if size not in with_companion.index]
glue_all(missing=", ".join(missing) or "none", n_with_companion=len(with_companion))
for kind, name in {
    "paper": "paper",
    "with a companion": "companion",
    "hedged, at most 5 %": "little",
}.items():
    glue_all(**{f"{name}_trend": trends.loc[kind, "verdict"]})
glue_range("ratio", with_companion["with a companion"] / with_companion["paper"])
n_below = int((with_companion["hedged, best"] < with_companion["companion alone"]).sum())
little_below = [
    size for size, gap in with_companion.iterrows() if gap["hedged, at most 5 %"] < gap["companion alone"]
]
glue_all(n_below=n_below, little_below=", ".join(little_below) or "none", n_heldout=len(heldout))
trends

# %%
KEYS = {
    "paper, nominal": "paper_nominal_gap",
    "no companion": "uniform_gap",
    "with a companion": "companion_gap",
    "hedged, 5 %": "hedged_gap_5_percent",
    "hedged, best": "hedged_gap",
    "alone": "online_gap",
}
listed = pd.DataFrame(gaps(records)).set_index("size")
pd.DataFrame({name: listed[key] for name, key in KEYS.items()}).style.format("{:.3f}", na_rep="none yet")

# %% [markdown]
# The same as shares of the paper's gap at the nominal length; and with a shorter code, which is retrained and so has seen the same text for longer:

# %%
retrained = pd.DataFrame(
    gaps(load_records(spec.family, *BEST_CODE)), columns=["size", *KEYS.values()]
).set_index("size")
of_paper = {
    (code, name): found[key] / listed["paper_nominal_gap"]
    for code, found in {
        f"{METHODS[method].label}, {bits} bits": listed,
        f"retrained, {BEST_CODE[1]} bits": retrained,
    }.items()
    for name, key in list(KEYS.items())[1:]
}
of_paper = pd.DataFrame(of_paper).loc[listed.index]
of_paper.style.format("{:.2f}", na_rep="none yet")

# %% [markdown]
# Records without a companion so far: {glue:text}`missing`. Rungs on which 5 % of hedging is already better than the companion alone: {glue:text}`little_below`. The last table has the length of the file in all columns but the first.
#
# At a fixed number of bits and of tokens a parameter the complexity $\mathcal C$ is the same on every rung, so a gap can fall only if losses vary less, or if the quantized model comes closer to the trained one. What the exponents say: the paper's gap {glue:text}`paper_trend`, with a companion it {glue:text}`companion_trend`, hedged a little it {glue:text}`little_trend`. The bound falls with scale on this ladder because the
# loss does ({doc}`06_scale`).
#
# ## The range of what is averaged
#
# A sample of windows certifies the mean of $F = f^u + f^Z$ over all tokens if its range over everything that could come is known ({doc}`05_bound`). One statement covers both halves of {eq}`eq-companion`, and one $\delta$.
#
# :::{prf:theorem} Range of one summand (ours)
# :label: thm-companion-range
# :class: ours
#
# Let $x^q_{\max} \ge X^q_k(v)$ and $m_{\max} \ge m_k$ be constants: both are $\log(V/\alpha)$ for $p_s$; when hedging $m_{\max} = \log\frac1\alpha$ and $x^q_{\max} = x^u_{\max} + m_{\max}$, or $x^q_{\max} = x^u_{\max}$ if $p_h \ge \eta/V$ as well. Let the baseline be
# {eq}`eq-companion-baseline` with {eq}`eq-companion-base`, and $Y_{\max} = \max(m_{\max}/2,\, m_{\max} - s/\lambda)$. Then
#
# $$
# \begin{aligned}
# 0 \;\le\; X^q_k \;\le\; F_k &\;\le\; \max_{x,\, y,\, a} \Bigl\{ a - \frac{\log(1 + \lambda_u (a - x))}{\lambda_u} \\
# &\qquad\qquad\quad + y - \frac{\log(1 + \lambda (y - z_x))}{\lambda} \Bigr\}, \\
# z_x &= \min(m_{\max},\, x^q_{\max} - x),
# \end{aligned}
# $$ (eq-companion-range)
#
# over $x \in \{\min(\max(0,\, x^q_{\max} - m_{\max}),\, x^u_{\max}),\; x^u_{\max}\}$, $y \in \{z_x - s/\lambda,\, Y_{\max}\}$ and $a \in \{0, \log V\}$: eight numbers.
# :::
#
# :::{prf:proof}
# *Below.* $\log(1 + a) \le a$ gives $f^u \ge X^u$ and $f^Z \ge Z$, so $F \ge X^u + Z = X^q \ge 0$.
#
# *Above.* The function $(x, y) \mapsto y - \frac1\lambda \log(1 + \lambda (y - x))$ is a linear function less the logarithm of an affine one, so it is convex in both arguments together where it is defined. Hence $F$ is convex in $(H, X^u, Y, Z)$. These four obey linear inequalities:
# $0 \le H \le \log V$, $0 \le X^u \le x^u_{\max}$, $Z \le m_{\max}$, $0 \le X^u + Z \le x^q_{\max}$, $Z - s/\lambda \le Y \le Y_{\max}$. The last one holds because $b_k \le \frac12 \mathrm{KL}(u_k\|q_k) \le m_k/2$, the mean of $Z$ under $u$ being at most its maximum. On the polytope that they
# describe, the arguments of both logarithms are at least $1 - \lambda_u x^u_{\max}$ and $1 - s$. $F$ increases with $Z$ at a fixed $Y$, and along $Y = Z - s/\lambda$ as well, so at its maximum $Z$ is as large as it may be, $z_{X^u}$. Up to $X^u = x^q_{\max} - m_{\max}$ this is a constant and $F$ increases with $X^u$. From
# there on it falls on a straight line, and what is left is a convex function of $(H, X^u, Y)$ on a polytope, greatest at one of its vertices: $X^u$, $H$ and $Y$ each at an end. $\square$
# :::
#
# A cap on $b_k$, fixed in advance, replaces $m_{\max}/2$. The range is what a sample pays for, so it is worth knowing what sets it: the companion's least probability, through $x^u_{\max}$, and $s$, through $-\log(1-s)/\lambda$.

# %%
glue_all(runtime_seconds=time.process_time() - started)

# %% [markdown]
# ## What agreed, what did not
#
# * **Agreed**: the paper's argument, with one more predictable thing in it. For the paper's own predictor, data and code the certified gap is {glue:text}`companion_ratio:.2f` of the paper's on this page's model and {glue:text}`ratio_least:.2f` to {glue:text}`ratio_most:.2f` on the {glue:text}`n_with_companion:d` rungs that have a record with a companion.
# * **Agreed, and more than was claimed**: the prequential number of section 5 needs no assumption; it is a certificate, for the online predictors. Compression and prediction are the ends of one curve, and its least point lies between them: below the companion alone on {glue:text}`n_below:d` of {glue:text}`n_with_companion:d` rungs.
# * **To be told apart**: bound and gap. At a fixed number of bits the paper's gap {glue:text}`paper_trend` with size, with a companion it {glue:text}`companion_trend`; what makes the bounds fall is the loss.
# * **Answered**: the companion does not do the work alone. Untrained, shuffled and overfitted models stay above it, a memorizer is charged more than it gains, and a leak shows up as a violation where the truth is known.
# * **Not shown**: anything about fresh documents, or about a model trained for several epochs: a second pass has no predictable snapshots.
