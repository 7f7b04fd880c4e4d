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
# # Information content: what training writes into a model
#
# With four bits a parameter the complexity of a compute-optimal model is the same at every size: {doc}`06_scale` shows a gap that hardly moves. The paper has a second argument for larger models. A parameter *can* hold four bits, but a model holds no more than training has put into it. What training puts in, the paper argues, grows more slowly than the number of parameters.
#
# **Answer.** What can be measured is the cost of learning, and on the ladder it is {glue:text}`ratio_least:.1f` to {glue:text}`ratio_most:.1f` times the length of a file that holds the model. It is an estimate of what was written and no code for it. As a statement about the *online* models, however, the same number is a certificate, and it is not vacuous on any rung.
#
# :::{table} The answers of this page, beside the paper's
# | | paper, Pythia | ladder |
# |---|---|---|
# | $K(h) \propto N^k$, one straight line | $k = {}$ {glue:text}`paper_exponent:.1f` $\pm$ {glue:text}`paper_exponent_pm:.1f` | {glue:text}`exponent:.2f` ({glue:text}`exponent_low:.2f` to {glue:text}`exponent_high:.2f`) |
# | the same at the largest rung | | {glue:text}`exponent_last_value:.2f` ({glue:text}`exponent_last_low:.2f` to {glue:text}`exponent_last_high:.2f`) |
# | bits a parameter | {glue:text}`paper_bits_first:.1f` to {glue:text}`paper_bits_last:.1f`, read in bits | {glue:text}`bits_least:.1f` to {glue:text}`bits_most:.1f` |
# | certified gap of the online model, nats | | {glue:text}`certified_online_least:.2f` to {glue:text}`certified_online_most:.2f` |
# :::
#
# A code with a decoder, which the paper's authors found later, is the subject of {doc}`18_requential`.
#
# | | |
# |---|---|
# | **Paper section** | 5 (information content, and the bound that it would give) |
# | **Reads** | loss logs, bound records and training runs of every rung that was run, here or before |
# | **Writes** | nothing |
# | **Runtime** | seconds |

# %% tags=["parameters"]
family: str = "ladder"  # models with a loss log and a record
method: str = "gptq"  # quantizer of the records
bits: int = 4  # per weight: the capacity that the information is compared with
failure_prob: float = 0.01  # delta of the conditional bound

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gengap import models, published
from gengap.book.figures import FAMILIES, plain_axis
from gengap.book.glue import glue_all, glue_interval, glue_range
from gengap.bounds import CodedModel, closed_form_gap
from gengap.laws import StudentFit, curves, information, trend
from gengap.laws.fits import EXPONENTS
from gengap.records import load_records, load_runs
from gengap.training import TrainingLog
from gengap.units import bits_from_nats, nats_from_bits

plt.style.use("gengap.book")

records = {record.identity.model_size: record for record in load_records(family, method, bits)}
rungs = [spec for name, spec in models.REGISTRY.items() if name in records and spec.find("loss_log.csv")]
rungs.sort(key=lambda spec: spec.n_params)
assert len(rungs) >= 5, (
    "five sizes with a log and a record are needed: results/ holds published ones, `gengap run` makes more"
)
sizes = [spec.size for spec in rungs]
n_params = np.array([spec.n_params for spec in rungs])  # (n_rungs,)
n_tokens = np.array([spec.n_train_tokens for spec in rungs])  # (n_rungs,) D
logs = {spec.size: TrainingLog.read(spec.find("loss_log.csv"), spec.n_steps) for spec in rungs}
final = {spec.size: records[spec.model_size].risks.train for spec in rungs}  # nats/token, with standard error

# %% [markdown]
# ## A coin, first
#
# A coin shows heads with probability $\theta$, which nobody knows. A learner predicts each toss from those before it: after $n$ tosses with $a$ heads, the next is heads with probability $(a + \frac12)/(n + 1)$. Its losses, added up, are the length of a {term}`prequential code` for the tosses. Whoever knows $\theta$ pays $n\,H(\theta)$ on average. Here is what the learner pays more.

# %%
theta, n_coins, n_tosses = 0.2, 400, 2**14
tosses = np.random.default_rng(0).random((n_coins, n_tosses)) < theta
heads_before = np.cumsum(tosses, axis=1) - tosses
predicted = (heads_before + 0.5) / (np.arange(n_tosses) + 1)  # of heads, before each toss
learner = -np.log(np.where(tosses, predicted, 1 - predicted))
knowing = -np.log(np.where(tosses, theta, 1 - theta))
paid_more = np.cumsum(learner - knowing, axis=1)  # nats: the area between the two loss curves
at = 2 ** np.arange(4, 15)
area = paid_more[:, at - 1].mean(axis=0)
area_error = paid_more[:, at - 1].std(axis=0, ddof=1) / math.sqrt(n_coins)
per_log = np.polyfit(np.log(at), area, 1)[0]
shortfall = area - 0.5 * np.log(at)
assert abs(per_log - 0.5) < 0.06
glue_all(coin_slope=per_log, coin_area=area[-1], coin_half_log=0.5 * math.log(n_tosses), coin_n=n_tosses)
entropy = -theta * math.log(theta) - (1 - theta) * math.log(1 - theta)
glue_all(
    coin_error=area_error[-1],
    coin_entropy=n_tosses * entropy,
    coin_share=100 * area[-1] / (n_tosses * entropy),
)

# %% mystnb={"figure": {"caption": "A coin whose probability is learned: what the learner pays more than someone who knows it, nats (dots: mean over 400 coins; bars: 95 %), and half the logarithm of the number of tosses, with a constant (line).", "name": "fig-coin"}, "image": {"alt": "Extra nats against the number of tosses on a logarithmic axis. The dots lie on a straight line whose slope is one half."}}
fig, ax = plt.subplots(figsize=(5, 2.8))
ax.errorbar(at, area, 1.96 * area_error, fmt="o", color="C0")
ax.plot(at, 0.5 * np.log(at) + shortfall[-4:].mean(), color="C1", linewidth=1.2)
ax.set(xscale="log", xlabel="tosses", ylabel="nats paid more")
plt.show()

# %% [markdown]
# The area between the two loss curves is $\frac12 \log n$ and a constant: its slope in $\log n$ is {glue:text}`coin_slope:.2f`. This is what it costs to learn one number from $n$ tosses, whose error shrinks as $1/\sqrt n$: $\frac12 \log n$ nats name it to that precision.
#
# Two sums make up the whole code. {glue:text}`coin_entropy:,.0f` nats pay for the entropy of the tosses, which knowing the coin does not save; {glue:text}`coin_area:.1f` $\pm$ {glue:text}`coin_error:.1f` pay for learning. A text of pure noise makes the first as large as it can be and leaves the second small. A text of one repeated letter makes the first zero. The area, and not the length of the code, is about the model.
#
# For the coin the area is about what a file with $\theta$ to the right number of digits would take: *symmetry of information*. Nothing guarantees this for a network. It may learn slowly, and then pays for the same knowledge many times.

# %% [markdown]
# ## Two codes for the same thing
#
# Someone who wants the training text *and* the trained model can be sent both in two ways.
#
# **Train while decoding.** The receiver starts the same training from the same seed. Each batch arrives coded by the model that has seen the batches before it, is decoded, and trained
# on. At the end the receiver holds text and model, and has read $\sum_k X_k$ nats, the sum of the *online* losses. This is {term}`prequential coding <prequential code>` {cite:p}`dawid1984prequential,blier2018description`.
#
# **The model first.** Send the model, in $K(h)$ nats, then the text coded by it, in $D \hat R_h$ nats.
#
# :::{prf:theorem} Information content (paper, section 5)
# :label: thm-information-content
#
# Symmetry of information says $K(\text{data}, h) = K(h) + K(\text{data} \mid h)$ up to logarithmic terms. The first code bounds the left side by $\sum_k X_k$. If the trained model codes
# the data as well as anything that knows $h$ can, $K(\text{data} \mid h) = D \hat R_h$, and so
#
# $$
# K(h) \;\lesssim\; \sum_{k=1}^{D} X_k - D\, \hat R_h .
# $$ (eq-information-content)
# :::
#
# Both steps deserve suspicion, and they err in opposite directions. Training may be a *slow* code. What it pays for while it is still learning need not all end up in the weights, and then the right side is too large. Or the trained model is a *poor* code for its own data. Then $K(\text{data}\mid h)$ is below $D \hat R_h$, and the right side is too small. In any case the right side measures how much the text cost to learn.


# %%
def information_content(online_nll, tokens_per_step, train_risk):
    """The right side of equation (information-content), nats; one loss per batch, before its update."""
    return tokens_per_step * np.sum(online_nll - train_risk)


contents = {}
for spec in rungs:
    log, risk = logs[spec.size], final[spec.size]
    contents[spec.size] = information.from_log(
        log.online_nll, log.tokens_per_step, risk.mean, spec.n_params, risk.standard_error
    )
    by_hand = information_content(log.online_nll.astype(float), log.tokens_per_step, risk.mean)
    np.testing.assert_allclose(contents[spec.size].nats, by_hand, rtol=1e-9)

# %% [markdown]
# On a linear axis the information content *is* an area. Here it is for the largest of these models:

# %% mystnb={"figure": {"caption": "Online loss of the largest model with a record (mean over neighbouring batches), and its final loss on the same tokens (dashed). The shaded area is the information content.", "name": "fig-information-area"}, "image": {"alt": "Loss in nats per token against millions of tokens seen. The online loss falls steeply and then slowly; the area between it and the dashed line of the final loss is shaded."}}
largest = rungs[-1]
log, content, end = logs[largest.size], contents[largest.size], final[largest.size].mean
curve = curves.binned(log.online_nll, log.tokens_per_step, bins_per_decade=40)
fig, ax = plt.subplots()
ax.plot(curve.n_tokens / 1e6, curve.losses, label="online loss")
ax.axhline(end, linestyle="--", color="C1", linewidth=1.4, label="final loss")
ax.fill_between(curve.n_tokens / 1e6, end, curve.losses, alpha=0.22, color="C0")
millions = largest.n_train_tokens / 1e6
inside, beside = (0.08 * millions, end + 0.3), (0.25 * millions, end + 1.5)
line = {"arrowstyle": "-", "color": "0.5"}
ax.annotate(f"$K(h)$ = {content.bits / 1e6:.1f} Mbit", inside, beside, arrowprops=line)
ax.set(xlabel="million tokens seen", ylabel="nats per token")
ax.legend()
plt.show()

# %%
excess = np.cumsum(log.online_nll.astype(float) - end)
falls = int(0.8 * len(excess))  # the step at which the learning rate begins to fall
glue_all(largest=largest.size, area_first_tenth=100 * (excess[len(excess) // 10] / excess[-1]))
glue_all(area_last_fifth=100 * (1 - excess[falls] / excess[-1]))
glue_all(final_gain=float(np.mean(log.online_nll[int(0.6 * len(excess)) : falls]) - end))

# %% [markdown]
# The first tenth of the tokens pays for {glue:text}`area_first_tenth:.0f` % of it. The last fifth, where the learning rate falls to zero, pays for {glue:text}`area_last_fifth:.0f` %.
#
# This tells of a flaw in the measure. Before the learning rate falls, the online loss stays {glue:text}`final_gain:.2f` nats above the final one, partly because large steps keep the weights shaking. That part is noise of the optimizer and no information. A code that cooled the model down before every batch would not pay for it.
#
# Try it: go up the rungs one by one, then cool the copy that codes.
#
# ```{interactive} area
# Information content of every rung, as an area and in bits a parameter. The dashed green line is as high above the final loss as the area is large, spread over all tokens: $K(h)/D$.
# ```
#
# ## Every rung
#
# The error is that of the final loss where it was measured on a sample of windows, multiplied by $D$.

# %% caption="Information content of every rung beside the length of its file"
table = pd.DataFrame(
    {
        "N": n_params,
        "D": n_tokens,
        "K, Mbit": [contents[size].bits / 1e6 for size in sizes],
        "error": [bits_from_nats(contents[size].standard_error) / 1e6 for size in sizes],
        "bits per parameter": [contents[size].bits_per_param for size in sizes],
        "nats per token": [contents[size].nats_per_token for size in sizes],
        "archive, Mbit": [
            records[spec.model_size].quantization.code_length_bits["archive"] / 1e6 for spec in rungs
        ],
    },
    index=sizes,
)
table["K / archive"] = table["K, Mbit"] / table["archive, Mbit"]
table.style.format("{:,.0f}", subset=["N", "D"]).format(
    "{:.2f}", subset=["K, Mbit", "error", "archive, Mbit"]
).format("{:.1f}", subset=["bits per parameter", "K / archive"]).format("{:.3f}", subset=["nats per token"])

# %%
quantization_cost = max(
    records[spec.model_size].risks.quantized.mean - final[spec.size].mean for spec in rungs
)
glue_range("ratio", table["K / archive"])
glue_range("bits", table["bits per parameter"])
glue_all(quantization_cost=quantization_cost, bits=bits)

# %% [markdown]
# The archive of {doc}`03_quantization` is a file that a decoder turns into the quantized model. So its length bounds that model's information for certain, and its loss is within {glue:text}`quantization_cost:.2f` nats of the trained one's. Against it, equation {eq}`eq-information-content` is {glue:text}`ratio_least:.1f` to {glue:text}`ratio_most:.1f` times too large.
#
# Parameters that do their work with less than {glue:text}`bits:d` bits are credited with {glue:text}`bits_least:.0f` to {glue:text}`bits_most:.0f`. On models of this size, training is an expensive way to write a model down.
#
# ## Against size
#
# The paper fits $K(h) = {}$ {glue:text}`paper_coefficient:.0f` $N^k$ with $k = {}$ {glue:text}`paper_exponent:.1f` $\pm$ {glue:text}`paper_exponent_pm:.1f` to Pythia. A power law is a straight line in logarithms; its interval is Student's, from the scatter of the rungs about the line.

# %% caption="Exponent of the information content as a power of N, with 95 % intervals"
k_bits = table["K, Mbit"].to_numpy() * 1e6  # (n_rungs,)
k_trend = trend(n_params, k_bits)
between = np.diff(np.log(k_bits)) / np.diff(np.log(n_params))  # (n_rungs - 1,) from rung to rung
but_the_largest = {
    name: StudentFit.of(n_params[:-1], k_bits[:-1], degree)
    for name, degree in {"straight": 1, "curved": 2}.items()
}
paper = published.facts("information_content_fit")

last = k_trend.last
paper_low, paper_high = (paper["exponent"] + by * paper["exponent_pm"] for by in (-1, 1))
covered = max(last.low, paper_low) <= min(last.high, paper_high)
last_says = (
    f"{'below one' if last.high < 1 else 'not certain to be below one'} at the top of the ladder, "
    f"with an interval that {'meets' if covered else 'does not meet'} the paper's"
)
low, high = k_trend.overall[1:]
growth = "faster than" if low > 1 else "more slowly than" if high < 1 else "about as fast as"
pd.DataFrame(
    {
        "straight line": k_trend.overall,
        f"parabola, at {sizes[0]}": k_trend.first,
        f"parabola, at {sizes[-1]}": k_trend.last,
        "paper, Pythia": [paper["exponent"], paper_low, paper_high],
    },
    index=["k of K ~ N^k", "low", "high"],
).T.style.format("{:.2f}")

# %% mystnb={"figure": {"caption": "Information content of the ladder's models (dots) with the fitted power law (dotted) and parabola, the length of their archives (triangles), the information content of the two families beside them (open marks), the paper's fit on the range of Pythia, read in bits, and the capacity of four bits a parameter (dashed).", "name": "fig-information-size"}, "image": {"alt": "Information in bits against parameters, both axes logarithmic. The ladder's dots lie above the capacity line and rise more steeply than it at first, less steeply at the end; the paper's line for Pythia begins above the capacity line and meets it at the right end."}}
pythia_n_params = [column.n_params for column in published.bound_table()]  # 70m to 6.9b
pythia = np.array([*pythia_n_params, published.pythia_n_params()["12b"]])
everything = np.array([n_params[0], pythia[-1]])


def bits_of(record):
    """Information content of a model of another family."""
    spec = models.get(record.identity.model_size)
    log = TrainingLog.read(spec.find("loss_log.csv"), spec.n_steps)
    n, loss = record.identity.n_params, record.risks.train.mean
    return information.from_log(log.online_nll, log.tokens_per_step, loss, n).bits


crossing = {
    "bits": (paper["coefficient"] / bits) ** (1 / (1 - paper["exponent"])),
    "nats": (bits_from_nats(paper["coefficient"]) / bits) ** (1 / (1 - paper["exponent"])),
}
fig, ax = plt.subplots()
ax.plot(everything, bits * everything, "--", color="C5", linewidth=1.4, label=f"capacity, {bits} bits each")
inside = np.geomspace(n_params[0], n_params[-1], 60)
ax.plot(n_params, k_trend.line(n_params), ":", color="C0", linewidth=1.2)
ax.plot(inside, k_trend.parabola(inside), color="C0", linewidth=1)
error = 1.96 * table["error"] * 1e6
ax.errorbar(n_params, k_bits, error, fmt="o", color="C0", label="information content, ladder")
ax.plot(n_params, table["archive, Mbit"] * 1e6, "^", color="C2", label="archive, ladder")
for name in FAMILIES:
    found = load_records(name, method, bits) if name != family else []
    if found:
        style = {"color": "C0", "markersize": 4, "linewidth": 1, "markerfacecolor": "none"}
        places = [record.identity.n_params for record in found]
        ax.plot(places, [bits_of(record) for record in found], FAMILIES[name], **style, label=name)
ends = pythia[[0, -1]]
ax.plot(ends, paper["coefficient"] * ends ** paper["exponent"], color="C3", label="paper's fit, Pythia")
ax.set(xscale="log", yscale="log", xlabel="parameters", ylabel="bits")
plain_axis(ax.xaxis, [1e5, 1e6, 1e7, 1e8, 1e9, 1e10])
plain_axis(ax.yaxis, [1e6, 1e7, 1e8, 1e9, 1e10])
fig.legend(loc="outside lower center", ncols=2)
plt.show()

# %%
for name, smaller in but_the_largest.items():
    glue_all(**{f"{name}_predicted": smaller(n_params[-1]) / 1e6})
    glue_all(**{f"{name}_{end}": x / 1e6 for end, x in smaller.prediction(n_params[-1])._asdict().items()})
for end in ("first", "last"):
    glue_all(**{f"exponent_{end}_{k}": x for k, x in getattr(k_trend, end)._asdict().items()})
glue_interval("exponent", *k_trend.overall)
glue_all(growth=growth, steps=", ".join(f"{value:.2f}" for value in between), k_largest=k_bits[-1] / 1e6)
overall_says = (
    "but this exponent belongs to neither end, because the line is bent"
    if k_trend.bent
    else "and no bend shows in a single test"
)
glue_all(overall_says=overall_says, bend_p_value=k_trend.bend_p_value, last_says=last_says)
glue_all(**{f"crossing_{unit}": n / 1e9 for unit, n in crossing.items()})
paper_bits = paper["coefficient"] * pythia[[0, -1]] ** (paper["exponent"] - 1)
glue_all(paper_bits_first=paper_bits[0], paper_bits_last=paper_bits[1], confidence=100 * (1 - failure_prob))
glue_all(**{f"paper_{name}": paper[name] for name in ("coefficient", "exponent", "exponent_pm")})
glue_all(n_rungs=len(rungs), smallest=sizes[0])

# %% [markdown]
# Over all {glue:text}`n_rungs:d` rungs, from {glue:text}`smallest` to {glue:text}`largest` parameters, a straight line says that $K$ grows {glue:text}`growth` $N$, {glue:text}`overall_says` ($p$ = {glue:text}`bend_p_value:.1g`). At the ends the parabola's exponents are in the table: {glue:text}`last_says`. From rung to rung they are:
#
# :::{table} Exponents of $K$ between neighbouring rungs, smallest first
# | exponents |
# |---|
# | {glue:text}`steps` |
# :::
#
# The parabola was tried when eight rungs had been seen, so it is put to a test. Fitted to all rungs but the largest it predicts {glue:text}`curved_predicted:.0f` Mbit for that one ({glue:text}`curved_low:.0f` to {glue:text}`curved_high:.0f`).
#
# The straight line predicts {glue:text}`straight_predicted:.0f` ({glue:text}`straight_low:.0f` to {glue:text}`straight_high:.0f`). It is {glue:text}`k_largest:.0f`.
#
# The picture also shows how far the paper's own fit is from the capacity line: it meets it at {glue:text}`crossing_bits:.0f` billion parameters if its unit is bits,
# at {glue:text}`crossing_nats:.0f` billion if it is nats. Even for Pythia the argument is one about the trend, and about models larger than the largest measured.

# %% mystnb={"figure": {"caption": "Information content per parameter (bars), and the bits in which the archive stores one (diamonds).", "name": "fig-information-per-parameter"}, "image": {"alt": "Bars of information content in bits per parameter for each model size, well above diamonds at less than four bits per parameter."}}
fig, ax = plt.subplots()
ax.bar(sizes, table["bits per parameter"], width=0.6, label="information content")
ax.plot(sizes, table["archive, Mbit"] * 1e6 / n_params, "D", color="C1", label="archive")
ax.axhline(bits, linestyle="--", color="C5", linewidth=1.2, label=f"{bits} bits")
ax.set(xlabel="parameters", ylabel="bits per parameter")
ax.grid(axis="x", visible=False)
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# ## The closed form, and why the exponent is what it is
#
# :::{prf:proposition} Information content under a scaling law (paper, section 5)
# :label: thm-information-closed-form
#
# If the loss after $t$ tokens is $E + A N^{-\alpha} + B t^{-\beta}$ with $0 < \beta < 1$, then
#
# $$
# K(h) = \int_0^D B\,t^{-\beta}\,dt - D\cdot B D^{-\beta} = \frac{\beta}{1-\beta}\, B\, D^{1-\beta} .
# $$ (eq-information-closed-form)
# :::
#
# What never falls, $E + A N^{-\alpha}$, cancels: it teaches nothing. On the frontier $D \propto N$, and the exponent of $K$ is $1-\beta$, below one: {glue:text}`hoffmann_exponent:.2f` with the $\beta$ of {cite:t}`hoffmann2022training`, {glue:text}`besiroglu_exponent:.2f` with that of {cite:t}`besiroglu2024chinchilla`.
#
# The law makes one more assumption without saying so: that $B$ is the same for models of all sizes. On the ladder we can look, since each log is a curve in $t$. The fit $a + B t^{-\beta}$ to each
# run's stable phase, from a fortieth of the tokens on to where its learning rate begins to fall, gives a $B$ and a $\beta$ for every size.


# %% caption="Information content by the closed form and as measured"
def closed_form(B, beta, n_tokens):
    """Equation (information-closed-form), nats."""
    return beta / (1 - beta) * B * n_tokens ** (1 - beta)


rows = {}
for spec in rungs:
    log, D = logs[spec.size], spec.n_train_tokens
    curve = curves.binned(log.online_nll, log.tokens_per_step)
    fit = curves.forecast(curve, D / 40, 0.8 * D)
    beta, B = fit.law.exponent, fit.law.coefficient
    at_the_limit = min(abs(math.log(beta / limit)) for limit in EXPONENTS) < 0.05
    rows[spec.size] = {
        "beta": beta,
        "at the limit of the search": at_the_limit,
        **fit.interval("exponent")._asdict(),
        "B D^-beta, nats": B * D**-beta,
        "closed form, nats/token": closed_form(B, beta, D) / D if beta < 1 else math.nan,
        "measured, nats/token": contents[spec.size].nats_per_token,
    }
    if beta < 1:
        by_library = information.closed_form(B, beta, D)
        np.testing.assert_allclose(closed_form(B, beta, D), by_library, rtol=1e-12)
closed = pd.DataFrame(rows).T
at_limit = closed.pop("at the limit of the search").astype(bool)
closed.loc[at_limit, closed.columns != "measured, nats/token"] = math.nan  # the search ran into its wall
closed = closed.astype(float)
closed.style.format("{:.2f}", na_rep="none")

# %%
chinchilla = published.facts("chinchilla")
glue_all(hoffmann_exponent=1 - chinchilla["hoffmann2022"]["beta"])
glue_all(besiroglu_exponent=1 - chinchilla["besiroglu2024"]["beta"])
glue_range("beta", closed["beta"].dropna())
limited = ", ".join(closed.index[at_limit])
glue_all(limit_says=f" (on {limited} the search ends at its limit, so there is none)" if limited else "")
glue_range("ratio_closed", (closed["closed form, nats/token"] / closed["measured, nats/token"]).dropna())
drop = {spec.size: math.log(spec.vocab_size) - final[spec.size].mean for spec in rungs}
peak = max(sizes, key=lambda size: contents[size].nats_per_token)
for place, size in (("smallest", sizes[0]), ("largest", sizes[-1])):
    glue_all(**{f"drop_{place}": drop[size], f"per_token_{place}": contents[size].nats_per_token})
glue_all(peak_size=peak, per_token_peak=contents[peak].nats_per_token)

# %% [markdown]
# The exponents of single curves lie between {glue:text}`beta_least:.2f` and {glue:text}`beta_most:.2f`{glue:text}`limit_says`. The closed form gives {glue:text}`ratio_closed_least:.2f` to {glue:text}`ratio_closed_most:.2f` times what was measured; it knows neither the first steps nor the fall of the learning rate.
#
# The point is another one. A larger model does not run down the same curve further: it falls *lower*, to {glue:text}`drop_largest:.2f` nats below guessing instead of {glue:text}`drop_smallest:.2f`. In the law, size and data add up, and $K$ depends on $D$ alone. Here a larger model gets more out of the same data, and where it gets enough more $K$ outruns $N$.
#
# Each token pays {glue:text}`per_token_smallest:.2f` nats of learning at {glue:text}`smallest` parameters and {glue:text}`per_token_peak:.2f` at {glue:text}`peak_size`, where it pays most.
#
# That has to end where $\hat R_h$ comes close to what can be learned at all, since $K/D$ cannot exceed $\log V$ less the final loss. At {glue:text}`largest` it is {glue:text}`per_token_largest:.2f`.

# %% [markdown]
# ## A cooler code
#
# How much of the measure is the optimizer's shaking? The ladder's trainings have branches: at a quarter and at half of the text a copy of the model leaves the trunk and is cooled down ({ref}`laws-runs`). A code could do the same. Before each block it cools a copy, codes the block with it, and goes on with the trunk. That takes more computing and is just as decodable.
# Between the branches its losses lie on a line in $\log t$; before the first one we keep the online loss.


# %% caption="Information content with cooled copies beside that of the trunk"
def cooled_information(log, branch_tokens, branch_losses):
    """Equation (information-content), nats, with cooled losses from the first branch on; the last branch is the model."""
    t = log.tokens_per_step * (np.arange(len(log.online_nll)) + 0.5)  # tokens seen at each batch
    cooled = np.interp(np.log(t), np.log(branch_tokens), branch_losses)
    paid = np.where(t < branch_tokens[0], log.online_nll, cooled)
    return information_content(paid, log.tokens_per_step, branch_losses[-1])


rows = {}
for spec in rungs:
    branches = [run for run in load_runs(["grid"]) if run.model_size == spec.model_size and run.length <= 1]
    if len(branches) < 3:
        continue
    tokens = np.array([run.n_train_tokens for run in branches])
    losses = np.array([*(run.train.mean for run in branches[:-1]), final[spec.size].mean])
    nats = cooled_information(logs[spec.size], tokens, losses)
    rows[spec.size] = {
        "N": spec.n_params,
        "K, Mbit": contents[spec.size].bits / 1e6,
        "cooled, Mbit": bits_from_nats(nats) / 1e6,
        "cooled / K": nats / contents[spec.size].nats,
        "bits per parameter": bits_from_nats(nats) / spec.n_params,
    }
cooled = pd.DataFrame(rows).T
assert len(cooled) >= 2, "`make ladder` trains the branches, smallest models first"
cooled.style.format("{:.2f}").format("{:,.0f}", subset=["N"])

# %%
cooled_slope = np.diff(np.log(cooled["cooled, Mbit"])) / np.diff(np.log(cooled["N"]))
glue_range("cooled", 100 * cooled["cooled / K"])
glue_range("cooled_bits", cooled["bits per parameter"])
glue_range("shaking", 100 - 100 * cooled["cooled / K"])
glue_all(n_cooled=len(cooled), cooled_slopes=", ".join(f"{value:.2f}" for value in cooled_slope))

# %% [markdown]
# On the {glue:text}`n_cooled:d` rungs with such branches the shaking accounts for {glue:text}`shaking_least:.0f` to {glue:text}`shaking_most:.0f` % of the measure. The cooler code takes {glue:text}`cooled_bits_least:.1f` to {glue:text}`cooled_bits_most:.1f` bits a parameter. That is the price of learning from a text as it comes.
#
# ## Without a log: the checkpoints' own curve
#
# Released models come without their online losses, but often with checkpoints along the way. The loss of each on the data that *follows* it is a point of the online curve. Between the points we take the loss as straight in $\log(\text{step}+1)$, since checkpoints are
# spaced like that, and sum over the steps. Pythia's were saved after 0, 1, 2, 4, ..., 512 steps and then at equal distances. We read the same steps off each log, pretend to know no more, and compare.

# %% caption="Information content from a few checkpoints beside that from every step"
rows = {}
for spec in rungs:
    log, risk, exact = logs[spec.size], final[spec.size], contents[spec.size]
    n_steps = len(log.online_nll)
    steps = information.log_spaced_steps(n_steps, last_doubling=64, every=max(64, n_steps // 20))
    losses, errors = information.read_off(log.online_nll, steps)
    steps, losses, errors = [*steps, n_steps], [*losses, risk.mean], [*errors, risk.standard_error]
    found = information.from_checkpoints(
        steps, losses, n_steps, log.tokens_per_step, risk.mean, spec.n_params, errors, risk.standard_error
    )
    error = math.hypot(found.standard_error, found.interpolation_error)
    rows[spec.size] = {
        "checkpoints": len(steps),
        "from the log, Mbit": exact.bits / 1e6,
        "from checkpoints, Mbit": found.bits / 1e6,
        "stated error, Mbit": bits_from_nats(error) / 1e6,
        "difference, %": 100 * (found.nats / exact.nats - 1),
        "in stated errors": (found.nats - exact.nats) / error,
    }
route = pd.DataFrame(rows).T
route.style.format("{:.2f}").format("{:.0f}", subset=["checkpoints"])

# %%
assert (route["in stated errors"].abs() < 3).all()
glue_all(route_worst=route["difference, %"].abs().max())
glue_all(route_worst_errors=route["in stated errors"].abs().max())

# %% [markdown]
# A few dozen checkpoints give the information content to within {glue:text}`route_worst:.1f` %, at most {glue:text}`route_worst_errors:.1f` of the errors that the method states for itself. That is the way to $K(h)$ for Pythia, whose
# checkpoints {doc}`../book/reproduce` can load.
#
# ## The same area, certified
#
# One thing is proved by the area with no code and no assumption. Each online model met its tokens before it was trained on them. So its losses are those of an honest predictor, and with probability at least $1-\delta$
#
# $$
# R(u) \;\le\; \frac1D \sum_{k=1}^D X_k + \varepsilon \;=\; \hat R_h + \frac{K(h)}{D} + \varepsilon
# $$ (eq-online-area)
#
# for the sequence $u$ of the predictors that training passes through (statement {ref}`T13 <statement-t13>`; proof: {prf:ref}`thm-online`). $\varepsilon$ is that of {prf:ref}`thm-freedman` for one sequence and pays for no model. Here $u$ is the average of the weights over the last tenth of the steps so far, whose area is smaller than that of the weights themselves.

# %% caption="Certified gaps of the online predictors, nats per token"
online = {spec.size: records[spec.model_size].online for spec in rungs if records[spec.model_size].online}
certified = pd.DataFrame(
    {
        size: {
            "K(h)/D of the average": bound.information,
            "K(h)/D of the weights": contents[size].nats_per_token,
            "epsilon": bound.companion,
            "sampling": bound.sampling,
            "certified gap": bound.value - bound.train_risk,
            "bound": bound.value,
        }
        for size, bound in online.items()
    }
).T
log_v = math.log(rungs[0].vocab_size)
assert (certified["bound"] < log_v).all()
glue_range("certified_online", certified["certified gap"])
glue_all(log_v=log_v)
certified.style.format("{:.3f}")

# %% [markdown]
# All are nats a token, with probability {glue:text}`confidence:.0f` % each, and all bounds are below guessing, $\log V = {}$ {glue:text}`log_v:.2f`. So the paper's prequential number is a certificate as it stands, for the online predictors instead of the final model. A held-out text would give a tighter one, and would explain nothing about the training.
#
# ## The bound that trusts it
#
# What would the paper's bound be with $L(h) = K(h)$? The complexity becomes
#
# $$
# \mathcal C_K = \frac{K(h) + \log(|G|/\delta)}{D} \approx \frac{\beta B}{1-\beta}\, D^{-\beta},
# $$ (eq-conditional-complexity)
#
# and the terms of the gap, $\sqrt{2\mathcal C_K}$, $\Sigma\sqrt{\mathcal C_K}$ and $\mathcal C_K \log V$, would fall as $D^{-\beta/2}$, $D^{-\beta/2}$ and $D^{-\beta}$.
#
# :::{warning}
# This is **no certificate**. A bound needs a code that was fixed before the data were seen, and a decoder that turns its $L(h)$ bits into $h$. Nothing turns $K(h)$ bits into the model without the training data, and the estimate
# rests on the assumption in {prf:ref}`thm-information-content`. Read the numbers as: *if* someone found a code that short.
# :::


# %% caption="Complexity and gap, nats per token, if a code as short as the information content were found"
def conditional_gap(information_bits, n_tokens, vocab_size, loss_variation):
    """Gap of the paper's bound, nats/token, if the model had a code of its information content: no certificate."""
    return closed_form_gap(CodedModel(information_bits, n_tokens, vocab_size, failure_prob), loss_variation)


rows = {}
for spec in rungs:
    nominal = records[spec.model_size].bounds["nominal"].paper
    setting = spec.n_train_tokens, spec.vocab_size, nominal.sigma
    rows[f"ladder-{spec.size}"] = {
        "N": spec.n_params,
        "complexity, 4 bits each": nominal.complexity,
        "complexity if L = K": contents[spec.size].nats_per_token,
        "gap, 4 bits each": conditional_gap(bits * spec.n_params, *setting),
        "gap if L = K": conditional_gap(contents[spec.size].bits, *setting),
    }
V = published.facts("pythia")["vocab_size"]
for size, n in published.pythia_n_params().items():
    if n not in pythia:
        continue
    tokens = published.compute_optimal_tokens(n)
    setting = tokens, V, published.fitted_loss_variation(n)
    k = paper["coefficient"] * n ** paper["exponent"]  # bits
    rows[f"pythia-{size}"] = {
        "N": n,
        "complexity, 4 bits each": nats_from_bits(bits * n) / tokens,
        "complexity if L = K": nats_from_bits(k) / tokens,
        "gap, 4 bits each": conditional_gap(bits * n, *setting),
        "gap if L = K": conditional_gap(k, *setting),
    }
conditional = pd.DataFrame(rows).T
conditional.style.format("{:.3f}").format("{:,.0f}", subset=["N"])

# %%
ours = conditional.filter(like="ladder-", axis=0)
theirs = conditional.filter(like="pythia-", axis=0)
helps = int((conditional["gap if L = K"] < conditional["gap, 4 bits each"]).sum())
slope = trend(n_tokens, ours["complexity if L = K"])
glue_all(conditional_smallest=ours["gap if L = K"].iloc[0], conditional_largest=ours["gap if L = K"].iloc[-1])
glue_range("certified", ours["gap, 4 bits each"])
for place, at in (("first", 0), ("last", -1)):
    glue_all(**{f"conditional_pythia_{place}": theirs["gap if L = K"].iloc[at]})
    glue_all(**{f"capacity_pythia_{place}": theirs["gap, 4 bits each"].iloc[at]})
glue_all(complexity_slope=slope.overall.value, complexity_slope_last=slope.last.value)
glue_all(n_helps=helps, n_models=len(conditional))
glue_all(
    helps_says="at all sizes that were measured the falling gap is a statement about a trend, and the lines have not crossed"
    if helps == 0
    else "there the lines have crossed"
)

# %% [markdown]
# On the ladder the conditional gap goes from {glue:text}`conditional_smallest:.2f` nats to {glue:text}`conditional_largest:.2f`. The certified code of four bits a parameter gives {glue:text}`certified_least:.2f` to {glue:text}`certified_most:.2f`, quantization and sampling left out in both. The complexity $\mathcal C_K$ goes as $D$ to the power {glue:text}`complexity_slope_last:+.2f` at the top of the ladder, where the law of the paper wants $-\beta$.
#
# For Pythia, with the paper's fit read in bits, the conditional gap falls from {glue:text}`conditional_pythia_first:.2f` at 70m to {glue:text}`conditional_pythia_last:.2f` at 12b.
#
# Four bits give {glue:text}`capacity_pythia_first:.2f` and {glue:text}`capacity_pythia_last:.2f`.
#
# The conditional gap is the smaller one for {glue:text}`n_helps:d` of the {glue:text}`n_models:d` models of this table: {glue:text}`helps_says`.

# %% [markdown]
# ## What agreed, what did not
#
# * **Agreed**: the argument itself. The information content is measurable from a log, checkpoints alone give it too, and under a scaling law it has the closed form {eq}`eq-information-closed-form`.
# * **The exponent** is not that of Pythia. The smallest rungs have hardly begun to learn, and a larger one gets more out of every token. Past the rung that {ref}`learns to copy <laws-copying>` the growth is {glue:text}`last_says`.
# * **Did not agree**: that information content tells how short a code could be, at this size. A file of fewer bits holds a model as good, so equation {eq}`eq-information-content` measures the cost of learning rather than what was learned.
# * **Beyond the paper**: the area is a certificate for the online predictors. A code for the model itself takes {doc}`18_requential`.
#
# ## Exercises
#
# ```{exercise} A coin by hand
# :label: ex-04-1
#
# The learner of the first section sees heads, tails, heads. What does it pay for each, in bits, and how much more than someone who knows that $\theta = \frac12$?
# ```
#
# ```{solution} ex-04-1
# :class: dropdown
#
# It predicts heads with $\frac12$, $\frac{3/2}{2}$ and $\frac{3/2}{3}$.
#
# So the three cost one, two and one bits: {glue:text}`ex_coin:.0f` in all, against three. Already one number learned from three tosses costs {glue:text}`ex_coin_more:.0f` bit.
# ```

# %%
ex_heads = np.array([1, 0, 1])
ex_before = np.cumsum(ex_heads) - ex_heads
ex_predicted = (ex_before + 0.5) / (np.arange(3) + 1)
ex_paid = bits_from_nats(-np.log(np.where(ex_heads == 1, ex_predicted, 1 - ex_predicted)))
np.testing.assert_allclose(ex_paid, [1, 2, 1])
glue_all(ex_coin=ex_paid.sum(), ex_coin_more=ex_paid.sum() - 3)

# %% [markdown]
# ```{exercise} Half a training
# :label: ex-04-2
#
# From the loss log of the largest rung of this page, compute the information content with {py:func}`~gengap.laws.information.from_log` as if training had ended half way, with the loss there (a mean over the last hundred batches) as the final one. Is it half of the whole?
# ```
#
# ```{solution-start} ex-04-2
# :class: dropdown
# ```

# %%
log = logs[largest.size]
half = len(log.online_nll) // 2
loss_there = float(log.online_nll[half - 100 : half].mean())
ex_half = information.from_log(log.online_nll[:half], log.tokens_per_step, loss_there, largest.n_params)
assert ex_half.nats < contents[largest.size].nats
glue_all(ex_half_share=ex_half.nats / contents[largest.size].nats)

# %% [markdown]
# It is {glue:text}`ex_half_share:.2f` of the whole. The second half raises the area twice: by its own excess, and because the final loss against which *everything* is measured has fallen, so that the first half counts for more.
#
# ```{solution-end}
# ```
#
# ```{exercise} Twice the same text
# :label: ex-04-3
#
# A model reads the text a second time. Its losses are lower now, so $\sum_k X_k - D' \hat R_h$ over both passes, with $D' = 2D$, would promise more information. Which step of equation {eq}`eq-online-area` fails in the second pass?
# ```
#
# ```{solution} ex-04-3
# :class: dropdown
#
# In the second pass the model has met each token before. $X_k$ is no longer the loss on something new: given what is known, the token is not random at all, and the risk that equation {eq}`eq-online-area` speaks of is that of predicting a token drawn *afresh*. The online losses of a second pass bound nothing, and they are {glue:text}`ex_twice:.0f` % of the sum.
# ```

# %%
ex_twice = 100 * (1 - 1 / 2)
assert ex_twice == 50
glue_all(ex_twice=ex_twice)
