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
# # Learning to copy: what bends the ladder's laws
#
# | | |
# |---|---|
# | **Paper section** | 2 and 5 (the law behind "compute-optimal" and behind the information content) |
# | **Reads** | the records of the ladder's trainings (`make ladder`), checkpoints, and documents held out of the corpus |
# | **Writes** | nothing |
# | **Runtime** | less than a minute |
#
# The paper speaks of *compute-optimal* models. What is optimal is read off a law of scale, $L(N, D) = E + A N^{-\alpha} + B D^{-\beta}$, and such laws were found on models a thousand to a million times larger than ours. This page and the next two ask which of them hold down here.
#
# One law does not fit the ladder well, and this page finds out why. Somewhere between the smallest and the largest rung, models learn to copy.

# %% tags=["parameters"]
n_windows: int = 300  # held-out windows on which checkpoints are looked at

# %%
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gengap import models
from gengap.book.figures import named_axis, plain_axis
from gengap.book.glue import glue_all
from gengap.book.ladder_runs import ladder_runs
from gengap.laws import curves, fits
from gengap.statistics import token_statistics
from gengap.tokens import corpus_rows, sample_rows
from gengap.tokens.rows import repeated_pairs

plt.style.use("gengap.book")
runs = ladder_runs()
grid, own, sizes, colors = runs.grid, runs.own, runs.sizes, runs.colors
legend_columns = math.ceil(len(sizes) / 2)

# %% [markdown]
# (laws-runs)=
# ## The runs
#
# Every rung is trained once for a long time at a constant learning rate. At several lengths a branch leaves this trunk, cools down over its last fifth, and is evaluated on documents that no model has seen. So a few trainings give a grid of
# losses $L(N, D)$, on the frontier $D = 20 N$ and on both sides of it, and no text is read twice. $N$ counts all parameters unless a sentence says otherwise.

# %% caption="Held-out loss of the grid, nats per token, by length and size"
grid.pivot(index="length", columns="size", values="loss")[sizes].rename_axis("D / 20N").style.format(
    "{:.3f}", na_rep="–"
).format_index("{:g}")

# %%
seed_error = runs.seed_error()  # standard deviation of log loss from seed to seed
assert math.isfinite(seed_error), "`make ladder` trains other seeds of the smallest rungs"
glue_all(n_runs=len(runs.records), n_grid=len(grid), n_sizes=len(sizes), smallest=sizes[0], largest=sizes[-1])
glue_all(seed_percent=100 * seed_error)

# %% [markdown]
# There are {glue:text}`n_runs:d` trainings, {glue:text}`n_grid:d` of them in the grid, of {glue:text}`n_sizes:d` sizes from {glue:text}`smallest` to {glue:text}`largest` parameters. The others vary the seed, the learning rate, the shape of the model, or read the text again.
#
# Another seed changes a held-out loss by {glue:text}`seed_percent:.1f` % (one standard deviation). Every law has to be seen through that noise.
#
# ## One law for all of them
#
# The law is fitted as {cite:t}`hoffmann2022training` do it, by Huber's loss on $\log L$ from a grid of starts. What its constants are worth is the subject of {doc}`15_frontier`.


# %%
def chinchilla_law(law, n_params, n_tokens):
    """E + A N^-alpha + B D^-beta, nats per token."""
    return law.E + law.A * n_params**-law.alpha + law.B * n_tokens**-law.beta


n, d, loss = runs.law_columns()
law = runs.law()
np.testing.assert_allclose(chinchilla_law(law, n, d), law(n, d))
law_error = float(np.std(np.log(loss / law(n, d))))
misfit = law_error / seed_error
glue_all(law_error=100 * law_error, misfit=misfit)
glue_all(
    blame="Chance does not explain that: the form of the law is wrong."
    if misfit > 3
    else "That much can be chance."
)

# %% mystnb={"figure": {"caption": "Held-out loss of the grid's runs (dots, one colour a size) and the fitted law (lines). The dashed line joins the runs on the frontier, D = 20 N.", "name": "fig-laws-grid"}, "image": {"alt": "Held-out loss in nats per token against training tokens on a logarithmic axis, one falling line for each model size; larger models lie lower."}}
fig, ax = plt.subplots()
for size in sizes:
    mine = grid[grid["size"] == size]
    tokens = np.geomspace(mine["D"].min(), mine["D"].max(), 40)
    ax.plot(tokens, law(runs.n_params[size], tokens), color=colors[size], linewidth=1)
    ax.plot(mine["D"], mine["loss"], "o", color=colors[size], label=size)
ax.plot(own["D"], own["loss"], "--", color="C5", linewidth=1.2)
ax.set(xscale="log", xlabel="training tokens", ylabel="held-out loss, nats per token")
plain_axis(ax.xaxis, [3e5, 1e6, 3e6, 1e7, 3e7, 1e8])
fig.legend(loc="outside lower center", ncols=legend_columns)
plt.show()

# %% [markdown]
# The law misses a run by {glue:text}`law_error:.1f` % (standard deviation), {glue:text}`misfit:.0f` times what another seed changes. {glue:text}`blame`
#
# (laws-copying)=
# ## A bump in the speed of learning
#
# The logs show a cause. Take how fast each trunk learns: the local exponent $-\,d \log L / d \log t$ of its online loss after $t$ tokens. Were that loss a power law, the line would be level. With a floor, it would fall ({ref}`an exercise <ex-14-1>`). Neither lets it rise.

# %% mystnb={"figure": {"caption": "Local exponent of the online loss at constant learning rate, the longest run of each size, between bins of eight a decade.", "name": "fig-laws-speed"}, "image": {"alt": "Local exponent of the loss against tokens seen on a logarithmic axis, one line a size. All lines fall at first; those of the largest models rise again to a peak and fall after it."}}
rows = {}
fig, ax = plt.subplots()
for size in sizes:
    run = runs.longest(size)
    log = run.online_log
    stable = (run.schedule.n_steps - run.schedule.decay_steps) * run.schedule.tokens_per_step  # tokens
    curve = curves.binned(log.online_nll, log.tokens_per_step, bins_per_decade=8)
    at, exponents = curve.between(1e5, stable).exponents()
    ax.plot(at, exponents, color=colors[size], label=size)
    at, exponents = at[at > 1e6], exponents[at > 1e6]  # past letters and words
    rise = exponents - np.minimum.accumulate(exponents)  # above the slowest moment so far
    peak = int(rise.argmax())
    rows[size] = {
        "slowest before": exponents[: peak + 1].min(),
        "fastest after": exponents[peak],
        "rise": rise[peak],
        "at, million tokens": at[peak] / 1e6,
    }
ax.set(xscale="log", xlabel="tokens seen", ylabel="local exponent", ylim=(0, None))
plain_axis(ax.xaxis, [1e5, 1e6, 1e7, 1e8])
fig.legend(loc="outside lower center", ncols=legend_columns)
plt.show()

# %% caption="The bump in the speed of learning, size by size"
speed = pd.DataFrame(rows).T
speed.style.format("{:.2f}").format("{:.1f}", subset=["at, million tokens"])

# %%
risen = speed[speed["rise"] > 0.1]
places = sorted({f"{place:.1f}" for place in risen["at, million tokens"]}, key=float)
between = " to ".join(dict.fromkeys([*places[:1], *places[-1:]]))
glue_all(
    bump=f"Such a rise is seen on {len(risen)} of {len(speed)} rungs, after {between} million tokens."
    if len(risen)
    else "No rung shows one."
)

# %% [markdown]
# Past the first million tokens a rise of a tenth or more is beyond the scatter of the bins. {glue:text}`bump`
#
# {cite:t}`olsson2022context` saw this bump in language models large and small. Behind it they found *induction heads*, which look for the last place where the present token stood, and copy what came after it.
#
# ## Copying, seen in the losses
#
# A token *repeats* if it and the token before it stood side by side earlier in the same window. Whoever looks up what came next the last time gets it right. Here is the loss of every rung's own checkpoint on such tokens of held-out documents, and on all the others.


# %% caption="Held-out loss on tokens that repeat and on others, nats per token"
def mean_where(nll, chosen):
    """Mean NLL over the chosen tokens, nats, and its standard error over windows."""
    mean = nll[chosen].mean()
    excess = ((nll - mean) * chosen).sum(axis=1)  # (n_windows,)
    return float(mean), float(np.sqrt((excess**2).sum()) / chosen.sum())


windows = sample_rows(corpus_rows("heldout"), n_windows, seed=0)  # (n_windows, seq_len + 1)
repeats = repeated_pairs(windows)  # (n_windows, seq_len)
rows = {}
for size in own["size"]:
    spec = models.get(f"ladder-{size}")
    if spec.find("checkpoint"):
        nll = token_statistics(spec.load(), windows).nll.astype(float)
        rows[size] = spec.n_params, *mean_where(nll, repeats), *mean_where(nll, ~repeats), nll.mean()
share = float(repeats.mean())
copying = pd.DataFrame(rows, index=["N", "repeated", "±", "others", "± ", "all"]).T
np.testing.assert_allclose(share * copying["repeated"] + (1 - share) * copying["others"], copying["all"])
copying.style.format("{:.3f}").format("{:,.0f}", subset=["N"])

# %% mystnb={"figure": {"caption": "Held-out loss of the rungs on tokens that repeat a pair of their window, on all others, and on both, with power laws.", "name": "fig-laws-copying"}, "image": {"alt": "Loss against parameters, both axes logarithmic. The dots of other tokens lie on a straight line that falls slowly; the dots of repeated tokens fall far faster, with a step in the middle."}}
kinds = {"others": "C0", "all": "C5", "repeated": "C3"}
copying_laws = {kind: fits.fit_power_law(copying["N"], copying[kind]) for kind in kinds}
fig, ax = plt.subplots()
for kind, color in kinds.items():
    ax.plot(copying["N"], copying_laws[kind](copying["N"]), color=color, linewidth=1)
    ax.plot(copying["N"], copying[kind], "o", color=color, label=kind)
ax.set(xscale="log", yscale="log", xlabel="parameters", ylabel="held-out loss, nats per token")
named_axis(ax.xaxis, copying["N"], copying.index, rotation=45)
plain_axis(ax.yaxis, [0.5, 1, 2, 3, 4, 5])
fig.legend(loc="outside lower center", ncols=3)
plt.show()

# %% caption="Power laws of the loss on either kind of token"
fall = -np.log(copying["repeated"]).diff() / np.log(copying["N"]).diff()  # exponent from rung to rung
steepest = int(fall.argmax())
before, after = copying.iloc[steepest - 1], copying.iloc[steepest]
misfits = {
    kind: 100 * np.std(np.log(copying[kind] / fitted(copying["N"]))) for kind, fitted in copying_laws.items()
}
assert misfits["repeated"] > misfits["all"] > misfits["others"]  # the step sits in what can be copied
glue_all(repeated_percent=100 * share, steep_from=before.name, steep_to=after.name)
glue_all(steep_repeated=100 * (1 - after["repeated"] / before["repeated"]))
glue_all(steep_others=100 * (1 - after["others"] / before["others"]), misfit_others=misfits["others"])
pd.DataFrame(
    {
        "exponent of N": {kind: -fitted.exponent for kind, fitted in copying_laws.items()},
        "misfit, %": misfits,
    }
).rename_axis("tokens").style.format("{:.2f}", subset=["exponent of N"]).format(
    "{:.1f}", subset=["misfit, %"]
)

# %% [markdown]
# {glue:text}`repeated_percent:.0f` % of the tokens repeat: the text is mostly source code. From {glue:text}`steep_from` to {glue:text}`steep_to` parameters their loss falls by {glue:text}`steep_repeated:.0f` %, that of the others by {glue:text}`steep_others:.0f` %.
#
# The bend of the ladder sits where the loss on repeated pairs collapses. We have not looked at attention, so copying is the likely cause and not a proven one. Every exponent of the next pages is that of a ladder with this step in the middle of it.
#
# One caution: whether a token repeats is known from the token itself. The two means share out the loss; neither is the loss of a task ({ref}`an exercise <ex-14-3>`).
#
# ## What agreed, what did not
#
# * **Agreed**: a bump in the speed of learning, as {cite:t}`olsson2022context` describe it, on rungs that are large enough and have read enough.
# * **Did not**: that one law $E + A N^{-\alpha} + B D^{-\beta}$ describes the ladder. It misses a run by {glue:text}`misfit:.0f` times the scatter of seeds.
# * **New here**: on the tokens that cannot be copied from their window, the frontier is a power law to {glue:text}`misfit_others:.1f` %.
#
# ## Exercises
#
# ```{exercise} No law with a floor makes a bump
# :label: ex-14-1
#
# A loss follows $L(t) = a + B t^{-k}$ with $a \ge 0$. Find its local exponent $-\,d\log L/d\log t$. Can it rise with $t$? What is it where $L$ is twice the floor and $k = 0.5$?
# ```
#
# ```{solution-start} ex-14-1
# :class: dropdown
# ```
#
# $-\,d\log L/d\log t = k\,B t^{-k}/L = k\,(1 - a/L)$. Since $L$ falls, $a/L$ grows and the exponent falls. At $L = 2a$ it is $k/2$: {glue:text}`ex_half_exponent:.2f`. A line that rises is no such law.

# %%
t = np.geomspace(1, 1e4, 4001)
floored = 1.0 + 10 * t**-0.5  # a = 1, B = 10, k = 0.5
slopes = -np.gradient(np.log(floored), np.log(t))
assert (np.diff(slopes[1:-1]) < 0).all()
half_exponent = float(np.interp(-2.0, -floored, slopes))  # where L = 2a
np.testing.assert_allclose(half_exponent, 0.25, atol=1e-3)
glue_all(ex_half_exponent=half_exponent)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} How much of the repeating is chance?
# :label: ex-14-2
#
# Shuffle the tokens inside each held-out window and measure with `repeated_pairs` how many still repeat a pair. What does that say about the {glue:text}`repeated_percent:.0f` %?
# ```
#
# ```{solution-start} ex-14-2
# :class: dropdown
# ```

# %%
shuffled = np.random.default_rng(0).permuted(windows, axis=1)
by_chance = float(repeated_pairs(shuffled).mean())
assert by_chance < share / 3
glue_all(ex_chance=100 * by_chance)

# %% [markdown]
# {glue:text}`ex_chance:.0f` % repeat by chance, because some tokens are frequent. The rest is order: names, indentation, phrases that come again.
#
# ```{solution-end}
# ```
#
# ```{exercise} A copier that knows nothing else
# :label: ex-14-3
#
# A predictor puts 0.9 on the token that followed the present one the last time (if there was a last time) and shares the rest evenly. What is its loss on tokens that repeat, on the others, and on all? Why is the first number no evidence that it is a good model?
# ```
#
# ```{solution-start} ex-14-3
# :class: dropdown
# ```


# %%
def copier_losses(window, vocab_size):
    """Loss of each predicted token under the copier, nats."""
    followed_by, losses = {}, []
    for token, following in itertools.pairwise(window):
        bet = followed_by.get(token)
        uniform = 1 / vocab_size if bet is None else 0.1 / vocab_size
        losses.append(-math.log(uniform + (0.9 if following == bet else 0.0)))
        followed_by[token] = following
    return losses


vocab_size = spec.vocab_size
copied = np.array([copier_losses(window.tolist(), vocab_size) for window in windows])  # (n_windows, seq_len)
on_repeats, on_others, on_all = copied[repeats].mean(), copied[~repeats].mean(), copied.mean()
assert on_repeats < math.log(vocab_size) < on_others
glue_all(ex_repeats=on_repeats, ex_others=on_others, ex_all=on_all, log_vocab=math.log(vocab_size))

# %% [markdown]
# It loses {glue:text}`ex_repeats:.2f` nats on tokens that repeat, {glue:text}`ex_others:.2f` on the others and {glue:text}`ex_all:.2f` on all; guessing costs {glue:text}`log_vocab:.2f`. The first number is taken over tokens that were chosen *because* copying was right on some earlier occasion. No one could have known beforehand which tokens these would be.
#
# ```{solution-end}
# ```
