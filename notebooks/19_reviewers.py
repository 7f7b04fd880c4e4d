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
# # Reviewers' questions
#
# | | |
# |---|---|
# | **Paper section** | none: what its reviewers asked, in public, before it was accepted |
# | **Reads** | records of bounds, surveys and trainings; the paper's table |
# | **Writes** | nothing |
# | **Runtime** | {glue:text}`runtime_seconds:.0f` seconds on one core |
#
# Five people reviewed the paper {cite:p}`finzi2025compute`, and many of their questions are those that any careful reader has. Each is put here in our words and answered in a paragraph, with a number from a record and the place where the book goes into it. Two remarks about layout are left out.

# %% tags=["parameters"]
method: str = "gptq"  # quantizer
bits: int = 4  # per weight, the paper's setting
largest: str = "1.5m"  # rung of the ladder that stands for all in single numbers
n_texts: int = 2_000  # simulated, for the baseline that is not predictable
seed: int = 0  # of these texts

# %% tags=["hide-input"]
import json
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import betaln, xlogy

from gengap import models, published
from gengap.book.figures import plain_axis
from gengap.book.glue import glue_all, glue_interval, glue_range
from gengap.bounds import CodedModel, closed_form_azuma_gap, closed_form_gap, smoothing
from gengap.laws import information, trend
from gengap.paths import project_root
from gengap.records import load_records, load_runs, load_surveys
from gengap.training.log import TrainingLog

plt.style.use("gengap.book")
started = time.monotonic()
every = load_records(method=method, bits=bits)  # certificates at any length, of any family
families = {name: load_records(name, method, bits) for name in ("ladder", "llama", "dictionary")}
ladder = families["ladder"]
one = next(record for record in ladder if record.identity.size == largest)
model, paid = one.identity, one.bounds["nominal"]  # the paper's accounting of the code length
N, D, V = model.n_params, model.n_train_tokens, model.vocab_size
pythia = {column.size: column for column in published.bound_table()}
pythia_vocab = published.facts("pythia")["vocab_size"]


def coded(n_params, n_tokens, vocab_size):
    """A model whose parameters take `bits` bits each."""
    return CodedModel(bits * n_params, n_tokens, vocab_size)


glue_all(largest=f"ladder-{largest}", loss=one.risks.train.mean, bits=bits)
glue_all(gap=paid.paper.gap, our_gap=one.bounds["archive"].tight.gap, log_vocab=math.log(V))

# %% [markdown]
# ## What is claimed
#
# ### Does the bound not need more data, too?
#
# It does. The paper was renamed for it: *compute-optimal* models generalize better with scale, and they get 20 tokens for every new parameter. On the ladder that is {glue:text}`frontier_rungs:d` rungs, whose gap {glue:text}`frontier_word` with size: it goes as $N$ to the power {glue:text}`frontier:+.3f`. {doc}`06_scale` tries every claim on them.

# %% tags=["hide-input"] caption="Growing models on as many tokens: loss, bound and gap, nats per token"
frontier = trend([r.identity.n_params for r in ladder], [r.bounds["nominal"].paper.gap for r in ladder])
glue_interval("frontier", *frontier.overall)
glue_all(frontier_rungs=len(ladder))
glue_all(
    frontier_word="falls"
    if frontier.overall.high < 0
    else "rises"
    if frontier.overall.low > 0
    else "neither surely falls nor surely rises"
)
off = pd.DataFrame(
    {
        "size": r.identity.size,
        "N": r.identity.n_params,
        "D": r.identity.n_train_tokens,
        "loss": r.risks.train.mean,
        "bound": r.bounds["nominal"].paper.value,
        "gap": r.bounds["nominal"].paper.gap,
    }
    for r in every
    if r.identity.family == "ladder"
).sort_values(["D", "N"])
group = (off["D"].pct_change() > 0.25).cumsum()  # trainings on about as many tokens
fixed = max((mine for _, mine in off.groupby(group)), key=len).sort_values("N")
exponent = np.polyfit(np.log(fixed["N"]), np.log(fixed["gap"]), 1)[0]
small, big = fixed.iloc[0], fixed.iloc[-1]
assert big["gap"] > small["gap"]
assert big["loss"] < small["loss"]
glue_all(fixed_tokens=fixed["D"].median() / 1e6, fixed_exponent=exponent, fixed_models=len(fixed))
for place, row in (("small", small), ("big", big)):
    glue_all(**{f"fixed_{place}": row["size"], f"fixed_gap_{place}": row["gap"]})

# %% [markdown]
# ### And if the text stays the same while the model grows?
#
# Then the loss falls and the gap rises. The table has the ladder's models that were trained on about {glue:text}`fixed_tokens:.1f` million tokens each: from {glue:text}`fixed_small` to {glue:text}`fixed_big` parameters the gap grows from {glue:text}`fixed_gap_small:.2f` to {glue:text}`fixed_gap_big:.2f` nats. There are theorems by which larger networks generalize better from the same data; this is none of them. See *Fixed tokens, growing model* in {doc}`12_off_frontier`.

# %% tags=["hide-input"] caption="Growing models on as many tokens: loss, bound and gap, nats per token"
fixed[["size", "N", "D", "loss", "bound", "gap"]].style.hide(axis="index").format(
    {"N": "{:,}", "D": "{:,}", "loss": "{:.2f}", "bound": "{:.2f}", "gap": "{:.2f}"}
)

# %% [markdown]
# ### Does a larger model not simply have a larger bound?
#
# With the same text, yes: across the table above the gap goes as $N$ to the power {glue:text}`fixed_exponent:+.2f`. A longer code is a larger {prf:ref}`complexity <thm-union>`, and nothing in the bound repays it at a fixed $D$. What can fall with $N$ alone is the loss, which the bound contains too; the least bound of each number of tokens stands in {doc}`12_off_frontier`.
#
# ### Is a bound that is linear in the parameters not extreme?
#
# It is linear in $N/D$, and that ratio is what training at scale holds fixed. From the smallest rung to the largest $N$ grows {glue:text}`size_factor:.0f`-fold and the complexity changes by {glue:text}`complexity_spread:.0f` millionths of a nat. The objection remains a fair one: the code's share of the gap of {glue:text}`largest` is {glue:text}`parameter_share:.0f` %. {doc}`08_beyond` shows on a source that is known exactly how little would be left without it.

# %% tags=["hide-input"] caption="The paper's gap, nats per token, by tokens a parameter"
complexities = [r.bounds["nominal"].paper.complexity for r in ladder]
glue_all(complexity_spread=1e6 * np.ptp(complexities), complexity=paid.paper.complexity)
glue_all(size_factor=ladder[-1].identity.n_params / ladder[0].identity.n_params)
glue_all(parameter_share=100 * paid.paper.parameters / paid.paper.gap)
ratios = (20, 40, 80, 160)
measured = {round(row["D"] / row["N"] / 20): row["gap"] for _, row in off[off["size"] == "50k"].iterrows()}
pythia_1b = pythia["1b"]
inference = pd.DataFrame(
    {
        "ladder-50k, certified": [measured.get(ratio // 20, math.nan) for ratio in ratios],
        "Pythia-1b, closed form": [
            closed_form_gap(
                coded(pythia_1b.n_params, ratio * pythia_1b.n_params, pythia_vocab),
                published.fitted_loss_variation(pythia_1b.n_params),
            )
            for ratio in ratios
        ],
    },
    index=pd.Index(ratios, name="tokens a parameter"),
)
glue_all(**{f"closed_{ratio}": inference["Pythia-1b, closed form"][ratio] for ratio in ratios})
lengths = off[off["size"] == "50k"]
glue_all(n_lengths=len(off), length_first=lengths["gap"].iloc[0], length_last=lengths["gap"].iloc[-1])
glue_all(
    tokens_first=(lengths["D"] / lengths["N"]).iloc[0], tokens_last=(lengths["D"] / lengths["N"]).iloc[-1]
)

# %% [markdown]
# ### What of models trained for cheap inference, past the optimum?
#
# Their gaps are smaller, since the code is shared among more tokens. By the closed form, in the second column of the table, a model of Pythia-1b's size would have {glue:text}`closed_40:.2f` nats at twice the tokens and {glue:text}`closed_160:.2f` at eight times as many. That supposes that its {term}`loss variation` stays what it is on the frontier. It does not quite, so the first column is the honest one. {ref}`off-frontier-released` places models of recent years.

# %% tags=["hide-input"] caption="The paper's gap, nats per token, by tokens a parameter"
inference.style.format("{:.2f}", na_rep="–")

# %% [markdown]
# ### Why only compute-optimal checkpoints?
#
# The theorem asks for none. {glue:text}`n_lengths:d` certificates of the ladder lie on the frontier and off it. The smallest rung, from {glue:text}`tokens_first:.0f` to {glue:text}`tokens_last:.0f` tokens a parameter, has gaps from {glue:text}`length_first:.2f` down to {glue:text}`length_last:.2f` nats; see *Along training* in {doc}`12_off_frontier`.
#
# ## What the theorem says
#
# ### Can the proofs be checked?
#
# They are short enough to be read. The inequality takes six lines ({prf:ref}`thm-freedman`), and the step from one model to all of them is a {term}`union bound` over codes by {term}`Kraft's inequality` ({prf:ref}`thm-union`). That second step is the dear one: for {glue:text}`largest` it costs {glue:text}`price_models:.4f` nats a token, where the failure probability costs {glue:text}`price_delta:.2f` millionths.

# %% tags=["hide-input"]
price = {
    "models": bits * N * math.log(2) / D,
    "grid": math.log(one.settings.s_grid_size) / D,
    "delta": math.log(1 / paid.paper.failure_prob) / D,
}
np.testing.assert_allclose(sum(price.values()), paid.paper.complexity, rtol=1e-9)
glue_all(price_models=price["models"], price_grid=1e6 * price["grid"], price_delta=1e6 * price["delta"])
alpha = paid.paper.alpha
loss_range = float(smoothing.loss_range(alpha, V))
glue_all(delta_percent=100 * one.settings.failure_prob, loss_range=loss_range, alpha=alpha)
glue_all(martingale=100 * paid.paper.failure_prob, sampling=100 * paid.paper.sampling_failure_prob)
glue_all(million_tokens=D / 1e6, entropy_floor=float(smoothing.entropy_floor(alpha, V)))
glue_all(sigma=paid.paper.sigma, s=paid.paper.s)
outside = loss_range * paid.paper.complexity * (1 - paid.paper.s) / paid.paper.s
glue_all(outside=outside, inside=paid.paper.loss_variation - outside)
glue_all(worst_cost=math.log1p(paid.paper.complexity), paper_cost=paid.paper.smoothing)

# %% [markdown]
# ### What is random: the losses, the baselines, or both?
#
# The text. Losses and baselines are functions of it, and of the windows drawn for the sample. A record's {glue:text}`delta_percent:.0f` % are {glue:text}`martingale:.1f` % for the text and {glue:text}`sampling:.1f` % for the windows. {doc}`../book/notation` says over what each probability is taken.
#
# ### Where are the $X_k$ in the paper's bound for models?
#
# $X_k$ is the loss of token $k$ under the smoothed, quantized model, and $Y_k$ is what that model expects to lose there: its entropy. Smoothing with the paper's $\alpha$ = {glue:text}`alpha:.2f` gives the losses of {glue:text}`largest` a range of {glue:text}`loss_range:.2f` nats. {prf:ref}`thm-paper-bound` names both.
#
# ### What is $\mathcal F_k$, and why does $Y_k$ belong to $\mathcal F_{k-1}$?
#
# $\mathcal F_k$ is everything known once $k$ tokens are known; the growing family is a {term}`filtration`. A {term}`predictable` baseline is one that is known a token earlier. For {glue:text}`largest` there are {glue:text}`million_tokens:.1f` million such steps; {doc}`01_freedman` uses the property in one line of the proof.
#
# ### What is NLL?
#
# The {term}`negative log-likelihood` of a token, $-\log p(x_k \mid x_{<k})$ in nats, which the book calls its loss. {glue:text}`largest` loses {glue:text}`loss:.2f` nats a token on its training text, and guessing would lose {glue:text}`log_vocab:.2f`. All symbols stand in {doc}`../book/notation`.
#
# ### What is the finite set for, and why a thousand points?
#
# The best $s$ is known only after the data, so the proof holds for all of a finite grid $G$ at once (the paper writes $K$) and pays for its size. At a language model's $D$ that is nothing: $\log(1000)/D$ is {glue:text}`price_grid:.2f` millionths of a nat. It is a device of the proof, no property of the model. {doc}`01_freedman` finds that sixteen well-placed points do as well.
#
# ### Why not $Y_k = X_k + \varepsilon$, which would make the variation vanish?
#
# Because it looks at the token that it should predict. The inequality still holds, but for another quantity than the risk. In {glue:text}`n_texts:,` simulated texts of fair coins that "bound" fails in {glue:text}`cheat_rate:.0f` %; with a baseline known beforehand it fails in {glue:text}`fair_rate:.1f` %. {numref}`fig-predictable` is the same on a language-like source.

# %%
rng = np.random.default_rng(seed)
n_tokens, loss_high, s = 2_000, math.log(4), 0.5  # a coin's losses: log 4 or log 4/3
p = 0.25
losses = np.where(rng.random((n_texts, n_tokens)) < 0.5, -math.log(p), -math.log(1 - p))
risk = -0.5 * math.log(p) - 0.5 * math.log(1 - p)
cost = math.log(1 / 0.01) / n_tokens


def fails(baseline):
    """Share of the texts in which the risk lies above the bound with this baseline; rate s over the range."""
    rate = s / loss_high
    bound = cost / rate + np.mean(baseline - np.log1p(rate * (baseline - losses)) / rate, axis=1)
    return np.mean(risk > bound)


entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
rates = {"cheat": fails(losses + 0.01), "fair": fails(np.full_like(losses, entropy))}
assert rates["cheat"] > 0.03 > 0.01 >= rates["fair"]
glue_all(n_texts=n_texts, **{f"{name}_rate": 100 * rate for name, rate in rates.items()})

# %% [markdown]
# ### Who guarantees $A_k \ge -1$, and what is $\Delta$?
#
# {term}`Smoothing <smoothing>` does. No loss exceeds $\log(V/\alpha)$ then, and no entropy falls below a floor, so that $\Delta$ is known beforehand: {glue:text}`loss_range:.2f` nats without using the floor, and {glue:text}`entropy_floor:.2f` nats of floor to take from it for {glue:text}`largest`. {prf:ref}`thm-entropy-floor` proves it, and {doc}`01_freedman` shows what happens if $\Delta$ is wrong.
#
# ### Why does one part of $\Sigma$ not shrink with the complexity?
#
# Well seen. In $\Sigma\sqrt{\mathcal C}$ the first part is $\Delta\,\mathcal C\,(1-s)/s$; the second is an average over tokens and does not contain $\mathcal C$. It only shrinks because a smaller $\mathcal C$ chooses a smaller $s$. For {glue:text}`largest`, where $s$ = {glue:text}`s:.3f`, they are {glue:text}`outside:.3f` and {glue:text}`inside:.3f` nats. Equation {eq}`eq-loss-variation` has both, and {doc}`12_off_frontier` shows the consequence: $\Sigma$ grows as $\mathcal C$ falls.
#
# ### What if the earlier results on smoothing were false?
#
# Nothing would change, because nothing is taken from them. That mixing a prediction with the uniform distribution costs at most $-\log(1-\alpha)$ is one line of algebra ({prf:ref}`thm-smoothing`). For {glue:text}`largest` that worst case is {glue:text}`worst_cost:.3f` nats; the paper's term, which also pays for the range, is {glue:text}`paper_cost:.3f`. The doubts about {cite:t}`lotfi2024nonvacuous` concerned documents taken as independent draws, which no step here assumes.
#
# ## What the terms are
#
# ### How does it compare with other bounds?
#
# The table has the gaps of two models by the bounds for language models that we know. Those of Pythia-1b are the authors' or a closed form; those of {glue:text}`largest` are certified here, except for the row of independent rows, which is a closed form too.

# %% tags=["hide-input"] caption="Bounds for language models side by side, nats per token"
n_rows = D // model.seq_len
pythia_rows = pythia_1b.n_train_tokens // published.facts("pythia")["sequence_length"]
archive = one.bounds["archive"]
methods = {
    "Lotfi et al. 2024a, rows as samples": (
        "rows drawn independently",
        "range × √(complexity/2), rows counted",
        closed_form_azuma_gap(coded(pythia_1b.n_params, pythia_rows, pythia_vocab)),
        closed_form_azuma_gap(coded(N, n_rows, V)),
    ),
    "Lotfi et al. 2024b, Azuma": ("any text", "range × √(complexity/2)", pythia_1b.azuma_gap, paid.azuma.gap),
    "the paper, Thm 3.4": (
        "any text, losses that vary little",
        "complexity × log V",
        pythia_1b.gap,
        paid.paper.gap,
    ),
    "ours": ("as the paper", "complexity/λ", math.nan, paid.tight.gap),
    "ours, length of the file": ("as the paper", "complexity/λ", math.nan, archive.tight.gap),
    "ours, with a companion": (
        "as the paper, and a companion",
        "complexity/λ",
        math.nan,
        archive.companion.gap if archive.companion else math.nan,
    ),
}
compared = pd.DataFrame(
    methods, index=["assumes", "dominant term", "Pythia-1b", f"ladder-{largest}"]
).T.rename_axis("bound")
excess = {
    size: (
        column.azuma_gap - closed_form_azuma_gap(coded(column.n_params, column.n_train_tokens, pythia_vocab))
    )
    for size, column in pythia.items()
}
glue_all(azuma_ratio=pythia_1b.azuma_gap / pythia_1b.gap, azuma_here=paid.azuma.gap / paid.paper.gap)
glue_all(azuma_worst=max(map(abs, excess.values())), azuma_negative=sum(e < 0 for e in excess.values()))
assert compared.iloc[0, 3] + one.risks.train.mean > math.log(V)  # counted in rows: vacuous
compared.style.format("{:.2f}", subset=list(compared.columns[2:]), na_rep="–")

# %% [markdown]
# Counted in rows, a code of {glue:text}`bits:d` bits a parameter certifies nothing, which is why {cite:t}`lotfi2024nonvacuous` compress into a small subspace. Counted in tokens {cite:p}`lotfi2024unlocking`, the same code is worth something, and by the paper's inequality most. {glue:text}`azuma_ratio:.1f` is the ratio of Azuma's gap to the paper's at Pythia-1b. {doc}`05_bound` stacks the terms, and {doc}`11_companion` explains the last row.
#
# ### Does the table of Azuma's bounds hold up?
#
# Nearly. With no model run, the closed form meets the authors' seven numbers to within {glue:text}`azuma_worst:.3f` nats. {glue:text}`azuma_negative:d` of the differences are negative, and a quantization gap that was left out cannot explain those. On {glue:text}`largest` we certify a gap {glue:text}`azuma_here:.2f` times the paper's by Azuma. *The paper's table in closed form* is in {doc}`06_scale`.
#
# ### What is the intuition behind both bounds?
#
# First bound: a model that can be written down in few bits cannot have fitted many accidents of its text. How much those few may matter depends on how much its losses vary. Second: what training wrote into a model may be less than what its file holds. Of the {glue:text}`gap:.2f` nats of {glue:text}`largest`, {glue:text}`part_parameters:.2f` pay for the bits, {glue:text}`part_variation:.2f` for variation and {glue:text}`part_smoothing:.2f` for a bounded loss. {doc}`../book/index` and {doc}`05_bound` tell it at two lengths.

# %% tags=["hide-input"] caption="Terms of the paper's gap at both ends of the ladder, nats per token"
terms = {"parameters": "parameters", "loss_variation": "variation", "smoothing": "smoothing"}
glue_all(**{f"part_{short}": getattr(paid.paper, name) for name, short in terms.items()})
parts = pd.DataFrame(
    {
        f"ladder-{record.identity.size}": record.bounds["nominal"].paper.terms()
        for record in (ladder[0], ladder[-1])
    }
).drop("train_risk")
change = parts.iloc[:, -1] - parts.iloc[:, 0]
glue_all(fell_most=change.idxmin().replace("_", " "), fell_by=-change.min())
glue_all(n_evaluated=one.risks.train.n_tokens, complexity_by_hand=sum(price.values()))

# %% [markdown]
# ### What is gained by taking the bound apart?
#
# One sees which term moves. Between the smallest rung and the largest the one that falls most is *{glue:text}`fell_most`*, by {glue:text}`fell_by:.3f` nats, and the term of the parameters stays. It says where to work: on the code and on what it pays for, which is what {doc}`16_shorter_codes` and {doc}`11_companion` do.

# %% tags=["hide-input"] caption="Terms of the paper's gap at both ends of the ladder, nats per token"
parts.assign(change=change).rename(lambda name: name.replace("_", " ")).style.format("{:+.3f}")

# %% [markdown]
# ### Variation of the loss over tokens, or over parameters?
#
# Over tokens, of one model: how far each token's loss is from what the model expects there. For {glue:text}`largest` it is {glue:text}`sigma:.2f` nats, from {glue:text}`n_evaluated:,` tokens. {prf:ref}`thm-root-mean-square` compares it with a root mean square.
#
# ### How is the complexity derived?
#
# A model with a {term}`prefix-free code` of $L(h)$ bits gets the share $2^{-L(h)}$ of the failure probability, and Kraft's inequality says that the shares add up to one at most. The logarithm of that share, over $D$, is $\mathcal C$: {glue:text}`price_models:.4f` nats for the bits of {glue:text}`largest`, {glue:text}`price_grid:.2f` millionths for the grid, {glue:text}`price_delta:.2f` millionths for $\delta$. {prf:ref}`thm-union` is the statement.
#
# ### What makes the bound tight or loose?
#
# {numref}`fig-reviewers-sensitivity` changes one thing at a time in the paper's gap for {glue:text}`largest`. Halving the code changes it by {glue:text}`sensitivity_code:+.2f` nats, as doubling the text does; a failure probability of one in a million costs {glue:text}`sensitivity_delta:.0f` millionths. How the terms trade off with the number of bits is in {doc}`16_shorter_codes`.

# %% mystnb={"figure": {"caption": "How the paper's gap for the rung of the text changes if one thing changes, nats per token; quantization gap and sampling as they are.", "name": "fig-reviewers-sensitivity"}, "image": {"alt": "Horizontal bars of changes of the gap in nats per token: halving the code or doubling the tokens lowers it most, halving the loss variation little, a vocabulary of fifty thousand tokens raises it, a smaller failure probability does nothing visible."}}
base, sigma = coded(N, D, V), paid.paper.sigma
gap_here = closed_form_gap(base, sigma)
changed = {
    "half the code": closed_form_gap(CodedModel(bits * N / 2, D, V), sigma) - gap_here,
    "twice the tokens": closed_form_gap(CodedModel(bits * N, 2 * D, V), sigma) - gap_here,
    "half the loss variation": closed_form_gap(base, sigma / 2) - gap_here,
    "no quantization gap": -paid.paper.quantization_gap,
    "all tokens evaluated": -paid.paper.sampling,
    "failure probability of 1e-6": closed_form_gap(CodedModel(bits * N, D, V, 1e-6), sigma) - gap_here,
    "vocabulary of 50,304": closed_form_gap(coded(N, D, 50304), sigma) - gap_here,
}
fig, ax = plt.subplots(figsize=(6.4, 3.2))
bars = ax.barh(list(changed), list(changed.values()), height=0.6)
ax.bar_label(bars, fmt="{:+.2f}", padding=3)
ax.axvline(0, color="0.5", linewidth=1)
ax.set(xlabel="change, nats per token")
ax.margins(x=0.35)
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
plt.show()

# %% tags=["hide-input"] caption="Loss increase by rounding, nats per token, by method and bits"
glue_all(sensitivity_code=changed["half the code"])
glue_all(sensitivity_delta=1e6 * changed["failure probability of 1e-6"])
survey = load_surveys("ladder")[-1]
quantized = pd.DataFrame(
    {bit: {name: survey.cell(name, bit).gap for name in ("rtn", "gptq", "quip")} for bit in (3, 4, 5, 6)}
)
quantized.columns.name = "bits"
glue_all(
    surveyed=survey.identity.model_size, gptq=quantized.loc["gptq", bits], quip=quantized.loc["quip", bits]
)
glue_all(three=quantized.loc["gptq", 3], five=quantized.loc["gptq", 5])
glue_all(gptq_word="more" if quantized.loc["quip", bits] > quantized.loc["gptq", bits] else "less")

# %% [markdown]
# ### How does quantization enter?
#
# Twice: it makes $L(h)$ short, and it costs loss. With GPTQ {glue:text}`surveyed` loses {glue:text}`three:.3f` nats at 3 bits and {glue:text}`five:.3f` at 5, while each bit costs the same. {doc}`16_shorter_codes` derives the loss from the curvature and finds the number of bits that balances both.

# %% tags=["hide-input"] caption="Loss increase by rounding, nats per token, by method and bits"
quantized.style.format("{:.4f}")

# %% [markdown]
# ### Was the argument from the Hessian tried beyond GPTQ?
#
# Yes, with QuIP, for which the argument was made, with plain rounding, and with codes that are retrained. At {glue:text}`bits:d` bits QuIP costs {glue:text}`surveyed` {glue:text}`quip:.4f` nats, {glue:text}`gptq_word` than GPTQ's {glue:text}`gptq:.4f`. *Why rounding costs what it costs* in {doc}`16_shorter_codes` sets each beside its prediction.
#
# ## What training writes into a model
#
# ### How can the gap fall with $N$ by the second bound?
#
# If training writes fewer bits into a model than its file holds, and that number grows more slowly than $N$, then with a code of that length $\mathcal C$ would fall. It is an *if*: nobody can decode such a code. Even granted that, its gap is below that of {glue:text}`bits:d` bits a parameter for {glue:text}`n_helps:d` of the {glue:text}`n_conditional:d` models that were measured, here and by the authors. {doc}`04_prequential` has the argument and the numbers, {doc}`18_requential` the code that has replaced it.

# %% tags=["hide-input"]
helps = []
for record in ladder:
    spec = models.get(record.identity.model_size)
    log = TrainingLog.read(spec.find("loss_log.csv"), spec.n_steps)
    content = information.from_log(
        log.online_nll, log.tokens_per_step, record.risks.train.mean, spec.n_params
    )
    of = record.bounds["nominal"].paper.sigma
    gap_if = closed_form_gap(CodedModel(content.bits, spec.n_train_tokens, V), of)
    helps.append(gap_if < closed_form_gap(coded(spec.n_params, spec.n_train_tokens, V), of))
content_fit = published.facts("information_content_fit")
for size, n in published.pythia_n_params().items():
    if size in (*pythia, "12b"):
        tokens, of = published.compute_optimal_tokens(n), published.fitted_loss_variation(n)
        trusted = CodedModel(content_fit["coefficient"] * n ** content_fit["exponent"], tokens, pythia_vocab)
        helps.append(closed_form_gap(trusted, of) < closed_form_gap(coded(n, tokens, pythia_vocab), of))
glue_all(n_helps=sum(helps), n_conditional=len(helps))
flips = 1_000
heads = np.arange(flips + 1)
by_heads = np.full(flips + 1, 1 / (flips + 1))  # uniform: the average over all coins
regret = np.sum(
    by_heads
    * (
        betaln(0.5, 0.5)
        - betaln(heads + 0.5, flips - heads + 0.5)
        + xlogy(heads, heads / flips)
        + xlogy(flips - heads, 1 - heads / flips)
    )
)
half_log = 0.5 * math.log(flips)
assert 0 < regret - half_log < 1
glue_all(regret=regret, half_log=half_log)
chinchilla = published.facts("chinchilla")
glue_all(hoffmann=1 - chinchilla["hoffmann2022"]["beta"], besiroglu=1 - chinchilla["besiroglu2024"]["beta"])
glue_all(here_exponent=content_fit["exponent"], here_pm=content_fit["exponent_pm"])

# %% [markdown]
# ### What is prequential coding?
#
# A {term}`prequential code` lets each prediction be made by whoever has seen the tokens before, so that sender and receiver learn together and no model is sent. What it costs over the best model found later is what was learnt. For {glue:text}`flips:,` flips of a coin of unknown bias that is {glue:text}`regret:.2f` nats on average; theory says $\frac12\log n$ and a constant, and $\frac12\log n$ is {glue:text}`half_log:.2f`. {doc}`04_prequential` begins with this example.
#
# ### Does the theory say what the exponent must be?
#
# No. Any exponent $\beta$ between zero and one in the law of the loss gives information that grows as $N^{1-\beta}$. The fits of {cite:t}`hoffmann2022training` and {cite:t}`besiroglu2024chinchilla` make that {glue:text}`hoffmann:.2f` and {glue:text}`besiroglu:.2f`; the authors of the paper fit {glue:text}`here_exponent:.1f` ± {glue:text}`here_pm:.1f`. The number is an observation about text and training, and {prf:ref}`thm-information-closed-form` only passes it on.
#
# ### What is the information content under other conditions?
#
# The table has it for models of about a hundred thousand parameters: other seeds, another architecture, another text, other learning rates. Seeds change it by {glue:text}`seed_spread:.1f` %; between architecture and text it goes from {glue:text}`content_least:.0f` to {glue:text}`content_most:.0f` bits a parameter. Learning rates, good and bad, move it by {glue:text}`rate_spread:.0f` % at most. Text that is read twice has no such number: a token that was seen is no longer predicted afresh. {doc}`04_prequential` goes on from here.

# %% tags=["hide-input"] caption="Information content, bits a parameter, by family and training"
glue_all(flips=flips)
rows = []
for name in families:
    for run in load_runs(family=name):
        about = 0.5 < run.shape.n_params / 100_000 < 1.5 and run.size == "100k" and run.length == 1
        if about and run.n_unique_tokens == run.n_train_tokens and run.group in ("grid", "seed", "rate"):
            content = information.from_log(
                run.online_log.online_nll,
                run.schedule.tokens_per_step,
                run.train.mean,
                run.shape.n_params,
                run.train.standard_error,
            )
            kind = {"grid": "as published", "seed": "other seed", "rate": "other learning rate"}[run.group]
            rows.append({"family": name, "training": kind, "bits a parameter": content.bits_per_param})
contents = pd.DataFrame(rows)
of_seeds = contents[contents["training"] != "other learning rate"]


def spread(x):
    """Greatest less least, in percent of the mean."""
    return 100 * np.ptp(x) / np.mean(x)


for name, those in {"seed": of_seeds, "rate": contents}.items():
    glue_all(**{f"{name}_spread": those.groupby("family")["bits a parameter"].agg(spread).max()})
glue_range("content", of_seeds["bits a parameter"])
contents.groupby(["family", "training"], sort=False)["bits a parameter"].agg(
    ["count", "min", "max"]
).style.format("{:.1f}", subset=["min", "max"])

# %% [markdown]
# ## What the evidence is
#
# ### One family of models and one text?
#
# Three families and two texts here, beside Pythia: the ladder, the same text with Llama's architecture, the ladder's architecture on a dictionary. {glue:text}`n_records:d` certificates in all. {numref}`fig-reviewers-families` has the paper's gap for all of them, and {doc}`13_elsewhere` asks claim by claim what carries over.

# %% mystnb={"figure": {"caption": "The paper's gap at 4 bits a parameter on the frontier: certified for the three families of this book, published for Pythia, and the arithmetic of the closed form for SmolLM2-135M, whose parameters have seen many more tokens.", "name": "fig-reviewers-families"}, "image": {"alt": "Gap in nats per token against parameters on a logarithmic axis. Three families of small models lie near two nats, Pythia's published gaps near two nats from seventy million to seven billion parameters, SmolLM2 far below."}}
smollm = json.loads((project_root() / "benchmarks" / "smollm2.json").read_text())["identity"]
smollm_gap = closed_form_gap(
    coded(smollm["n_params"], smollm["n_train_tokens"], smollm["vocab_size"]),
    published.fitted_loss_variation(smollm["n_params"]),
)
fig, ax = plt.subplots()
for (name, records), marker in zip(families.items(), "osD", strict=True):
    ax.plot(
        [r.identity.n_params for r in records],
        [r.bounds["nominal"].paper.gap for r in records],
        f"{marker}-",
        label=name,
    )
ax.plot(
    [c.n_params for c in pythia.values()], [c.gap for c in pythia.values()], "^-", label="Pythia, published"
)
ax.plot(smollm["n_params"], smollm_gap, "*", markersize=10, label="SmolLM2-135M, arithmetic")
ax.set(xscale="log", xlabel="parameters", ylabel="gap, nats per token", ylim=(0, None))
plain_axis(ax.xaxis, [1e5, 1e6, 1e7, 1e8, 1e9, 1e10])
fig.legend(loc="outside lower center", ncols=3)
plt.show()

# %% tags=["hide-input"]
glue_all(n_records=len(load_records()), smollm_gap=smollm_gap, smollm_tokens=smollm["n_train_tokens"] / 1e12)
guessing = [r.bounds["archive"].tight.value < math.log(r.identity.vocab_size) for r in every]
glue_all(n_every=len(every), n_useful=sum(guessing))
llama = families["llama"][-1]
twin = next(r for r in ladder if r.identity.size == llama.identity.size)
glue_all(llama=llama.identity.model_size, llama_gap=llama.bounds["nominal"].paper.gap)
glue_all(twin=twin.identity.model_size, twin_gap=twin.bounds["nominal"].paper.gap)
glue_all(information_gap=archive.tight.gap, online_gap=one.online.gap if one.online else math.nan)
glue_all(runtime_seconds=time.monotonic() - started)

# %% [markdown]
# ### Is there more evidence than a few checkpoints?
#
# The library has {glue:text}`n_every:d` models with GPTQ at {glue:text}`bits:d` bits in its records, on the frontier and off it, and {glue:text}`n_useful:d` of them are certified to do better than guessing. That shows the bounds to be useful, not true. Truth is tested where it is known: {doc}`08_beyond` trains on a source whose risk can be computed, and {doc}`01_freedman` counts violations.
#
# ### Should the evidence not come after both bounds?
#
# Here it does. {doc}`04_prequential` comes before {doc}`05_bound`, and {doc}`06_scale` judges the claims of both. For {glue:text}`largest` the first kind of bound certifies a gap of {glue:text}`information_gap:.2f` nats from its file; the second kind certifies {glue:text}`online_gap:.2f`, of the models that training passed through.
#
# ### What could be learnt from other models?
#
# Whether the loss variation behaves the same, which the theory leaves open. Models whose training text and order are published can be certified; for others the arithmetic is a sketch. SmolLM2-135M, after {glue:text}`smollm_tokens:.0f` trillion tokens, would have a gap of {glue:text}`smollm_gap:.2f` nats by the closed form, if 4 bits did no harm. {doc}`10_own_model` takes any checkpoint with its text.
#
# ### What of GPT, T5 and BERT?
#
# GPT-2 and Llama are covered: {doc}`10_own_model` trains and certifies both, and {glue:text}`llama` has a gap of {glue:text}`llama_gap:.2f` nats where {glue:text}`twin` has {glue:text}`twin_gap:.2f`. An encoder and decoder such as T5 would be bounded in the same way on its targets, given the inputs. BERT predicts tokens from both sides, so its losses are not those of one token after another, and no {term}`martingale` is at hand.
