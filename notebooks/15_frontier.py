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
# # Chinchilla's frontier on the ladder
#
# | | |
# |---|---|
# | **Paper section** | 2 and 5 (what "compute-optimal" means: 20 tokens a parameter) |
# | **Reads** | the records of the ladder's trainings (`make ladder`) |
# | **Writes** | nothing |
# | **Runtime** | about a minute |
#
# How should $F = 6 N D$ operations be split between parameters and tokens? {cite:t}`hoffmann2022training` ask in three ways, and so do we. The **envelope** of the loss curves gives the best size at each compute, so do the minima of parabolas at **equal compute**, and the **law** has a formula, $N_{opt} \propto F^{\beta/(\alpha+\beta)}$.
#
# The rule of the paper and of this book is $D = 20 N$. Does it stand down here? {glue:text}`verdict`

# %% tags=["parameters"]
n_replicates: int = 200  # refits behind each interval
level: float = 0.95  # of the intervals

# %%
import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gengap import published
from gengap.book.figures import named_axis, plain, plain_axis
from gengap.book.glue import glue_all, glue_interval, glue_range
from gengap.book.ladder_runs import SCALE, ladder_runs
from gengap.laws import fits, frontier, resample_noise, resample_runs

plt.style.use("gengap.book")
CHINCHILLA, KAPLAN = published.facts("chinchilla"), published.facts("kaplan2020")
RULE = 20  # tokens a parameter
runs = ladder_runs()
grid, sizes, colors = runs.grid, runs.sizes, runs.colors
by_tokens = runs.curves()  # loss against tokens, one curve a size
seed_error = runs.seed_error()

# %% [markdown]
# ## The law and its constants
#
# The law of {doc}`14_copying` again, now with intervals. Beside it stand the constants that {cite:t}`hoffmann2022training` published, and those of {cite:t}`besiroglu2024chinchilla`, who fitted the same data again.


# %% caption="Constants of the law: fitted here, with intervals, and published"
law = runs.law()
columns = runs.law_columns()
resample = resample_runs if len(grid) >= 20 else resample_noise  # few runs: draw their errors, not the runs
refit = partial(fits.fit_chinchilla, start=law)
chinchilla = resample(fits.fit_chinchilla, *columns, refit=refit, n_replicates=n_replicates)
law_error = float(np.std(np.log(columns[2] / law(*columns[:2]))))
fitted = pd.DataFrame({"here": law._asdict()})
for end in ("low", "high"):
    fitted[end] = {name: getattr(chinchilla.interval(name, level), end) for name in law._fields}
for key, name in (("hoffmann2022", "Hoffmann et al."), ("besiroglu2024", "Besiroglu et al.")):
    fitted[name] = {field: CHINCHILLA[key][field] for field in law._fields}
no_floor = law.E < 1e-6  # nats
fitted.astype(object).mask(fitted.map(lambda value: value < 1e-6), 0).style.format("{:.3g}")

# %%
glue_all(law_error=100 * law_error, level=100 * level, floor_high=chinchilla.interval("E", level).high)
glue_all(floor="zero" if no_floor else f"{law.E:.2f} nats")

# %% [markdown]
# The fitted floor $E$ is {glue:text}`floor`, with {glue:text}`floor_high:.2f` nats still inside its {glue:text}`level:.0f` % interval. So these models are too small to see the entropy of their text. The law misses runs by {glue:text}`law_error:.1f` %. Keep both in mind where the law and the runs disagree.

# %% mystnb={"figure": {"caption": "The fitted law as a landscape: lines of equal loss (nats per token) over parameters and tokens, the runs (dots), the frontier of the law (orange) and 20 tokens a parameter (dashed).", "name": "fig-laws-landscape"}, "image": {"alt": "Contour lines of the fitted loss over parameters and training tokens, both logarithmic; dots mark the runs; an orange line, the compute-optimal frontier, rises across the dashed line of twenty tokens a parameter."}}
n_axis = np.geomspace(runs.n_params.min() / 1.3, runs.n_params.max() * 1.3, 80)
d_axis = np.geomspace(grid["D"].min() / 1.3, grid["D"].max() * 1.3, 80)
fig, ax = plt.subplots()
losses = law(*np.meshgrid(n_axis, d_axis))
lines = ax.contour(n_axis, d_axis, losses, levels=14, cmap=SCALE.reversed(), linewidths=1)
ax.clabel(lines, fontsize="small", fmt="%.1f", colors=plt.rcParams["text.color"])
ax.scatter(grid["N"], grid["D"], color=[colors[size] for size in grid["size"]], s=26, zorder=3)
best_n, best_d = law.optimum(np.geomspace(1e9, 1e17, 200))
inside = (best_n > n_axis[0]) & (best_n < n_axis[-1]) & (best_d > d_axis[0]) & (best_d < d_axis[-1])
ax.plot(best_n[inside], best_d[inside], color="C1", linewidth=2.5, label="frontier of the law")
ax.plot(n_axis, RULE * n_axis, "--", color="C5", linewidth=1.4, label="20 tokens a parameter")
ax.set(xscale="log", yscale="log", xlabel="parameters", ylabel="training tokens", ylim=d_axis[[0, -1]])
named_axis(ax.xaxis, runs.n_params, sizes, rotation=45)
plain_axis(ax.yaxis, [3e5, 1e6, 3e6, 1e7, 3e7, 1e8])
fig.legend(loc="outside lower center", ncols=2)
plt.show()

# %% [markdown]
# ## Three ways to one exponent
#
# Each way gives an exponent $a$ of $N_{opt} \propto F^a$. The first two read it off those budgets whose best size lies inside the ladder. Their intervals know the
# scatter of seeds, not how narrow that range of compute is. The law uses every run, and has the misfit that we saw.


# %% caption="Exponents of the best size as a power of compute, in three ways"
def kaplan_a():
    """From the constants of L(N, S) and of the critical batch (chapter "Kaplan's findings", finding 9)."""
    alpha_n, alpha_s = (KAPLAN["L_of_N_S"][name] for name in ("alpha_N", "alpha_S"))
    return 1 / (alpha_n * (1 / alpha_s + 1 / KAPLAN["critical_batch"]["alpha_B"]) + 1)


low_f, high_f = sorted([np.median([c.flops[0] for c in by_tokens]), max(c.flops[-1] for c in by_tokens)])
budgets = np.geomspace(low_f, high_f, 13)
approaches = {"envelope": frontier.envelope, "equal compute": frontier.isoflop}
optima = {name: approach(by_tokens, budgets) for name, approach in approaches.items()}
rows = {}
for name, approach in approaches.items():
    if len(optima[name]) >= 2:
        interval = frontier.allocation_interval(approach, by_tokens, budgets, seed_error, level, n_replicates)
        reach = optima[name][-1].flops / optima[name][0].flops
        rows[f"here, {name}"] = frontier.allocation(optima[name]), *interval, len(optima[name]), reach
a_law = chinchilla.interval("allocation_exponent", level)
reach = grid["F"].max() / grid["F"].min()
rows["here, law"] = law.allocation_exponent, *a_law, len(grid), reach
for key, name in (("hoffmann2022", "Hoffmann et al., law"), ("besiroglu2024", "Besiroglu et al., law")):
    alpha, beta = CHINCHILLA[key]["alpha"], CHINCHILLA[key]["beta"]
    rows[name] = beta / (alpha + beta), *[math.nan] * 4
rows["Kaplan et al., constants"] = kaplan_a(), *[math.nan] * 4
headings = ["a of N ~ F^a", "low", "high", "budgets or runs", "largest F / least"]
allocation = pd.DataFrame(rows, index=headings).T
allocation.style.format("{:.2f}", na_rep="").format("{:.0f}", na_rep="", subset=headings[3]).format(
    "{:,.1f}", na_rep="", subset=headings[4]
)

# %%
a_of = allocation["a of N ~ F^a"]
names = ("Hoffmann", "Besiroglu", "Kaplan")
covered = [name for name in names if a_law.covers(a_of.filter(like=name).iloc[0])]
glue_all(
    covered=f"It covers the exponent of {' and of '.join(covered)}."
    if covered
    else "It covers none of the published ones."
)
glue_interval("a_law", law.allocation_exponent, *a_law)
glue_range("a", a_of.filter(like="here"))
glue_all(n_budgets=len(budgets), n_isoflop=len(optima["equal compute"]))

# %% [markdown]
# The three agree with each other: $a$ lies between {glue:text}`a_least:.2f` and {glue:text}`a_most:.2f`. The interval of the law's goes from {glue:text}`a_law_low:.2f` to {glue:text}`a_law_high:.2f`. {glue:text}`covered`
#
# ## How many tokens a parameter
#
# An exponent says how the best size grows. How large it is at a given compute is another question, and here the ways disagree. First, the minima at equal compute, which no law has touched: {glue:text}`n_isoflop:d` of {glue:text}`n_budgets:d` budgets have one inside the ladder.

# %% mystnb={"figure": {"caption": "Loss at equal compute: held-out loss, interpolated along each size's runs, against parameters for every budget F in floating-point operations that three sizes or more can be compared at. Lines: parabolas; diamonds: their minima.", "name": "fig-laws-isoflop"}, "image": {"alt": "Held-out loss against parameters on a logarithmic axis; for each compute budget a set of dots with a parabola through them, some with a marked minimum; larger budgets lie lower."}}
fig, ax = plt.subplots()
shown = [c for c in budgets if sum(math.isfinite(curve.loss_at(c)) for curve in by_tokens) >= 3]
for budget, color in zip(shown, SCALE(np.linspace(0, 1, len(shown))), strict=True):
    points = [(c.n_params, float(c.loss_at(budget))) for c in by_tokens]
    points = np.array([p for p in points if math.isfinite(p[1])]).reshape(-1, 2)
    ax.plot(*points.T, "o", color=color, label=f"{float(f'{budget / 1e12:.2g}'):g}")
    parabola = fits.fit_bent_power_law(*points.T)
    n = np.geomspace(points[0, 0], points[-1, 0], 40)
    ax.plot(n, parabola(n), color=color, linewidth=1)
minima = [(o.n_params, o.loss) for o in optima["equal compute"] if o.flops in shown]
ax.plot(*np.reshape(minima, (-1, 2)).T, "D", color="C1")
ax.set(xscale="log", xlabel="parameters", ylabel="held-out loss, nats per token")
named_axis(ax.xaxis, runs.n_params, sizes, rotation=45)
fig.legend(loc="outside lower center", ncols=4, title=r"$F$ in $10^{12}$ operations")
plt.show()


# %% caption="Minima at equal compute, and what the law has there"
def tokens_per_parameter(law, n_params):
    """D/N where a model of N parameters is the best at its compute: alpha A N^-alpha = beta B D^-beta."""
    log_d = (math.log(law.beta * law.B / (law.alpha * law.A)) + law.alpha * math.log(n_params)) / law.beta
    return math.exp(min(log_d - math.log(n_params), 700.0))


middle = float(np.median(runs.n_params))
ratio = tokens_per_parameter(law, middle)
np.testing.assert_allclose(law.optimum(6 * ratio * middle**2)[0], middle)
ratios = chinchilla.interval(lambda law: tokens_per_parameter(law, middle), level)
minima_at = pd.DataFrame(
    {
        "F, operations": optimum.flops,
        "best N": optimum.n_params,
        "best D": optimum.n_tokens,
        "D / N": optimum.n_tokens / optimum.n_params,
        "loss, nats": optimum.loss,
        "D / N by the law": tokens_per_parameter(law, optimum.n_params),
    }
    for optimum in optima["equal compute"]
)
minima_at.style.hide(axis="index").format("{:,.0f}").format("{:.1e}", subset=["F, operations"]).format(
    "{:.1f}", subset=["D / N", "D / N by the law"]
).format("{:.3f}", subset=["loss, nats"])

# %%
first, rest = minima_at.iloc[0], minima_at.iloc[1:]
ends = rest["D / N"].min(), rest["D / N"].max()
glue_range("minima", rest["D / N"])
glue_all(minima_first=first["D / N"], n_rest=len(rest), misfit=law_error / seed_error)
glue_interval("ratio", ratio, *ratios)
stands = ends[0] > RULE / 1.5 and ends[1] < 1.5 * RULE
disagree = not ends[0] / 1.5 < ratio < 1.5 * ends[1]
glue_all(
    levels="The two ways disagree about the level." if disagree else "The two ways agree about the level.",
    believed="We believe the minima, which need no form of a law."
    if disagree
    else "Neither has to be preferred.",
    verdict="The runs say yes, from the second budget on at which they can be compared."
    if stands
    else "The runs say no.",
)

# %% [markdown]
# At the smallest of these budgets the minimum lies at {glue:text}`minima_first:.1f` tokens a parameter, at the {glue:text}`n_rest:d` others between {glue:text}`minima_least:.0f` and {glue:text}`minima_most:.0f`.
#
# For the middle of the ladder the law says {glue:text}`ratio:.1f` ({glue:text}`ratio_low:.1f` to {glue:text}`ratio_high:.0f`). {glue:text}`levels` {glue:text}`believed` The law misses runs by {glue:text}`misfit:.0f` times what another seed changes.
#
# Try it: raise the compute, then count without embeddings, which the next section is about.
#
# ```{interactive} frontier
# Least loss and least bound at a given compute, by the laws that {doc}`12_off_frontier` fits to the *training* loss of the same runs. The diamond is the minimum of the parabola through the runs themselves, where three sizes reach the budget.
# ```
#
# ## Kaplan or Chinchilla: a matter of counting
#
# {cite:t}`pearce2024reconciling` explain most of the difference between the two exponents. Kaplan counted parameters and compute *without* embeddings, on small models, where embeddings are most of what there is. With $N'$ parameters outside the embeddings, $N = N' + \omega\, N'^{1/3}$ in a family that keeps its
# proportions. Minimizing the same law at fixed $F' = 6 N' D$ gives, in place of a constant exponent, one that bends:
#
# $$
# \beta B D^{-\beta} = \alpha A N^{-\alpha}\; \frac{d \log N}{d \log N'}, \qquad \frac{d \log N}{d \log N'} = \frac{N' + \tfrac13\omega\, N'^{1/3}}{N' + \omega\, N'^{1/3}} .
# $$ (eq-laws-nonembedding)
#
# Solved for $D$ and differentiated, the exponent of $N'_{opt} \propto F'^{a}$ is $a = \beta/(\beta + \alpha e - e')$, with $e$ the second expression and $e'$ its own elasticity. Where embeddings are few it is $\beta/(\alpha+\beta)$.


# %%
def elasticity(n, omega):
    """d log N / d log N' of equation (laws-nonembedding): 1/3 among embeddings, 1 far above them."""
    return (n + omega * np.cbrt(n) / 3) / (n + omega * np.cbrt(n))


size_nonembedding = grid.groupby("size")["n"].first()[sizes]
omega = frontier.embedding_constant(size_nonembedding, runs.n_params)
n_line = np.geomspace(size_nonembedding.min(), 1e11, 60)
n_tokens, _ = frontier.nonembedding_frontier(law, omega, n_line)
np.testing.assert_allclose(
    law.beta * law.B * n_tokens**-law.beta,
    law.alpha * law.A * (n_line + omega * np.cbrt(n_line)) ** -law.alpha * elasticity(n_line, omega),
)
bends = frontier.nonembedding_exponent(law, omega, n_line)

# %% mystnb={"figure": {"caption": "Exponent of the compute-optimal size counted without embeddings, along the frontier of the fitted law. Shaded: the ladder's own sizes. Dashed: the exponent with everything counted.", "name": "fig-laws-counting"}, "image": {"alt": "Local exponent against parameters without embeddings on a logarithmic axis: a curve that is high for small models and falls to the dashed line of the ordinary exponent."}}
fig, ax = plt.subplots()
ax.plot(n_line, bends, label="without embeddings")
ax.axhline(law.allocation_exponent, linestyle="--", color="C1", label="all parameters")
ax.axhline(kaplan_a(), linestyle=":", color="C3", label="Kaplan et al.")
ax.axvspan(size_nonembedding.min(), size_nonembedding.max(), color="C0", alpha=0.12)
ax.set(xscale="log", xlabel="parameters without embeddings", ylabel="exponent a")
plain_axis(ax.xaxis, [1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11])
fig.legend(loc="outside lower center", ncols=3)
plt.show()

# %%
here_n = float(np.median(size_nonembedding))


def bend(law):
    """The exponent without embeddings at the middle of the ladder."""
    return float(frontier.nonembedding_exponent(law, omega, here_n))


def shift(law):
    """What leaving the embeddings out of the count does to the exponent."""
    return bend(law) - law.allocation_exponent


glue_interval("bend", bend(law), *chinchilla.interval(bend, level))
glue_interval("shift", shift(law), *chinchilla.interval(shift, level))
embedded = 100 * (1 - size_nonembedding / runs.n_params)
glue_all(here_n=plain(here_n), embedding_percent=embedded.iloc[0], embedding_percent_last=embedded.iloc[-1])

# %% [markdown]
# Embeddings are {glue:text}`embedding_percent:.0f` % of the ladder's smallest model and {glue:text}`embedding_percent_last:.0f` % of its largest.
#
# Counted in Kaplan's way, the *same* fitted law has an exponent of {glue:text}`bend:.2f` ({glue:text}`bend_low:.2f` to {glue:text}`bend_high:.2f`) at
# {glue:text}`here_n` parameters outside the embeddings.
#
# That is {glue:text}`shift:+.2f` ({glue:text}`shift_low:+.2f` to {glue:text}`shift_high:+.2f`) from the exponent of all parameters. Nothing about the models has changed but the counting.
#
# ## What agreed, what did not
#
# * **Agreed**: three ways to the frontier give one exponent, and leaving the embeddings out of the count raises it, as {cite:t}`pearce2024reconciling` say.
# * **Agreed**: the best number of tokens a parameter, where runs can be compared: {glue:text}`minima_least:.0f` to {glue:text}`minima_most:.0f` from the second budget on. The rule is {glue:text}`rule:d`.
# * **Did not**: the fitted law puts it at {glue:text}`ratio:.1f`. Its floor is {glue:text}`floor`, and it does not know the step where {doc}`copying <14_copying>` is learned.
# * **Did not**: the exponent is {glue:text}`a_least:.2f` to {glue:text}`a_most:.2f` here, below those that were published for large models.
# * **Not asked here**: what a *certificate* would choose. {doc}`12_off_frontier` asks it.
#
# ## Exercises
#
# ```{exercise} Where twenty comes from
# :label: ex-15-1
#
# At the optimum $\alpha A N^{-\alpha} = \beta B D^{-\beta}$. Solve for $D$ and put in the constants of Hoffmann et al. and of Besiroglu et al. for a model of 70 billion parameters, the size of Chinchilla. How many tokens a parameter does each law ask for?
# ```
#
# ```{solution-start} ex-15-1
# :class: dropdown
# ```
#
# $D = \bigl(\beta B N^{\alpha} / (\alpha A)\bigr)^{1/\beta}$. The published constants ask for {glue:text}`ex_hoffmann:.0f` tokens a parameter, the second fit for {glue:text}`ex_besiroglu:.0f`. Chinchilla was trained on 20, which came from the other two ways.

# %%
published_laws = {
    key: fits.ChinchillaLaw(**{field: CHINCHILLA[key][field] for field in law._fields})
    for key in ("hoffmann2022", "besiroglu2024")
}
asked = {key: tokens_per_parameter(one, 70e9) for key, one in published_laws.items()}
for key, one in published_laws.items():
    n_best, d_best = one.optimum(6 * 70e9 * asked[key] * 70e9)
    np.testing.assert_allclose([n_best, d_best / n_best], [70e9, asked[key]], rtol=1e-6)
assert asked["besiroglu2024"] < 30 < asked["hoffmann2022"]
glue_all(ex_hoffmann=asked["hoffmann2022"], ex_besiroglu=asked["besiroglu2024"], rule=RULE)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} How flat is the bottom?
# :label: ex-15-2
#
# At the compute of the ladder's middle rung, $F = 6 \cdot 20 N^2$, ask the fitted law for the loss of the best split and of $D = 20 N$. How much does following the rule cost if the law is right?
# ```
#
# ```{solution-start} ex-15-2
# :class: dropdown
# ```

# %%
at_rule = float(law(middle, RULE * middle))
at_best = float(law(*law.optimum(6 * RULE * middle**2)))
assert at_best <= at_rule
cost = 100 * (at_rule / at_best - 1)
assert cost < 10
glue_all(ex_cost=cost)

# %% [markdown]
# {glue:text}`ex_cost:.1f` % of the loss. The bottom is flat, which is why its place is hard to find, and why the rule is a safe one.
#
# ```{solution-end}
# ```
#
# ```{exercise} One size less
# :label: ex-15-3
#
# The parabolas assume that log loss is quadratic in $\log N$ near its minimum, over all sizes that were measured. Leave out the smallest size and find the minima again. Do they stay where they were? What if a step such as learning to copy lies inside the range?
# ```
#
# ```{solution-start} ex-15-3
# :class: dropdown
# ```

# %%
without_smallest = frontier.isoflop(by_tokens[1:], budgets)
before = {optimum.flops: optimum.n_params for optimum in optima["equal compute"]}
moved = [optimum.n_params / before[optimum.flops] for optimum in without_smallest if optimum.flops in before]
assert moved
assert 0.5 < min(moved) <= max(moved) < 2
glue_range("ex_moved", moved)

# %% [markdown]
# The best sizes become {glue:text}`ex_moved_least:.2f` to {glue:text}`ex_moved_most:.2f` times what they were. A step inside the range is not quadratic: it lowers the loss of all larger sizes, and pulls the vertex of a parabola towards them.
#
# ```{solution-end}
# ```
