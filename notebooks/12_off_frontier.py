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
# # Off the frontier
#
# The paper bounds models on the compute-optimal frontier, where every parameter has seen 20 tokens. Nobody has to stay there. What becomes of the gap when training goes on? When $N$ grows and $D$ does not? And who wants the least *bound*
# instead of the least loss: how should they split a compute budget?
#
# **Answer.** At a fixed number of bits the gap is a matter of tokens a parameter, $D/N$, and hardly of size. So longer training lowers it, a larger model on the same text raises it, and the least bound lies at more tokens a parameter than the least
# loss.
#
# :::{table} The questions of this page
# | question | answer |
# |---|---|
# | Does size matter at a given $D/N$? | {glue:text}`size_word`: the gaps lie {glue:text}`excess_least:+.1f` to {glue:text}`excess_most:+.1f` % from one formula |
# | What does longer training do? | from {glue:text}`first_r:.0f` to {glue:text}`last_r:.0f` tokens a parameter the gap goes from {glue:text}`first_gap:.2f` to {glue:text}`last_gap:.2f` nats |
# | What does a larger model on the same text do? | the gap rises {glue:text}`fixed_rise` in size |
# | Is the loss variation a constant? | no: by the fitted law at most {glue:text}`sigma_here_most:.2f` nats at 20 tokens a parameter, at least {glue:text}`sigma_thousand_least:.2f` at 1000 |
# | How many tokens a parameter are best? | by parabolas through real runs, for the bound: {glue:text}`bound_runs`; for the loss: {glue:text}`loss_runs` |
# :::
#
# | | |
# |---|---|
# | **Paper section** | none; its reviewers asked what happens at a fixed number of tokens |
# | **Reads** | records of the ladder at every length, its checkpoints, trainings and surveys; a table of released models |
# | **Writes** | nothing |
# | **Runtime** | {glue:text}`runtime_minutes:.1f` minutes on one core |
#
# What is bounded is the {term}`token-wise risk` on the training contexts. A *gap* is a bound less the training loss of the unquantized model.

# %% tags=["parameters"]
method: str = "gptq"  # quantizer
bits: int = 4  # per weight, the paper's setting
n_replicates: int = 200  # refits behind each interval
level: float = 0.95  # of the intervals
n_windows: int = 60  # training windows on which the loss variation is looked at
sigma: float = 0.5  # loss variation taken for released models, nats

# %% tags=["hide-input"]
import math
import time
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gengap import models, published
from gengap.book.figures import named_axis, plain, plain_axis
from gengap.book.glue import glue_all, glue_interval, glue_range
from gengap.book.interactive.frontier import describe
from gengap.book.interactive.kept import keep
from gengap.bounds import CodedModel, closed_form_gap, concentration, smoothing
from gengap.laws import allocation, fit_chinchilla, fit_power_law, fits, frontier, resample_runs
from gengap.models.spec import TOKENS_PER_PARAMETER
from gengap.records import load_records, load_runs, load_surveys
from gengap.records.gaps import gaps
from gengap.statistics import token_statistics
from gengap.tokens import sample_rows

plt.style.use("gengap.book")
started = time.monotonic()
records = [r for r in load_records(method=method, bits=bits) if r.identity.family == "ladder"]
points = pd.DataFrame(gaps(records)).assign(
    r=lambda table: table["n_train_tokens"] / table["n_params"],
    flops=lambda table: fits.FLOPS_PER_PARAM_TOKEN * table["n_params"] * table["n_train_tokens"],
    loss=[record.risks.train.mean for record in records],
    bound=[record.bounds["nominal"].paper.value for record in records],
    sigma=[
        record.bounds["nominal"].paper_mode.sigma for record in records
    ],  # at its least: no window is waited for
    quantization_gap=[record.risks.quantized.mean - record.risks.train.mean for record in records],
    measured=[record.bounds["nominal"].paper_mode for record in records],
)
off = points[points["revision"] != "main"]
assert len(off) >= 6, (
    "records of other lengths are missing: `gengap sweep ladder-50k --revision 0.25x --revision 4x`"
)
vocab_size = records[0].identity.vocab_size
glue_all(n_off=len(off), n_records=len(points), bits=bits)

# %% [markdown]
# (off-frontier-ratio)=
# ## One number: tokens a parameter
#
# A code of $b$ bits a parameter makes the complexity $\mathcal C = (b N \log 2 + \log(|G|/\delta))/D$. The logarithm is paid once. All the rest depends on $N$ and $D$ through $r = D/N$ alone:
#
# $$
# \mathcal C \approx \frac{b \log 2}{r}, \qquad \text{gap} \approx \mathcal C \log V + \Sigma \sqrt{\mathcal C} + \sqrt{2 \mathcal C} + (\hat R_{\mathrm q} - \hat R_h).
# $$ (eq-off-frontier-gap)


# %%
def gap_at(ratio, bits, vocab_size, sigma):
    """The paper's gap at so many tokens a parameter, nats, but for quantization."""
    c = bits * math.log(2) / ratio
    return c * math.log(vocab_size) + (sigma + math.sqrt(2)) * np.sqrt(c)


coded = CodedModel(bits * 10**9, 20 * 10**9, 50304)
np.testing.assert_allclose(gap_at(20, bits, 50304, sigma), closed_form_gap(coded, sigma), rtol=1e-6)

# %% [markdown]
# So two models of any size have nearly the same gap, if their parameters have seen equally many tokens and their {term}`loss variation` $\Sigma$ is the same. {glue:text}`n_off:d` rungs off the frontier test it. Their trainings are those of
# {doc}`14_copying`, shorter or longer than the compute-optimal one, each quantized and bounded like the rungs of {doc}`06_scale`.

# %% caption="Rungs trained for fewer and for more tokens: losses, bounds and gaps, nats per token"
shown = points[
    ["size", "revision", "r", "loss", "bound", "paper_nominal_gap", "uniform_gap", "companion_gap"]
]
shown = shown.rename(
    columns={"paper_nominal_gap": "gap, paper", "uniform_gap": "gap, ours", "companion_gap": "gap, companion"}
)
shown = shown.astype({"gap, companion": float}).dropna(axis="columns", how="all")
shown.style.hide(axis="index").format(precision=3, na_rep="–").format("{:.0f}", subset=["r"])

# %% [markdown]
# ## The loss variation is not constant
#
# On the frontier $\mathcal C$ is one number, so the paper can speak of *the* $\Sigma$ of a model. But $\Sigma$ is a minimum over $s$ ({doc}`01_freedman`), and with another $\mathcal C$ the minimum lies elsewhere. As $\mathcal C$ falls, $\Sigma$ rises to $\sqrt 2$
# times the root mean square of $X_k - Y_k$.
#
# Here it is for the rungs' own checkpoints, as if their code were shorter or longer than it is, and for the records off the frontier.

# %%
complexities = np.geomspace(1e-4, 0.6, 10)
rows = []
for record in records:
    spec = models.get(record.identity.model_size)
    if record.identity.revision != "main" or not spec.find(spec.checkpoint_name):
        continue
    alphas = smoothing.optimal_alpha(complexities)
    statistics = token_statistics(spec.load(), sample_rows(spec.train_rows(), n_windows, seed=0), alphas)
    for c, alpha, entropy in zip(complexities, statistics.alphas, statistics.entropy, strict=True):
        x = smoothing.smoothed_nll(statistics.nll, alpha, vocab_size).ravel()
        loss_range = float(smoothing.loss_range(alpha, vocab_size))
        found = concentration.loss_variation(x, entropy.ravel(), loss_range, c)
        rows.append({"size": spec.size, "N": spec.n_params, "C": c, "sigma": float(found.sigma)})
variation = pd.DataFrame(rows)
sigma_fit = resample_runs(
    allocation.fit_variation, variation["C"], variation["N"], variation["sigma"], n_replicates=n_replicates
)
sigma_law = sigma_fit.law

# %% mystnb={"figure": {"caption": "Loss variation against the complexity: the rungs' checkpoints at any code length (lines), the law fitted to them for the smallest and the largest (dashed), and the records off the frontier (diamonds). Dotted: 4 bits and 20 tokens a parameter.", "name": "fig-off-frontier-variation"}, "image": {"alt": "Loss variation in nats against complexity on a logarithmic axis: every line falls from two to three nats at small complexity to about half a nat at 0.14, and diamonds lie on the lines."}}
sizes = list(dict.fromkeys(points["size"]))
colors = dict(zip(sizes, plt.colormaps["viridis"](np.linspace(0, 0.9, len(sizes))), strict=True))
fig, ax = plt.subplots()
for size, mine in variation.groupby("size", sort=False):
    ax.plot(mine["C"], mine["sigma"], color=colors[size], linewidth=1.2, label=size)
for n in (variation["N"].min(), variation["N"].max()):
    ax.plot(complexities, sigma_law(complexities, n), "--", color="0.5", linewidth=1)
for _, point in off.iterrows():
    ax.plot(point["measured"].complexity, point["sigma"], "D", color=colors[point["size"]], markersize=5)
ax.axvline(bits * math.log(2) / TOKENS_PER_PARAMETER, linestyle=":", color="0.5")
ax.set(xscale="log", xlabel="complexity, nats per token", ylabel="loss variation, nats", ylim=(0, None))
fig.legend(loc="outside lower center", ncols=4)
plt.show()

# %%
frontier_c = bits * math.log(2) / TOKENS_PER_PARAMETER
for name, ratio in {"here": TOKENS_PER_PARAMETER, "hundred": 100, "thousand": 1000}.items():
    at_ratio = variation.assign(of=sigma_law(bits * math.log(2) / ratio, variation["N"]))["of"]
    glue_range(f"sigma_{name}", at_ratio)
glue_all(sigma_constant=sigma)
glue_all(thousand_fixed=gap_at(1000, bits, 50304, sigma))
smallest, largest = float(variation["N"].min()), float(variation["N"].max())
glue_all(thousand_rising=gap_at(1000, bits, 50304, float(sigma_law(bits * math.log(2) / 1000, largest))))

# %% [markdown]
# The fitted law gives these ranges of $\Sigma$ over the rungs, at {glue:text}`bits:d` bits:
#
# :::{table} The gap by tokens a parameter, over all sizes
# | tokens a parameter | least, nats | greatest, nats |
# |---|---|---|
# | 20 | {glue:text}`sigma_here_least:.2f` | {glue:text}`sigma_here_most:.2f` |
# | 100 | {glue:text}`sigma_hundred_least:.2f` | {glue:text}`sigma_hundred_most:.2f` |
# | 1000 | {glue:text}`sigma_thousand_least:.2f` | {glue:text}`sigma_thousand_most:.2f` |
# :::
#
# Whoever extrapolates the closed form with a constant $\Sigma$ promises too much. With $V$ = 50,304 and 1000 tokens a parameter it gives {glue:text}`thousand_fixed:.2f` nats at $\Sigma$ = {glue:text}`sigma_constant`, and {glue:text}`thousand_rising:.2f` with the $\Sigma$ of
# the ladder's largest rung here.
#
# ## Along training
#
# Train one size ever longer: the code is paid over more and more tokens. The line is equation {eq}`eq-off-frontier-gap` with the fitted law of $\Sigma$, and with quantization that does no harm. The dotted line holds $\Sigma$ at its median on the
# frontier.

# %% mystnb={"figure": {"caption": "The paper's gap, certified, against tokens a parameter, one colour for each size; the line is the closed form without quantization. Vertical line: 20 tokens a parameter.", "name": "fig-off-frontier-training"}, "image": {"alt": "Gap in nats per token against tokens a parameter, both axes logarithmic: the points of all sizes fall along one curve, from several nats at five tokens a parameter to well below one nat beyond a hundred."}}
lengths = points.groupby("size")["r"].nunique()
along = [size for size in sizes if lengths[size] > 1]
ratios = np.geomspace(points["r"].min(), points["r"].max(), 60)
sigma_here = float(points.loc[points["revision"] == "main", "sigma"].median())
middle = sigma_law(bits * math.log(2) / ratios, np.median(points["n_params"]))
fig, ax = plt.subplots()
ax.plot(ratios, gap_at(ratios, bits, vocab_size, middle), color="0.5", linewidth=1.2, label="closed form")
ax.plot(ratios, gap_at(ratios, bits, vocab_size, sigma_here), ":", color="0.5", linewidth=1.2)
for size in along:
    mine = points[points["size"] == size].sort_values("r")
    ax.plot(mine["r"], mine["paper_nominal_gap"], "o-", color=colors[size], linewidth=1, label=size)
ax.axvline(TOKENS_PER_PARAMETER, linewidth=1, color="0.5")
ax.set(xscale="log", yscale="log", xlabel="tokens a parameter", ylabel="gap, nats per token")
plain_axis(ax.xaxis, [5, 10, 20, 40, 80, 160, 320])
plain_axis(ax.yaxis, [0.5, 1, 2, 4, 8])
fig.legend(loc="outside lower center", ncols=4)
plt.show()

# %%
by_form = [found.gap - found.quantization_gap - found.sampling for found in points["measured"]]
of_c = sigma_law(bits * math.log(2) / points["r"], points["n_params"])
excess = by_form / gap_at(points["r"], bits, vocab_size, of_c) - 1
constant_excess = (by_form / gap_at(points["r"], bits, vocab_size, sigma_here) - 1)[points["r"].idxmax()]
trained = points[points["size"].isin(along)]
first, last = trained.loc[trained["r"].idxmin()], trained.loc[trained["r"].idxmax()]
glue_range("excess", 100 * excess)
glue_all(excess_far=100 * excess.abs().max(), size_word="hardly" if excess.abs().max() < 0.05 else "yes")
glue_all(constant_excess=100 * constant_excess)
for place, point in (("first", first), ("last", last)):
    glue_all(**{f"{place}_name": f"{point['size']} at {point['revision']}", f"{place}_r": point["r"]})
    glue_all(**{f"{place}_gap": point["paper_nominal_gap"]})

# %% [markdown]
# From {glue:text}`first_r:.0f` tokens a parameter to {glue:text}`last_r:.0f` the gap falls from {glue:text}`first_gap:.2f` to {glue:text}`last_gap:.2f` nats.
#
# The line leaves out quantization and the error of a sample. So we compare it with the gap as the paper evaluates it, without the two: the records lie {glue:text}`excess_least:+.1f` to {glue:text}`excess_most:+.1f` % from it, at every size. With a constant $\Sigma$ the longest
# training would lie {glue:text}`constant_excess:.0f` % above its line.
#
# ## Fixed tokens, growing model
#
# The other direction is the reviewers' question. At a fixed $D$ a larger model has a smaller loss and a longer code.

# %% mystnb={"figure": {"caption": "At a fixed number of training tokens: the paper's bound (circles) and the training loss (squares) against size, one colour for each number of tokens.", "name": "fig-off-frontier-fixed"}, "image": {"alt": "Training loss and bound in nats per token against parameters, a pair of lines for each number of tokens: the losses fall with size, the bounds rise with it."}}
powers = np.round(
    np.log2(points["n_train_tokens"] / points.loc[points["r"].sub(20).abs().idxmin(), "n_train_tokens"])
)
fixed = {
    power: mine.sort_values("n_params")
    for power, mine in points.groupby(powers)
    if mine["size"].nunique() > 2
}
tones = dict(zip(fixed, plt.colormaps["plasma"](np.linspace(0, 0.8, max(1, len(fixed)))), strict=True))
fig, ax = plt.subplots()
for power, mine in fixed.items():
    label = f"about {plain(mine['n_train_tokens'].median().round(-5))} tokens"
    ax.plot(mine["n_params"], mine["bound"], "o-", color=tones[power], label=label)
    ax.plot(mine["n_params"], mine["loss"], "s--", color=tones[power], markersize=4, linewidth=1)
ax.axhline(math.log(vocab_size), linestyle="--", color="C5", label="guessing")
ax.set(xscale="log", xlabel="parameters", ylabel="nats per token")
on_axis = points[
    points["n_params"] <= max((mine["n_params"].max() for mine in fixed.values()), default=math.inf)
]
named_axis(ax.xaxis, on_axis["n_params"].unique(), on_axis["size"].unique())
fig.legend(loc="outside lower center", ncols=2)
plt.show()

# %% caption="At a fixed number of tokens: what grows with the model"
rows = []
for mine in fixed.values():
    best = mine.loc[mine["bound"].idxmin()]
    rows.append(
        {
            "tokens": mine["n_train_tokens"].median(),
            "sizes": f"{mine['size'].iloc[0]} to {mine['size'].iloc[-1]}",
            "loss": f"{mine['loss'].iloc[0]:.2f} to {mine['loss'].iloc[-1]:.2f}",
            "gap": f"{mine['paper_nominal_gap'].iloc[0]:.2f} to {mine['paper_nominal_gap'].iloc[-1]:.2f}",
            "least bound": f"{best['bound']:.2f} at {best['size']}",
            "rises": bool((np.diff(mine["paper_nominal_gap"]) > 0).all()),
        }
    )
at_fixed = pd.DataFrame(rows)
glue_all(fixed_rise="with every step" if at_fixed["rises"].all() else "with most steps")
ends = [mine.iloc[-1] for mine in fixed.values() if mine["loss"].idxmin() == mine.index[-1]]
vacuous_words = (
    "With too many parameters for its text a model's bound passes that of guessing and says nothing, though its loss is the lowest of the row."
    if any(end["bound"] > math.log(vocab_size) for end in ends)
    else "No bound of these rows passes that of guessing."
)
lengths_apart = max(mine["n_train_tokens"].max() / mine["n_train_tokens"].min() for mine in fixed.values())
glue_all(vacuous_words=vacuous_words, lengths_apart=lengths_apart)
at_fixed.drop(columns="rises").style.hide(axis="index").format({"tokens": "{:,.0f}"})

# %% [markdown]
# The gap rises {glue:text}`fixed_rise` in size: with $D$ fixed, $\mathcal C$ grows as $N$. "Larger models generalize better" is a statement about models that are given more text with their size. {glue:text}`vacuous_words`
#
# (The lengths in a row agree only within a factor of {glue:text}`lengths_apart:.2f`.)
#
# ## The least bound for a given compute
#
# Training costs about $F = 6 N D$ operations. {cite:t}`hoffmann2022training` ask which $N$ and $D = F/6N$ make the loss least. Ask the same of the bound, with $L(N, D) = E + A N^{-\alpha} + B D^{-\beta}$ for the loss. If the
# {term}`quantization gap` is constant, the derivative with respect to $\log N$ vanishes where
#
# $$
# \alpha A N^{-\alpha} = \beta B D^{-\beta} + 2\, \mathcal C \log V + \bigl((1 + 2 \kappa) \Sigma + \sqrt 2\bigr) \sqrt{\mathcal C} , \qquad \kappa = \frac{d \log \Sigma}{d \log \mathcal C} > -\frac12 .
# $$ (eq-allocation-balance)
#
# Without the last two terms this is the loss's own condition. Both are positive and shrink as $r$ grows, so at every compute the bound wants *more tokens a parameter* than the loss does.
#
# How many more changes with compute. On the loss's frontier $r$ goes as $F^{(\alpha - \beta)/(\alpha + \beta)}$, which is nearly level if the exponents are nearly equal. For the bound a constant $r$ would leave a constant gap, while the loss keeps falling. In the
# limit $\sqrt{\mathcal C} \sim r^{-1/2}$ has to keep step with $N^{-\alpha} = (F/6r)^{-\alpha/2}$, so
#
# $$
# r \sim F^{\alpha/(1+\alpha)}, \qquad N \sim F^{1/(2 + 2\alpha)} .
# $$ (eq-allocation-exponent)
#
# No number of tokens a parameter is optimal for the bound at every compute.
#
# ### On the ladder
#
# Two more laws are fitted. The loss on the training text is fitted to the runs of the grid, as in {doc}`15_frontier`. The quantization gap is taken as $e^{-\rho b} N^{-a} r^{c}$ and fitted to the surveys of {doc}`16_shorter_codes`, at all numbers of bits, and to the records
# off the frontier.

# %% caption="Constants of the fitted laws, with 95 % intervals"
runs = load_runs(["grid"])
loss_columns = [
    np.array([run.shape.n_params for run in runs], float),
    np.array([run.n_train_tokens for run in runs], float),
    np.array([run.train.mean for run in runs]),
]
loss_fit = resample_runs(
    fit_chinchilla,
    *loss_columns,
    refit=partial(fit_chinchilla, start=fit_chinchilla(*loss_columns)),
    n_replicates=n_replicates,
)
cells = [
    (cell.bits, survey.identity.n_params, survey.identity.n_train_tokens, np.mean(cell.gaps))
    for survey in load_surveys("ladder")
    for cell in survey.cells
    if cell.method == method
    and np.mean(cell.gaps) > 3 * cell.window_error  # beyond it there is no error to see
]
beside = off[["bits", "n_params", "n_train_tokens", "quantization_gap"]].to_numpy(float)
quantization_fit = resample_runs(
    allocation.fit_quantization, *np.vstack([cells, beside]).T, n_replicates=n_replicates, seed=1
)
fitted = {"loss": loss_fit, "loss variation": sigma_fit, "quantization gap": quantization_fit}
pd.DataFrame(
    [
        {"law": law, "constant": name, "value": getattr(fit.law, name)} | fit.interval(name, level)._asdict()
        for law, fit in fitted.items()
        for name in fit.law._fields
    ]
).style.hide(axis="index").format(precision=3)

# %%
law = allocation.BoundLaw(loss_fit.law, sigma_fit.law, quantization_fit.law, vocab_size)
replicates = [
    allocation.BoundLaw(*parts, vocab_size)
    for parts in zip(loss_fit.replicates, sigma_fit.replicates, quantization_fit.replicates, strict=True)
]
glue_interval("rate", quantization_fit.law.rate, *quantization_fit.interval("rate", level))
glue_interval(
    "damage", quantization_fit.law.ratio_exponent, *quantization_fit.interval("ratio_exponent", level)
)
damage = quantization_fit.interval("ratio_exponent", level)
damage_word = (
    "lies above zero" if damage.low > 0 else "lies below zero" if damage.high < 0 else "contains zero"
)
glue_all(halving=2 * math.log(2), level=100 * level, damage_word=damage_word)

# %% tags=["remove-cell"]
keep("frontier", describe(law, runs))  # the interactive figures of other pages

# %% [markdown]
# One bit more divides the quantization gap by $e^{\rho}$ with $\rho$ = {glue:text}`rate:.2f`; if it fell as $4^{-b}$, $\rho$ would be {glue:text}`halving:.2f`. As training goes on it changes as $r^c$ with $c$ = {glue:text}`damage:+.2f`. {cite:t}`kumar2024precision` find that it grows; here the
# interval {glue:text}`damage_word`. (The intervals stand in the table: {glue:text}`level:.0f` %.)
#
# The least bound that these laws allow, beside the least loss:


# %% caption="What minimizes the loss and what the bound, for each compute"
def operations(flops):
    """20,000,000,000,000 as 2 · 10¹³."""
    digit, power = f"{flops:.0e}".split("e+")
    return f"{digit} · 10{power.translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


budgets = np.geomspace(1e12, 1e15, 7)
choices = range(2, 9)
rows = []
for flops in budgets:
    n_loss, d_loss = map(float, loss_fit.law.optimum(flops))
    best = allocation.allocate(law, flops, choices)
    low_high = allocation.allocation_intervals(replicates, flops, choices, level)
    ratio_loss = loss_fit.interval(
        lambda fit, flops=flops: float(np.divide(*fit.optimum(flops)[::-1])), level
    )
    rows.append(
        {
            "F": flops,
            "r, loss": d_loss / n_loss,
            "r, loss, low": ratio_loss.low,
            "r, loss, high": ratio_loss.high,
            "r, bound": best.ratio,
            "r, bound, low": low_high["ratio"].low,
            "r, bound, high": low_high["ratio"].high,
            "N, loss": n_loss,
            "N, bound": best.n_params,
            "b": best.bits,
            "b, low": low_high["bits"].low,
            "b, high": low_high["bits"].high,
            "least bound": best.value,
            "bound where the loss is least": min(float(law(n_loss, d_loss, b)) for b in choices),
        }
    )
split = pd.DataFrame(rows)
table = pd.DataFrame(
    {
        "operations": split["F"].map(operations),
        **{
            f"r, {kind}": [
                f"{row[f'r, {kind}']:.0f} ({row[f'r, {kind}, low']:.0f} to {row[f'r, {kind}, high']:.0f})"
                for _, row in split.iterrows()
            ]
            for kind in ("loss", "bound")
        },
        "N, loss": split["N, loss"].map(plain),
        "N, bound": split["N, bound"].map(plain),
        "bits": [
            f"{row['b']:.0f} ({row['b, low']:.0f} to {row['b, high']:.0f})" for _, row in split.iterrows()
        ],
        "least bound": split["least bound"].map("{:.2f}".format),
        "bound where the loss is least": split["bound where the loss is least"].map("{:.2f}".format),
    }
)
assert (split["r, bound"] > split["r, loss"]).all(), "the bound wants fewer tokens than the loss"
table.style.hide(axis="index")

# %% [markdown]
# The same can be read off real runs, without a law for the loss. At each budget a parabola in $\log N$ goes through the sizes that were trained there, once through their losses and once through their bounds. The bounds are the certified ones
# where there is a record. A second series has the measured loss of every run of the grid and the fitted gap.


# %%
def curves_of(sizes, n_tokens, values):
    """A curve for each size with at least two lengths, (n,) each."""
    found = pd.DataFrame({"N": sizes, "D": n_tokens, "value": values}).sort_values("D")
    return [
        frontier.Curve(n, mine["D"].to_numpy(float), mine["value"].to_numpy(float))
        for n, mine in found.groupby("N")
        if len(mine) > 1
    ]


at_budgets = np.geomspace(1e11, 1e15, 25)
n_runs, d_runs, losses = loss_columns
measured = {
    "loss, runs": (n_runs, d_runs, losses),
    "bound, runs": (n_runs, d_runs, losses + law.gap(n_runs, d_runs, bits)),
    "bound, certified": (points["n_params"], points["n_train_tokens"], points["bound"]),
}
optima = {name: frontier.isoflop(curves_of(*columns), at_budgets) for name, columns in measured.items()}

# %% mystnb={"figure": {"caption": "Tokens a parameter that make the loss least, and the bound, against compute: the fitted laws with their intervals (lines and bands) and minima of parabolas through real runs (marks). Dotted: 20.", "name": "fig-off-frontier-allocation"}, "image": {"alt": "Tokens a parameter against operations, both axes logarithmic: the bound's line lies far above the loss's, and both rise; marks of real runs lie near the lines."}}
styles = {"loss": ("C0", "loss, runs"), "bound": ("C1", "bound, runs")}
fig, ax = plt.subplots()
for kind, (color, _) in styles.items():
    ax.fill_between(split["F"], split[f"r, {kind}, low"], split[f"r, {kind}, high"], color=color, alpha=0.2)
    ax.plot(split["F"], split[f"r, {kind}"], color=color, label=f"least {kind}, law")
marks = {"loss, runs": ("s", "C0"), "bound, runs": ("o", "C1"), "bound, certified": ("D", "C3")}
for name, (marker, color) in marks.items():
    x, y = [o.flops for o in optima[name]], [o.n_tokens / o.n_params for o in optima[name]]
    ax.plot(x, y, marker, color=color, markersize=5, label=f"least {name}")
ax.axhline(TOKENS_PER_PARAMETER, linestyle=":", color="0.5")
ax.set(xscale="log", yscale="log", xlabel="operations, 6 N D", ylabel="tokens a parameter")
plain_axis(ax.yaxis, [1, 3, 10, 20, 50, 100, 300, 1000])
fig.legend(loc="outside lower center", ncols=2)
plt.show()

# %%
slope = -fit_power_law(split["F"], split["r, bound"]).exponent
glue_all(slope=slope, limit=law.ratio_exponent)
for place, row in (("cheap", split.iloc[0]), ("dear", split.iloc[-1])):
    glue_all(**{f"{place}_flops": operations(row["F"]), f"{place}_bits": row["b"]})
    glue_interval(f"{place}_loss_r", row["r, loss"], row["r, loss, low"], row["r, loss, high"])
    glue_interval(f"{place}_bound_r", row["r, bound"], row["r, bound, low"], row["r, bound, high"])
words = {}
for name, found in optima.items():
    ends = [f"{o.n_tokens / o.n_params:.0f}" for o in sorted(found, key=lambda o: o.n_tokens / o.n_params)]
    reach = f"{operations(found[0].flops)} to {operations(found[-1].flops)} operations" if found else ""
    words[name] = f"{ends[0]} to {ends[-1]} ({reach})" if found else "nowhere between the sizes"
times = [(split["r, bound"] / split["r, loss"]).min()]
if optima["loss, runs"] and optima["bound, runs"]:
    middles = {
        name: np.median([o.n_tokens / o.n_params for o in found]) for name, found in optima.items() if found
    }
    times.append(middles["bound, runs"] / middles["loss, runs"])
seen = [o.n_tokens / o.n_params for o in optima["loss, runs"]]
twenty = bool(seen) and min(seen) <= TOKENS_PER_PARAMETER <= max(seen)
twenty_words = (
    f"Their range {'holds' if twenty else 'does not hold'} the {TOKENS_PER_PARAMETER} of the paper."
)
agree = f"Both ways the bound wants at least {math.floor(min(times))} times as many tokens a parameter as the loss."
floor = loss_fit.law.E
glue_all(
    twenty_words=twenty_words,
    both_words=agree
    if min(times) > 1.5
    else "They do not agree that the bound wants more tokens than the loss.",
    floor_words=f"Its floor E came out at {floor:.0e} nats: these runs show none."
    if floor < 0.01
    else f"Its floor is {floor:.2f} nats.",
)
glue_all(loss_runs=words["loss, runs"], bound_runs=words["bound, runs"])
glue_all(bound_certified=words["bound, certified"])

# %% [markdown]
# :::{table} Where the loss is least and where the bound is
# | tokens a parameter that are best | for the loss | for the bound |
# |---|---|---|
# | by the laws, {glue:text}`cheap_flops` operations | {glue:text}`cheap_loss_r:.0f` | {glue:text}`cheap_bound_r:.0f` |
# | by the laws, {glue:text}`dear_flops` operations | {glue:text}`dear_loss_r:.0f` | {glue:text}`dear_bound_r:.0f` |
# | by parabolas through runs, gap fitted | {glue:text}`loss_runs` | {glue:text}`bound_runs` |
# | by parabolas through certified bounds | | {glue:text}`bound_certified` |
# :::
#
# The two ways disagree on the loss, for the reason that {doc}`14_copying` gives: there is a step that the law cannot follow. We believe the parabolas, which need no law. {glue:text}`twenty_words` {glue:text}`both_words`
#
# By the laws the bound's number grows as $F^{k}$ with $k$ = {glue:text}`slope:.2f`; equation {eq}`eq-allocation-exponent` has {glue:text}`limit:.2f` in the limit.
#
# ### How many bits
#
# From the least to the greatest compute of the table the best number of bits goes from {glue:text}`cheap_bits:.0f` to {glue:text}`dear_bits:.0f`. With more tokens a parameter a bit costs less. This is rounding after training. What training *for* few bits does to the paper's gap on the
# frontier, the surveys of {doc}`16_shorter_codes` tell:

# %% caption="The paper's gap on the frontier by bits, for models trained for few bits"
by_bits = pd.DataFrame(
    {"size": survey.identity.size, "code": f"{cell.method} {cell.bits}", "gap": cell.paper_gap}
    for survey in load_surveys("ladder")
    for cell in survey.cells
    if (cell.method, cell.bits) in [*((method, b) for b in (3, 4, 5)), ("entropy", 3), ("qat", 2)]
)
by_bits = by_bits.pivot_table(index="code", columns="size", values="gap")
by_bits = by_bits[[size for size in sizes if size in by_bits]]
glue_all(best_code=", ".join(dict.fromkeys(by_bits.idxmin())))
by_bits.style.format("{:.2f}")

# %% [markdown]
# The least gap of every column belongs to: {glue:text}`best_code`. Fewer bits move the bound's frontier towards the loss's. $\mathcal C$ depends on $b/r$, so half the bits need half the tokens a parameter for the same $\mathcal C$.
#
# (off-frontier-released)=
# ## Released models
#
# Nobody splits compute for a bound. But many train far past the loss's frontier, because a small model is cheap to use {cite}`sardana2024beyond`. What does the closed form {eq}`eq-off-frontier-gap` give for them at {glue:text}`bits:d` bits, and what would the least bound take
# at their compute? The loss laws are published ones, fitted to models of their size. For $\Sigma$ the paper's fit on the frontier is carried to other $\mathcal C$ by the ladder's law.
#
# This is arithmetic and certifies nothing: nobody has evaluated these models on their training text in its order. It supposes that every token was read once, where the makers do not say otherwise. And it supposes that {glue:text}`bits:d` bits do little harm, which is
# the more doubtful the longer a model was trained.

# %% caption="Released models: what the bound would be, and the tokens a parameter that it prefers"
facts = published.facts("chinchilla")
laws = {
    key: fits.ChinchillaLaw(**{name: facts[key][name] for name in fits.ChinchillaLaw._fields})
    for key in ("hoffmann2022", "besiroglu2024")
}


def carried_variation(c, n_params):
    """The paper's fit, made on the frontier, at another complexity; nats."""
    return published.fitted_loss_variation(n_params) * sigma_law.shape(c) / sigma_law.shape(frontier_c)


def bound_law(loss, vocab_size):
    """The bound of a released model's kind, with quantization that does no harm."""
    return allocation.BoundLaw(loss, carried_variation, lambda b, n, d: 0.0 * n, vocab_size)


def gap_of(model, n_tokens):
    """The closed form for a model with that many tokens and the loss variation of their complexity."""
    coded = CodedModel(bits * model.n_params, n_tokens, model.vocab_size)
    c = coded.complexity(coded.s_grid_size)
    return closed_form_gap(coded, sigma), closed_form_gap(coded, carried_variation(c, model.n_params))


rows = []
for model in published.released_models():
    flops = float(fits.FLOPS_PER_PARAM_TOKEN * model.n_params * model.n_train_tokens)
    constant, rising = gap_of(model, model.n_train_tokens)
    best = {
        key: allocation.allocate(bound_law(loss, model.vocab_size), flops, [bits])
        for key, loss in laws.items()
    }
    rows.append(
        {
            "model": model.name,
            "N": model.n_params,
            "D": model.n_train_tokens,
            "V": model.vocab_size,
            "r": model.n_train_tokens / model.n_params,
            f"gap, Σ = {sigma}": constant,
            "gap": rising,
            "gap, first reading": gap_of(model, model.n_first_read)[1] if model.passes else math.nan,
            "F": flops,
            **{f"best r, {key}": found.ratio for key, found in best.items()},
            "source": model.source,
        }
    )
released = pd.DataFrame(rows)
released.drop(columns=["F", "V"]).style.hide(axis="index").format(
    {
        **dict.fromkeys(("N", "D"), plain),
        **dict.fromkeys((f"gap, Σ = {sigma}", "gap", "gap, first reading"), "{:.3f}"),
        **dict.fromkeys(("r", "best r, hoffmann2022", "best r, besiroglu2024"), "{:,.0f}"),
    },
    na_rep="–",
)

# %% mystnb={"figure": {"caption": "Released models: tokens a parameter against training compute. Lines: where the loss is least and where the bound is least, by two published laws.", "name": "fig-off-frontier-released"}, "image": {"alt": "Tokens a parameter against operations, both axes logarithmic. Lines of the least loss lie near twenty to a hundred; lines of the least bound rise from some hundreds to ten thousand; small released models of recent years lie near the upper lines, older ones on the lower."}}
line = np.geomspace(released["F"].min() / 2, released["F"].max() * 2, 30)
fig, ax = plt.subplots(figsize=(6.4, 5.6))
for (key, loss), style in zip(laws.items(), ("-", "--"), strict=True):
    n_loss, d_loss = loss.optimum(line)
    ax.plot(line, d_loss / n_loss, style, color="C0", label=f"least loss, {key[:-4].capitalize()} et al.")
    best = [allocation.allocate(bound_law(loss, 50304), flops, [bits]).ratio for flops in line]
    ax.plot(line, best, style, color="C1", label=f"least bound, {key[:-4].capitalize()} et al.")
ax.plot(released["F"], released["r"], "o", color="0.35", markersize=4)
named = []  # places of names, in powers of ten: one that would lie on another is left out
for _, row in released.iloc[::-1].iterrows():
    x, y = np.log10([row["F"], row["r"]])
    if all(abs(x - u) > 1.3 or abs(y - v) > 0.12 for u, v in named):
        named.append((x, y))
        ax.annotate(row["model"], (row["F"], row["r"]), (4, 2), textcoords="offset points", fontsize=7)
ax.set(xscale="log", yscale="log", xlabel="operations, 6 N D", ylabel="tokens a parameter")
plain_axis(ax.yaxis, [1, 10, 20, 100, 1e3, 1e4])
fig.legend(loc="outside lower center", ncols=2)
plt.show()

# %%
nearest = released["best r, besiroglu2024"]
n_loss, d_loss = laws["besiroglu2024"].optimum(released["F"])
distance = {
    "loss": np.log(released["r"] * n_loss / d_loss).abs(),
    "bound": np.log(released["r"] / nearest).abs(),
}
closer = released[distance["bound"] < distance["loss"]]
glue_all(n_released=len(released), n_closer=len(closer), n_over=int((released["r"] > nearest).sum()))
glue_range("released_gap", released["gap"])
at = {key: allocation.allocate(bound_law(loss, 50304), 1e24, [bits]) for key, loss in laws.items()}
glue_range("at_1e24", [found.ratio for found in at.values()])
glue_all(runtime_minutes=(time.monotonic() - started) / 60)

# %% [markdown]
# The gaps go from {glue:text}`released_gap_most:.2f` nats down to {glue:text}`released_gap_least:.3f`. At $10^{24}$ operations the bound is least at {glue:text}`at_1e24_least:,.0f` to {glue:text}`at_1e24_most:,.0f` tokens a parameter.
#
# Of {glue:text}`n_released:d` models {glue:text}`n_closer:d` lie closer to the bound's frontier than to the loss's (in the logarithm, by the law of {cite:t}`besiroglu2024chinchilla`), and {glue:text}`n_over:d` lie beyond it. Models that are trained for cheap use come close to what one would
# train for a guarantee.
#
# ## What agreed, what did not
#
# * **Agreed**: at a fixed number of bits the gap is a function of tokens a parameter, on and off the frontier, within {glue:text}`excess_far:.1f` % of the closed form.
# * **Not what the title says**: at a fixed $D$ the gap grows {glue:text}`fixed_rise` in $N$.
# * **Corrected**: $\Sigma$ is not constant off the frontier. It rises as $\mathcal C$ falls. Over-trained models have smaller gaps, but not as small as a constant $\Sigma$ would have them.
# * **New**: the bound's frontier lies at more tokens a parameter than the loss's, and the number grows with compute.
# * **Cannot be told**: what the ladder's law says beyond its range. {glue:text}`floor_words` Branches of one trunk share their past. And off the frontier the quantization gap is known at {glue:text}`bits:d` bits alone.

# %% [markdown]
# ## Exercises
#
# ```{exercise} Twice the tokens
# :label: ex-off-1
#
# Take 4 bits, $V$ = 50,304 and a constant $\Sigma$ = 0.5. By which factor does doubling the tokens shrink the gap {eq}`eq-off-frontier-gap` at 20 tokens a parameter, by which at 2000? Which factor does it approach, and which one would it approach if only the term of the
# parameters were there?
# ```
#
# ```{solution-start} ex-off-1
# :class: dropdown
# ```

# %%
factors = [gap_at(2 * r, 4, 50304, 0.5) / gap_at(r, 4, 50304, 0.5) for r in (20, 2000)]
assert 0.5 < factors[0] < factors[1] < math.sqrt(0.5)
glue_all(factor_here=factors[0], factor_far=factors[1])

# %% [markdown]
# {glue:text}`factor_here:.2f` and {glue:text}`factor_far:.2f`. For small $\mathcal C$ the roots rule and the factor goes to $\sqrt{1/2} = 0.71$. The parameters alone would halve. So the longer the training, the less the next doubling brings.
#
# ```{solution-end}
# ```
#
# ```{exercise} What a guarantee costs
# :label: ex-off-2
#
# Somebody has $10^{14}$ operations and trains for the least bound at 4 bits. How much training loss do they give up against the loss's own optimum, and by how much is their bound lower? Use `allocation.allocate` and the laws of this page.
# ```
#
# ```{solution-start} ex-off-2
# :class: dropdown
# ```

# %%
n_loss, d_loss = map(float, loss_fit.law.optimum(1e14))
best = allocation.allocate(law, 1e14, [4])
given_up = float(loss_fit.law(best.n_params, best.n_tokens)) - float(loss_fit.law(n_loss, d_loss))
gained = float(law(n_loss, d_loss, 4)) - best.value
assert 0 < given_up < gained
glue_all(given_up=given_up, gained=gained)

# %% [markdown]
# They give up {glue:text}`given_up:.2f` nats of loss and gain {glue:text}`gained:.2f` of bound. Near its minimum the loss is flat in $\log N$, while the gap falls with every token a parameter.
#
# ```{solution-end}
# ```
#
# ```{exercise} If the variation rose faster
# :label: ex-off-3
#
# The bound wants more tokens a parameter than the loss, since the last two terms of {eq}`eq-allocation-balance` are positive. For which $\kappa$ could that fail? What is $\kappa$ on the ladder, at 20 and at 1000 tokens a parameter?
# ```
#
# ```{solution-start} ex-off-3
# :class: dropdown
# ```


# %%
def elasticity(c, step=1e-4):
    """kappa: the logarithmic derivative of the fitted loss variation at a complexity."""
    above, below = (float(sigma_law(c * math.exp(sign * step), largest)) for sign in (1, -1))
    return math.log(above / below) / (2 * step)


kappas = [elasticity(bits * math.log(2) / r) for r in (20, 1000)]
assert all(-0.5 < kappa < 0 for kappa in kappas)
glue_all(kappa_here=kappas[0], kappa_far=kappas[1])

# %% [markdown]
# The bracket is negative only if $(1 + 2\kappa)\,\Sigma < -\sqrt2$, so $\kappa$ would have to be well below $-\frac12$: $\Sigma$ would have to rise faster than $1/\sqrt{\mathcal C}$. Since $\Sigma$ tends to a constant as $\mathcal C$ falls, it cannot do so for long. On the ladder's largest rung here $\kappa$ is
# {glue:text}`kappa_here:.2f` at 20 and {glue:text}`kappa_far:.2f` at 1000 tokens a parameter.
#
# ```{solution-end}
# ```
