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
# # Smoothing: a loss with a ceiling
#
# The inequality of {doc}`01_freedman` needs a range: a $\Delta$ that $X_k - Y_k$ cannot exceed, *whatever token is drawn*. The loss of a language model has none. How does it get one, what does that cost,
# and can it be had for less?
#
# **Answer.** Mix the model's prediction with a little of the uniform distribution, and bound the mixture. Cost and range together take at most $\mathcal C \log V + \sqrt{2\,\mathcal C}$ nats a token, on real losses less.
# The best smoothing there is takes only a little less again.
#
# :::{table} The questions of this page
# | question | answer | number |
# |---|---|---|
# | Do the paper's range, cost and closed form hold? | yes, each is proved here | the closed form for every $\mathcal C > 0$ |
# | Is the weight $\alpha = \mathcal C/(1+\mathcal C)$ a good one? | yes | {glue:text}`paper_alpha_excess:.4f` nats above the best in the worst case |
# | Is the closed form pessimistic, as the paper says? | yes | by {glue:text}`slack:.3f` nats on this model |
# | Can the range be smaller for the same predictor? | yes (ours) | {glue:text}`raised_gain:.3f` nats, by a raised baseline |
# | Is there a better smoothing than the uniform one? | yes, and it is the best (ours) | {glue:text}`left_percent:.1f` % less gap: hardly worth it |
# :::
#
# What is bounded is the {term}`token-wise risk` of the smoothed model.
#
# | | |
# |---|---|
# | **Paper section** | prediction smoothing, the step from Thm 3.2 to Thm 3.4 |
# | **Reads** | one quantized model and some of its training rows |
# | **Writes** | nothing |
# | **Runtime** | {glue:text}`runtime_seconds:.0f` seconds on one core |

# %% tags=["parameters"]
model_size: str = "ladder-100k"  # a key of gengap.models.REGISTRY
method: str = "gptq"  # quantizer of the model shown
bits: int = 4  # per quantized weight
n_windows: int = 200  # training windows shown
n_best_tokens: int = 2_048  # tokens on which the best smoothing is computed
seed: int = 0  # of the windows

# %% tags=["hide-input"]
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from gengap import models
from gengap.book.glue import glue_all
from gengap.bounds import CodedModel, concentration, grids, smoothing
from gengap.compression import archive
from gengap.models.spec import quantized_name
from gengap.statistics import token_statistics
from gengap.tokens import sample_rows

plt.style.use("gengap.book")
started = time.monotonic()
spec = models.get(model_size)
quantized = archive.read(spec.find(f"{quantized_name('main', method, bits)}.ggq"), spec.config())
model = quantized.build(spec.config())
rows = sample_rows(spec.train_rows().rows, n_windows, seed)

V = spec.vocab_size
coded = CodedModel(archive.nominal_bits(spec.n_params, bits), spec.n_train_tokens, V)
C = coded.complexity(coded.s_grid_size)  # nats/token
alphas = sorted({*np.geomspace(0.003, 0.6, 12), coded.paper_alpha})
statistics = token_statistics(model, rows, alphas)  # nll (n, seq), entropy (alphas, n, seq), nats
nll = statistics.nll.ravel().astype(np.float64)  # (n_tokens,)
entropy_at = {a: h.ravel() for a, h in zip(statistics.alphas, statistics.entropy, strict=True)}

# %% [markdown]
# ## Why smoothing
#
# Here are the losses of this model on {glue:text}`n_tokens:,` of its training tokens. Most tokens cost less than guessing, $\log V$, and a few cost far more. The largest loss *seen* is {glue:text}`largest_nll:.1f` nats,
# which says nothing about the largest *possible* one. A token that the model holds nearly impossible costs as many nats as you like. It does not help that none was seen, since the bound is about tokens drawn afresh.
#
# The paper's remedy is to bound a predictor one step away from the model: its mixture with the uniform distribution, the {term}`smoothing` of its prediction.

# %% mystnb={"figure": {"caption": "How often a token of the training text costs more than so many nats: the model itself, and smoothed with the paper's $\\alpha$, whose losses end at the dotted line, $\\log(V/\\alpha)$.", "name": "fig-smoothing-tail"}, "image": {"alt": "Share of tokens with a loss above x, on a logarithmic scale. The curve of the model runs on to the right; that of the smoothed model stops at about ten nats."}}
smoothed = smoothing.smoothed_nll(nll, coded.paper_alpha, V)
share = 1 - np.arange(len(nll)) / len(nll)
fig, ax = plt.subplots()
ax.step(np.sort(nll), share, where="post", label="model")
ax.step(np.sort(smoothed), share, where="post", label="smoothed")
ax.axvline(math.log(V), linestyle="--", linewidth=1, color="0.5")
ax.annotate(r"guessing, $\log V$", (math.log(V), 3e-4), rotation=90, ha="right", va="center")
ax.axvline(float(smoothing.max_nll(coded.paper_alpha, V)), linestyle=":", color="C1")
ax.set(xlabel="loss, nats", ylabel="share of tokens above", yscale="log", ylim=(0.5 / len(nll), 1.5))
ax.legend(loc="lower left")
plt.show()

# %%
glue_all(n_tokens=nll.size, largest_nll=nll.max())

# %% [markdown]
# ## The mixture
#
# For a weight $\alpha \in (0, 1)$ let
#
# $$
# p_{\mathrm s}(x) = (1-\alpha)\, p_h(x) + \frac{\alpha}{V}, \qquad X = -\log p_{\mathrm s}(x) .
# $$ (eq-smoothing)


# %%
def smoothed_loss(nll, alpha, vocab_size):
    """X of equation (smoothing), from the model's loss -log p_h(x); nats."""
    return -np.log((1 - alpha) * np.exp(-nll) + alpha / vocab_size)


np.testing.assert_allclose(smoothed, smoothed_loss(nll, coded.paper_alpha, V), rtol=1e-12)

# %% [markdown]
# :::{prf:theorem} Prediction smoothing (paper, Thm 3.4 and the step before it)
# :label: thm-smoothing
#
# The losses of the smoothed predictor satisfy
#
# $$
# X_k \le \log\frac V\alpha, \qquad \Delta = \log\Bigl(1 + \frac{(1-\alpha) V}{\alpha}\Bigr), \qquad \hat R_{\mathrm s} - \hat R_h \le \log\frac{1}{1-\alpha} .
# $$ (eq-smoothing-costs)
#
# With $\alpha = \mathcal C/(1+\mathcal C)$ these are $\Delta = \log(1 + V/\mathcal C)$ and a cost of at most $\log(1 + \mathcal C)$, and together
#
# $$
# \log(1+\mathcal C) + \mathcal C \log\Bigl(1 + \frac{V}{\mathcal C}\Bigr) \;\le\; \mathcal C \log V + \sqrt{2\, \mathcal C} .
# $$ (eq-smoothing-closed)
# :::
#
# *Proof of* {eq}`eq-smoothing-costs`. Drop the first term of $p_{\mathrm s}$: what is left says $X \le x_{\max} = \log(V/\alpha)$. With $p_h(x) \le 1$ it also says
# $X \ge x_{\min} = -\log(1 - \alpha + \alpha/V)$, and the difference of the two is $\Delta$. An entropy is a mean of losses, so the paper's baseline, the
# entropy of $p_{\mathrm s}$, is at least $x_{\min}$ as well, and $X_k - Y_k \le \Delta$. Drop the second term instead: then
# $X \le -\log p_h(x) + \log\frac1{1-\alpha}$ for each token. $\square$
#
# Reviewers asked how much rests on the smoothing of {cite:t}`lotfi2024nonvacuous`, and what would be lost if something in it were wrong. Nothing rests on it. The idea of mixing is theirs, but the three facts used
# here follow from the definition {eq}`eq-smoothing` in the few lines above.

# %%
alpha = coded.paper_alpha
assert smoothed.max() <= math.log(V / alpha)
assert (smoothed - nll).max() <= math.log(1 / (1 - alpha))
assert (smoothed - entropy_at[alpha]).max() <= math.log(1 + (1 - alpha) * V / alpha)

# %% [markdown]
# *Proof of* {eq}`eq-smoothing-closed` (for $V \ge 2$ and $0 < \mathcal C \le 1$; ours). Split the second term,
#
# $$
# \mathcal C \log\Bigl(1 + \frac V{\mathcal C}\Bigr) = \mathcal C \log V + \mathcal C \log\frac 1{\mathcal C} + \mathcal C \log\Bigl(1 + \frac{\mathcal C}{V}\Bigr) .
# $$
#
# 1. $\log(1 + \mathcal C/V) \le \mathcal C/V \le \mathcal C/2$.
# 2. From $\log t \le t - 1$ at $t = 1/\sqrt{2\,\mathcal C}$: $\;\log\frac1{\mathcal C} = \log 2 + 2 \log\frac{1}{\sqrt{2\,\mathcal C}} \le \sqrt{2/\mathcal C} - (2 - \log 2)$.
# 3. So the left side of {eq}`eq-smoothing-closed` is at most $\mathcal C \log V + \sqrt{2\,\mathcal C} - \psi(\mathcal C)$ with
#    $\psi(\mathcal C) = (2 - \log 2)\, \mathcal C - \log(1+\mathcal C) - \mathcal C^2/2$.
# 4. $\psi'' = (1+\mathcal C)^{-2} - 1 \le 0$: $\psi$ is concave, with $\psi(0) = 0$ and $\psi(1) = \tfrac32 - 2\log 2 > 0$, hence $\psi \ge 0$ on $[0, 1]$. $\square$
#
# The restriction to $\mathcal C \le 1$ is not needed. For $\mathcal C \ge 1$ let
# $\chi(\mathcal C) = \log(1+\mathcal C) + \mathcal C \log(1/\mathcal C + 1/2)$, which is what has to stay below $\sqrt{2\,\mathcal C}$. It is concave with $\chi(1) = \log 3$ and
# $\chi'(1) < \tfrac14$, so on $[1, 2]$ it is below $1.35 < \sqrt 2$. For $\mathcal C \ge 2$ its second term is not positive, while $\log(1+\mathcal C) \le \sqrt{\mathcal C}$. $\square$

# %%
grid = np.concatenate([np.geomspace(1e-9, 1e-3, 10_000), np.linspace(1e-3, 1, 100_000), np.geomspace(1, 1e4)])
for vocab_size in (2, 3, 256, V, 50_304):
    assert np.all(smoothing.closed_form_cost(grid, vocab_size) > smoothing.worst_case_cost(grid, vocab_size))

# %% [markdown]
# Here is what smoothing does to single tokens. Try it: move the smoothing weight, colour by $X - Y$, then change the reference.
#
# ```{interactive} token-viewer
# A passage of the training text as the smallest rung sees it. The second reference is that model as it was before it had read the passage; what such a reference is good for is the subject of {doc}`11_companion`.
# ```
#
# ## The trade-off in $\alpha$
#
# Much smoothing costs loss. Little smoothing leaves a large range, which the inequality multiplies by $\mathcal C$. This model has
# $\mathcal C = $ {glue:text}`complexity:.4f` nats a token at {glue:text}`bits` bits a parameter.
#
# In the worst case the sum $\log\frac1{1-\alpha} + \mathcal C \Delta(\alpha)$ is least at $\alpha = $ {glue:text}`best_alpha:.3f`, close to $\mathcal C$ itself. The paper's
# $\mathcal C/(1+\mathcal C) = $ {glue:text}`paper_alpha:.3f` costs {glue:text}`paper_alpha_excess:.4f` nats more, of order $\mathcal C^3$. It is chosen for its closed form.

# %% mystnb={"figure": {"caption": "What smoothing costs and what the range costs, at the worst (lines) and as measured on this model (dots), nats per token. Vertical line: the paper's $\\alpha$.", "name": "fig-smoothing-tradeoff"}, "image": {"alt": "Against the smoothing weight on a logarithmic axis: the worst-case cost of smoothing rises, the range times C falls, their sum has a flat minimum near 0.13; the measured cost of smoothing lies well below the worst case."}}
weights = np.geomspace(0.003, 0.6, 400)
cost, range_cost = smoothing.smoothing_cost(weights), C * smoothing.loss_range(weights, V)
measured = pd.Series({a: smoothing.smoothed_nll(nll, a, V).mean() - nll.mean() for a in alphas})
measured_both = measured + C * smoothing.loss_range(alphas, V)
fig, ax = plt.subplots()
ax.plot(weights, cost, label="smoothing, at the worst")
ax.plot(alphas, measured, "o", color="C0", label="smoothing, measured")
ax.plot(weights, range_cost, label=r"range, $\mathcal{C}\,\Delta$")
ax.plot(weights, cost + range_cost, color="C3", label="both, at the worst")
ax.plot(alphas, measured_both, "s", color="C3", label="both, measured")
ax.axvline(coded.paper_alpha, linestyle=":", color="0.5")
ax.set(xscale="log", xlabel=r"smoothing weight $\alpha$", ylabel="nats/token", ylim=(-0.05, 2.5))
fig.legend(loc="outside lower center", ncols=2)
plt.show()

# %% tags=["remove-cell"]
total = cost + range_cost
closed, worst = float(smoothing.closed_form_cost(C, V)), float(smoothing.worst_case_cost(C, V))
np.testing.assert_allclose(np.interp(coded.paper_alpha, weights, total), worst, rtol=1e-4)
glue_all(bits=bits, complexity=C, best_alpha=weights[total.argmin()], paper_alpha=coded.paper_alpha)
glue_all(paper_alpha_excess=worst - total.min(), closed_form=closed, worst_case=worst)
glue_all(measured_both=measured_both[alpha], measured_cost=measured[alpha], worst_cost=math.log1p(C))
glue_all(slack=closed - measured[alpha] - C * smoothing.loss_range(alpha, V))

# %% [markdown]
# :::{table} Cost of smoothing and range, at the worst and as measured
# | cost of smoothing and range at the paper's $\alpha$ | nats per token |
# |---|---|
# | closed form, $\mathcal C \log V + \sqrt{2\,\mathcal C}$ | {glue:text}`closed_form:.3f` |
# | worst case, $\log(1 + \mathcal C) + \mathcal C \Delta$ | {glue:text}`worst_case:.3f` |
# | measured cost, and $\mathcal C \Delta$ | {glue:text}`measured_both:.3f` |
# :::
#
# The closed form over-estimates twice. It stands for the sum of the two worst costs. And in that sum smoothing is counted at $\log(1+\mathcal C) = $ {glue:text}`worst_cost:.3f`, while on the data it costs
# {glue:text}`measured_cost:.3f`: tokens that the model finds unlikely *gain* from it. Evaluating both saves {glue:text}`slack:.3f` nats by arithmetic alone. The paper says itself that its smoothing term is
# pessimistic; {doc}`05_bound` reports this gain for every model.
#
# ## The entropy floor
#
# The range $\Delta$ of the theorem lets the baseline $Y_k$ be as low as $x_{\min}$. An entropy never is that low, for a smoothed distribution cannot be certain.
#
# :::{prf:theorem} Entropy floor (ours)
# :label: thm-entropy-floor
# :class: ours
#
# The entropy of every distribution smoothed with weight $\alpha$ is at least that of a smoothed one-hot distribution,
#
# $$
# H_{\min}(\alpha) = -\bigl(1-\alpha+\tfrac\alpha V\bigr) \log\bigl(1-\alpha+\tfrac\alpha V\bigr) - (V-1)\, \tfrac\alpha V \log \tfrac\alpha V ,
# $$ (eq-entropy-floor)
#
# so that the range of the losses above the entropy baseline is $\log(V/\alpha) - H_{\min}(\alpha)$.
# :::
#
# :::{prf:proof}
# The map $p \mapsto (1-\alpha) p + \alpha/V$ is affine, so smoothed distributions form a simplex whose corners are the smoothed one-hot
# distributions. Entropy is concave, and a concave function on a simplex is least at a corner; by symmetry all corners have the entropy
# {eq}`eq-entropy-floor`. $\square$
# :::


# %%
def entropy_floor(alpha, vocab_size):
    """H_min of equation (entropy-floor), nats."""
    top, rest = 1 - alpha + alpha / vocab_size, alpha / vocab_size
    return -top * math.log(top) - (vocab_size - 1) * rest * math.log(rest)


for a in alphas:
    np.testing.assert_allclose(smoothing.entropy_floor(a, V), entropy_floor(a, V), rtol=1e-12)
    assert entropy_at[a].min() >= entropy_floor(a, V) - 1e-4  # float32

# %% mystnb={"figure": {"caption": "Entropies of this model's smoothed predictions: the least, the median and the middle 90 % over tokens, above the floor that no model can cross, itself well above the least loss $x_{\\min}$.", "name": "fig-entropy-floor"}, "image": {"alt": "Against the smoothing weight: the entropy floor rises from near zero to about five nats; the least entropy in the data lies just above it; the median of the data is higher; the least possible loss stays near zero."}}
quantiles = np.array([np.quantile(entropy_at[a], [0.0, 0.05, 0.5, 0.95]) for a in alphas])  # (alphas, 4)
fig, ax = plt.subplots()
ax.fill_between(alphas, quantiles[:, 1], quantiles[:, 3], alpha=0.25, linewidth=0, label="data, 5 % to 95 %")
ax.plot(alphas, quantiles[:, 2], label="data, median")
ax.plot(alphas, quantiles[:, 0], "o", label="data, least")
ax.plot(weights, smoothing.entropy_floor(weights, V), color="C1", label=r"floor $H_{\min}$")
ax.plot(weights, smoothing.min_nll(weights, V), color="C3", label=r"least loss $x_{\min}$")
ax.axvline(coded.paper_alpha, linestyle=":", color="0.5")
ax.set(xscale="log", xlabel=r"smoothing weight $\alpha$", ylabel="nats")
fig.legend(loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# The baseline may be *any* number known before the token. Nothing forbids $Y_k = \max(H_k, y_0)$, with $H_k$ the entropy and a constant $y_0$ above the floor. That spoils the baseline where the model is sure
# of itself, and it shrinks the range everywhere, to $\log(V/\alpha) - y_0$. What do the three ranges give in the inequality of {doc}`01_freedman`, at the paper's $\alpha$?


# %% caption="The inequality with three ranges, at the paper's smoothing weight, nats per token"
def bound_with_range(baseline_floor):
    """Empirical Freedman for the smoothed risk with Y = max(H, y0): range and bound, nats."""
    loss_range = math.log(V / alpha) - baseline_floor
    baseline = np.maximum(entropy_at[alpha], baseline_floor)
    return loss_range, smoothed.mean() + concentration.freedman(smoothed, baseline, loss_range, C).value


floors = {
    "paper: least loss": float(smoothing.min_nll(alpha, V)),
    "entropy floor": entropy_floor(alpha, V),
    "raised baseline": min(np.linspace(0.5, math.log(V), 60), key=lambda y0: bound_with_range(y0)[1]),
}
ranges = pd.DataFrame(
    {name: [y0, *bound_with_range(y0)] for name, y0 in floors.items()},
    index=["lowest baseline, nats", "range, nats", "bound on the smoothed risk, nats"],
).T
glue_all(range_gain=ranges.iloc[0, 2] - ranges.iloc[1, 2], raised_gain=ranges.iloc[0, 2] - ranges.iloc[2, 2])
ranges.style.format("{:.3f}")

# %% [markdown]
# The floor is worth {glue:text}`range_gain:.3f` nats, the raised baseline {glue:text}`raised_gain:.3f` in all. On this page $y_0$ is chosen on the data without
# paying for the choice. {doc}`05_bound` pays the logarithm of the number of candidates, divided by $D$: next to nothing.
#
# ## The best smoothing
#
# Uniform mixing is one way to bound a loss. Is it a good one? The bound of {prf:ref}`thm-tight` has a rate $\lambda$ and speaks of any
# predictor $q$ made from the model, with any predictable baseline $Y$ such that $1 + \lambda (Y - X) > 0$ for all tokens:
#
# $$
# R \;\le\; \frac{\mathcal C}{\lambda} + \frac1D \sum_{k=1}^D f_k, \qquad f_k = Y_k - \frac 1\lambda \log\bigl(1 + \lambda\,(Y_k - X_k)\bigr), \qquad X_k = -\log q_k(x_k) .
# $$ (eq-smoothing-tight)
#
# Suppose the model is {term}`calibrated`: tokens come as $p = p_h$ says. Which $q$ and $Y$ make $f$ smallest on average?
#
# :::{prf:theorem} Maximum-entropy smoothing (ours)
# :label: thm-maximum-entropy
# :class: ours
#
# Fix $\lambda > 0$ and a distribution $p$. For all $q$ and $Y$ as above,
#
# $$
# \mathbb E_p\, f \;\ge\; \max_{p^*} \Bigl\{ H(p^*) - \tfrac1\lambda\, \mathrm{KL}(p \,\|\, p^*) \Bigr\},
# $$ (eq-maximum-entropy)
#
# with equality when $q = p^*$ is the maximizer and $Y = H(p^*)$. The maximizer is the distribution that solves
#
# $$
# \begin{aligned}
# & p^*(x)\,\bigl(1 + \lambda\,(Y + \log p^*(x))\bigr) = p(x), \qquad \text{that is} \\
# & \log p^*(x) = W\!\Bigl(\frac{e^{c}}{\lambda}\, p(x)\Bigr) - c, \qquad c = Y + \tfrac1\lambda ,
# \end{aligned}
# $$ (eq-lambert)
#
# with Lambert's function, $W(y)\, e^{W(y)} = y$, and the one $c$ for which it sums to one.
# :::
#
# :::{prf:proof}
# Let $w(x) = 1 + \lambda (Y + \log q(x)) > 0$. For every distribution $p^*$, Jensen's inequality gives
# $\mathbb E_p \log w \le \mathrm{KL}(p \| p^*) + \log \mathbb E_{p^*} w$. Here $\mathbb E_{p^*} w = 1 + \lambda (Y - \mathbb E_{p^*} X) \le e^{\lambda (Y - \mathbb E_{p^*} X)}$, and
# $\mathbb E_{p^*} X \ge H(p^*)$ by Gibbs' inequality. Hence
#
# $$
# \mathbb E_p f = Y - \tfrac1\lambda\, \mathbb E_p \log w \;\ge\; \mathbb E_{p^*} X - \tfrac1\lambda\, \mathrm{KL}(p \| p^*) \;\ge\; H(p^*) - \tfrac1\lambda\, \mathrm{KL}(p \| p^*) .
# $$
#
# The right side is concave in $p^*$. Its stationarity condition under $\sum p^* = 1$ is {eq}`eq-lambert`, with a multiplier that we name $Y$. Summing {eq}`eq-lambert` over $x$
# gives $1 + \lambda (Y - H(p^*)) = 1$, that is $Y = H(p^*)$. With $q = p^*$ then $w = p/p^*$, so $\mathbb E_p \log w = \mathrm{KL}(p\|p^*)$ and
# $\mathbb E_p f = H(p^*) - \frac1\lambda \mathrm{KL}(p \| p^*)$: equality. $\square$
# :::
#
# In words: after paying for the code, the tokens may still come from any distribution within divergence $\mathcal C$ of the model's. The bound is the entropy of the *most uncertain* of these, and the best predictor
# bets on exactly that one. For one context this is Lagrange's duality: the least value over $\lambda$ of $\mathcal C/\lambda + \max_{p^*}\{H(p^*) - \mathrm{KL}(p\|p^*)/\lambda\}$ is $\max\{H(p^*) : \mathrm{KL}(p\|p^*) \le \mathcal C\}$.
#
# The optimal baseline is the predictor's entropy, the paper's choice. With uniform mixing it pays to raise the baseline; with the best smoothing it does not.

# %%
chosen = np.random.default_rng(seed).permutation(len(rows))[: -(-n_best_tokens // spec.seq_len)]
tokens = torch.from_numpy(rows[chosen].astype(np.int64))
with torch.inference_mode():
    log_probs = (
        model(input_ids=tokens[:, :-1]).logits.log_softmax(-1).flatten(0, 1).double().numpy()
    )  # (n, V) nats
target = tokens[:, 1:].flatten().numpy()  # (n,)
part = (chosen[:, None] * spec.seq_len + np.arange(spec.seq_len)).ravel()  # the same tokens in `nll`
np.testing.assert_allclose(-log_probs[np.arange(len(target)), target], nll[part], atol=1e-4)

SAFETY = 1e-3  # weight of the uniform distribution mixed in first, so that no loss is infinite


def best_bound(rate):
    """Equation (smoothing-tight) with the best smoothing, evaluated on the tokens that came; nats."""
    safe = np.logaddexp(math.log1p(-SAFETY) + log_probs, math.log(SAFETY / V))
    log_q, baseline = smoothing.maximum_entropy_smoothing(safe, rate)
    loss = -log_q[np.arange(len(target)), target]
    return C / rate + concentration.shifted_log(loss, baseline, rate).mean()


rates = np.linspace(0.14, 0.26, 7)  # 1/nats
best = np.array([best_bound(rate) for rate in rates])

# %% tags=["hide-input"] caption="The gap with each way to smooth, constants chosen, nats per token"
mixing_grid = grids.tight_grid(statistics.alphas, V)
entropies = np.stack([entropy_at[a][part] for a in alphas])
choice = grids.choose(nll[part], entropies, mixing_grid, V, C)
mixed_loss = smoothing.smoothed_nll(nll[part], choice.alpha, V)
mixed_baseline = np.maximum(entropy_at[choice.alpha][part], choice.baseline_floor)
rate = choice.rate
mixing = C / rate + concentration.shifted_log(mixed_loss, mixed_baseline, rate).mean()
loss_range = math.log(V / alpha) - float(smoothing.min_nll(alpha, V))
freedman = concentration.freedman(smoothed[part], entropy_at[alpha][part], loss_range, C).value
gaps = pd.Series(
    {
        "paper (closed form)": freedman + closed - worst + math.log1p(C),
        "paper (measured)": freedman + (smoothed - nll)[part].mean(),
        "mixing, constants chosen": mixing - nll[part].mean(),
        "best smoothing": best.min() - nll[part].mean(),
    }
)
assert best.min() < mixing
glue_all(rate_of_best=rates[best.argmin()], mixing_gap=gaps.iloc[2], best_gap=gaps.iloc[3])
glue_all(left=1 - gaps.iloc[3] / gaps.iloc[2])
gaps.to_frame("gap to the loss of the quantized model, nats").style.format("{:.3f}")

# %% mystnb={"figure": {"caption": "How smoothing changes a probability, as a factor: uniform mixing (with the constants chosen above) and the best smoothing, for three predictions of this model. Uniform mixing takes the same part from every likely token; the best smoothing takes more from the likeliest and raises the middling ones.", "name": "fig-best-smoothing"}, "image": {"alt": "Factor by which smoothing multiplies a probability, against that probability on a logarithmic axis. Uniform mixing is flat below one for likely tokens; the three curves of the best smoothing fall steadily from above two at one in a thousand to below 0.8 for the likeliest tokens."}}
entropy = entropy_at[coded.paper_alpha][part]
shown = np.argsort(entropy)[[len(entropy) // 10, len(entropy) // 2, 9 * len(entropy) // 10]]
best_rate = float(rates[best.argmin()])
probs = np.geomspace(1e-5, 1, 300)
fig, ax = plt.subplots()
ax.plot(probs, (1 - choice.alpha) + choice.alpha / V / probs, color="0.5", label="uniform mixing")
for i, name in zip(shown, ("sure", "typical", "unsure"), strict=True):
    _, baseline = smoothing.maximum_entropy_smoothing(log_probs[i], best_rate)
    own = probs[probs <= np.exp(log_probs[i].max())]  # up to the likeliest token
    cap = baseline + 1 / best_rate
    log_q = smoothing.lambert_w_of_exp(np.log(own) + cap - math.log(best_rate)) - cap
    ax.plot(own, np.exp(log_q) / own, label=f"best, {name} context")
ax.axhline(1.0, linestyle=":", color="0.5")
ax.set(xscale="log", yscale="log", ylim=(0.5, 20))
ax.set(xlabel="probability in the model", ylabel="factor of smoothing")
ax.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# On {glue:text}`n_best:,` tokens the best smoothing, at its best rate {glue:text}`rate_of_best:.2f`, brings the gap from {glue:text}`mixing_gap:.3f` to {glue:text}`best_gap:.3f` nats. That is {glue:text}`left_percent:.1f` %.
#
# Within the inequality {eq}`eq-smoothing-tight` no smoothing of a calibrated model gains more on average. What remains is the price of the code and of the {term}`loss variation`. Where calibration fails, uniform
# mixing can win, as {doc}`08_beyond` shows and the last exercise tries.
#
# Shorter codes ({doc}`16_shorter_codes`) and more tokens lower what remains. So does another inequality. Here the loss is measured against one reference, the uniform distribution, which knows nothing of the context.
# With a reference that has read the text so far the same code costs less (statement {ref}`T12 <statement-t12>`).

# %%
glue_all(n_best=len(target), left_percent=100 * (1 - gaps.iloc[3] / gaps.iloc[2]))

# %% [markdown]
# ## What agreed, what did not
#
# * **Agreed**: range, worst case and closed form of the paper, each with a proof and a check. Its inequality {eq}`eq-smoothing-closed` holds for every $\mathcal C > 0$, not just for $\mathcal C \le 1$.
# * **Pessimistic, as the paper says**: the closed form stands for costs that are {glue:text}`slack:.3f` nats smaller on the data.
# * **Not in the paper**: the entropy floor, the raised baseline, and the best smoothing of a calibrated model.
#
# ## Exercises
#
# ```{exercise} Who gains from smoothing
# :label: ex-smoothing-1
#
# For which tokens is the smoothed loss below the model's own? Give the condition on $-\log p_h(x)$, by hand. Which share of this model's tokens is it, and what does a token lose at most?
# ```
#
# ```{solution-start} ex-smoothing-1
# :class: dropdown
# ```

# %%
gains = smoothed < nll
clear = np.abs(nll - math.log(V)) > 1e-5  # not a matter of rounding
np.testing.assert_array_equal(gains[clear], (nll > math.log(V))[clear])
assert (smoothed - nll).max() <= math.log1p(C)
glue_all(share_gaining=100 * gains.mean(), mean_gain=(nll - smoothed)[gains].mean())
print(
    f"{100 * gains.mean():.1f} % gain, {(nll - smoothed)[gains].mean():.2f} nats on average; the others lose at most {(smoothed - nll).max():.3f}"
)

# %% [markdown]
# $p_{\mathrm s} > p_h$ means $\alpha/V > \alpha\, p_h$, so the tokens that gain are those with $p_h < 1/V$, whose loss exceeds that of guessing, $\log V$. They are {glue:text}`share_gaining:.1f` % of the tokens, and they gain
# {glue:text}`mean_gain:.2f` nats each on average. No token loses more than $\log\frac1{1-\alpha} = \log(1 + \mathcal C)$.
#
# ```{solution-end}
# ```
#
# ```{exercise} Twice the tokens
# :label: ex-smoothing-2
#
# Train the same model on twice as many tokens, so that $\mathcal C$ is halved. By which factor do the closed form and the worst case fall? Use `smoothing.closed_form_cost` and `smoothing.worst_case_cost`. Why is it not one half?
# ```
#
# ```{solution-start} ex-smoothing-2
# :class: dropdown
# ```

# %%
closed_factor = float(smoothing.closed_form_cost(C / 2, V) / smoothing.closed_form_cost(C, V))
worst_factor = float(smoothing.worst_case_cost(C / 2, V) / smoothing.worst_case_cost(C, V))
assert 0.5 < worst_factor < closed_factor < math.sqrt(0.5)
glue_all(closed_factor=closed_factor, worst_factor=worst_factor)
print(f"closed form: {closed_factor:.3f}, worst case: {worst_factor:.3f}")

# %% [markdown]
# By {glue:text}`closed_factor:.2f` and {glue:text}`worst_factor:.2f`. $\mathcal C \log V$ is halved, but $\sqrt{2\,\mathcal C}$ falls only by $\sqrt{1/2}$. The worst case has $\mathcal C \log(1/\mathcal C)$ in its place: a smaller $\mathcal C$
# goes with a smaller $\alpha$, and so with a larger range.
#
# ```{solution-end}
# ```
#
# ```{exercise} A model that is too sure
# :label: ex-smoothing-3
#
# {prf:ref}`thm-maximum-entropy` assumes that the model is calibrated. Spoil that: replace each prediction by $p_h^2$, normalized, and compare the two smoothings again on 512 tokens. Which one wins, and does the theorem
# forbid it?
# ```
#
# ```{solution-start} ex-smoothing-3
# :class: dropdown
# ```

# %%
sure = 2 * log_probs[:512]
sure -= np.logaddexp.reduce(sure, axis=1, keepdims=True)
came = np.arange(len(sure)), target[: len(sure)]  # the tokens that came
sure_entropies = np.stack([smoothing.smoothed_entropy(sure, a) for a in alphas])
constants = grids.choose(-sure[came], sure_entropies, mixing_grid, V, C)
mixed_loss = smoothing.smoothed_nll(-sure[came], constants.alpha, V)
mixed_baseline = np.maximum(sure_entropies[alphas.index(constants.alpha)], constants.baseline_floor)
uniform_bound = (
    C / constants.rate + concentration.shifted_log(mixed_loss, mixed_baseline, constants.rate).mean()
)

safe = np.logaddexp(math.log1p(-SAFETY) + sure, math.log(SAFETY / V))
rates_tried = np.linspace(0.3, 0.9, 5)  # 1/nats
best_bounds = []
for rate in rates_tried:
    log_q, baseline = smoothing.maximum_entropy_smoothing(safe, rate)
    best_bounds.append(C / rate + concentration.shifted_log(-log_q[came], baseline, rate).mean())
assert uniform_bound < min(best_bounds)
assert 0 < np.argmin(best_bounds) < len(rates_tried) - 1  # the best rate is among them
glue_all(sure_uniform=uniform_bound, sure_best=min(best_bounds))
print(f"uniform mixing: {uniform_bound:.3f}, maximum entropy: {min(best_bounds):.3f} nats per token")

# %% [markdown]
# Uniform mixing wins, with {glue:text}`sure_uniform:.2f` against {glue:text}`sure_best:.2f` nats a token. The theorem does not forbid it: it is about the mean under the model's own prediction, and the tokens that came do not
# follow that prediction any more. The best smoothing trusts the shape of $p_h$. The uniform one insures against any token, likely or not.
#
# ```{solution-end}
# ```

# %% tags=["remove-cell"]
glue_all(runtime_seconds=time.monotonic() - started)
