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
# # The bound of one model
#
# Tokens and a checkpoint go in. Out comes a number that the risk of the smoothed, quantized model stays below with probability 99 %, and the reasons for its size. What is that number, and how is it proved?
#
# **Answer.** The bound of this model {glue:text}`verdict`. With every bit of its file counted, its {term}`token-wise risk` is at most {glue:text}`tight_archive:.2f` nats.
#
# | each bound holds with probability 99 % | nats per token |
# |---|---|
# | guessing, $\log V$ | {glue:text}`log_vocab:.2f` |
# | Azuma's bound, nominal code length | {glue:text}`azuma_bound:.2f` |
# | the paper's bound, nominal code length | {glue:text}`paper_bound:.2f` |
# | our bound, nominal code length | {glue:text}`tight_bound:.2f` |
# | our bound, the file's own length | {glue:text}`tight_archive:.2f` |
# | loss on the training tokens | {glue:text}`train_risk:.2f` |
#
# The nominal length of $b$ bits a parameter is {glue:text}`nominal_word`.
#
# The page runs for every model size; you read one of those runs.
#
# | | |
# |---|---|
# | **Paper section** | 3.3 and 4 (Thm 3.4, Fig. 2); the tight bound and the certificate are ours |
# | **Reads** | a checkpoint, its training rows, its quantized archive |
# | **Writes** | the bound record that every other page reads |
# | **Runtime** | {glue:text}`runtime_minutes:.1f` minutes for this size on one core |

# %% tags=["parameters"]
model_size: str = "ladder-100k"  # a key of gengap.models.REGISTRY
revision: str = ""  # of Pythia: stepN; empty: the compute-optimal checkpoint
method: str = "gptq"  # quantizer: gptq, quip, rtn, entropy or qat
bits: int = 4  # per quantized weight
failure_prob: float = 0.01  # delta, of everything a bound states together
n_pilot_windows: int = 200  # training windows drawn to choose the constants of the bound
n_windows: int = 0  # training windows drawn to certify it; 0: 3,000, or all where there are fewer than 9,000
n_pairs: int = 10_000  # (window, position) pairs of the paper's own estimate
seed: int = 0  # of the samples

# %% tags=["hide-input"]
import json
import math
import shutil
import time
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

import gengap
from gengap import models, published
from gengap.book.figures import stacked_bars
from gengap.book.glue import glue_all
from gengap.bounds import (
    PAPER_S_GRID_SIZE,
    CodedModel,
    azuma_bound,
    closed_form_gap,
    paper_bound,
    split_failure_prob,
    tightening_steps,
)
from gengap.bounds.smoothing import max_nll, min_nll, smoothed_nll
from gengap.compression import Hypothesis
from gengap.paths import project_root
from gengap.records import BoundRecord, identify
from gengap.statistics import beside_statistics, token_statistics
from gengap.tokens import sample_rows
from gengap.units import nats_from_bits
from gengap.workflow import certify, companions, tilts
from gengap.workflow.artefacts import archive_of

plt.style.use("gengap.book")
started = time.monotonic()
asked = certify.Settings(failure_prob, n_pilot_windows, n_windows, n_pairs, seed)
spec = models.get(model_size, revision)
rows, heldout = spec.train_rows(), spec.heldout_rows()
settings = asked.on(len(rows))
# What is evaluated is kept until the record is written, so that a killed run goes on where it was.
store = certify.store_of(spec, method, bits)
evaluate = partial(token_statistics, store=store)

# %% [markdown]
# ## The model and its code
#
# The bound holds for *all* models at once, and each pays for the length $L(h)$ of its code. Ours is the quantized model. Its code is a
# file, the archive that the quantization step writes ({doc}`03_quantization`). We read the model back from that file, so what is bounded is
# exactly what the file decodes to. Three ways of counting stand side by side:
#
# * **{term}`nominal`**, the paper's: $bN$ bits;
# * **honest**: every code, scale, norm and bias at the width it is stored with;
# * **archive**: the length of the file itself, made prefix-free.
#
# The nominal length leaves out scales and norms and is that of no code. A bound with it is a {term}`certificate` where the file is no longer: then it holds a fortiori.

# %% caption="The length of the model, counted in three ways"
checkpoint = spec.load()
hypothesis = Hypothesis.read(archive_of(spec, method, bits, checkpoint), method, bits, spec.config())
model = hypothesis.build(checkpoint)
code_length_bits = hypothesis.code_length_bits
if code_length_bits["archive"] > code_length_bits["nominal"]:
    print(
        "The file is longer than nominal: bounds with the nominal length are no certificates of this model."
    )
pd.DataFrame(
    {
        "L(h), bits": code_length_bits,
        "bits per parameter": {name: length / spec.n_params for name, length in code_length_bits.items()},
    }
).style.format("{:,.0f}", subset=["L(h), bits"]).format("{:.3f}", subset=["bits per parameter"])

# %% [markdown]
# ## One statement about all models
#
# {doc}`01_freedman` bounds one predictor that was fixed before the text. Ours was trained on that text. So the statement has to hold for every model that training could have arrived at, all at once, and the code
# says how the failure probability is shared among them. A code is **prefix-free** if no code word begins another: a {term}`prefix-free code`. For such a code {term}`Kraft's inequality` holds,
#
# $$
# \sum_h 2^{-L(h)} \;\le\; 1 .
# $$ (eq-kraft)
#
# Here is why. Toss a fair coin until the tosses so far spell a code word. They spell that of $h$ with probability $2^{-L(h)}$, and they spell at most one. So these probabilities add up to at most 1.
#
# The proof asks for an order of events:
#
# | when | what is fixed |
# |---|---|
# | before the text ($\mathcal F_0$) | the code, that is the decoder and the arithmetic in which a decoded model computes; the tokenizer, $D$, the order of the rows; for each $h$ the finite grid of constants that may be chosen for it |
# | before token $k$ ($\mathcal F_{k-1}$) | for each $h$ separately, the prediction $p_h(\cdot \mid x_{<k})$ and the baseline $Y_k$, as functions of $h$ and of earlier tokens |
# | after the text | which $h$, and which constants |
#
# The grid may depend on $h$, as $\alpha = \mathcal C/(1+\mathcal C)$ does through $L(h)$. That a trained $h$ depends on all tokens does no harm. The supermartingales below belong to code words, and a code word is a string of bits that
# was there before the text.
#
# :::{prf:theorem} The union over coded models (paper, Thm 3.2)
# :label: thm-union
#
# Give every $h$ a prefix-free code of $L(h)$ bits and a finite grid $G$ of constants, fixed before the text. With probability at least $1-\delta$ the inequality of {prf:ref}`thm-freedman` holds for **all** $h$ and all $s \in G$ at once, with
#
# $$
# \mathcal C = \frac{L(h) \log 2 + \log(|G|/\delta)}{D} .
# $$ (eq-bound-complexity)
# :::
#
# :::{prf:proof}
# There are countably many code words. For each $h$ and each $s \in G$ the process $M_n(s)$ of {prf:ref}`thm-freedman`, made from the losses and baselines of $h$, is a non-negative supermartingale that starts at 1. By Ville's inequality it ever reaches $|G|\, 2^{L(h)}/\delta$ with probability at most $\delta\, 2^{-L(h)}/|G|$. So
# the probability that *some* $M_n(s)$ of *some* $h$ does is at most
#
# $$
# \sum_h \sum_{s \in G} \frac{\delta\, 2^{-L(h)}}{|G|} \;=\; \delta \sum_h 2^{-L(h)} \;\le\; \delta .
# $$
#
# Otherwise $\log M_D(s) < L(h) \log 2 + \log(|G|/\delta) = D\, \mathcal C$ for all of them, and steps 4 to 6 of that proof go on unchanged. $\square$
# :::
#
# A model that takes ten bits more to describe may fail a thousand times less often. This is the whole price of having looked at the text. It is also why the bound of a memorizer says nothing: its code is as long as what it remembers.
#
# Here $\delta$ is shared. A tenth goes to the martingale, where it costs next to nothing, and the rest to the sampling of windows below.


# %%
def complexity(length_bits, n_train_tokens, grid_size, failure_prob):
    """C in nats/token, equation (complexity)."""
    return (nats_from_bits(length_bits) + math.log(grid_size / failure_prob)) / n_train_tokens


identity = identify(spec, rows.sha256, spec.revision)
coded = certify.coded_models(hypothesis, identity, settings)
budget = split_failure_prob(failure_prob)
for name, length in code_length_bits.items():
    by_hand = complexity(length, spec.n_train_tokens, PAPER_S_GRID_SIZE, budget.martingale)
    np.testing.assert_allclose(coded[name].complexity(PAPER_S_GRID_SIZE), by_hand, rtol=1e-12)
    print(
        f"{name:<8} C = {by_hand:.4f} nats/token, the paper's smoothing weight C/(1+C) = {coded[name].paper_alpha:.4f}"
    )

# %% [markdown]
# ## What is measured
#
# Every quantity of the bound is a mean over the $D$ training tokens. We draw windows of the training text without replacement. On the first of them, the **pilot**, constants may be chosen. On the others, which are disjoint from it, the chosen bound is certified.
# The draw does not depend on the model: quantization looked at training windows too, but drew its own from another stream.
#
# For each token we need the loss of the quantized model and the entropy of its smoothed prediction, for a few smoothing weights. The better smoothing below needs an entropy too, and a few windows of the pilot choose its constants. The model reads a window once for all of them.

# %% tags=["hide-input"] caption="Mean losses over the drawn windows, nats per token"
at_random = certify.draw(len(rows), spec.seq_len, settings)
sample = at_random.windows
drawn, unseen = rows[sample.windows], sample_rows(heldout, settings.n_windows, seed)
weights = sorted({*np.geomspace(0.02, 0.3, 8), *certify.smoothing_weights(coded)})
few = drawn[: tilts.n_pilot(sample, spec.seq_len)]
smoothings = tilts.choose_tilts(evaluate, model, few, coded, sample.range_cost)
statistics = evaluate(model, drawn, weights, desc="quantized model", tilts=smoothings.values())
before = evaluate(checkpoint, drawn, desc="checkpoint")


def mean_over_windows(nll):
    """Mean and standard error over windows, for (n_windows, seq_len) losses."""
    means = nll.mean(axis=1, dtype=np.float64)
    return means.mean(), means.std(ddof=1) / math.sqrt(len(means))


risks = {
    "training windows": before.nll,
    "the same, quantized": statistics.nll,
    "held out": evaluate(checkpoint, unseen, desc="held-out").nll,
    "held out, quantized": evaluate(model, unseen, desc="held-out, quantized").nll,
}
train_risk = certify.estimate(before.nll).mean
pd.DataFrame(
    {name: mean_over_windows(nll) for name, nll in risks.items()}, index=["mean", "standard error"]
).T.style.format("{:.4f}")

# %% [markdown]
# ## The paper's bound
#
# :::{prf:theorem} The bound (paper, Thm 3.4)
# :label: thm-paper-bound
#
# Let $h$ be a model quantized to $b$ bits, $L(h) = bN$, and $\mathcal C$ as in {eq}`eq-bound-complexity`. With probability at least $1-\delta$ over the training
# sequence, its prediction-smoothed version with $\alpha = \mathcal C/(1+\mathcal C)$ satisfies
#
# $$
# R_{\mathrm{sq}} \;\le\; \underbrace{\hat R_h}_{\text{loss}} + \underbrace{\mathcal C \log V}_{\text{parameters}} +
# \underbrace{\Sigma \sqrt{\mathcal C}}_{\text{loss variation}} + \underbrace{\sqrt{2\,\mathcal C}}_{\text{smoothing}} +
# \underbrace{\hat R_{\mathrm q} - \hat R_h}_{\text{quantization}} .
# $$
# :::
#
# :::{prf:proof}
# Apply {prf:ref}`thm-union` to the smoothed models. The weight $\alpha$ is a function of $L(h)$, so the smoothed model is a function of $h$ and the context. It needs no code of its own, and its entropy $Y_k$ is known before token $k$. By {prf:ref}`thm-smoothing` its losses obey
# $X_k - Y_k \le \Delta = \log(1 + V/\mathcal C)$. Hence $R_{\mathrm{sq}} \le \hat R_{\mathrm{sq}} + \Delta\, \mathcal C + \Sigma \sqrt{\mathcal C}$, where $\hat R_{\mathrm{sq}}$ is the mean of the smoothed losses. Smoothing costs at most $\log(1 + \mathcal C)$ a token, so $\hat R_{\mathrm{sq}} \le \hat R_{\mathrm q} + \log(1+\mathcal C)$; and
# $\log(1 + \mathcal C) + \mathcal C \log(1 + V/\mathcal C) \le \mathcal C \log V + \sqrt{2\,\mathcal C}$ is {eq}`eq-smoothing-closed`. Write $\hat R_{\mathrm q}$ as $\hat R_h + (\hat R_{\mathrm q} - \hat R_h)$. $\square$
# :::
#
# What is bounded is the token-wise risk of the smoothed, quantized model. Each context of the training set is kept, and its next token is drawn afresh from the true distribution. It is not the risk of the checkpoint, not the risk on fresh
# documents, and not that of whole sequences ({doc}`../book/notation`).
#
# The paper evaluates the bound on $10^4$ independent (window, position) pairs and corrects the mean loss by Hoeffding's inequality. But $\Sigma$ comes from the same pairs, and its error is left out. So the number (`paper_mode`) is an estimate and no certificate.
# We report that estimate, and a second one from whole windows, whose sampling error covers every term that depends on the data.

# %%
entropy_at = dict(zip(statistics.alphas, statistics.entropy, strict=True))  # alpha -> (n, seq)
paper = {
    name: paper_bound(c, statistics.nll, entropy_at[c.paper_alpha], train_risk, sample)
    for name, c in coded.items()
}
azuma = {name: azuma_bound(c, statistics.nll, train_risk, sample) for name, c in coded.items()}
paper_mode = certify.paper_mode_bounds(
    evaluate, checkpoint, model, rows, at_random, (before, statistics), coded
)

# %% [markdown]
# ## A tighter bound from the same data
#
# The proof behind Thm 3.4 gives more than its statement.
#
# :::{prf:theorem} The same supermartingale, evaluated (ours)
# :label: thm-tight
# :class: ours
#
# Let $Y_k \ge y_0$ be predictable, $X_k \le x_{\max}$ for every token, and $0 < \lambda < 1/(x_{\max} - y_0)$; or let $1 + \lambda\,(Y_k - X_k) > 0$ for every token in any other way. Let the constants come from a finite grid $G$ that was fixed before the text. With probability at least $1-\delta$, for all $h$ and all of $G$ at once,
#
# $$
# \begin{aligned}
# R & \;\le\; \frac{\mathcal C}{\lambda} + \frac1D \sum_{k=1}^{D} f_k , \qquad \mathcal C = \frac{L(h) \log 2 + \log(|G|/\delta)}{D} , \\
# f_k & \;=\; Y_k - \frac1\lambda \log\bigl(1 + \lambda\,(Y_k - X_k)\bigr) .
# \end{aligned}
# $$ (eq-tight)
# :::
#
# :::{prf:proof}
# For one $h$ and one element of $G$ the factors $(1 + \lambda (Y_k - X_k))\, e^{-\lambda\, \mathbb E[Y_k - X_k \mid \mathcal F_{k-1}]}$ are positive, with conditional mean $(1 + a)\, e^{-a} \le 1$ at $a = \lambda\, \mathbb E[Y_k - X_k \mid \mathcal F_{k-1}]$. Their product is a
# supermartingale, reaches $|G|\, 2^{L(h)}/\delta$ with probability at most $\delta\, 2^{-L(h)}/|G|$, and the union is that of {prf:ref}`thm-union`. Where it stays below, the logarithm says $\sum \log(1 + \lambda (Y_k - X_k)) - \lambda \sum Y_k + \lambda \sum \mathbb E[X_k \mid \mathcal F_{k-1}] < D\, \mathcal C$, since $Y_k$ is
# known before token $k$. Divide by $\lambda D$. $\square$
# :::
#
# With the entropy as $Y$ and $\lambda = s/\Delta$ this is {prf:ref}`thm-freedman` before its last line. For the model mixed with the uniform distribution $x_{\max} = \log(V/\alpha)$, and the elements of $G$ are $(\alpha, y_0, s)$ with $\lambda = s/(x_{\max} - y_0)$.
#
# Nothing here is replaced by its worst case. The cost of smoothing is measured, the range is the one that the baseline leaves ({doc}`02_smoothing`), and all constants are chosen on the pilot. Each gain is shown by itself:


# %%
def summand(loss, baseline, rate):
    """f_k of equation (tight), nats."""
    return baseline - np.log1p(rate * (baseline - loss)) / rate


steps = tightening_steps(
    coded["nominal"], statistics.nll, statistics.entropy, statistics.alphas, train_risk, sample
)
mixed = steps["chosen"]
loss = smoothed_nll(statistics.nll, mixed.alpha, spec.vocab_size)
baseline = np.maximum(entropy_at[mixed.alpha], mixed.baseline_floor)
by_hand = mixed.complexity / mixed.rate + summand(loss, baseline, mixed.rate).mean() + mixed.sampling
np.testing.assert_allclose(mixed.value, by_hand, rtol=1e-6)  # the library's bound is the equation

# %% [markdown]
# Mixing with the uniform distribution is not the best way to bound a loss. {prf:ref}`thm-maximum-entropy` says what is: the distribution of largest entropy within
# a divergence of the model's prediction, which Lambert's function writes down. It obeys the same inequality {eq}`eq-tight`, with its own losses $X_k$ and
# entropies $Y_k$. Its constants lie in a grid of their own, which is paid for in the same way, and a few windows of the pilot choose them.

# %% caption="What each step gains: bound and gap, nats per token, nominal length"
tight = tilts.tight_bounds(statistics, smoothings, train_risk, sample, coded)
steps["maximum entropy"] = tight["nominal"]
assert all(step.value < steps["paper"].value for name, step in steps.items() if name != "paper")
ladder_of_gains = pd.DataFrame(
    {name: {"bound": step.value, "gap": step.gap} for name, step in steps.items()}
).T
ladder_of_gains["gap / paper's gap"] = ladder_of_gains["gap"] / steps["paper"].gap
ladder_of_gains.style.format("{:.3f}")

# %% mystnb={"image": {"alt": "Stacked bars of the terms of four bounds for this model in nats per token: the paper's, Azuma's, and the tight bound with the nominal and the archive code length; a dashed line marks log V."}, "figure": {"caption": "What each bound consists of. Below the dashed line, the guarantee is better than guessing.", "name": "fig-decomposition"}}
bars = {
    "Azuma\nnominal": azuma["nominal"],
    "paper\nnominal": paper["nominal"],
    "paper\narchive": paper["archive"],
    "tight\nnominal": tight["nominal"],
    "tight\narchive": tight["archive"],
}
terms = pd.DataFrame({name: bound.terms() for name, bound in bars.items()}).T.fillna(0)
fig, ax = plt.subplots()
stacked_bars(ax, terms, sums=True)
ax.axhline(math.log(spec.vocab_size), linestyle="--", linewidth=1, color="C5")
ax.set(ylabel="nats/token", ylim=(0, None))
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()

# %% [markdown]
# The same terms for other models, and for any that you can think of. Try it: start from a released model and change its number of bits.
#
# ```{interactive} bound-explorer
# The bounds of this page in closed form. Those with measured summands are shown for rungs of the ladder alone, since somebody has to have measured them.
# ```
#
# ## From a sample to all tokens
#
# The sums in {eq}`eq-tight` run over all $D$ tokens, and only a sample of windows is evaluated. What does the sample say of the rest? Given the text and the model, the averages of $f_k$ over the windows are a list of fixed numbers. Nothing is random but which of them we look at.
#
# :::{prf:theorem} The betting certificate, one-sided and without replacement (ours, after Waudby-Smith and Ramdas)
# :label: thm-betting
# :class: ours
#
# Let $\bar f_1, \dots, \bar f_n \le U$ be numbers with mean $\bar f$, and $\bar f_{(1)}, \bar f_{(2)}, \dots, \bar f_{(t)}$ uniform draws without replacement. For a candidate $\mu$ let
#
# $$
# \mu_i = \frac{n \mu - \sum_{j < i} \bar f_{(j)}}{n - i + 1}, \qquad \kappa_t(\mu) = \prod_{i \le t} \bigl(1 + b_i\,(\mu_i - \bar f_{(i)})\bigr),
# $$ (eq-betting)
#
# with stakes $0 \le b_i < 1/(U - \mu_i)$ that are known before draw $i$. With probability at least $1 - \delta$, $\max_t \kappa_t(\bar f) < 1/\delta$. So $\bar f$ is below the largest $\mu$ with $\max_t \kappa_t(\mu) < 1/\delta$.
# :::
#
# :::{prf:proof}
# At $\mu = \bar f$, $\mu_i$ is the mean of the numbers that are left, which is what draw $i$ is on average, given the earlier ones. So each factor has conditional mean 1; it is positive, since $b_i\,(\bar f_{(i)} - \mu_i) \le b_i\,(U - \mu_i) < 1$. $\kappa_t(\bar f)$ is a non-negative {term}`martingale` that starts at 1, and by Ville's inequality it ever
# reaches $1/\delta$ with probability at most $\delta$. $\square$
# :::
#
# $\kappa_t(\mu)$ is the capital of a gambler who bets that the mean is below $\mu$. If the gambler grows rich, $\mu$ was too high. The capital increases with $\mu$: the library's stakes are cut at $0.9/(U - \mu_i)$, and each factor grows with $\mu$ on both sides of the cut. So the candidates that
# are not rejected are an interval, and bisection finds its end.
#
# A certificate needs three things. $U$ and the constants of $f$ depend on the pilot alone. Given the pilot, the certificate's windows are a uniform draw from the others. And the draw knows nothing of text or model, nor do training and quantization know of the draw. The pilot's own windows enter exactly.
# Then {eq}`eq-tight` fails with probability at most $\delta_1$ and the sample misleads with probability at most $\delta_2$. What is certified holds with probability $1 - \delta_1 - \delta_2$, over the text *and* the draw of windows.
#
# That is one statement, made once. {eq}`eq-tight` holds for all codes at the same time, but each sample's statement speaks of one list of numbers. To certify two quantized models on the same windows and quote the lower bound costs $\delta_2/2$ for each, or other windows to choose on. In the same way each number in the tables of
# this page holds with probability 99 %, not all of them together.
#
# ## Does the certificate hold?
#
# A sample's certificate must lie above the mean over all training windows. A small model reads all of its windows, and then nothing is left to chance. What would the first third of them have certified?

# %%
nominal_tilt = smoothings["nominal"]
nominal_summand = nominal_tilt.summand(*statistics.tilted(nominal_tilt)).mean(axis=1)  # (n,) nats


def certified(n_certificate):
    """Upper bound on the mean summand if only the first `n_certificate` windows had been drawn, and their own mean, nats."""
    part = replace(sample, certificate=sample.certificate[:n_certificate])
    values = nominal_summand[: n_pilot_windows + n_certificate]
    return part.upper_mean(values, *nominal_tilt.summand_range), values.mean()


n_read = len(sample.windows)
if n_read == len(rows):
    third = len(sample.certificate) // 3
    upper, mean = certified(third)
    print(
        f"the first {third:,} windows: mean {mean:.3f}, certified {upper:.3f}; all windows: {nominal_summand.mean():.3f} nats/token"
    )
    assert nominal_summand.mean() <= upper  # certified from the sample, true for the whole
else:
    print(f"{n_read:,} of {len(rows):,} windows are read")

# %% [markdown]
# How many tokens must the model process for a given certainty? The paper's design uses one token of each window that it reads. Ours uses all of them, and a betting argument that profits from the small spread between windows. The table has both at the same number of windows, and
# what each needs for an error of 0.05 nats.


# %% tags=["hide-input"] caption="Windows and tokens that a certificate needs, the paper's way and ours"
def pairs_error(n_drawn):
    """Hoeffding's correction of the paper's design with `n_drawn` pairs, nats."""
    alpha = coded["nominal"].paper_alpha
    loss_range = max_nll(alpha, spec.vocab_size) - min_nll(alpha, spec.vocab_size)
    return loss_range * math.sqrt(math.log(1 / budget.sampling) / (2 * n_drawn))


target = 0.05  # nats
prefixes = np.unique(np.linspace(2, len(sample.certificate), 30).astype(int))
errors = np.array([upper - mean for upper, mean in map(certified, prefixes)])
reached = prefixes[errors <= target]
windows_needed = n_pilot_windows + int(reached[0]) if len(reached) else None
pairs_needed = math.ceil(n_read * (pairs_error(n_read) / target) ** 2)
error_ratio = errors[-1] / pairs_error(n_read)
pd.DataFrame(
    {
        "paper's pairs": [pairs_error(n_read), pairs_needed, pairs_needed * spec.seq_len],
        "our windows": [errors[-1], windows_needed, windows_needed and windows_needed * spec.seq_len],
    },
    index=[
        f"error with {n_read:,} windows read (nats)",
        "windows for 0.05 nats",
        "forward tokens for 0.05 nats",
    ],
).T.style.format("{:.4f}", subset=[f"error with {n_read:,} windows read (nats)"]).format(
    "{:,.0f}", subset=["windows for 0.05 nats", "forward tokens for 0.05 nats"], na_rep="more than drawn"
)

# %% [markdown]
# ## With a companion
#
# The baseline must be known before the token, and so is much more than an entropy: what the model itself was before it had read this row. Such a {term}`companion` cuts the paper's gap to about half on the ladder, as {doc}`11_companion` proves and measures. Where the snapshots of the training are at hand, the
# record holds three more bounds for each accounting, and one on the snapshots themselves.

# %% tags=["hide-input"] caption="Gaps with a companion, nats per token, for this model"
companion = spec.companion()
with_companion = None
if companion:
    evaluate_beside = partial(beside_statistics, store=store)
    losses = train_risk, certify.estimate(statistics.nll).mean
    with_companion = companions.bounds_with(evaluate_beside, model, companion, drawn, *losses, sample, coded)
    kinds = {
        "the paper's bound": paper["archive"],
        "ours without a companion": tight["archive"],
        "the paper's predictor, with a companion": with_companion.bounds["archive"].companion,
        "hedged with at most 5 % of it": with_companion.bounds["archive"].hedged_little,
        "hedged": with_companion.bounds["archive"].hedged,
        "the companion itself": with_companion.online,
    }
    display(
        pd.DataFrame({"gap, nats": {kind: bound.gap for kind, bound in kinds.items()}}).style.format("{:.3f}")
    )
else:
    print(
        f"There are no snapshots of {model_size}: `gengap train {model_size} --snapshots` makes those of a rung."
    )

# %% [markdown]
# ## The record
#
# All of this is one function of the library. `gengap.certify` takes the checkpoint, its quantized form, its training rows and rows that it never saw, and returns the record that every other page reads.
# It evaluates nothing again that was kept above. Is its record what this page has just gone through?

# %% caption="Every bound of the record, nats per token, by how the code is counted"
record = gengap.certify(
    checkpoint,
    rows,
    heldout,
    hypothesis=hypothesis,
    settings=settings,
    identity=identity,
    companion=companion,
    store=store,
    started=started,
)
for name, bounds in record.bounds.items():
    if with_companion:
        assert (bounds.companion, bounds.hedged_little, bounds.hedged) == with_companion.bounds[name]
    assert (bounds.paper, bounds.azuma, bounds.tight) == (paper[name], azuma[name], tight[name])
    assert bounds.paper_mode == paper_mode[name]
for (mean, error), estimate in zip(
    map(mean_over_windows, risks.values()), dict(record.risks).values(), strict=True
):
    assert (mean, error) == (estimate.mean, estimate.standard_error)
assert record.online == (with_companion and with_companion.online)
path = record.write()
assert BoundRecord.read(path) == record
shutil.rmtree(store, ignore_errors=True)
pd.DataFrame(
    {
        name: {kind: getattr(bound, kind).value for kind in ("azuma", "paper_mode", "paper", "tight")}
        for name, bound in record.bounds.items()
    }
).style.format("{:.3f}")

# %% [markdown]
# ## What it costs
#
# A model reads a window once: its losses, the entropies at all weights and those of all maximum-entropy smoothings come from the same logits. A smoothing is solved from a few moments of each prediction, the
# same for all rates, so a search over rates reads nothing again (`gengap.statistics.maximum_entropy`). Held-out rows, and the paper's pairs in windows that were not drawn, add forward passes to those over the drawn windows.
#
# The next table was recorded on one core (`benchmarks/bench_certificate.py`). The first two columns are CPU seconds: of a whole certificate without a companion, and of plain forward passes of both models over the drawn windows. The last is the
# speed of losses alone beside the textbook loop.

# %% tags=["hide-input"] caption="CPU seconds of a certificate beside those of plain forward passes"
recorded = project_root() / "benchmarks" / "certificate.json"
costs = json.loads(recorded.read_text())["certificates"] if recorded.exists() else []
pd.DataFrame(
    {
        f"{cost['size']}, {cost['n_windows']:,} windows": {
            "certificate, s": cost["certificate_cpu_s"],
            "forward passes, s": cost["forward_cpu_s"],
            "certificate / forward passes": cost["ratio"],
            "losses alone, speed / plain loop": cost["losses_over_plain_loop"],
        }
        for cost in costs
    }
).T.style.format("{:.2f}")

# %% [markdown]
# The same on a GPU (`benchmarks/gpu/run.sh`), where one was at hand, for shapes with random weights in bfloat16. The last column takes twice the parameters as the operations of a token, and compares with a large matrix product.

# %% tags=["hide-input"] caption="The certificate's passes on a GPU"
recorded = project_root() / "benchmarks" / "gpu" / "gpu.json"
on_gpu = json.loads(recorded.read_text()).get("speed", {}) if recorded.exists() else {}
if shapes := on_gpu.get("found", {}).get("shapes"):
    print(
        f"{on_gpu['machine'].get('gpu', on_gpu['machine']['device'])}, PyTorch {on_gpu['machine']['torch']}"
    )
    columns = ["shape", "computes", "tokens_per_s", "peak_bytes", "share_of_matmul_peak"]
    shown = pd.DataFrame(shapes)[columns].assign(peak_bytes=lambda table: table.peak_bytes / 1e9)
    shown = shown.rename(columns={"peak_bytes": "peak, GB", "tokens_per_s": "tokens/s"})
    shown = shown.rename(columns={"share_of_matmul_peak": "share of the matmul peak"})
    display(
        shown.style.hide().format({"tokens/s": "{:,.0f}", "peak, GB": "{:.1f}", shown.columns[-1]: "{:.2f}"})
    )
else:
    print("No GPU has been measured.")

# %% tags=["remove-cell"]
ratios = [published_bound.azuma_gap / published_bound.gap for published_bound in published.bound_table()]
numbers = {
    "runtime_minutes": record.provenance.seconds / 60,
    "n_params": spec.n_params,
    "log_vocab": math.log(spec.vocab_size),
    "train_risk": train_risk,
    "azuma_bound": azuma["nominal"].value,
    "paper_bound": paper["nominal"].value,
    "tight_bound": tight["nominal"].value,
    "tight_archive": tight["archive"].value,
    "gap_ratio": tight["nominal"].gap / paper["nominal"].gap,
    "azuma_ratio": azuma["nominal"].gap / paper["nominal"].gap,
    "published_least": min(ratios),
    "published_most": max(ratios),
    "quantization_gap": record.risks.quantized.mean - train_risk,
    "error_ratio": error_ratio,
}
vacuous = tight["archive"].value >= math.log(
    spec.vocab_size
)  # no better than guessing, with everything counted
numbers["verdict"] = "is vacuous" if vacuous else "is not vacuous"
shorter = code_length_bits["archive"] <= code_length_bits["nominal"]
numbers["nominal_word"] = (
    "no less than the file's, so the bounds with it hold a fortiori"
    if shorter
    else "less than the file's, so the bounds with it are no certificates of this model"
)
glue_all(**numbers)
assert not (
    vacuous and spec.trained_here
)  # an early or untrained checkpoint may be, a rung of 20 tokens a parameter not

# %% [markdown]
# ## What agreed, what did not
#
# * **Agreed**: Azuma's inequality gives a gap {glue:text}`azuma_ratio:.2f` times as large as the paper's. The rebuttal's table has {glue:text}`published_least:.2f` to {glue:text}`published_most:.2f` times for Pythia.
# * **Different**: quantization costs {glue:text}`quantization_gap:.3f` nats here, and the sampling error of the paper's design is part of our number. The published table does not show it.
# * **Beyond**: the same data and code length give {glue:text}`gap_ratio:.2f` of the paper's gap. The sampling error of our windows is {glue:text}`error_ratio:.2f` of that of the paper's design at equal cost.
#
# ## Exercises
#
# ```{exercise} The price of certainty
# :label: ex-bound-1
#
# What does a failure probability of $10^{-6}$ cost instead of $10^{-2}$? Start from {eq}`eq-bound-complexity` and work out by hand how much the sum $\mathcal C \log V + \Sigma\sqrt{\mathcal C} + \sqrt{2\,\mathcal C}$ of the paper's bound grows.
# ```
#
# ```{solution-start} ex-bound-1
# :class: dropdown
# ```

# %%
sigma = paper["nominal"].sigma
sure, surer = (
    CodedModel(code_length_bits["nominal"], spec.n_train_tokens, spec.vocab_size, p) for p in (1e-2, 1e-6)
)
C = sure.complexity(PAPER_S_GRID_SIZE)
slope = math.log(spec.vocab_size) + sigma / (2 * math.sqrt(C)) + 1 / math.sqrt(2 * C)
price_by_hand = math.log(1e4) / spec.n_train_tokens * slope
price = closed_form_gap(surer, sigma) - closed_form_gap(sure, sigma)
np.testing.assert_allclose(price, price_by_hand, rtol=0.01)
glue_all(price=price)
print(f"{price:.1e} nats per token")

# %% [markdown]
# $\mathcal C$ grows by $\log(10^4)/D$, and the sum by that times its slope $\log V + \frac{\Sigma}{2\sqrt{\mathcal C}} + \frac{1}{\sqrt{2\,\mathcal C}}$. That is {glue:text}`price:.1e` nats a token. Certainty is nearly free; the parameters are what costs.
#
# ```{solution-end}
# ```
#
# ```{exercise} A code too long
# :label: ex-bound-2
#
# Up to how many bits a parameter is the paper's bound below guessing? Take the model's loss and $\Sigma$ as they are, ignore quantization, and use `closed_form_gap`.
# ```
#
# ```{solution-start} ex-bound-2
# :class: dropdown
# ```


# %%
def room(bits_a_parameter):
    """How far the paper's bound lies below guessing with so many bits a parameter, nats."""
    length = bits_a_parameter * spec.n_params
    coded_so = CodedModel(length, spec.n_train_tokens, spec.vocab_size)
    return math.log(spec.vocab_size) - train_risk - closed_form_gap(coded_so, sigma)


too_long = next((b for b in np.arange(0, 10_000, 0.1) if room(b) <= 0), math.nan)
if too_long > 0:
    assert room(too_long) <= 0 < room(too_long - 0.1)
glue_all(too_long=f"From {too_long:.1f} bits a parameter on" if too_long > 0 else "At any code length")
print(f"the first tenth of a bit at which the bound says nothing: {too_long:.1f}")

# %% [markdown]
# {glue:text}`too_long` the paper's bound says no more than guessing. All of its terms but the loss grow with the length of the code; {doc}`06_scale` shows that along the frontier they hardly depend on size.
#
# ```{solution-end}
# ```
#
# ```{exercise} Two epochs
# :label: ex-bound-3
#
# Somebody trains for two epochs and puts the number of tokens that training processed into $\mathcal C$, twice as many as the text has. Does {prf:ref}`thm-paper-bound` need training in one epoch? What is $D$? What would the wrong $D$ promise?
# ```
#
# ```{solution-start} ex-bound-3
# :class: dropdown
# ```

# %%
once, twice = (
    CodedModel(code_length_bits["nominal"], n * spec.n_train_tokens, spec.vocab_size) for n in (1, 2)
)
promised = closed_form_gap(twice, sigma) / closed_form_gap(once, sigma)
assert 0.5 < promised < math.sqrt(0.5)
glue_all(promised=promised)
print(f"the wrong D promises {promised:.2f} of the gap")

# %% [markdown]
# It does not. The union is over all models that have a code, however they were found, and the proof reads the text once. $D$ is the number of tokens of that text: each is one draw, and reading it again draws nothing. The wrong $D$ promises {glue:text}`promised:.2f` of the gap, and nothing
# proves it. Bounds with a {term}`companion` do ask for one epoch: in a second one the companion has seen the token before ({doc}`11_companion`).
#
# ```{solution-end}
# ```
