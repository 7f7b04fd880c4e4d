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
# # What do you pay for?
#
# The paper's bound charges a model for every nat by which its losses stray from what it expected. How much of that straying is the model's doing? Some tokens are hard for everyone. This page subtracts from each loss the loss of another model,
# one that was there *before* the token was read, and pays for the difference alone.
#
# **Answer.** For the paper's own predictor, with the same data and the same code, about half of the gap goes away.
#
# :::{table} What is certified, at a glance
# | certified gap of {glue:text}`model_size` | nats | of the paper's |
# |---|---|---|
# | paper, {glue:text}`bits:d` bits a parameter | {glue:text}`paper_gap:.2f` | 1 |
# | best bound without a companion, {glue:text}`bits:d` bits | {glue:text}`tight_gap:.2f` | {glue:text}`tight_ratio:.2f` |
# | with a companion in the proof, {glue:text}`bits:d` bits | {glue:text}`companion_gap:.2f` | {glue:text}`companion_ratio:.2f` |
# | the same, with the length of the file | {glue:text}`companion_archive_gap:.2f` | {glue:text}`companion_archive_ratio:.2f` |
# | model hedged with {glue:text}`little_alpha:.0f` % of its companion, file | {glue:text}`hedged_little_gap:.2f` | {glue:text}`little_ratio:.2f` |
# | model hedged with {glue:text}`hedged_alpha:.0f` %, file | {glue:text}`hedged_gap:.2f` | {glue:text}`hedged_ratio:.2f` |
# | the companion alone, no file | {glue:text}`online_gap:.2f` | {glue:text}`online_ratio:.2f` |
# :::
#
# | | |
# |---|---|
# | **Paper section** | 3 and 5: both halves of the paper, as the ends of one curve; the theorems of this page are ours |
# | **Reads** | a rung's checkpoint, archive and training rows, the snapshots of its training, and the records of all rungs |
# | **Writes** | nothing |
# | **Runtime** | {glue:text}`runtime_seconds:.0f` seconds on one core |
#
# Every bound here is about the {term}`token-wise risk` on the training contexts, equation {eq}`eq-token-wise-risk`, and each names the predictor $q$ that it is about. "Gap" always means: above the training loss of the final, unquantized model. What a
# critic will say is answered in {doc}`17_critics`.

# %% tags=["parameters"]
model_size: str = "ladder-50k"  # a rung that was trained here, with snapshots
method: str = "gptq"  # quantizer
bits: int = 4  # per quantized weight, the paper's setting
n_windows: int = 256  # training windows drawn for the estimates of this page
failure_prob: float = 0.01  # delta of each bound
seed: int = 0  # of the sample

# %% tags=["hide-input"]
import math
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from gengap import models
from gengap.book.figures import FAMILIES, TERMS, family_panels, named_axis, size_axis, stacked_bars
from gengap.book.glue import glue_all, glue_range
from gengap.book.interactive.kept import keep
from gengap.book.interactive.tokens import describe, token_texts
from gengap.bounds import CodedModel, draw_windows, split_failure_prob
from gengap.bounds.companion_grids import COMPANION_PART, LITTLE, N_PREDICTORS, Predictor
from gengap.compression import METHODS
from gengap.laws import trend
from gengap.records import load_records
from gengap.records.gaps import gaps
from gengap.statistics import token_statistics
from gengap.statistics.companion import beside_statistics
from gengap.training import TrainingLog
from gengap.units import bits_from_nats
from gengap.workflow.companions import coded_companion, estimate_alone, estimate_with, subject
from gengap.workflow.jobs import BEST_CODE

plt.style.use("gengap.book")
torch.set_num_threads(1)
started = time.process_time()

spec = models.get(model_size)
records = load_records(spec.family, method, bits)
companion, checkpoint, rows, hypothesis, record = subject(spec, method, bits, records)
model = hypothesis.build(checkpoint)

# %% [markdown]
# ## Hard tokens are hard for everyone
#
# Take the model of this page, {glue:text}`model_size`, in the form that the paper bounds: quantized to {glue:text}`bits:d` bits and mixed with a little of the uniform distribution. Beside it stands its {term}`companion` $u$. For each training row that is the model
# *as it was before that row was read*. More exactly, it is a snapshot of averaged weights, over the last 10 % of the steps up to there. Nothing in $u$ has seen the row.
#
# {glue:text}`n_snapshots:d` snapshots were taken along the training, denser at its start. The rule was preferred to others after a look at this text, so {glue:text}`rule_bits:.0f` bits are paid for it, enough for {glue:text}`n_rules:,.0f` rules.
#
# We draw {glue:text}`n_windows:d` of the {glue:text}`n_rows:,` training windows. For each token we look at three numbers: the final model's loss $X^q$, its companion's loss $X^u$, and the difference $Z = X^q - X^u$.

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


paper_predictor = Predictor(paper_alpha)
hedges = [
    Predictor(alpha, hedged=True) for alpha in (0.003, 0.01, LITTLE, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 0.97)
]
assert 1 + len(hedges) <= N_PREDICTORS  # so many are paid for
statistics = beside_statistics(model, companion, drawn, sample.windows, [paper_predictor, *hedges])
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
    (loss_u, "$X^u$, companion", "C4-"),
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
# :::{table} How far the two losses stray
# | | root mean square, nats |
# |---|---|
# | $X^q$, from what the model expects | {glue:text}`stray_x:.2f` |
# | $Z$, from what is expected of it | {glue:text}`stray_z:.2f` |
# :::
#
# The variance of the difference is {glue:text}`variance_share:.0f` % of that of the loss. The companion is the worse model, by {glue:text}`loss_u:.2f` nats on average, but it stumbles over the same tokens.
#
# Why does that help? A bound has to answer for a model that was chosen after the text was seen, among all models with as short a code. Split its risk in two:
#
# $$
# \text{risk of } q \;=\; \text{risk of } u \;+\; \text{mean of } \mathbb E[Z] .
# $$
#
# The companion was *not* chosen after the text: at each token it was already there. So its risk is close to what it lost, and that costs next to nothing. Only the second part depends on the chosen model. Only there the code has to be paid, at a price
# set by how much $Z$ varies.
#
# ## The statement
#
# Let $u_k$ be the companion's distribution for token $k$, and write
#
# $$
# X^u_k = -\log u_k(x_k), \qquad X^q_k = -\log q_k(x_k), \qquad Z_k = X^q_k - X^u_k = \log \frac{u_k(x_k)}{q_k(x_k)},
# $$ (eq-companion-losses)
#
# where $q_k$ is the predictor whose risk is bounded. As functions of a token $v$ that could come, $X^u_k(v)$, $X^q_k(v)$ and $Z_k(v)$ are known before $x_k$ is. What must be known when:
#
# :::{table} Who knows what, and when
# | when | what |
# |---|---|
# | before the text ($\mathcal F_0$) | tokenizer, $D$, the order of the rows, all seeds; the code (which string of bits stands for which $h$) and the arithmetic of its decoder; the rule that makes $u$; the finite grids of constants |
# | before token $k$ ($\mathcal F_{k-1}$) | $u_k$, a function of $\mathcal F_0$ and $x_1, \dots, x_{k-1}$; $q_k$, a function of $h$, the constants $g$ and $\mathcal F_{k-1}$, for each $h$ and $g$; the baseline $Y_k$ |
# | after the text | which $h$ and which $g$: free, because the statement holds for all of them at once |
# :::
#
# No later token may have touched what must be known before it, not through weights updated too early, nor through a number that is shared by a batch.
#
# Both distributions are positive on every token, $u_k \ge \eta/V$ with a constant $\eta > 0$, and $X^q_k(v)$ is bounded, so that all expectations exist. Let $H_k$ be the entropy of $u_k$ and $x^u_{\max} = \log(V/\eta)$.
#
# :::{prf:theorem} A predictable companion (ours)
# :label: thm-companion
# :class: ours
#
# Let $G$ and $G_u$ be finite, $L(h)$ the length of a {term}`prefix-free code` and $L(u)$ that of the rule that makes $u$ ($0$ if there was no choice). For every $h$ and $g \in G$ let $\lambda > 0$ and let $Y_k$ be {term}`predictable`, with $1 + \lambda\,(Y_k - Z_k(v)) > 0$
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
# 3. *All at once.* {term}`Kraft's inequality` says $\sum_h 2^{-L(h)} \le 1$ and $\sum_u 2^{-L(u)} \le 1$. There are countably many codes, so the union is an event, and its probability is at most the sum: $\delta_2$ for the first kind, $\delta_1$ for the second.
# 4. *Add.* $\mathbb E[X^q_k \mid \mathcal F_{k-1}] = \mathbb E[X^u_k \mid \mathcal F_{k-1}] + \mathbb E[Z_k \mid \mathcal F_{k-1}]$. $\square$
# :::
#
# Step 1 knows nothing of $h$. It is one statement about one sequence, so its $\mathcal C_u$ holds no code length of a model and $\varepsilon$ is small. Step 2 pays for $h$, but only for how much $q$ differs from $u$.
#
# With $u$ uniform, $X^u = \log V$ is constant, and what is left is equation {eq}`eq-tight`.
#
# Nothing in the proof uses that $X^u$ is a log loss. Any bounded $\ell_k(x_k)$, with a function $\ell_k$ that is known before $x_k$, may take its place; then $Z_k = X^q_k - \ell_k(x_k)$, and $H_k$ becomes the mean of $\ell_k$ under $u_k$. An example is $\min(X^u_k, c)$ with a constant $c$.
#
# (companion-losing-predictability)=
# These do *not* qualify as $u_k$:
#
# * the weights after the update in which token $k$ took part, or the next snapshot instead of the last;
# * a copy that was cooled down on tokens from $k$ on, or an average that holds later weights;
# * a model in its second pass over the text;
# * a model whose batches were skipped after a look at them.
#
# And $X^u$ and the $u$ in $Z$ must be the same numbers: same weights, same precision, same $\eta$. {doc}`17_critics` shows what each slip does.
#
# ### The predictable range
#
# How large can $Z$ be? A fixed range would have to hold for the worst token in the worst context. But the worst token of *this* context is known before the token comes.
#
# :::{prf:theorem} The predictable range (ours)
# :label: thm-predictable-range
# :class: ours
#
# Let $q_k = p_{\mathrm s} = (1-\alpha)\, p_h + \alpha/V$, the paper's predictor, and
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
# is predictable, and $1 + \lambda\,(Y_k - Z_k(v)) \ge 1 - s > 0$ for every token $v$. So {prf:ref}`thm-companion` holds with it, for the predictor $p_{\mathrm s}$, a function of the context alone.
# :::
#
# :::{prf:proof}
# $u_k$ and $q_k$ are functions of $\mathcal F_{k-1}$, hence so are the maximum $m_k$ over the finite vocabulary and $Y_k$. For every $v$, $Z_k(v) \le m_k$, so $Y_k - Z_k(v) \ge (m_k - s/\lambda) - m_k = -s/\lambda$. The bound on $m_k$ is $u_k \le 1$ and $q_k \ge \alpha/V$. $\square$
# :::
#
# A fixed range asks for $\lambda < 1/\log(V/\alpha)$ everywhere. Here $\lambda$ is free. A larger one makes the code cheaper, $\mathcal C/\lambda$. It is paid for by a raised baseline, in those contexts alone where some token is much likelier under $u$ than under $q$. We take
#
# $$
# b_k = \mathbb E_{v \sim (q_k + u_k)/2}\, Z_k(v) = \tfrac12 \bigl( \mathrm{KL}(u_k \,\|\, q_k) - \mathrm{KL}(q_k \,\|\, u_k) \bigr),
# $$ (eq-companion-base)
#
# half way between what $Z$ is on average if tokens come as $u$ says, $\mathrm{KL}(u\|q)$, and if they come as $q$ says, $-\mathrm{KL}(q\|u)$.
#
# The two equations as code; the library's estimate, which this page uses from here on, has to agree with them:


# %% caption="The constants of the bound with a companion"
def summand(z, baseline, rate):
    """f^Z of equation (companion-summands), nats."""
    return baseline - np.log1p(rate * (baseline - z)) / rate


def baseline_of(beside, rate, s):
    """Y of equation (companion-baseline): what is expected of Z, raised where some token could cost too much."""
    return np.maximum(beside.expected, beside.most - s / rate)


def estimate(coded, u, predictor):
    """A bound of this page over the training loss: constants chosen on the windows drawn, without the error of that sample."""
    return estimate_with(coded, u, statistics, train_risk, [predictor])


of_context = estimate(coded, companion, paper_predictor)
rate, s = of_context.choice.rate, of_context.choice.share
y = baseline_of(of_paper, rate, s).astype(float)
assert (1 + rate * (y - of_paper.most) >= 1 - s - 1e-6).all()  # whatever the token
raised = float((of_paper.most - s / rate > of_paper.expected).mean())
known = coded_companion(companion, coded)
of_h = replace(coded, failure_prob=(1 - COMPANION_PART) * coded.failure_prob)
price = known.with_model(of_h) / rate + summand(z, y, rate).mean(dtype=float)  # C/lambda and the mean of f^Z
alone = estimate_alone(coded, companion, statistics, train_risk)
np.testing.assert_allclose(of_context.gap, alone + price, atol=1e-5)  # equation (companion)
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
# That was an estimate from a small sample, as this page makes of everything it compares. The {term}`certificate`, from more windows and with its sampling error counted, is in the record of the model ({doc}`05_bound`).
#
# Here are four kinds of bound from the same tokens and the same code. The paper's and the last are about the same kind of predictor: the quantized model with a weight $\alpha$ of the uniform distribution. At {glue:text}`bits:d` bits $\alpha$ is {glue:text}`alpha_paper:.3f` in the paper's bound and
# {glue:text}`alpha_companion:.3f` in ours, chosen among the paper's and three others, which is paid for.

# %% caption="Certified bounds, nats per token, with and without a companion"
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
glue_all(tight_gap=nominal.tight.gap, tight_ratio=nominal.tight.gap / nominal.paper.gap, raised=100 * raised)
glue_all(online_ratio=record.online.gap / nominal.paper.gap)
glue_all(alpha_paper=nominal.paper.alpha, alpha_companion=nominal.companion.alpha)
glue_all(rate=rate, fixed_rate=1 / math.log(vocab_size / paper_alpha))
assert nominal.companion.gap < 0.56 * nominal.paper.gap  # about half

# %% [markdown]
# Who uses this predictor needs no snapshot: it is a function of the context alone and never sees the companion. The companion lives in the proof.
#
# Two things make the number. One is the range: a fixed one would allow $\lambda < {}$ {glue:text}`fixed_rate:.2f`; the predictable one lets us take {glue:text}`rate:.2f`, and asks {glue:text}`raised:.0f` % of the tokens to pay for it. The other is the small spread of $Z$, which makes the larger $\lambda$ worth
# its price.
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
# The vocabulary is gone from the range. The price is that this $q$ is the final model *hedged with weight $\alpha$ by the model of that moment*, and not a function of the context alone. Wherever its bound is shown, the page says so.
#
# As $\alpha \to 0$ what is bounded is the final model, by its code. As $\alpha \to 1$ it is the companion, which needs no code. Between the ends lies a family of predictors, one for each weight, and each has its bound. Here is the whole curve, with the code length of the file.

# %%
curve = {p.alpha: estimate(coded, companion, p) for p in hedges}
best_alpha = min(curve, key=lambda alpha: curve[alpha].gap)

# %% mystnb={"figure": {"caption": "Certified gap (estimate) over the final model's training loss, for the final model hedged with weight alpha by the companion of each moment. Left end: the paper's smoothed model, which never sees the companion. Right end: the companion itself, which needs no code. Broken line: what the hedged predictor really loses on the same tokens.", "name": "fig-companion-curve"}, "image": {"alt": "A curve of the gap against the weight of the companion on a log-odds axis: it falls from about 0.9 nats at the left to about a half near one half and rises a little towards the right end; a marker at each end, and below it a broken line for the predictor's own training loss."}}
alphas = np.array(list(curve))
log_odds = np.log(alphas / (1 - alphas))
ends = log_odds[0] - 1.3, log_odds[-1] + 1.3
fig, ax = plt.subplots()
ax.plot(log_odds, [found.gap for found in curve.values()], "o-C0", label="hedged with weight α: bound")
ax.plot(log_odds, [found.loss for found in curve.values()], "--C0", label="its training loss")
ax.plot(ends[0], of_context.gap, "sC4", markersize=8, label="final model, smoothed: bound")
ax.plot(ends[1], alone, "DC3", markersize=8, label="companion alone: bound")
shown = [0.003, 0.01, LITTLE, 0.2, 0.5, 0.9]
named_axis(
    ax.xaxis,
    [ends[0], *np.log(np.array(shown) / (1 - np.array(shown))), ends[1]],
    ["final", *map("{:g}".format, shown), "online"],
)
ax.set(xlabel="weight α of the companion", ylabel="nats above the training loss")
fig.legend(loc="outside lower center", ncols=2)
plt.show()

# %% caption="Bounds along the curve, from the final model to its companion, nats per token"
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
# The paper has two halves. The first bounds the final model by its *compression*. The second measures by a {term}`prequential code` how much training taught it, and asks what a code that short would give. They are the two ends of this curve. At the left $q$ is a function of the context, coded in
# the file; at the right it is the sequence of online models, with no code. The least bound lies between.
#
# Two warnings go with the curve:
#
# * A small weight does not lead smoothly to the final model. Hedged with {glue:text}`least_alpha:.1f` % the bound lies above that of the model smoothed in the paper's way, because so little of $u$ hardly protects. Nor is a little hedging always better than the companion alone: with {glue:text}`little_alpha:.0f` % it is not
#   here.
# * A hedged gap is not a gap of the final model. A hedged predictor needs the snapshot of the moment, in every context, and its bound says how well *that pair* predicts. Only the left end speaks of the model that is kept when training is over.
#
# Mixing is one way to hedge. The best one, for a model that is {term}`calibrated`, is {prf:ref}`thm-best-hedge`.
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

# %% caption="Certified bounds, term by term, above the training loss, nats per token"
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
# * The **code** costs {glue:text}`price_without:.2f` nats without a companion, {glue:text}`price_with:.2f` with it and {glue:text}`price_hedged:.2f` when hedged. It is the same file, with the same number of bits: what changes is the price of a bit.
# * **Smoothing** costs the paper's bound {glue:text}`smoothing_paper:.2f` nats, a worst case; the real cost of the smoothing with a companion is {glue:text}`smoothing_companion:.2f`. Hedging can make it negative: the companion helps.
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
# \begin{aligned}
# R(u) &\;\le\; \min_{\lambda_u \in G_u} \Bigl\{ \frac{\mathcal C_u}{\lambda_u} + \frac1D \sum_{k=1}^D f^u_k \Bigr\} \;=\; \frac1D \sum_{k=1}^D X^u_k + \varepsilon \;=\; \hat R_h + \frac{K(h)}{D} + \varepsilon, \\
# K(h) &:= \sum_{k=1}^D X^u_k - D\, \hat R_h .
# \end{aligned}
# $$ (eq-online)
# :::
#
# :::{prf:proof}
# Step 1 of {prf:ref}`thm-companion`; the second equation is the definition of $K(h)$, and the first that of $\varepsilon$. $\square$
# :::
#
# If $u$ is the online model, $K(h)$ is the quantity of {prf:ref}`thm-information-content`. There it was an estimate of a code length that nobody can send. Here it needs no code, no quantization and no Kolmogorov complexity. Divided by $D$ it is the certified gap between the risk of the *online predictors* and
# the loss of the final model. It says nothing about the risk of the final model.
#
# A training log holds $X^{\log}_k$ of a model without the floor $\eta$. With $u = (1-\eta)\, u^{\log} + \eta/V$,
#
# $$
# X^u_k \;\le\; X^{\log}_k + \log \frac{1}{1-\eta},
# $$ (eq-online-log)
#
# so the mean of a log certifies {eq}`eq-online`, with Azuma's inequality for $\varepsilon$ where entropies were not logged.

# %% caption="Certified gaps of the online predictors, nats per token"
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
# {doc}`04_prequential` can only ask what this quantity would give *if* someone found a code of that length. Here it is a certificate as it stands: {glue:text}`log_gap:.2f` nats from nothing but the training log, {glue:text}`online_gap:.2f` for the average of the weights. As a code for the final model it would be {glue:text}`bits_per_parameter:.1f` bits a
# parameter, {glue:text}`files:.1f` times the file. But nobody has to send it.
#
# ## What falls with scale?
#
# "Provably generalize better with scale", says the paper's title. At a fixed {glue:text}`bits:d` bits and 20 tokens a parameter, does the *gap* fall? Here are all rungs with a record, for every kind of bound, at the nominal length, and in the figure those of {doc}`13_elsewhere` beside them. (For the bound with a companion the predictor is the
# paper's.)

# %% mystnb={"figure": {"caption": "Certified gaps at 4 bits a parameter against size, a panel for each family, one marker for each rung that has a record with that kind of bound, nats per token.", "name": "fig-companion-scale"}, "image": {"alt": "A panel for each family: gap in nats against parameters on a logarithmic axis for six kinds of bound: the paper's lies highest, near 1.9; below it those without a companion, with one, of the companion alone and hedged."}}
KINDS = {
    "paper": (lambda r: r.bounds["nominal"].paper, "s-C1"),
    "no companion": (lambda r: r.bounds["nominal"].tight, "D-C2"),
    "with a companion": (lambda r: r.bounds["nominal"].companion, "o-C4"),
    "hedged, at most 5 %": (lambda r: r.bounds["nominal"].hedged_little, "^-C5"),
    "hedged, best": (lambda r: r.bounds["nominal"].hedged, "v-C0"),
    "companion alone": (lambda r: r.online, "P-C3"),
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


# %% caption="Exponents of each gap as a power of N, and what they say of its trend"
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
said = trends.loc[["paper", "with a companion", "hedged, at most 5 %"], "verdict"]
if (said == "may fall or rise").all():
    trend_words = "no trend of the gap is certain: the paper's, that with a companion and that hedged a little may each fall or rise"
elif said.nunique() == 1:
    trend_words = f"the paper's gap, that with a companion and that hedged a little each {said.iloc[0]}"
else:
    trend_words = f"the paper's gap {said.iloc[0]}, that with a companion {said.iloc[1]}, that hedged a little {said.iloc[2]}"
glue_all(n_with_companion=len(with_companion), trend_words=trend_words)
glue_range("ratio", with_companion["with a companion"] / with_companion["paper"])
n_below = int((with_companion["hedged, best"] < with_companion["companion alone"]).sum())
little_below = [
    size for size, gap in with_companion.iterrows() if gap["hedged, at most 5 %"] < gap["companion alone"]
]
little_words = (
    f"Hedged with 5 % the bound is better than that of the companion alone on: {', '.join(little_below)}."
    if little_below
    else "On no rung is the bound hedged with 5 % better than that of the companion alone."
)
missing_words = (
    f"The records of {', '.join(missing)} have no companion." if missing else "Every rung has a companion."
)
glue_all(n_below=n_below, little_words=little_words, missing_words=missing_words)
trends

# %% caption="Certified gaps of every rung, nats per token"
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
# The table above has the length of the file in all columns but the first. The same as shares of the paper's gap at the nominal length; and with shorter codes, which are retrained and so have seen the same text for longer:

# %% caption="Rise of the loss, nats per token, and the gaps as parts of the paper's at the nominal length of 4 bits"
shorter = [record for bits in (3, 2) for record in load_records(spec.family, BEST_CODE[0], bits)]
RISE = "loss rises by"
parts = {}
for record in [*records, *shorter]:
    [found] = gaps([record])
    paper = listed["paper_nominal_gap"][found["size"]]
    shares = {name: (found[key] or math.nan) / paper for name, key in list(KEYS.items())[1:]}
    rise = record.risks.quantized.mean - record.risks.train.mean
    parts[found["size"], f"{METHODS[found['method']].label}, {found['bits']}"] = {RISE: rise, **shares}
parts = pd.DataFrame(parts).T.rename_axis(index=["size", "code, bits"]).loc[listed.index]  # rung by rung
of_shorter = parts[parts.index.get_level_values(1).str.startswith(METHODS[BEST_CODE[0]].label)]
best_code = of_shorter.groupby(level="size").min()
glue_range("best_code", best_code["with a companion"].dropna())
glue_range("best_uniform", best_code["no companion"])
(worst, worst_code), (worst_gptq, _) = of_shorter[RISE].idxmax(), parts.drop(of_shorter.index)[RISE].idxmax()
glue_all(
    n_best_code=int(best_code["with a companion"].count()),
    worst_rise=of_shorter[RISE].max(),
    worst_rise_at=f"{worst} at {worst_code[-1]}",
    worst_gptq=worst_gptq,
    worst_gptq_rise=parts.drop(of_shorter.index)[RISE].max(),
)
parts.style.format("{:.2f}", na_rep="none yet").format("{:+.3f}", subset=[RISE])

# %% [markdown]
# A shorter code makes every bound smaller that pays for it, most of all those that lean least on the companion. With the better of its retrained codes the paper's own predictor has {glue:text}`best_code_least:.2f` to {glue:text}`best_code_most:.2f` of the paper's gap, on {glue:text}`n_best_code:d` rungs. Each row is a certificate of its own; the better of two fails with at most twice the probability.
#
# Without a companion the better code leaves {glue:text}`best_uniform_least:.2f` to {glue:text}`best_uniform_most:.2f`. Retraining takes no more steps on the largest rungs than on middle ones. So they read a smaller part of their text again, and their files lose more: up to {glue:text}`worst_rise:.2f` nats ({glue:text}`worst_rise_at` bits).
#
# Of GPTQ's files that of {glue:text}`worst_gptq` loses most, {glue:text}`worst_gptq_rise:.2f` nats, and all its bounds with it.
#
# {glue:text}`missing_words` {glue:text}`little_words`
#
# At a fixed number of bits and of tokens a parameter the complexity $\mathcal C$ is the same on every rung. So a gap can fall only if losses vary less, or if the quantized model comes closer to the trained one. By the exponents of the table, with size {glue:text}`trend_words`. The bound falls with scale on this ladder because the loss does ({doc}`06_scale`).
#
# A sample of windows certifies the mean of $f^u_k + f^Z_k$ over all tokens, in one statement with one $\delta$. It needs the range of what is averaged: {prf:ref}`thm-companion-range`.

# %%
glue_all(runtime_seconds=time.process_time() - started)

# %% [markdown]
# ## What agreed, what did not
#
# * **Agreed**: the paper's argument, with one more predictable thing in it. With the paper's own predictor, data and code the certified gap is {glue:text}`companion_ratio:.2f` of the paper's on this page's model. On the {glue:text}`n_with_companion:d` rungs that have a record with a companion it is {glue:text}`ratio_least:.2f` to {glue:text}`ratio_most:.2f`.
# * **Agreed, and more than was claimed**: the prequential number of section 5 needs no assumption. It is a certificate, for the online predictors. Compression and prediction are the ends of one curve, whose least point lies between them: below the companion alone on {glue:text}`n_below:d` of {glue:text}`n_with_companion:d` rungs.
# * **To be told apart**: bound and gap. At a fixed number of bits, with size {glue:text}`trend_words`. What makes the bounds fall is the loss.
# * **Not shown**: anything about fresh documents, or about a model trained for several epochs. A second pass has no predictable snapshots.

# %% [markdown]
# ## Exercises
#
# ```{exercise} Two tokens, by hand
# :label: ex-companion-1
#
# There are two tokens. The companion says $(\frac12, \frac12)$, the final model $(0.9, 0.1)$. Hedge with $\alpha = 0.1$. What are $Z$ at both tokens, and $m$? Take $\lambda = 1$ and $s = 0.9$: what is the baseline $Y$, is it raised, and how small can $1 + \lambda(Y - Z)$ become?
# ```
#
# ```{solution-start} ex-companion-1
# :class: dropdown
# ```

# %%
u2, p2 = np.array([0.5, 0.5]), np.array([0.9, 0.1])
q2 = 0.9 * p2 + 0.1 * u2
z2 = np.log(u2 / q2)
base = float((q2 + u2) @ z2 / 2)
y2 = max(base, z2.max() - 0.9)
np.testing.assert_allclose([*z2, base, y2], [-0.542, 1.273, 0.039, 0.373], atol=5e-4)
np.testing.assert_allclose((1 + y2 - z2).min(), 1 - 0.9)

# %% [markdown]
# $q = (0.86, 0.14)$, so $Z$ is $\log\frac{0.5}{0.86} = -0.542$ and $\log\frac{0.5}{0.14} = 1.273 = m$, below $\log 10 = 2.303$. What is expected of $Z$ under $(0.68, 0.32)$ is 0.039; $m - s/\lambda = 0.373$ is more, so the baseline is raised to it. At the second token $1 + \lambda(Y - Z) = 1 - s = 0.1$, the least that is
# allowed.
#
# ```{solution-end}
# ```
#
# ```{exercise} The price of a bit
# :label: ex-companion-2
#
# Make the file longer by one bit a parameter and leave everything else alone. How much do the estimates of this page rise for the model smoothed in the paper's way, hedged with 5 %, and hedged with the best weight? Use `estimate_with` with a changed `coded`.
# ```
#
# ```{solution-start} ex-companion-2
# :class: dropdown
# ```

# %% caption="What one more bit a parameter costs each bound, nats per token"
longer = replace(coded, code_length_bits=coded.code_length_bits + spec.n_params)
rises = {
    name: estimate(longer, companion, found.choice.predictor).gap - found.gap for name, found in named.items()
}
assert list(rises.values()) == sorted(rises.values(), reverse=True)
pd.Series(rises, name="nats for one bit a parameter").to_frame().style.format("{:.3f}")

# %% [markdown]
# The more the predictor leans on its companion, the less a bit costs: $Z$ varies less, $\lambda$ is larger, and the price of a bit is about $\log 2 \cdot N/(\lambda D)$. For the companion alone it is zero.
#
# ```{solution-end}
# ```
#
# ```{exercise} A rule chosen late
# :label: ex-companion-3
#
# Somebody watches the training loss and halves the learning rate whenever it stalls. Are the snapshots still a predictable companion? Somebody else tries a thousand averages of the weights on the finished run and takes the best. What has to be paid, and how much is it?
# ```
#
# ```{solution-start} ex-companion-3
# :class: dropdown
# ```

# %%
free = replace(companion, code_length_bits=0.0)
paid_rule = replace(companion, code_length_bits=math.log2(1000))
cost = estimate(coded, paid_rule, paper_predictor).gap - estimate(coded, free, paper_predictor).gap
assert 0 < cost < 0.01
glue_all(rule_cost=cost)

# %% [markdown]
# The first is predictable: each decision is a function of the tokens before it, and the rule was there beforehand. The second is a choice after the text, among a thousand rules: $L(u) = \log_2 1000 \approx 10$ bits, paid in $\mathcal C$ and in $\mathcal C_u$. For the paper's predictor that is {glue:text}`rule_cost:.4f` nats. Choices are cheap where
# they are counted. Restarting the run from an older snapshot and skipping the batches that hurt is another matter: that changes what the text was.
#
# ```{solution-end}
# ```
