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
# # Laws of scale: Kaplan's findings and Chinchilla's frontier
#
# | | |
# |---|---|
# | **Paper section** | 2 and 5 (what "compute-optimal" means, and the law behind the information content) |
# | **Reads** | the records of the ladder's trainings (`make ladder`), checkpoints, and documents held out of the corpus |
# | **Writes** | nothing |
# | **Runtime** | about a minute |
#
# The paper speaks of *compute-optimal* models, and its section 5 rests on a law, $L(N, D) = E + A N^{-\alpha} + B D^{-\beta}$. Such laws were found on models a thousand to a million times larger than ours.
# Do they hold down here? This page puts the findings of {cite:t}`kaplan2020scaling` to the ladder one by one, then finds the frontier in the three ways of {cite:t}`hoffmann2022training`. Each question gets one of three answers, and the
# numbers decide which: *holds here*, *does not*, or *cannot be told at this scale*.

# %% tags=["parameters"]
n_replicates: int = 200  # refits behind each interval
level: float = 0.95  # of the intervals
n_windows: int = 300  # held-out windows on which checkpoints are looked at

# %%
import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from scipy import stats

from gengap import models, published
from gengap.book.figures import named_axis, plain, plain_axis
from gengap.book.glue import glue_all, glue_interval, glue_range
from gengap.laws import curves, fits, frontier, resample_noise, resample_runs, trend
from gengap.records import load_runs
from gengap.statistics import token_statistics
from gengap.tokens import corpus_rows, sample_rows
from gengap.tokens.rows import repeated_pairs

plt.style.use("gengap.book")
KAPLAN = published.facts("kaplan2020")
CHINCHILLA = published.facts("chinchilla")
HOLDS, NOT, UNKNOWN = "holds here", "does not", "cannot be told at this scale"
SCALE = LinearSegmentedColormap.from_list("scale", ["C0", "C3", "C1"])  # legible on white and on black
answers = {}  # finding -> (answer, evidence)


def answer(finding, holds, fails, evidence):
    """Enter a finding's answer, and glue it."""
    answers[finding] = HOLDS if holds else NOT if fails else UNKNOWN, evidence
    glue_all(**{f"answer_{finding.split()[0]}": answers[finding][0]})


def on_frontier_rows(table):
    """Which runs are the rungs' own, D = 20 N from the first seed."""
    return (table["group"] == "grid") & (table["length"] == 1)


# %% [markdown]
# ## The runs
#
# Every rung is trained once for a long time at a constant learning rate; at several lengths a branch leaves this trunk, cools down over its last fifth, and is evaluated on documents that no model has seen. So a few trainings give a grid of
# losses $L(N, D)$, on the frontier $D = 20 N$ and on both sides of it, and no text is read twice. $N$ counts all parameters unless a sentence says otherwise.

# %%
records = load_runs()
table = pd.DataFrame(
    {
        "group": run.group,
        "size": run.size,
        "length": run.length,
        "N": run.shape.n_params,
        "n": run.shape.n_nonembedding,
        "D": run.n_train_tokens,
        "U": run.n_unique_tokens,
        "C": fits.FLOPS_PER_PARAM_TOKEN * run.shape.n_params * run.n_train_tokens,
        "loss": run.heldout.mean,
        "stopped": run.early_stopped,
        "transfer": run.transfer.mean,
        "rate": run.schedule.peak_lr,
        "width": run.shape.hidden_size,
        "layers": run.shape.n_layers,
        "name": run.name,
    }
    for run in records
)
grid = table[table["group"] == "grid"].reset_index(drop=True)
sizes = list(dict.fromkeys(grid["size"]))  # by N
size_n = grid.groupby("size")["N"].first()[sizes]  # N of each size
legend_columns = math.ceil(len(sizes) / 2)
colors = dict(zip(sizes, SCALE(np.linspace(0, 1, len(sizes))), strict=True))
assert len(sizes) >= 3, "`make ladder` trains the grid, smallest models first"
assert len(grid) >= 8, "`make ladder` trains the grid, shortest runs first"
grid.pivot(index="length", columns="size", values="loss")[sizes].rename_axis("D / 20N").style.format(
    "{:.3f}", na_rep="–"
).format_index("{:g}")

# %%
seeded = table[(table["group"] == "seed") | on_frontier_rows(table)]
spreads = [np.log(g["loss"]).var(ddof=1) for _, g in seeded.groupby("size") if len(g) > 1]
assert spreads, "`make ladder` trains other seeds of the smallest rungs"
seed_error = math.sqrt(np.mean(spreads))  # standard deviation of log loss from seed to seed
glue_all(n_runs=len(records), n_grid=len(grid), n_sizes=len(sizes), smallest=sizes[0], largest=sizes[-1])
glue_all(seed_percent=100 * seed_error, level=100 * level)

# %% [markdown]
# There are {glue:text}`n_runs:d` trainings, {glue:text}`n_grid:d` of them in the grid, of {glue:text}`n_sizes:d` sizes from {glue:text}`smallest` to {glue:text}`largest` parameters. Another seed changes a held-out loss by {glue:text}`seed_percent:.1f` % (one standard
# deviation): that is the noise that every law has to be seen through. Intervals are {glue:text}`level:.0f` % unless stated.
#
# One law for all of them, fitted as {cite:t}`hoffmann2022training` do, Huber's loss on $\log L$ from a grid of starts:


# %%
def chinchilla_law(law, n_params, n_tokens):
    """E + A N^-alpha + B D^-beta, nats per token."""
    return law.E + law.A * n_params**-law.alpha + law.B * n_tokens**-law.beta


columns = [grid[name].to_numpy(float) for name in ("N", "D", "loss")]
law = fits.fit_chinchilla(*columns)
np.testing.assert_allclose(chinchilla_law(law, *columns[:2]), law(*columns[:2]))
resample = resample_runs if len(grid) >= 20 else resample_noise  # few runs: draw their errors, not the runs
refit = partial(fits.fit_chinchilla, start=law)
chinchilla = resample(fits.fit_chinchilla, *columns, refit=refit, n_replicates=n_replicates)
law_error = float(np.std(np.log(columns[2] / law(*columns[:2]))))
fitted = pd.DataFrame({"here": law._asdict()})
for end in ("low", "high"):
    fitted[end] = {name: getattr(chinchilla.interval(name, level), end) for name in law._fields}
for key, name in (("hoffmann2022", "Hoffmann et al."), ("besiroglu2024", "Besiroglu et al.")):
    fitted[name] = {field: CHINCHILLA[key][field] for field in law._fields}
glue_all(law_error=100 * law_error, misfit=law_error / seed_error)
glue_all(blame="its form" if law_error > 3 * seed_error else "chance")
fitted.style.format("{:.3g}")

# %% mystnb={"figure": {"caption": "Held-out loss of the grid's runs (dots, one colour a size) and the fitted law (lines). The dashed line joins the runs on the frontier, D = 20 N.", "name": "fig-laws-grid"}, "image": {"alt": "Held-out loss in nats per token against training tokens on a logarithmic axis, one falling line for each model size; larger models lie lower."}}
fig, ax = plt.subplots()
for size in sizes:
    mine = grid[grid["size"] == size]
    tokens = np.geomspace(mine["D"].min(), mine["D"].max(), 40)
    ax.plot(tokens, law(size_n[size], tokens), color=colors[size], linewidth=1)
    ax.plot(mine["D"], mine["loss"], "o", color=colors[size], label=size)
on_frontier = grid[grid["length"] == 1]
ax.plot(on_frontier["D"], on_frontier["loss"], "--", color="C5", linewidth=1.2)
ax.set(xscale="log", xlabel="training tokens", ylabel="held-out loss, nats per token")
plain_axis(ax.xaxis, [3e5, 1e6, 3e6, 1e7, 3e7, 1e8])
fig.legend(loc="outside lower center", ncols=legend_columns)
plt.show()

# %% [markdown]
# The law misses a run by {glue:text}`law_error:.1f` % (standard deviation), {glue:text}`misfit:.0f` times what another seed changes: what is left over is the fault of {glue:text}`blame`. What its constants are worth is told by their intervals, and the last section comes back to them.

# %% [markdown]
# (laws-copying)=
# ## What the law cannot see: learning to copy
#
# The misfit has a cause, and the logs show it. Here is how fast each trunk learns: the local exponent $-\,d \log L / d \log t$ of its online loss after $t$ tokens. Were that loss a power law, the line would be level; with a floor, it would fall.

# %% mystnb={"figure": {"caption": "Local exponent of the online loss at constant learning rate, the longest run of each size, between bins of eight a decade.", "name": "fig-laws-speed"}, "image": {"alt": "Local exponent of the loss against tokens seen on a logarithmic axis, one line a size. All lines fall at first; those of the largest models rise again to a peak and fall after it."}}
longest_runs = {
    size: max((r for r in records if (r.group, r.size) == ("grid", size)), key=lambda r: r.length)
    for size in sizes
}
rows = {}
fig, ax = plt.subplots()
for size, run in longest_runs.items():
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

# %%
speed = pd.DataFrame(rows).T
speed.style.format("{:.2f}").format("{:.1f}", subset=["at, million tokens"])

# %%
risen = speed[speed["rise"] > 0.1]
places = sorted({f"{place:.1f}" for place in risen["at, million tokens"]}, key=float)
glue_all(risen=", ".join(risen.index) or "none", risen_from=risen["slowest before"].min())
glue_all(risen_to=risen["fastest after"].max())
glue_all(risen_at=" to ".join(dict.fromkeys([*places[:1], *places[-1:]])))

# %% [markdown]
# Past the first million tokens a rise of a tenth or more is beyond the scatter of the bins, and it is seen on {glue:text}`risen`: from {glue:text}`risen_from:.2f` the exponent goes up to {glue:text}`risen_to:.2f`, and the peak comes {glue:text}`risen_at` million tokens into
# the text. {cite:t}`olsson2022context` saw this bump in language models large and small, and what forms behind it: *induction heads*, which look for the last place where the present token stood, and copy what came after it.
#
# Copying can be seen in the losses themselves. A token *repeats* if it and the token before it stood side by side earlier in the same window: who looks up what came next the last time gets it right. Here is the loss of every rung's own checkpoint on such tokens of held-out documents, and on all the others.


# %%
def mean_where(nll, chosen):
    """Mean NLL over the chosen tokens, nats, and its standard error over windows."""
    mean = nll[chosen].mean()
    excess = ((nll - mean) * chosen).sum(axis=1)  # (n_windows,)
    return float(mean), float(np.sqrt((excess**2).sum()) / chosen.sum())


windows = sample_rows(corpus_rows("heldout"), n_windows, seed=0)  # (n_windows, seq_len + 1)
repeats = repeated_pairs(windows)  # (n_windows, seq_len)
rows = {}
for size in on_frontier["size"]:
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

# %%
fall = -np.log(copying["repeated"]).diff() / np.log(copying["N"]).diff()  # exponent from rung to rung
steepest = int(fall.argmax())
before, after = copying.iloc[steepest - 1], copying.iloc[steepest]
for kind, fitted_law in copying_laws.items():
    glue_all(**{f"misfit_{kind}": 100 * np.std(np.log(copying[kind] / fitted_law(copying["N"])))})
glue_all(repeated_percent=100 * share, steep_from=before.name, steep_to=after.name)
for kind in ("repeated", "others"):
    glue_all(**{f"steep_{kind}": 100 * (1 - after[kind] / before[kind])})
glue_all(others_exponent=-copying_laws["others"].exponent)

# %% [markdown]
# {glue:text}`repeated_percent:.0f` % of the tokens repeat: it is source code. From {glue:text}`steep_from` to {glue:text}`steep_to` parameters their loss falls by {glue:text}`steep_repeated:.0f` %, that of the others by {glue:text}`steep_others:.0f` %. Along the frontier a power law misses the repeated tokens by {glue:text}`misfit_repeated:.0f` % and all of
# them by {glue:text}`misfit_all:.1f` %, the others by no more than {glue:text}`misfit_others:.1f` %, with an exponent of {glue:text}`others_exponent:.2f`. So what bends the laws of this ladder is a skill that is learned in one go, by models that are large enough and have read enough. Every exponent below is that of a ladder with this step in the
# middle of it. (Whether a token repeats is known from the token itself: the two means share out the loss, and are not the loss of a task.)

# %% [markdown]
# ## The learning rate
#
# A law of scale compares models that were trained equally well, and a learning rate that suits small models may hurt large ones. So the smallest rungs were trained with several rates; near its minimum the loss is a parabola in the logarithm of the rate, whose vertex is the best one. Its error comes from
# the scatter between seeds. The vertices give the rule by which a rate is carried to larger models, a power of the width:


# %%
tried = table[(table["group"] == "rate") | on_frontier_rows(table)]
tuned = {}
for size, mine in tried.groupby("size", sort=False):
    if len(mine) >= 5:
        nats = seed_error * mine["loss"].min()
        tuned[size] = curves.tuned(mine["rate"], mine["loss"], nats)
assert len(tuned) >= 2, "`make ladder` tries other learning rates on the smallest rungs"
rungs = {size: models.get(f"ladder-{size}") for size in sizes}
rule = curves.transfer_rule([rungs[size].hidden_size for size in tuned], list(tuned.values()))
rates = pd.DataFrame(
    {
        size: {
            "width": rung.hidden_size,
            "used": rung.peak_lr,
            "best": tuned[size].rate if size in tuned else math.nan,
            "± %": 100 * tuned[size].relative_error if size in tuned else math.nan,
            "by the rule": rule(rung.hidden_size),
            "lost by the one used, nats": tuned[size].excess(rung.peak_lr) if size in tuned else math.nan,
        }
        for size, rung in rungs.items()
    }
).T
rates.style.format("{:.4f}", na_rep="–").format("{:.0f}", na_rep="–", subset=["width", "± %"])

# %% mystnb={"figure": {"caption": "Held-out loss of the compute-optimal runs of the smallest rungs against the learning rate of the stable phase (dots), with the parabola through the best of them and its vertex (diamond). Open: the rate that the ladder uses.", "name": "fig-laws-rate"}, "image": {"alt": "Held-out loss in nats per token against learning rate on a logarithmic axis, one shallow valley for each of the smallest model sizes."}}
fig, ax = plt.subplots()
for size, best in tuned.items():
    mine = tried[tried["size"] == size].sort_values("rate")
    line = np.geomspace(mine["rate"].min(), mine["rate"].max(), 60)
    line = line[np.abs(np.log(line / best.rate)) < 0.9]
    ax.plot(line, [best.loss + best.excess(rate) for rate in line], color=colors[size], linewidth=1)
    used = mine["rate"] == rungs[size].peak_lr
    ax.plot(mine["rate"][~used], mine["loss"][~used], "o", color=colors[size], label=size)
    ax.plot(mine["rate"][used], mine["loss"][used], "o", color=colors[size], markerfacecolor="none")
    ax.plot(best.rate, best.loss, "D", color="C1")
ax.set(xscale="log", xlabel="learning rate", ylabel="held-out loss, nats per token")
plain_axis(ax.xaxis, [0.005, 0.01, 0.02, 0.04, 0.08])
fig.legend(loc="outside lower center", ncols=6)
plt.show()

# %%
lost = rates["lost by the one used, nats"]
glue_all(rate_exponent=-rule.exponent, rate_exponent_error=1.96 * rule.exponent_error, rate_lost=lost.max())
glue_all(rate_lost_percent=100 * max(lost[size] / best.loss for size, best in tuned.items()))
glue_range("rate_ratio", rates["used"] / rates["by the rule"])

# %% [markdown]
# The vertices go as the width to the power {glue:text}`rate_exponent:+.2f` $\pm$ {glue:text}`rate_exponent_error:.2f`, from the scatter of seeds alone. The ladder's rates were set before these runs, by eye; they are {glue:text}`rate_ratio_least:.2f` to {glue:text}`rate_ratio_most:.2f` times those of the rule, which for the
# widest models is an extrapolation by far. The valleys are shallow: on the rungs that were tuned, the rate in use loses at most {glue:text}`rate_lost:.3f` nats, {glue:text}`rate_lost_percent:.1f` % of the loss. That the larger ones are trained as well is an assumption of everything below.

# %% [markdown]
# ## Finding 1: scale matters, shape hardly
#
# *Kaplan et al.: at a fixed number of parameters the loss depends little on how they are laid out, width against depth, except for models of a single layer.* Models with the parameters of the third rung, from one wide layer to thirteen narrow ones, were trained on twenty tokens a
# parameter. Their sizes agree within a few per cent; what is left of that is taken out by the fitted law.

# %%
SHAPED = "200k"  # the rung whose parameters are laid out anew
base = table[on_frontier_rows(table) & (table["size"] == SHAPED)]
shapes = pd.concat([table[table["group"] == "shape"], base]).sort_values("layers")
assert len(shapes) >= 4, "`make ladder` trains other shapes"
adjusted = np.log(shapes["loss"]) - np.log(law(shapes["N"], shapes["D"]))
shapes = shapes.assign(
    aspect=shapes["width"] / shapes["layers"],
    outside=shapes["n"] / shapes["N"],
    worse=100 * (np.exp(adjusted - adjusted.min()) - 1),
)
N, D = (base[name].item() for name in ("N", "D"))
halved = 100 * float(law(N / 2, D / 2) / law(N, D) - 1)
said = {"aspect": "width / layers", "outside": "share outside embeddings", "worse": "worse than the best, %"}
shown = shapes[["width", "layers", "aspect", "N", "outside", "loss", "worse"]].rename(columns=said)
shown.style.hide(axis="index").format(precision=3).format(
    "{:.1f}", subset=["width / layers", "worse than the best, %"]
).format("{:,.0f}", subset=["N"])

# %%
several = shapes[shapes["layers"] > 1]
spread = float(several["worse"].max() - several["worse"].min())
doubt = 100 * stats.norm.ppf((1 + level) / 2) * math.sqrt(2) * seed_error  # of a difference of two runs
answer(
    "1 shape",
    holds=spread + doubt < halved,
    fails=spread - doubt > halved,
    evidence=f"width / layers from {several['aspect'].min():.1f} to {several['aspect'].max():.0f} changes the loss by {spread:.1f} % (± {doubt:.1f}), half the parameters by {halved:.1f} %",
)
glue_all(shape_spread=spread, shape_doubt=doubt, shape_halved=halved)
glue_range("aspect", several["aspect"])
glue_range("outside", 100 * several["outside"])
glue_all(one_layer=shapes.loc[shapes["layers"] == 1, "worse"].max())

# %% [markdown]
# With two layers or more, a width of {glue:text}`aspect_least:.1f` to {glue:text}`aspect_most:.0f` times the number of layers changes the loss by {glue:text}`shape_spread:.1f` % ($\pm$ {glue:text}`shape_doubt:.1f` % from the scatter of seeds); the model of one layer is {glue:text}`one_layer:.1f` % worse than the best. Half the parameters
# and half the tokens would cost {glue:text}`shape_halved:.1f` %, and the question is which of the two matters more. One thing moves along with the shape: a narrow model spends less on its embeddings, so that the share outside them goes from {glue:text}`outside_least:.0f` to {glue:text}`outside_most:.0f` %. Kaplan et al.
# fix that part, we fix the whole. **Finding 1: {glue:text}`answer_1`.**

# %% [markdown]
# ## Finding 2: power laws in N, D and C
#
# *Kaplan et al.: with the other two not in the way, the loss is a power law in each, a straight line in logarithms.* We look at straightness first: a parabola through the logarithms, and whether its curvature can be zero.


# %%
def straightness(x, losses):
    """Exponent of L ~ x^-k with its interval, and that of a parabola at both ends."""
    seen = trend(x, losses, level)
    return {
        "exponent": -seen.overall.value,
        "low": -seen.overall.high,
        "high": -seen.overall.low,
        "at the start": -seen.first.value,
        "at the end": -seen.last.value,
        "bent": seen.bent,
    }


by_tokens = [
    frontier.Curve(size_n[size], mine["D"].to_numpy(float), mine["loss"].to_numpy(float))
    for size, mine in grid.groupby("size", sort=False)
    if len(mine) > 1
]
common_tokens = min(curve.n_tokens[-1] for curve in by_tokens)
there = [c for c in by_tokens if c.n_tokens[0] <= common_tokens]
at_common = [(c.n_params, float(c.loss_at(6 * c.n_params * common_tokens))) for c in there]
longest = max(by_tokens, key=lambda c: (len(c.n_tokens) >= 3, c.n_params))  # large: N not in the way
lines = {
    f"L(N) at {plain(common_tokens)} tokens": np.transpose(at_common),
    f"L(D) of {plain(longest.n_params)} parameters": (longest.n_tokens, longest.losses),
    "L(C) on the frontier": on_frontier[["C", "loss"]].to_numpy(float).T,
}
straight = pd.DataFrame({name: straightness(*line) for name, line in lines.items() if len(line[0]) >= 3}).T
exponents = (("L_of_N", "alpha_N"), ("L_of_D", "alpha_D"), ("L_of_Cmin", "alpha_C"))
theirs = {name: KAPLAN[law][alpha] for name, (law, alpha) in zip(lines, exponents, strict=True)}
straight["Kaplan et al."] = pd.Series(theirs)
straight.style.format("{:.3f}", subset=[name for name in straight if name != "bent"])

# %%
bent = straight["bent"].astype(bool)
answer(
    "2 power laws",
    holds=not bent.any() and (straight["high"] - straight["low"] < straight["exponent"]).all(),
    fails=bool(bent.any()),
    evidence="; ".join(
        f"{name}: {row['exponent']:.3f} ({row['low']:.3f} to {row['high']:.3f}){', bent' if bent[name] else ''}"
        for name, row in straight.iterrows()
    ),
)
glue_all(n_bent=bent.sum(), n_lines=len(straight))
glue_range("exponent_ratio", straight["exponent"] / straight["Kaplan et al."])

# %% [markdown]
# {glue:text}`n_bent:d` of {glue:text}`n_lines:d` lines are bent, each by one test at 95 %, and the overall exponent of a bent line belongs to neither of its ends. The exponents are {glue:text}`exponent_ratio_least:.1f` to {glue:text}`exponent_ratio_most:.1f` times Kaplan's: where a model has just begun to learn, each doubling buys more. A pure power
# law can only be a piece of the story, since it starts above $\log V$ and ends at zero, and a loss does neither. **Finding 2: {glue:text}`answer_2`.**

# %% [markdown]
# ## Finding 3: overfitting follows one ratio
#
# *Kaplan et al.: with the text limited to $D$ tokens, and training stopped when held-out loss is least,*
#
# $$
# L(N, D) = \Bigl[ \Bigl(\frac{N_c}{N}\Bigr)^{\alpha_N/\alpha_D} + \frac{D_c}{D} \Bigr]^{\alpha_D} ,
# $$ (eq-laws-overfitting)
#
# *so that the penalty depends on $N^{\alpha_N/\alpha_D}/D$ alone, and eight times the parameters need about five times the text.* Here each model was trained for its usual number of steps on a half to a sixteenth of the text, read again and again in the same order, and its held-out loss was followed on the way. $D$ is now the
# number of *different* tokens.


# %%
def kaplan_law(law, n_params, n_unique):
    """Equation (laws-overfitting), nats per token."""
    size = np.exp(law.alpha_n / law.alpha_d * (law.log_n_c - np.log(n_params)))
    return (size + np.exp(law.log_d_c) / n_unique) ** law.alpha_d


repeated_sizes = table.loc[table["group"] == "repeat", "size"].unique()
limited = table[(table["group"] == "repeat") | (on_frontier_rows(table) & table["size"].isin(repeated_sizes))]
assert len(repeated_sizes) >= 3, "`make ladder` trains on repeated text"
places = [limited[name].to_numpy(float) for name in ("N", "U", "stopped")]
refit = partial(fits.fit_kaplan, start=fits.fit_kaplan(*places))
overfitting = resample_noise(fits.fit_kaplan, *places, refit=refit, n_replicates=n_replicates)
np.testing.assert_allclose(kaplan_law(overfitting.law, *places[:2]), overfitting.law(*places[:2]))
whole = limited[limited["group"] == "grid"].set_index("size")["loss"]
limited = limited.assign(
    penalty=100 * (limited["stopped"] / limited["size"].map(whole) - 1), epochs=limited["D"] / limited["U"]
)
limited.assign(epochs=limited["epochs"].round().astype(int)).pivot(
    index="epochs", columns="size", values="penalty"
)[list(repeated_sizes)].rename_axis("times read").style.format("{:.1f}", na_rep="–")

# %% mystnb={"figure": {"caption": "Held-out loss, stopped early, against the number of different tokens (dots, one colour a size), with the fitted form of Kaplan et al. (lines).", "name": "fig-laws-overfitting"}, "image": {"alt": "Held-out loss against different training tokens on a logarithmic axis, one line for each model size, falling and flattening where the text is no longer scarce."}}
fig, ax = plt.subplots()
for size, mine in limited.groupby("size", sort=False):
    unique = np.geomspace(mine["U"].min(), mine["U"].max(), 40)
    ax.plot(unique, overfitting.law(mine["N"].iloc[0], unique), color=colors[size], linewidth=1)
    ax.plot(mine["U"], mine["stopped"], "o", color=colors[size], label=size)
ax.set(xscale="log", xlabel="different training tokens", ylabel="held-out loss, nats per token")
plain_axis(ax.xaxis, [1e5, 3e5, 1e6, 3e6, 1e7])
fig.legend(loc="outside lower center", ncols=6)
plt.show()

# %%
KAPLAN_RATIO = KAPLAN["L_of_N_D"]["alpha_N"] / KAPLAN["L_of_N_D"]["alpha_D"]
k = overfitting.law.data_exponent
k_low, k_high = overfitting.interval("data_exponent", level)
overfitting_error = float(np.std(np.log(places[2] / overfitting.law(*places[:2]))))
answer(
    "3 overfitting",
    holds=k_low <= KAPLAN_RATIO <= k_high and k_high - k_low < KAPLAN_RATIO,
    fails=not k_low <= KAPLAN_RATIO <= k_high,
    evidence=f"8 times the parameters ask for {8**k:.1f} times the text ({8**k_low:.1f} to {8**k_high:.1f}), Kaplan {8**KAPLAN_RATIO:.1f}; the form misses a run by {100 * overfitting_error:.1f} %",
)
glue_interval("eight", 8**k, 8**k_low, 8**k_high)
glue_all(eight_kaplan=8**KAPLAN_RATIO, overfitting_error=100 * overfitting_error)
for epochs in (2, 16):
    glue_all(**{f"penalty_{epochs}": limited.loc[limited["epochs"].round() == epochs, "penalty"].mean()})

# %% [markdown]
# Text read twice costs {glue:text}`penalty_2:.1f` % against fresh text, text read sixteen times {glue:text}`penalty_16:.1f` %. The form misses a run by {glue:text}`overfitting_error:.1f` % (standard deviation), and eight times the parameters ask for {glue:text}`eight:.1f` times the
# text ({glue:text}`eight_low:.1f` to {glue:text}`eight_high:.1f`); Kaplan's constants give {glue:text}`eight_kaplan:.1f`. One caveat: their models were trained until held-out loss rose, ours for as many steps as one epoch of the whole text has. **Finding 3: {glue:text}`answer_3`.**

# %% [markdown]
# ## Finding 4: training curves have one shape
#
# *Kaplan et al.: training curves follow power laws of much the same constants at every size, so that the beginning of a run tells its end.* We fit $a + c\,t^{-k}$ to the first third of each trunk at constant learning rate and predict
# its last bin.

# %%
online, forecasts, firsts, rows = {}, {}, {}, {}
for size in on_frontier["size"]:  # a size that has not come so far has no third to show
    run = longest_runs[size]
    log = run.online_log
    stable = (run.schedule.n_steps - run.schedule.decay_steps) * run.schedule.tokens_per_step  # tokens
    curve = curves.binned(log.online_nll, log.tokens_per_step)
    online[size] = curve = curve.between(0, stable)
    firsts[size] = first = max(5 * run.schedule.warmup_steps * run.schedule.tokens_per_step, stable / 50)
    forecasts[size] = ensemble = curves.forecast(curve, first, stable / 3, n_replicates)
    k_low, k_high = ensemble.interval("exponent", level)
    rows[size] = {
        "k": ensemble.law.exponent,
        "k low": k_low,
        "k high": k_high,
        "predicted": float(ensemble.law(curve.n_tokens[-1])),
        **ensemble.prediction(float(curve.n_tokens[-1]), level=level)._asdict(),
        "outcome": curve.losses[-1],
    }
endings = pd.DataFrame(rows).T
endings["inside"] = endings["outcome"].between(endings["low"], endings["high"])
endings.style.format("{:.3f}", subset=list(endings.columns[:-1]))

# %% mystnb={"figure": {"caption": "Online loss of the trunks at constant learning rate (dots: means of batches). Lines: the law fitted to the first third (solid), and its forecast of the rest (dashed).", "name": "fig-laws-forecast"}, "image": {"alt": "Online loss against tokens seen, both axes logarithmic, for every size; dashed forecasts continue the fitted lines and mostly pass through the later dots."}}
fig, ax = plt.subplots()
for size in online:
    curve, ensemble = online[size], forecasts[size]
    end = curve.n_tokens[-1]
    ax.plot(curve.n_tokens, curve.losses, "o", markersize=2.5, color=colors[size], label=size)
    fit_part, forecast_part = np.geomspace(firsts[size], end / 3, 30), np.geomspace(end / 3, end, 30)
    ax.plot(fit_part, ensemble.law(fit_part), color=colors[size], linewidth=1)
    ax.plot(forecast_part, ensemble.law(forecast_part), "--", color=colors[size], linewidth=1)
ax.set(xscale="log", yscale="log", xlabel="tokens seen", ylabel="online loss, nats per token")
plain_axis(ax.xaxis, [1e4, 1e5, 1e6, 1e7, 1e8])
plain_axis(ax.yaxis, [2, 3, 4, 5, 6, 7])
fig.legend(loc="outside lower center", ncols=legend_columns)
plt.show()

# %%
n_inside = int(endings["inside"].sum())
ending_error = float((endings["predicted"] / endings["outcome"] - 1).abs().mean())
width = float(((endings["high"] - endings["low"]) / endings["outcome"]).mean())
one_shape = bool(endings["k low"].max() <= endings["k high"].min())
enough = n_inside >= stats.binom.ppf(0.05, len(endings), level)
answer(
    "4 training curves",
    holds=enough and one_shape and width < 0.1,
    fails=not enough or not one_shape,
    evidence=f"{n_inside} of {len(endings)} ends inside their interval, off by {100 * ending_error:.1f} % on average; exponents {endings['k'].min():.2f} to {endings['k'].max():.2f}",
)
glue_all(
    n_inside=n_inside, n_curves=len(endings), width_percent=100 * width, ending_percent=100 * ending_error
)
glue_all(outside=", ".join(endings.index[~endings["inside"].astype(bool)]) or "none")
glue_range("k", endings["k"])
glue_all(one_shape="have a value in common" if one_shape else "have no value in common")

# %% [markdown]
# {glue:text}`n_inside:d` of {glue:text}`n_curves:d` ends fall inside the interval that the first third gives, and the predicted values are off by {glue:text}`ending_percent:.1f` % on average. The exponents run from {glue:text}`k_least:.2f` to {glue:text}`k_most:.2f`, and their
# intervals {glue:text}`one_shape`. The finding asks for both, and for intervals that say something: a tenth of the loss at most, where these are {glue:text}`width_percent:.0f` % wide. The ends outside are those of: {glue:text}`outside`. A curve of one exponent does not know the bump
# of {ref}`learning to copy <laws-copying>`, whether it comes after the part that was fitted or in it. **Finding 4: {glue:text}`answer_4`.**

# %% [markdown]
# ## Finding 5: transfer costs a constant
#
# *Kaplan et al.: on text of another kind the loss is higher by an offset that hardly changes, and improves in step.* The other kind is the King James Bible, in the ladder's tokens: English of 1611 for models raised on source code and its documentation.

# %% mystnb={"figure": {"caption": "Loss on another kind of text against held-out loss on the usual one, all runs of the grid; dashed: a constant offset; line: the fitted slope.", "name": "fig-laws-transfer"}, "image": {"alt": "Loss on the King James Bible against held-out loss, one dot for each run, with the fitted line and a dashed line of slope one."}}
line = stats.linregress(grid["loss"], grid["transfer"])
half = stats.t.ppf((1 + level) / 2, len(grid) - 2) * line.stderr
offsets = grid["transfer"] - grid["loss"]
offset = float(offsets.mean())
fig, ax = plt.subplots()
for size, mine in grid.groupby("size", sort=False):
    ax.plot(mine["loss"], mine["transfer"], "o", color=colors[size], label=size)
ends = np.array([grid["loss"].min(), grid["loss"].max()])
ax.plot(ends, ends + offset, "--", color="C5", linewidth=1.2)
ax.plot(ends, line.intercept + line.slope * ends, color="C1", linewidth=1.2)
ax.set(xlabel="held-out loss, nats per token", ylabel="loss on the other text, nats")
fig.legend(loc="outside lower center", ncols=legend_columns)
plt.show()

# %%
answer(
    "5 transfer",
    holds=abs(line.slope - 1) + half < 0.1,
    fails=abs(line.slope - 1) - half > 0.1,
    evidence=f"slope {line.slope:.2f} ({line.slope - half:.2f} to {line.slope + half:.2f}), offset {offset:.2f} nats on average",
)
glue_interval("slope", line.slope, line.slope - half, line.slope + half)
glue_all(offset_first=offsets[grid["loss"].idxmax()], offset_last=offsets[grid["loss"].idxmin()])
glue_all(transfer_r=line.rvalue)

# %% [markdown]
# The two losses go together (correlation {glue:text}`transfer_r:.3f`), but a constant offset means a slope of one, and the slope is {glue:text}`slope:.2f` ({glue:text}`slope_low:.2f` to {glue:text}`slope_high:.2f`): from the worst run to the best the offset goes from
# {glue:text}`offset_first:.2f` to {glue:text}`offset_last:.2f` nats. The answer allows the slope a tenth. **Finding 5: {glue:text}`answer_5`.**

# %% [markdown]
# ## Finding 6: larger models need fewer tokens
#
# *Kaplan et al.: larger models reach the same loss with fewer steps and fewer data.* From the online losses: the tokens after which each size first reaches a given loss.

# %%
reached = sorted(curve.losses.min() for curve in online.values())
lowest = reached[max(2, len(reached) - 2)] + 0.05  # all sizes but one get there, three at least
levels = np.linspace(6.0, lowest, 5)  # nats
needed = pd.DataFrame(
    {size: [curve.tokens_to_reach(loss) for loss in levels] for size, curve in online.items()},
    index=levels,
)
rows = {}
for loss, tokens in needed.iterrows():
    there = tokens.dropna()
    ensemble = resample_noise(fits.fit_power_law, size_n[there.index], there, n_replicates=n_replicates)
    interval = ensemble.interval("exponent", level)._asdict()
    rows[f"{loss:.2f}"] = {"exponent": ensemble.law.exponent, **interval, **tokens.to_dict()}
efficiency = pd.DataFrame(rows).T.rename_axis("to reach, nats")
efficiency.style.format("{:,.0f}", na_rep="–").format("{:.2f}", subset=["exponent", "low", "high"])

# %%
late = efficiency.iloc[-2:]
answer(
    "6 sample efficiency",
    holds=bool((late["low"] > 0).all()),
    fails=bool((late["high"] < 0).any()),
    evidence=f"tokens to a loss of {late.index[-1]} nats ~ N^-{late['exponent'].iloc[-1]:.2f} ({late['low'].iloc[-1]:.2f} to {late['high'].iloc[-1]:.2f})",
)
glue_all(first_level=levels[0], efficiency_first=efficiency["exponent"].iloc[0])
glue_range("efficiency", efficiency["exponent"])

# %% [markdown]
# Tokens to a given loss go as $N^{-k}$ with $k$ from {glue:text}`efficiency_least:.2f` to {glue:text}`efficiency_most:.2f`. On the way to {glue:text}`first_level:.0f` nats ($k = {}$ {glue:text}`efficiency_first:+.2f`) models of all sizes learn the same, how often each token
# occurs, and the pace is set by learning rate and batch; the finding is about what comes later, so the two lowest levels decide. **Finding 6: {glue:text}`answer_6`.**

# %% [markdown]
# ## Finding 7: convergence is inefficient
#
# *Kaplan et al.: with compute given, the best model is one that stops well before it converges, about a tenth above its final loss.* Along the frontier of the fitted law the derivatives balance, $\alpha A N^{-\alpha} = \beta B D^{-\beta}$, so that the optimal stop lies
#
# $$
# \frac{L(N, D_{opt})}{L(N, \infty)} = \frac{E + (1 + \alpha/\beta)\, A N^{-\alpha}}{E + A N^{-\alpha}}
# $$ (eq-laws-stop)
#
# above the loss that the same model would converge to.


# %%
def stop_ratio(law, n_params):
    """Equation (laws-stop)."""
    size = law.A * n_params**-law.alpha
    return (law.E + (1 + law.alpha / law.beta) * size) / (law.E + size)


middle = float(np.median(size_n))
flops = np.geomspace(1e8, 1e18, 2001)
best_n, best_d = law.optimum(flops)
by_search = np.interp(math.log(middle), np.log(best_n), law(best_n, best_d) / law(best_n, np.inf))
np.testing.assert_allclose(stop_ratio(law, middle), by_search, rtol=1e-3)
stop_low, stop_high = chinchilla.interval(lambda law: stop_ratio(law, middle), level)
kaplan_stop = 1 + KAPLAN["L_of_N_S"]["alpha_N"] / KAPLAN["L_of_N_S"]["alpha_S"]
answer(
    "7 early stop",
    holds=stop_low > 1.02,
    fails=stop_high < 1.02,
    evidence=f"stop at {stop_ratio(law, middle):.2f} of the converged loss ({stop_low:.2f} to {stop_high:.2f}), Kaplan {kaplan_stop:.2f}",
)
glue_interval("stop", *(100 * (ratio - 1) for ratio in (stop_ratio(law, middle), stop_low, stop_high)))
glue_all(kaplan_stop=100 * (kaplan_stop - 1), middle=plain(middle))

# %% [markdown]
# For a model of {glue:text}`middle` parameters the best stop is {glue:text}`stop:.0f` % above convergence ({glue:text}`stop_low:.0f` to {glue:text}`stop_high:.0f`); Kaplan's exponents give {glue:text}`kaplan_stop:.0f` %. **Finding 7: {glue:text}`answer_7`.**

# %% [markdown]
# ## Finding 8: the critical batch grows as the loss falls
#
# *Kaplan et al.: the batch size beyond which larger batches waste data is a power of the loss, $B_{crit} = B_* / L^{1/\alpha_B}$, and does not depend on the size of the model.* It is estimated by the noise scale of the gradient, the ratio of its variance over tokens to
# its squared length {cite:p}`mccandlish2018empirical`, measured where each run of the grid leaves its trunk.

# %%
noise = pd.DataFrame(
    {
        "size": run.size,
        "N": run.shape.n_params,
        "loss": run.online_log.online_nll[max(0, run.noise.step - 50) : run.noise.step].mean(dtype=float),
        "tokens": run.noise.tokens,
        "error": run.noise.standard_error,
    }
    for run in records
    if run.group == "grid" and run.noise is not None and run.noise.gradient_square > 0
)
batch = resample_noise(fits.fit_power_law, noise["loss"], noise["tokens"], n_replicates=n_replicates)
batch_low, batch_high = batch.interval("exponent", level)
kaplan_batch = 1 / KAPLAN["critical_batch"]["alpha_B"]
residual = np.log(noise["tokens"] / batch.law(noise["loss"]))
by_size = stats.linregress(np.log(noise["N"]), residual)
by_size_half = stats.t.ppf((1 + level) / 2, len(noise) - 2) * by_size.stderr

# %% mystnb={"figure": {"caption": "Gradient noise scale against online loss where the runs of the grid leave their trunks, with standard errors; line: the fitted power law.", "name": "fig-laws-batch"}, "image": {"alt": "Noise scale in tokens against loss in nats per token, both axes logarithmic, one colour for each size; the noise scale grows as the loss falls."}}
fig, ax = plt.subplots()
for size, mine in noise.groupby("size", sort=False):
    ax.errorbar(mine["loss"], mine["tokens"], mine["error"], fmt="o", color=colors[size], label=size)
ends = np.geomspace(noise["loss"].min(), noise["loss"].max(), 20)
ax.plot(ends, batch.law(ends), color="C1", linewidth=1.2)
ax.set(xscale="log", yscale="log", xlabel="online loss, nats per token", ylabel="noise scale, tokens")
ax.invert_xaxis()
plain_axis(ax.xaxis, [2, 2.5, 3, 4, 5, 6, 7])
plain_axis(ax.yaxis, [1e2, 1e3, 1e4, 1e5, 1e6])
fig.legend(loc="outside lower center", ncols=legend_columns)
plt.show()

# %%
answer(
    "8 critical batch",
    holds=batch_low > 0 and batch_low <= kaplan_batch <= batch_high,
    fails=batch_high < kaplan_batch or batch_low > kaplan_batch,
    evidence=f"L to the power {-batch.law.exponent:+.1f} ({-batch_high:+.1f} to {-batch_low:+.1f}), Kaplan {-kaplan_batch:+.1f}; left over by size N^{by_size.slope:+.2f} (± {by_size_half:.2f})",
)
glue_interval("batch", batch.law.exponent, batch_low, batch_high)
glue_all(kaplan_batch=kaplan_batch, batch_by_size=by_size.slope, batch_by_size_half=by_size_half)

# %% [markdown]
# The noise scale goes as $L^{-k}$ with $k = {}$ {glue:text}`batch:.1f` ({glue:text}`batch_low:.1f` to {glue:text}`batch_high:.1f`), Kaplan's $1/\alpha_B$ is {glue:text}`kaplan_batch:.1f`. What is left over goes as $N$ to the power {glue:text}`batch_by_size:+.2f` $\pm$ {glue:text}`batch_by_size_half:.2f`, zero if
# size does not matter. **Finding 8: {glue:text}`answer_8`.**

# %% [markdown]
# ## Finding 9: a contradiction, and where it went
#
# *Kaplan et al., section 6.3: the laws cannot all go on.* On their frontier the data grow so slowly that the loss which that much text allows, $L(D)$, must at some point lie above the loss that the compute promises, $L(C)$. From their constants: $B_{crit}$, $L(N, S)$ and the
# rule that compute is spent best give $N \propto C^{\alpha_C/\alpha_N}$ with $1/\alpha_C = 1/\alpha_S + 1/\alpha_B + 1/\alpha_N$, hence $D \propto C^{1 - \alpha_C/\alpha_N}$.

# %%
steps_law, alpha_b = KAPLAN["L_of_N_S"], KAPLAN["critical_batch"]["alpha_B"]
alpha_c = 1 / (1 / steps_law["alpha_S"] + 1 / alpha_b + 1 / steps_law["alpha_N"])
kaplan_a = alpha_c / steps_law["alpha_N"]  # N ~ C^a
data_limit = KAPLAN["L_of_D"]["alpha_D"] * (1 - kaplan_a)  # L(D(C)) ~ C^-this
point = KAPLAN["contradiction_point"]
promised = (KAPLAN["L_of_Cmin"]["C_c_PF_days"] / point["C_PF_days"]) ** KAPLAN["L_of_Cmin"]["alpha_C"]
np.testing.assert_allclose(alpha_c, KAPLAN["L_of_Cmin"]["alpha_C"], atol=0.005)
np.testing.assert_allclose(promised, point["L_nats"], atol=0.05)
ours_c = law.alpha * law.beta / (law.alpha + law.beta)  # L - E ~ C^-this on the frontier
ours_limit = law.beta * (1 - law.allocation_exponent)  # B D^-beta on the frontier
np.testing.assert_allclose(ours_c, ours_limit, rtol=1e-12)
pd.DataFrame(
    {
        "promised by compute, L(C)": {"Kaplan et al.": alpha_c, "fitted law here, L - E": ours_c},
        "allowed by data, L(D(C))": {"Kaplan et al.": data_limit, "fitted law here, L - E": ours_limit},
        "N ~ C^a": {"Kaplan et al.": kaplan_a, "fitted law here, L - E": law.allocation_exponent},
    }
).style.format("{:.3f}")

# %%
answer(
    "9 contradiction",
    holds=data_limit < alpha_c,
    fails=data_limit >= alpha_c,
    evidence=f"in Kaplan's constants: C^-{data_limit:.3f} allowed, C^-{alpha_c:.3f} promised; in a law with both terms it cannot arise",
)
glue_all(alpha_c=-alpha_c, data_limit=-data_limit, kaplan_a=kaplan_a)
glue_all(promised=promised, contradiction_loss=point["L_nats"])

# %% [markdown]
# Compute promises a loss that goes as $C$ to the power {glue:text}`alpha_c:+.3f`, data allow {glue:text}`data_limit:+.3f`: the second falls more slowly, and the lines must cross. At the point that Kaplan et al. name, their $L(C)$ is {glue:text}`promised:.2f` nats ({glue:text}`contradiction_loss:.1f` in
# their text). A law of the form $E + A N^{-\alpha} + B D^{-\beta}$ cannot contradict itself in this way: along its frontier both terms fall as the *same* power, $C^{-\alpha\beta/(\alpha+\beta)}$, and the only surprise left is the floor $E$. What had to give is
# the allocation: not $N \propto C$ to the power {glue:text}`kaplan_a:.2f`, but about the square root. The contradiction is one of Kaplan's own constants, on which this answer rests: **finding 9: {glue:text}`answer_9`.**

# %% [markdown]
# ## Chinchilla: three ways to the frontier
#
# How should $C = 6 N D$ operations be split? {cite:t}`hoffmann2022training` ask in three ways, and so do we: the **envelope** of the loss curves, the minima of parabolas at **equal compute**, and the **law**, whose optimum is a formula, $N_{opt} \propto C^{\beta/(\alpha+\beta)}$.

# %%
low_c, high_c = sorted([np.median([c.flops[0] for c in by_tokens]), max(c.flops[-1] for c in by_tokens)])
budgets = np.geomspace(low_c, high_c, 13)
approaches = {"envelope": frontier.envelope, "equal compute": frontier.isoflop}
optima = {name: approach(by_tokens, budgets) for name, approach in approaches.items()}
rows = {}
for name, approach in approaches.items():
    if len(optima[name]) >= 2:
        interval = frontier.allocation_interval(approach, by_tokens, budgets, seed_error, level, n_replicates)
        reach = optima[name][-1].flops / optima[name][0].flops
        rows[f"here, {name}"] = frontier.allocation(optima[name]), *interval, len(optima[name]), reach
a_law = chinchilla.interval("allocation_exponent", level)
reach = grid["C"].max() / grid["C"].min()
rows["here, law"] = law.allocation_exponent, *a_law, len(grid), reach
for key, name in (("hoffmann2022", "Hoffmann et al., law"), ("besiroglu2024", "Besiroglu et al., law")):
    alpha, beta = CHINCHILLA[key]["alpha"], CHINCHILLA[key]["beta"]
    rows[name] = beta / (alpha + beta), *[math.nan] * 4
rows["Kaplan et al., constants"] = kaplan_a, *[math.nan] * 4
headings = ["a of N ~ C^a", "low", "high", "budgets or runs", "largest C / least"]
allocation = pd.DataFrame(rows, index=headings).T
allocation.style.format("{:.2f}", na_rep="").format("{:.0f}", na_rep="", subset=headings[3]).format(
    "{:,.1f}", na_rep="", subset=headings[4]
)

# %% mystnb={"figure": {"caption": "Loss at equal compute: held-out loss, interpolated along each size's runs, against parameters for every budget C in floating-point operations that three sizes or more can be compared at. Lines: parabolas; diamonds: their minima.", "name": "fig-laws-isoflop"}, "image": {"alt": "Held-out loss against parameters on a logarithmic axis; for each compute budget a set of dots with a parabola through them, some with a marked minimum; larger budgets lie lower."}}
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
named_axis(ax.xaxis, size_n, sizes, rotation=45)
fig.legend(loc="outside lower center", ncols=4, title=r"$C$ in $10^{12}$ operations")
plt.show()

# %% mystnb={"figure": {"caption": "The fitted law as a landscape: lines of equal loss (nats per token) over parameters and tokens, the runs (dots), the frontier of the law (orange) and 20 tokens a parameter (dashed).", "name": "fig-laws-landscape"}, "image": {"alt": "Contour lines of the fitted loss over parameters and training tokens, both logarithmic; dots mark the runs; an orange line, the compute-optimal frontier, rises across the dashed line of twenty tokens a parameter."}}
n_axis = np.geomspace(size_n.min() / 1.3, size_n.max() * 1.3, 80)
d_axis = np.geomspace(grid["D"].min() / 1.3, grid["D"].max() * 1.3, 80)
fig, ax = plt.subplots()
losses = law(*np.meshgrid(n_axis, d_axis))
lines = ax.contour(n_axis, d_axis, losses, levels=14, cmap=SCALE.reversed(), linewidths=1)
ax.clabel(lines, fontsize="small", fmt="%.1f")
ax.scatter(grid["N"], grid["D"], color=[colors[size] for size in grid["size"]], s=26, zorder=3)
best_n, best_d = law.optimum(np.geomspace(1e9, 1e17, 200))
inside = (best_n > n_axis[0]) & (best_n < n_axis[-1]) & (best_d > d_axis[0]) & (best_d < d_axis[-1])
ax.plot(best_n[inside], best_d[inside], color="C1", linewidth=2.5, label="frontier of the law")
ax.plot(n_axis, 20 * n_axis, "--", color="C5", linewidth=1.4, label="20 tokens a parameter")
ax.set(xscale="log", yscale="log", xlabel="parameters", ylabel="training tokens", ylim=d_axis[[0, -1]])
named_axis(ax.xaxis, size_n, sizes, rotation=45)
plain_axis(ax.yaxis, [3e5, 1e6, 3e6, 1e7, 3e7, 1e8])
fig.legend(loc="outside lower center", ncols=2)
plt.show()


# %%
def tokens_per_parameter(law, n_params):
    """D/N where a model of N parameters is the best at its compute: alpha A N^-alpha = beta B D^-beta."""
    log_d = (math.log(law.beta * law.B / (law.alpha * law.A)) + law.alpha * math.log(n_params)) / law.beta
    return math.exp(min(log_d - math.log(n_params), 700.0))


ratio = tokens_per_parameter(law, middle)
np.testing.assert_allclose(law.optimum(6 * ratio * middle**2)[0], middle)
ratios = chinchilla.interval(lambda law: tokens_per_parameter(law, middle), level)
a_of = allocation["a of N ~ C^a"]
glue_interval("a_law", law.allocation_exponent, *a_law)
glue_range("a", a_of.filter(like="here"))
glue_all(a_hoffmann=a_of["Hoffmann et al., law"], a_besiroglu=a_of["Besiroglu et al., law"])
glue_all(n_budgets=len(budgets), n_envelope=len(optima["envelope"]), n_isoflop=len(optima["equal compute"]))
glue_interval("ratio", ratio, *ratios)
names = ("Hoffmann", "Besiroglu", "Kaplan")
covered = [name for name in names if a_law.covers(a_of.filter(like=name).iloc[0])]
glue_all(covered=" and ".join(covered) or "none of them")

# %% [markdown]
# The approaches say $a$ from {glue:text}`a_least:.2f` to {glue:text}`a_most:.2f`; the law {glue:text}`a_law:.2f` ({glue:text}`a_law_low:.2f` to {glue:text}`a_law_high:.2f`). Published: {glue:text}`a_hoffmann:.2f` (Hoffmann), {glue:text}`a_besiroglu:.2f` (Besiroglu's refit of the same data), {glue:text}`kaplan_a:.2f` (Kaplan).
# The law's interval covers: {glue:text}`covered`. The first two ways read their exponent off those of {glue:text}`n_budgets:d` budgets whose best size lies inside the ladder ({glue:text}`n_envelope:d` and {glue:text}`n_isoflop:d`; an exponent takes two), and their intervals know the
# scatter of seeds, not how narrow that range of compute is; the law uses every run, and has the misfit that we saw. At {glue:text}`middle` parameters the best number of tokens a parameter is {glue:text}`ratio:.2g` ({glue:text}`ratio_low:.2g` to {glue:text}`ratio_high:.2g`); the ladder's rule, and the paper's, is 20.

# %% [markdown]
# ## Kaplan or Chinchilla: a matter of counting
#
# {cite:t}`pearce2024reconciling` explain most of the difference between the two exponents: Kaplan counted parameters and compute *without* embeddings, on small models, where embeddings are most of what there is. With $n$ parameters outside the embeddings, $N = n + \omega\, n^{1/3}$ in a family that keeps its
# proportions. Minimizing the same law at fixed $c = 6 n D$ gives, in place of a constant exponent, one that bends:
#
# $$
# \beta B D^{-\beta} = \alpha A N^{-\alpha}\; \frac{d \log N}{d \log n}, \qquad \frac{d \log N}{d \log n} = \frac{n + \tfrac13\omega\, n^{1/3}}{n + \omega\, n^{1/3}} .
# $$ (eq-laws-nonembedding)
#
# Solved for $D$ and differentiated, the exponent of $n_{opt} \propto c^{a}$ is $a = \beta/(\beta + \alpha e - e')$, with $e$ the second expression and $e'$ its own elasticity: $\beta/(\alpha+\beta)$ where embeddings are few.


# %%
def elasticity(n, omega):
    """d log N / d log n of equation (laws-nonembedding): 1/3 among embeddings, 1 far above them."""
    return (n + omega * np.cbrt(n) / 3) / (n + omega * np.cbrt(n))


size_nonembedding = grid.groupby("size")["n"].first()[sizes]
omega = frontier.embedding_constant(size_nonembedding, size_n)
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
ax.axhline(kaplan_a, linestyle=":", color="C3", label="Kaplan et al.")
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
embedded = 100 * (1 - size_nonembedding / size_n)
glue_all(here_n=plain(here_n), embedding_percent=embedded.iloc[0], embedding_percent_last=embedded.iloc[-1])

# %% [markdown]
# On the ladder embeddings are {glue:text}`embedding_percent:.0f` % of the smallest model and {glue:text}`embedding_percent_last:.0f` % of the largest. Counted in Kaplan's way, the *same* fitted law has an exponent of {glue:text}`bend:.2f` ({glue:text}`bend_low:.2f` to {glue:text}`bend_high:.2f`) at
# {glue:text}`here_n` parameters outside the embeddings, {glue:text}`shift:+.2f` ({glue:text}`shift_low:+.2f` to {glue:text}`shift_high:+.2f`) from the exponent of all parameters. Nothing about the models has changed but the counting.

# %% [markdown]
# ## What agreed, what did not

# %%
summary = pd.DataFrame(answers, index=["answer", "evidence"]).T.rename_axis("finding").reset_index()
summary.style.hide(axis="index").set_properties(**{"text-align": "left", "white-space": "normal"})

# %%
for name, word in {"n_hold": HOLDS, "n_not": NOT, "n_unknown": UNKNOWN}.items():
    glue_all(**{name: (summary["answer"] == word).sum()})
glue_all(n_findings=len(summary))

# %% [markdown]
# Of {glue:text}`n_findings:d` findings, {glue:text}`n_hold:d` hold on the ladder, {glue:text}`n_not:d` do not, {glue:text}`n_unknown:d` cannot be told. All of this is said of models from {glue:text}`smallest` to {glue:text}`largest` parameters, on one kind of text with 2048 tokens; branches of one trunk share their past, so that intervals
# are somewhat too narrow. None of it is evidence about models a thousand times larger, for which the constants of the papers stand.
# What stands out down here is one step, {ref}`learning to copy <laws-copying>`. On the tokens that cannot be copied from their window, the frontier is a power law to {glue:text}`misfit_others:.1f` %.
