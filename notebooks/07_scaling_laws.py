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
# # Kaplan's findings on the ladder
#
# | | |
# |---|---|
# | **Paper section** | 2 and 5 (what "compute-optimal" means, and the law behind the information content) |
# | **Reads** | the records of the ladder's trainings (`make ladder`) |
# | **Writes** | nothing |
# | **Runtime** | about a minute |
#
# {cite:t}`kaplan2020scaling` found laws of scale on models a thousand to a million times larger than ours. This page puts nine of their findings to the ladder, one by one. Each gets one of three answers, *holds here*, *does not*, or *cannot be told at this scale*, and the numbers decide which.
#
# ```{glue:} verdicts
# ```
#
# {glue:text}`tally` Every exponent is that of a ladder with a step in its middle: between {doc}`14_copying`'s smallest and largest models, copying is learned.

# %% tags=["parameters"]
n_replicates: int = 200  # refits behind each interval
level: float = 0.95  # of the intervals

# %%
import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from gengap import models, published
from gengap.book.figures import plain, plain_axis
from gengap.book.glue import glue_all, glue_interval, glue_range
from gengap.book.ladder_runs import ladder_runs
from gengap.laws import curves, fits, resample_noise, resample_runs, trend

plt.style.use("gengap.book")
KAPLAN = published.facts("kaplan2020")
HOLDS, NOT, UNKNOWN, ELSEWHERE = (
    "holds here",
    "does not",
    "cannot be told at this scale",
    "needs no ladder",
)
answers = {}  # finding -> (answer, evidence)


def answer(finding, holds, fails, evidence):
    """Enter a finding's answer, and glue it."""
    answers[finding] = HOLDS if holds else NOT if fails else UNKNOWN, evidence
    glue_all(**{f"answer_{finding.split()[0]}": answers[finding][0]})


runs = ladder_runs()
table, grid, own, sizes, colors = runs.table, runs.grid, runs.own, runs.sizes, runs.colors
legend_columns = math.ceil(len(sizes) / 2)
seed_error = runs.seed_error()  # standard deviation of log loss from seed to seed
law = runs.law()  # E + A N^-alpha + B D^-beta
resample = resample_runs if len(grid) >= 20 else resample_noise  # few runs: draw their errors, not the runs
refit = partial(fits.fit_chinchilla, start=law)
chinchilla = resample(fits.fit_chinchilla, *runs.law_columns(), refit=refit, n_replicates=n_replicates)
middle = float(np.median(runs.n_params))  # a size in the middle of the ladder
glue_all(seed_percent=100 * seed_error, level=100 * level)

# %% [markdown]
# (laws-kaplan-settings)=
# ## What was trained, there and here
#
# The ladder's trainings are those of {ref}`laws-runs`: nine sizes at several lengths, and for the smallest sizes other seeds, learning rates, shapes, and texts that are read again. Another seed changes a held-out loss by {glue:text}`seed_percent:.1f` % (one standard deviation). Intervals are {glue:text}`level:.0f` % unless stated.
#
# Kaplan's models were larger by orders of magnitude, on other text, with other batches and schedules: {ref}`a table <kaplan-settings>` sets the two side by side. We write $F = 6ND$ for the compute of a training; Kaplan et al. write $C$.

# %% [markdown]
# ## The learning rate
#
# A law of scale compares models that were trained equally well, and a learning rate that suits small models may hurt large ones. So the smallest rungs were trained with several rates. Near its minimum the loss is a parabola in the logarithm of the rate, whose vertex is the best one. Its error comes from
# the scatter between seeds. The vertices give the rule by which a rate is carried to larger models, a power of the width:


# %% caption="Learning rates: the best for each width, and those that the rule gives"
tried = pd.concat([table[table["group"] == "rate"], own])
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
# The vertices go as the width to the power {glue:text}`rate_exponent:+.2f` $\pm$ {glue:text}`rate_exponent_error:.2f`, from the scatter of seeds alone. The ladder's rates were set before these runs, by eye. They are {glue:text}`rate_ratio_least:.2f` to {glue:text}`rate_ratio_most:.2f` times those of the rule, which for the
# widest models is an extrapolation by far.
#
# The valleys are shallow: on the rungs that were tuned, the rate in use loses at most {glue:text}`rate_lost:.3f` nats, {glue:text}`rate_lost_percent:.1f` % of the loss. That the larger ones are trained as well is an assumption of everything below.

# %% [markdown]
# ## Finding 1: scale matters, shape hardly
#
# *Kaplan et al., section 3.1: at a fixed number of parameters the loss depends little on how they are laid out. A model of 6 wide layers comes within 3 % of one of 48 narrow layers.*
#
# Here models with the parameters of the third rung, from one wide layer to thirteen narrow ones, were trained on twenty tokens a
# parameter. Their sizes agree within a few per cent; what is left of that is taken out by the fitted law.


# %% caption="Layouts of nearly as many parameters, and how much worse than the best they are"
SHAPED = "200k"  # the rung whose parameters are laid out anew
LITTLE = 3.0  # %, what Kaplan et al. call little
base = own[own["size"] == SHAPED]
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
doubt = 100 * runs.doubt(level)  # of a difference of two runs
answer(
    "1 shape",
    holds=spread + doubt < LITTLE,
    fails=spread - doubt > LITTLE,
    evidence=f"width / layers from {several['aspect'].min():.1f} to {several['aspect'].max():.0f} changes the loss by {spread:.1f} % (± {doubt:.1f}), Kaplan {LITTLE:.0f} %; half of N and D by {halved:.0f} %",
)
glue_all(shape_spread=spread, shape_doubt=doubt, shape_halved=halved, shape_little=LITTLE)
glue_all(
    shape_against="more than"
    if spread - doubt > LITTLE
    else "less than"
    if spread + doubt < LITTLE
    else "about"
)
glue_all(scale_wins="more" if halved > spread + doubt else "no more")
glue_range("aspect", several["aspect"])
glue_range("outside", 100 * several["outside"])
glue_all(one_layer=shapes.loc[shapes["layers"] == 1, "worse"].max())


# %% [markdown]
# With two layers or more, the shape changes the loss by {glue:text}`shape_spread:.1f` % ($\pm$ {glue:text}`shape_doubt:.1f` % from the scatter of seeds), {glue:text}`shape_against` the {glue:text}`shape_little:.0f` % that Kaplan et al. call little. Scale matters {glue:text}`scale_wins`: half the parameters and half the tokens would cost {glue:text}`shape_halved:.0f` %.
#
# One thing moves along with the shape: a narrow model spends less on its embeddings, so that the share outside them goes from {glue:text}`outside_least:.0f` to {glue:text}`outside_most:.0f` %. Kaplan et al.
# fix that part, we fix the whole. So their claim is not refuted; on models that are mostly embeddings it cannot be carried over. **Finding 1: {glue:text}`answer_1`.**

# %% [markdown]
# ## Finding 2: power laws in N, D and F
#
# *Kaplan et al.: with the other two not in the way, the loss is a power law in each, a straight line in logarithms.*
#
# We look at straightness first: a parabola through the logarithms, and whether its curvature can be zero.


# %% caption="Exponents of the three power laws, and whether the line is bent"
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


by_tokens = runs.curves()
common_tokens = min(curve.n_tokens[-1] for curve in by_tokens)
there = [c for c in by_tokens if c.n_tokens[0] <= common_tokens]
at_common = [(c.n_params, float(c.loss_at(6 * c.n_params * common_tokens))) for c in there]
longest = max(by_tokens, key=lambda c: (len(c.n_tokens) >= 3, c.n_params))  # large: N not in the way
lines = {
    f"L(N) at {plain(common_tokens)} tokens": np.transpose(at_common),
    f"L(D) of {plain(longest.n_params)} parameters": (longest.n_tokens, longest.losses),
    "L(F) on the frontier": own[["F", "loss"]].to_numpy(float).T,
}
straight = pd.DataFrame({name: straightness(*line) for name, line in lines.items() if len(line[0]) >= 3}).T
exponents = (("L_of_N", "alpha_N"), ("L_of_D", "alpha_D"), ("L_of_Cmin", "alpha_C"))
theirs = {name: KAPLAN[form][alpha] for name, (form, alpha) in zip(lines, exponents, strict=True)}
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
glue_all(
    straightness=f"{len(straight) - bent.sum()} of the {len(straight)} lines are straight as far as one test at 95 % can see; "
    + (f"{' and '.join(straight.index[bent])} is bent." if bent.any() else "none is bent.")
)
glue_range("exponent_ratio", straight["exponent"] / straight["Kaplan et al."])


# %% [markdown]
# {glue:text}`straightness`
#
# The overall exponent of a bent line belongs to neither of its ends. The exponents are {glue:text}`exponent_ratio_least:.1f` to {glue:text}`exponent_ratio_most:.1f` times Kaplan's: where a model has just begun to learn, each doubling buys more.
#
# A pure power law can only be a piece of the story. It starts above $\log V$ and ends at zero, and a loss does neither. **Finding 2: {glue:text}`answer_2`.**

# %% [markdown]
# ## Finding 3: overfitting follows one ratio
#
# *Kaplan et al.: with the text limited to $D$ tokens, and training stopped when held-out loss is least,*
#
# $$
# L(N, D) = \Bigl[ \Bigl(\frac{N_c}{N}\Bigr)^{\alpha_N/\alpha_D} + \frac{D_c}{D} \Bigr]^{\alpha_D} ,
# $$ (eq-laws-overfitting)
#
# *so that the penalty depends on $N^{\alpha_N/\alpha_D}/D$ alone, and eight times the parameters need about five times the text.*
#
# Here each model was trained for its usual number of steps on a half to a sixteenth of the text, read again and again in the same order. Its held-out loss was followed on the way. $D$ is now the
# number of *different* tokens.


# %% caption="What repeating the text costs, % of the loss"
def kaplan_law(law, n_params, n_unique):
    """Equation (laws-overfitting), nats per token."""
    size = np.exp(law.alpha_n / law.alpha_d * (law.log_n_c - np.log(n_params)))
    return (size + np.exp(law.log_d_c) / n_unique) ** law.alpha_d


repeated_sizes = table.loc[table["group"] == "repeat", "size"].unique()
limited = pd.concat([table[table["group"] == "repeat"], own[own["size"].isin(repeated_sizes)]])
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
glue_all(overfitting_error=100 * overfitting_error)
for epochs in (2, 16):
    glue_all(**{f"penalty_{epochs}": limited.loc[limited["epochs"].round() == epochs, "penalty"].mean()})


# %% [markdown]
# Text read twice costs {glue:text}`penalty_2:.1f` % against fresh text, text read sixteen times {glue:text}`penalty_16:.1f` %. The form misses a run by {glue:text}`overfitting_error:.1f` % (standard deviation).
#
# One caveat: their models were trained until held-out loss rose, ours for as many steps as one epoch of the whole text has. **Finding 3: {glue:text}`answer_3`.**

# %% [markdown]
# ## Finding 4: training curves have one shape
#
# *Kaplan et al.: training curves follow power laws of much the same constants at every size, so that the beginning of a run tells its end.*
#
# We fit $a + B\,t^{-k}$ to the first third of each trunk at constant learning rate and predict
# its last bin.


# %% caption="Last bin of each trunk, forecast from its first third, nats per token"
online, forecasts, firsts, rows = {}, {}, {}, {}
for size in own["size"]:  # a size that has not come so far has no third to show
    run = runs.longest(size)
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
at_limit = (endings["k"] < 1.01 * fits.EXPONENTS[0]) | (
    endings["k"] > 0.99 * fits.EXPONENTS[1]
)  # no value fits best
endings.assign(k=endings["k"].map("{:.3f}".format).where(~at_limit, "not fixed")).style.format(
    "{:.3f}", subset=list(endings.columns[1:-1])
)

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
    evidence=f"{n_inside} of {len(endings)} ends inside their interval, off by {100 * ending_error:.1f} % on average; exponents that are fixed: {endings['k'][~at_limit].min():.2f} to {endings['k'][~at_limit].max():.2f}",
)
glue_all(
    n_inside=n_inside, n_curves=len(endings), width_percent=100 * width, ending_percent=100 * ending_error
)
glue_all(one_shape="have a value in common" if one_shape else "have no value in common")


# %% [markdown]
# {glue:text}`n_inside:d` of {glue:text}`n_curves:d` ends fall inside the interval that the first third gives; the predicted values are off by {glue:text}`ending_percent:.1f` % on average. The intervals of the exponents {glue:text}`one_shape`.
#
# The finding asks for both, and for intervals that say something: a tenth of the loss at most, where these are {glue:text}`width_percent:.0f` % wide.
#
# A curve of one exponent does not know the bump
# of {ref}`learning to copy <laws-copying>`, whether it comes after the part that was fitted or in it. **Finding 4: {glue:text}`answer_4`.**

# %% [markdown]
# ## Finding 5: transfer costs a constant
#
# *Kaplan et al.: on text of another kind the loss is higher by an offset that hardly changes, and improves in step.*
#
# The other kind is the King James Bible, in the ladder's tokens: English of 1611 for models raised on source code and its documentation.


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
# The two losses go together (correlation {glue:text}`transfer_r:.3f`), but a constant offset means a slope of one, and the slope is {glue:text}`slope:.2f` ({glue:text}`slope_low:.2f` to {glue:text}`slope_high:.2f`). The answer allows it a tenth.
#
# From the worst run to the best the offset goes from
# {glue:text}`offset_first:.2f` to {glue:text}`offset_last:.2f` nats. One far text is little evidence about transfer in general: Kaplan's other texts were books and web pages, nearer to their own. **Finding 5: {glue:text}`answer_5`.**

# %% [markdown]
# ## Finding 6: larger models need fewer tokens
#
# *Kaplan et al.: larger models reach the same loss with fewer steps and fewer data.* From the online losses: the tokens after which each size first reaches a given loss.


# %% caption="Tokens after which each size reaches a loss, as a power of N"
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
    ensemble = resample_noise(
        fits.fit_power_law, runs.n_params[there.index], there, n_replicates=n_replicates
    )
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
glue_all(efficiency_last=efficiency["exponent"].iloc[-1])


# %% [markdown]
# Tokens to a given loss go as $N^{-k}$. Early, on the way to {glue:text}`first_level:.0f` nats ($k = {}$ {glue:text}`efficiency_first:+.2f`) models of all sizes learn the same, how often each token
# occurs, and the pace is set by learning rate and batch. At the lowest level $k$ is {glue:text}`efficiency_last:+.2f`. The finding is about what comes late, so the two lowest levels decide. **Finding 6: {glue:text}`answer_6`.**

# %% [markdown]
# ## Finding 7: convergence is inefficient
#
# *Kaplan et al.: with compute given, the best model is one that stops well before it converges, about a tenth above its final loss.*
#
# Along the frontier of the fitted law the derivatives balance, $\alpha A N^{-\alpha} = \beta B D^{-\beta}$, so that the optimal stop lies
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


flops = np.geomspace(1e8, 1e18, 2001)
best_n, best_d = law.optimum(flops)
by_search = np.interp(math.log(middle), np.log(best_n), law(best_n, best_d) / law(best_n, np.inf))
np.testing.assert_allclose(stop_ratio(law, middle), by_search, rtol=1e-3)
stop_low, stop_high = chinchilla.interval(lambda law: stop_ratio(law, middle), level)
kaplan_stop = 1 + KAPLAN["L_of_N_S"]["alpha_N"] / KAPLAN["L_of_N_S"]["alpha_S"]
floor_low, floor_high = chinchilla.interval("E", level)
floor_known = floor_low > 0.1  # nats: without a floor there is nothing to converge to
answer(
    "7 early stop",
    holds=floor_known and stop_low <= kaplan_stop <= stop_high,
    fails=floor_known and not stop_low <= kaplan_stop <= stop_high,
    evidence=f"stop at {stop_ratio(law, middle):.2f} of the converged loss ({stop_low:.2f} to {stop_high:.2f}), Kaplan {kaplan_stop:.2f}; "
    + ("the floor is known" if floor_known else "the fitted floor may be zero"),
)
glue_interval("stop", *(100 * (ratio - 1) for ratio in (stop_ratio(law, middle), stop_low, stop_high)))
glue_all(kaplan_stop=100 * (kaplan_stop - 1), floor_high=floor_high)
glue_all(floor="zero to ten digits" if law.E < 1e-10 else f"{law.E:.2f} nats")
glue_all(
    stop_size="agrees as well." if stop_low <= kaplan_stop <= stop_high else "does not.",
    converged="" if floor_known else " Convergence is therefore no meaningful reference here.",
)

# %% [markdown]
# The direction agrees, the size {glue:text}`stop_size` For a model in the middle of the ladder the best stop lies {glue:text}`stop:.0f` % above convergence ({glue:text}`stop_low:.0f` to {glue:text}`stop_high:.0f`), where Kaplan's exponents give {glue:text}`kaplan_stop:.0f` %.
#
# The fitted floor $E$ is {glue:text}`floor`, and anything up to {glue:text}`floor_high:.2f` nats is inside its interval.{glue:text}`converged` **Finding 7: {glue:text}`answer_7`.**

# %% [markdown]
# ## Finding 8: the critical batch grows as the loss falls
#
# *Kaplan et al.: the batch size beyond which larger batches waste data is a power of the loss, $B_{crit} = B_* / L^{1/\alpha_B}$, and does not depend on the size of the model.*
#
# It is estimated by the noise scale of the gradient, the ratio of its variance over tokens to
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
    for run in runs.records
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
glue_all(
    by_size="The other half of the finding is met."
    if abs(by_size.slope) < by_size_half
    else "The other half of the finding is not met either."
)
glue_all(kaplan_batch=kaplan_batch, batch_by_size=by_size.slope, batch_by_size_half=by_size_half)


# %% [markdown]
# The noise scale goes as $L^{-k}$ with $k = {}$ {glue:text}`batch:.1f` ({glue:text}`batch_low:.1f` to {glue:text}`batch_high:.1f`); Kaplan's $1/\alpha_B$ is {glue:text}`kaplan_batch:.1f`.
#
# {glue:text}`by_size` What is left over goes as $N$ to the power {glue:text}`batch_by_size:+.2f` $\pm$ {glue:text}`batch_by_size_half:.2f`, zero if
# size does not matter. **Finding 8: {glue:text}`answer_8`.**

# %% [markdown]
# ## Finding 9: a contradiction, and where it went
#
# *Kaplan et al., section 6.3: the laws cannot all go on.*
#
# On their frontier the data grow so slowly that the loss which that much text allows, $L(D)$, must at some point lie above the loss that the compute promises, $L(F)$. This is a fact about Kaplan's constants and needs no ladder.
#
# $B_{crit}$, $L(N, S)$ and the
# rule that compute is spent best give $N \propto F^{\alpha_C/\alpha_N}$ with $1/\alpha_C = 1/\alpha_S + 1/\alpha_B + 1/\alpha_N$, hence $D \propto F^{1 - \alpha_C/\alpha_N}$. ($\alpha_C$ is their name for the exponent of compute.)


# %% caption="Exponents in compute that meet, of Kaplan's constants and of the law fitted here"
steps_law, alpha_b = KAPLAN["L_of_N_S"], KAPLAN["critical_batch"]["alpha_B"]
alpha_c = 1 / (1 / steps_law["alpha_S"] + 1 / alpha_b + 1 / steps_law["alpha_N"])
kaplan_a = alpha_c / steps_law["alpha_N"]  # N ~ F^a
data_limit = KAPLAN["L_of_D"]["alpha_D"] * (1 - kaplan_a)  # L(D(F)) ~ F^-this
point = KAPLAN["contradiction_point"]
promised = (KAPLAN["L_of_Cmin"]["C_c_PF_days"] / point["C_PF_days"]) ** KAPLAN["L_of_Cmin"]["alpha_C"]
np.testing.assert_allclose(alpha_c, KAPLAN["L_of_Cmin"]["alpha_C"], atol=0.005)
np.testing.assert_allclose(promised, point["L_nats"], atol=0.05)
ours_c = law.alpha * law.beta / (law.alpha + law.beta)  # L - E ~ F^-this on the frontier
ours_limit = law.beta * (1 - law.allocation_exponent)  # B D^-beta on the frontier
np.testing.assert_allclose(ours_c, ours_limit, rtol=1e-12)
pd.DataFrame(
    {
        "promised by compute, L(F)": {"Kaplan et al.": alpha_c, "fitted law here, L - E": ours_c},
        "allowed by data, L(D(F))": {"Kaplan et al.": data_limit, "fitted law here, L - E": ours_limit},
        "N ~ F^a": {"Kaplan et al.": kaplan_a, "fitted law here, L - E": law.allocation_exponent},
    }
).style.format("{:.3f}")

# %%
assert data_limit < alpha_c  # the lines of their constants do cross
answers["9 contradiction"] = (
    ELSEWHERE,
    f"Kaplan's constants: F^-{data_limit:.3f} allowed, F^-{alpha_c:.3f} promised; cannot arise in a law with both terms",
)
glue_all(alpha_c=-alpha_c, data_limit=-data_limit, kaplan_a=kaplan_a, a_here=law.allocation_exponent)
glue_all(promised=promised, contradiction_loss=point["L_nats"])


# %% [markdown]
# Compute promises a loss that goes as $F$ to the power {glue:text}`alpha_c:+.3f`, data allow {glue:text}`data_limit:+.3f`. The second falls more slowly, so the lines must cross. At the point that Kaplan et al. name, their $L(F)$ is {glue:text}`promised:.2f` nats ({glue:text}`contradiction_loss:.1f` in
# their text).
#
# A law of the form $E + A N^{-\alpha} + B D^{-\beta}$ cannot contradict itself in this way. Along its frontier both terms fall as the *same* power, $F^{-\alpha\beta/(\alpha+\beta)}$, and the only surprise left is the floor $E$.
#
# What gave, in {cite:t}`hoffmann2022training`, is the allocation: about the square root of $F$ instead of $F$ to the power {glue:text}`kaplan_a:.2f`. On the ladder the fitted law says {glue:text}`a_here:.2f`; {doc}`15_frontier` asks how much that is worth.

# %% [markdown]
# ## What agreed, what did not
#
# All of this is said of models from {glue:text}`smallest` to {glue:text}`largest` parameters, on one kind of text with 2048 tokens. Branches of one trunk share their past, so intervals
# are somewhat too narrow. None of it is evidence about models a thousand times larger, for which the constants of the papers stand.
#
# The table is at the top of the page. {glue:text}`tally`

# %% caption="Nine findings of Kaplan et al. and what the ladder says of them"
verdicts = pd.DataFrame(answers, index=["answer", "evidence"]).T.rename_axis("finding").reset_index()
counts = verdicts["answer"].value_counts()
tested = len(verdicts) - counts.get(ELSEWHERE, 0)
glue_all(
    verdicts=verdicts.style.hide(axis="index")
    .set_table_attributes('class="table"')
    .set_properties(**{"text-align": "left", "white-space": "normal"})
)
glue_all(
    tally=f"Of the {tested} findings that the ladder can test, {counts.get(HOLDS, 0) or 'none'} hold{'s' * (counts.get(HOLDS, 0) < 2)} as stated, "
    f"{counts.get(NOT, 0)} do not and {counts.get(UNKNOWN, 0)} cannot be told; the ninth is about Kaplan's own constants."
)
glue_all(smallest=sizes[0], largest=sizes[-1])

# %% [markdown]
# ## Exercises
#
# ```{exercise} The best stop without a floor
# :label: ex-07-1
#
# Set $E = 0$ in {eq}`eq-laws-stop`. What does the best stop depend on? What would Kaplan's exponents have to be for it to lie 10 % above convergence?
# ```
#
# ```{solution-start} ex-07-1
# :class: dropdown
# ```
#
# $A N^{-\alpha}$ cancels, and the ratio is $1 + \alpha/\beta$ at every size. Here that is {glue:text}`ex_no_floor:.2f`. Ten per cent ask for $\alpha = \beta/10$: training has to pay ten times as fast as size, in exponents. That is what Kaplan's $\alpha_N$ and $\alpha_S$ say, {glue:text}`ex_kaplan_ratio:.2f` of each other.

# %%
no_floor = law._replace(E=0.0)
np.testing.assert_allclose(stop_ratio(no_floor, np.array([1e5, 1e6, 1e9])), 1 + law.alpha / law.beta)
glue_all(ex_no_floor=1 + law.alpha / law.beta, ex_kaplan_ratio=kaplan_stop - 1)
np.testing.assert_allclose(kaplan_stop - 1, 0.1, atol=0.01)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} What a floor would change
# :label: ex-07-2
#
# Give the fitted law a floor of one nat, taken out of the term of size so that the loss of a model of the middle size is unchanged at infinite data. Where is the best stop now?
# ```
#
# ```{solution-start} ex-07-2
# :class: dropdown
# ```

# %%
converged = law(middle, np.inf)
raised = law._replace(E=1.0, A=(converged - 1.0) * middle**law.alpha)
np.testing.assert_allclose(raised(middle, np.inf), converged)
with_floor = stop_ratio(raised, middle)
assert 1 < with_floor < stop_ratio(law, middle)
glue_all(ex_with_floor=100 * (with_floor - 1))

# %% [markdown]
# It moves to {glue:text}`ex_with_floor:.0f` % above convergence. The data cannot tell the two laws apart, so they cannot tell the stop.
#
# ```{solution-end}
# ```
#
# ```{exercise} Three tests at 95 %
# :label: ex-07-3
#
# Finding 2 fails if *any* of three lines is called bent, each by a test at 95 %. If all three were straight and the tests independent, how often would the finding fail by chance? Are they independent?
# ```
#
# ```{solution-start} ex-07-3
# :class: dropdown
# ```
#
# $1 - 0.95^3$, which is {glue:text}`ex_three_tests:.0f` %. They are not independent: the runs on the frontier belong to the other lines too, and all sizes share one text.
#
# Dependence can only move that number between 5 and 15 %. So the verdict of finding 2 rests on one bend, and the page says which.

# %%
by_chance = 100 * (1 - 0.95**3)
draws = np.random.default_rng(0).random((100_000, 3)) < 0.05
np.testing.assert_allclose(100 * draws.any(axis=1).mean(), by_chance, atol=0.5)
glue_all(ex_three_tests=by_chance)

# %% [markdown]
# ```{solution-end}
# ```
