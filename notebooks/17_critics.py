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
# # Is it the companion that does the work?
#
# {doc}`11_companion` halves the certified gap with a {term}`companion`, a model that was there before each token. A critic will say: progressive validation in disguise. Validate each snapshot on text that it has not seen, which works for any sequence of models, and hang the final model on it. The companion does all the
# work; the code of the model is decoration. Is that so?
#
# **Answer.** No. There is an exact test: a hypothesis helps if and only if it *and* its code describe the text in fewer nats than the companion alone. Hedged by its companion the trained model passes, and models that know nothing fail. All of it rests on one word, *before*: each slip breaks the bound.
#
# :::{table} The tests of this page
# | test | outcome, nats above the training loss |
# |---|---|
# | companion alone | {glue:text}`alone:.3f` |
# | trained model, hedged with its best weight | {glue:text}`model_best:.3f`: {glue:text}`model_word` |
# | least of three models that know nothing | {glue:text}`control_best:.3f`: {glue:text}`control_word` |
# | memorizer of a growing share of the text | training loss {glue:text}`memorizer_loss_first:.2f` to {glue:text}`memorizer_loss_last:.2f`, bound {glue:text}`memorizer_bound_first:.2f` to {glue:text}`memorizer_bound_last:.2f` |
# | bounds that used only what was known before | fail on at most {glue:text}`right_most:.1f` % of the texts (allowed: {glue:text}`allowed:.0f` %) |
# | each of {glue:text}`n_mistakes:d` slips | fails on at least {glue:text}`wrong_least:.0f` % |
# | held-out text | {glue:text}`test_betting:.2f` certified, below every certificate of {doc}`11_companion` |
# :::
#
# | | |
# |---|---|
# | **Paper section** | 3 and 5, what can be said against them; the tests are ours |
# | **Reads** | a rung's checkpoint, archive, training and held-out rows, the snapshots of its training, and its record |
# | **Writes** | two small checkpoints under `build/controls/` |
# | **Runtime** | {glue:text}`runtime_seconds:.0f` seconds on one core |
#
# All bounds are about the {term}`token-wise risk` on the training contexts. Those of this page are estimates on {glue:text}`n_windows:d` training windows, as in {doc}`11_companion`; none is a certificate.

# %% tags=["parameters"]
model_size: str = "ladder-50k"  # a rung that was trained here, with snapshots
method: str = "gptq"  # quantizer
bits: int = 4  # per quantized weight, the paper's setting
n_windows: int = 256  # training windows drawn for the estimates of this page
n_test_windows: int = 1_000  # held-out windows drawn
n_steps_of_controls: int = 80  # training steps of each control that is trained
n_texts: int = 200  # short texts from known sources, for each mistake
failure_prob: float = 0.01  # delta of each bound
seed: int = 0  # of samples, controls, texts

# %% tags=["hide-input"]
import hashlib
import math
import time
from dataclasses import replace
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.stats import binom

from gengap import models
from gengap.book.glue import glue_all, glue_range
from gengap.bounds import CodedModel, draw_windows, split_failure_prob
from gengap.bounds.classical import betting_upper, hoeffding_upper
from gengap.bounds.companion_coverage import deviations, violations
from gengap.bounds.companion_grids import COMPANION_PART, LITTLE, Predictor
from gengap.bounds.companion_settings import mistakes
from gengap.bounds.smoothing import max_nll, min_nll, smoothed_nll
from gengap.compression import compress
from gengap.models.counts import counting_companion, uniform_companion
from gengap.models.loading import load_checkpoint
from gengap.models.snapshots import ONLINE, average_name, companion_of
from gengap.paths import build_dir
from gengap.records import load_records
from gengap.statistics import token_statistics
from gengap.statistics.companion import Companion, beside_statistics
from gengap.tokens import TokenRows, sample_rows
from gengap.training import Run, train_run
from gengap.training.loop import new_model
from gengap.units import bits_from_nats
from gengap.workflow.companions import coded_companion, estimate_alone, estimate_with, subject

plt.style.use("gengap.book")
torch.set_num_threads(1)
started = time.process_time()

spec = models.get(model_size)
records = load_records(spec.family, method, bits)
companion, checkpoint, rows, hypothesis, record = subject(spec, method, bits, records)
model = hypothesis.build(checkpoint)

# %% [markdown]
# ## The model and its companion
#
# As in {doc}`11_companion`: {glue:text}`model_size`, quantized to {glue:text}`bits:d` bits; its companion, an average of the last weights before each row; and the same windows. We look at the paper's predictor, the model hedged with several weights of its companion, and the companion alone.

# %% caption="Gaps with a companion, estimates, nats per token"
budget = split_failure_prob(failure_prob)
vocab_size, n_train_tokens = spec.vocab_size, spec.n_train_tokens
coded = CodedModel(hypothesis.code_length_bits["archive"], n_train_tokens, vocab_size, budget.martingale)
rng = np.random.default_rng([seed, 11])  # as in chapter 11: no model has been fitted to this draw
sample = draw_windows(len(rows), n_windows // 2, n_windows - n_windows // 2, budget.sampling, rng)
drawn = rows[sample.windows]  # (n_windows, seq_len + 1)
paper_alpha = coded.paper_alpha  # C/(1+C)
train_risk = float(token_statistics(checkpoint, drawn).nll.mean(dtype=np.float64))
archive = record.bounds["archive"]
paper_predictor = Predictor(paper_alpha)
hedges = [
    Predictor(alpha, hedged=True) for alpha in (0.003, 0.01, LITTLE, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 0.97)
]


def beside_of(h, u, predictors):
    """The companion u and predictors made of the model h, on the windows drawn."""
    return beside_statistics(h, u, drawn, sample.windows, predictors)


def estimate(coded, u, statistics, *among):
    """A bound over the training loss: constants chosen on the windows drawn, without the error of that sample."""
    return estimate_with(coded, u, statistics, train_risk, among)


statistics = beside_of(model, companion, [paper_predictor, *hedges])
alone = estimate_alone(coded, companion, statistics, train_risk)
curve = {p.alpha: estimate(coded, companion, statistics, p) for p in hedges}
best_alpha = min(curve, key=lambda alpha: curve[alpha].gap)
named = {
    "final model, smoothed": estimate(coded, companion, statistics, paper_predictor),
    "hedged with 5 %": curve[LITTLE],
    f"hedged with {best_alpha:.0%}, the best": curve[best_alpha],
}
gap_of = {name: found.gap for name, found in named.items()} | {"companion alone": alone}
pd.Series(gap_of, name="gap, estimate (nats)").to_frame().style.format("{:.3f}")

# %% [markdown]
# ## Two codes
#
# :::{prf:theorem} Two codes (ours)
# :label: thm-two-codes
# :class: ours
#
# With $r_k(v) = u_k(v)\, \bigl(1 + \lambda\,(Y_k - Z_k(v))\bigr)\, e^{-\lambda Y_k}$, a sub-distribution ($\sum_v r_k(v) \le 1$), and $L(u) = 0$, the bound {eq}`eq-companion` lies below the bound {eq}`eq-online` of the companion alone, both with the same $\varepsilon$, if and only if
#
# $$
# L(h) \log 2 + \log\frac{|G|}{\delta_1} + \sum_{k=1}^D -\log r_k(x_k) \;<\; \sum_{k=1}^D -\log u_k(x_k) .
# $$ (eq-two-codes)
# :::
#
# :::{prf:proof}
# $\sum_v r_k(v) = \bigl(1 + \lambda\,(Y_k - \mathrm{KL}(u_k\|q_k))\bigr)\, e^{-\lambda Y_k} \le (1 + \lambda Y_k)\, e^{-\lambda Y_k} \le 1$. The difference of the bounds is $\mathcal C/\lambda + \frac1D \sum f^Z_k$, and
# $\lambda D$ times it is $L(h) \log 2 + \log(|G|/\delta_1) + \sum_k \bigl( \lambda Y_k - \log(1 + \lambda (Y_k - Z_k)) \bigr)$, in which each term of the sum is $-\log r_k(x_k) + \log u_k(x_k)$. $\square$
# :::
#
# A hypothesis helps exactly if it *and* its code together describe the text in fewer nats than the companion does alone. A memorizer does not: what it saves on the text it pays in $L(h)$.
#
# Both sides, computed:


# %% caption="The two codes of the text, nats per token"
def two_codes(found, beside):
    """Both sides of equation (two-codes), nats per token, and the difference of the bounds."""
    known = coded_companion(companion, coded)
    of_h = replace(coded, failure_prob=(1 - COMPANION_PART) * coded.failure_prob)
    rate, s = found.choice.rate, found.choice.share
    y = np.maximum(beside.expected, beside.most - s / rate).astype(float)  # equation (companion-baseline)
    code_of_text = beside.loss + rate * y - np.log1p(rate * (y - beside.excess))  # -log r
    return {
        "code of h": known.with_model(of_h),
        "text by r": code_of_text.mean(),
        "h and text": known.with_model(of_h) + code_of_text.mean(),
        "text by u": beside.loss.mean(dtype=float),
        "shorter?": "yes"
        if known.with_model(of_h) + code_of_text.mean() < beside.loss.mean(dtype=float)
        else "no",
        "below u alone": alone - found.gap,
    }


def sums_of_r(choice, number):
    """(seq_len,) sum of r over the vocabulary, for a predictor and the training row of this number."""
    (place, _), row = (
        next(companion.groups([number])),
        torch.from_numpy(rows[[number]][:, :-1].astype(np.int64)),
    )
    with torch.inference_mode():
        p, u = (m(row).logits[0].double().softmax(-1).numpy() for m in (model, companion.load(place)))
    u = (1 - companion.floor) * u + companion.floor / vocab_size
    alpha, hedged = choice.predictor
    q = (1 - alpha) * p + alpha * (u if hedged else 1 / vocab_size)
    z = np.log(u / q)  # (seq_len, V)
    y = np.maximum(((q + u) / 2 * z).sum(-1), z.max(-1) - choice.share / choice.rate)[:, None]
    return (u * (1 + choice.rate * (y - z)) * np.exp(-choice.rate * y)).sum(-1)


for found in named.values():
    assert (sums_of_r(found.choice, int(sample.windows[0])) <= 1 + 1e-9).all()
sides = pd.DataFrame({name: two_codes(f, statistics.of[f.choice.predictor]) for name, f in named.items()}).T
lengths = (sides["text by u"] - sides["h and text"]).astype(float)
rates = [f.choice.rate for f in named.values()]
np.testing.assert_allclose(lengths / rates, sides["below u alone"].astype(float), atol=1e-4)  # the theorem
numbers = [name for name in sides if name != "shorter?"]
sides.style.format("{:.4f}", subset=numbers)

# %%
hedged_name, final_name = list(named)[-1], next(iter(named))
assert lengths[hedged_name] > 0
glue_all(saved_bits=bits_from_nats(lengths[hedged_name] * n_train_tokens))
glue_all(final_verdict="shorter" if lengths[final_name] > 0 else "longer")
glue_all(h_bits=coded.code_length_bits)

# %% [markdown]
# Hedged with its best weight, the model *and* its code of {glue:text}`h_bits:,.0f` bits describe the text in {glue:text}`saved_bits:,.0f` bits fewer than the companion alone. The file pays for itself.
#
# For the paper's predictor the two together are {glue:text}`final_verdict` than the companion's code, and so its bound lies {glue:text}`final_place` that of $u$. Even where it lies above, it buys something else: a statement about a model that needs no companion.
#
# The theorem is an equivalence: no hypothesis can be carried below its companion without a merit of its own. The controls put that to the test.
#
# ## Controls
#
# If the companion did all the work, any $h$ would do. So we take models that know nothing, with the same companion, the same windows and the same bounds:
#
# * **untrained**: the code is the seed of its weights, 24 bits;
# * **shuffled**: trained for {glue:text}`n_steps_of_controls:d` steps on the same tokens in random order, quantized and coded like the real one;
# * **overfitted**: trained as long on 32 rows alone, again and again.

# %% caption="Models that know nothing, with the same companion: estimates of the gap, nats per token"
everything = rows[:]


def trained(name, text):
    """A model of the rung's shape trained on `text`, quantized and coded in the same way."""
    digest = hashlib.sha256(text.tobytes()).hexdigest()
    run = Run(spec, length=n_steps_of_controls / spec.n_steps, seed=seed)
    folder = (
        build_dir() / "controls" / f"{name}-{run.key(digest)[:12]}"
    )  # a finished model is not trained again
    train_run(run, TokenRows(text, digest), folder)
    coded_h = compress(load_checkpoint(folder / "checkpoint", config=spec.config()), text, method, bits)
    return coded_h.build(checkpoint), coded_h.code_length_bits["archive"]


n_rows_of_controls = n_steps_of_controls * spec.batch_rows
shuffled = rng.permutation(everything.ravel())[: n_rows_of_controls * everything.shape[1]]
controls = {
    "the model of this page": (model, coded.code_length_bits),
    "untrained": (new_model(spec, seed + 1).eval(), 24.0),
    "shuffled": trained("shuffled", shuffled.reshape(-1, everything.shape[1])),
    "overfitted": trained(
        "overfitted", np.resize(everything[:32], (n_rows_of_controls, everything.shape[1]))
    ),
}
tried = [paper_predictor, *(p for p in hedges if p.alpha in (LITTLE, 0.2, 0.5, 0.9))]
outcomes = {}
for name, (h, length_bits) in controls.items():
    found, coded_h = beside_of(h, companion, tried), replace(coded, code_length_bits=length_bits)
    outcomes[name] = {
        "L(h), bits": length_bits,
        "smoothed": estimate(coded_h, companion, found, paper_predictor).gap,
        "hedged, 5 %": estimate(coded_h, companion, found, tried[1]).gap,
        "hedged, best": estimate(coded_h, companion, found, *tried[1:]).gap,
    }
outcomes = pd.DataFrame(outcomes).T
assert outcomes["hedged, best"].iloc[0] < alone < outcomes["hedged, best"].iloc[1:].min()
assert (outcomes.iloc[1:, 1:] > outcomes.iloc[0, 1:]).all(axis=None)
outcomes.style.format("{:,.0f}", subset=["L(h), bits"]).format("{:.3f}", subset=list(outcomes)[1:])

# %% [markdown]
# The companion alone has {glue:text}`alone:.3f`. No control gets below it, at any weight tried; the trained model does.
#
# ### A memorizer
#
# One more model tries to cheat. It takes the trained model and *buys* tokens: its code lists them, and it predicts them with certainty. The list is coded by the companion itself, with $-\log u(x)$ for each token.


# %% caption="A memorizer: what it predicts and what its bound says, nats per token"
def memorizer(beside, alpha, bought):
    """Beside of the hedged model with the tokens `bought` (n, seq_len) known to it: q = (1-alpha) 1[v = x] + alpha u there."""
    u = np.exp(-beside.loss.astype(float))
    q = 1 - alpha + alpha * u
    z, others = np.log(u / q), math.log(1 / alpha)
    expected = ((q + u) * z + (2 - q - u) * others) / 2
    changed = {"excess": z, "expected": expected, "most": np.full_like(z, others)}
    return beside._replace(
        **{name: np.where(bought, value, getattr(beside, name)) for name, value in changed.items()}
    )


buyer = Predictor(LITTLE, hedged=True)
of_buyer = {}
order = rng.random(statistics.loss.shape)  # which tokens: a rule fixed before the text costs no bits
for share in (0.0, 0.02, 0.1, 0.3, 1.0):
    bought = order < share
    price = bits_from_nats(float((bought * statistics.loss.astype(float)).mean()) * n_train_tokens)
    found = estimate(
        replace(coded, code_length_bits=coded.code_length_bits + price),
        companion,
        replace(statistics, of={buyer: memorizer(statistics.of[buyer], LITTLE, bought)}),
    )
    of_buyer[f"{share:.0%}"] = {
        "training loss": found.loss + train_risk,
        "bound": found.gap + train_risk,
        "gap": found.gap,
    }
of_buyer = pd.DataFrame(of_buyer).T.rename_axis("tokens bought")
assert (np.diff(of_buyer["training loss"]) < 0).all()
assert (np.diff(of_buyer["bound"]) > 0).all()
np.testing.assert_allclose(of_buyer["gap"].iloc[0], curve[LITTLE].gap, atol=1e-6)
glue_all(n_steps_of_controls=n_steps_of_controls, log_vocab=math.log(vocab_size))
for place, row in (("first", 0), ("last", -1)):
    glue_all(
        **{
            f"memorizer_loss_{place}": of_buyer["training loss"].iloc[row],
            f"memorizer_bound_{place}": of_buyer["bound"].iloc[row],
        }
    )
of_buyer.style.format("{:.3f}")

# %% [markdown]
# Its training loss falls from {glue:text}`memorizer_loss_first:.2f` to {glue:text}`memorizer_loss_last:.2f`, its bound rises from {glue:text}`memorizer_bound_first:.2f` to {glue:text}`memorizer_bound_last:.2f`, beyond guessing ({glue:text}`log_vocab:.2f`). The equation of the two codes says why. A token in the list costs there what it would have
# cost in the text, and a better code for the list would have been a better predictor.
#
# ## Leaks: smaller numbers that are no certificates
#
# A snapshot that has seen the token it is asked about gives a smaller number, and the number means nothing.


# %% caption="Companions that look ahead: smaller numbers that certify nothing, nats per token"
def late(u):
    """The snapshots off by one: each row is read beside the first one that has seen it."""
    return replace(u, name=f"{u.name}, off by one", starts=u.starts[:-1], load=lambda i: u.load(i + 1))


def snapshots(which):
    """The same snapshots of another average, or of the weights themselves."""
    return companion_of(spec.results_dir() / "snapshots", spec.batch_rows, spec.config(), which)


small_hedge = Predictor(LITTLE, hedged=True)


@cache
def outcome(u):
    """The bounds of this page with another companion."""
    found = beside_of(model, u, [paper_predictor, small_hedge])
    return {
        "loss of u": float(found.loss.mean(dtype=float)) - train_risk,
        "u alone": estimate_alone(coded, u, found, train_risk),
        "smoothed": estimate(coded, u, found, paper_predictor).gap,
        "hedged, 5 %": estimate(coded, u, found, small_hedge).gap,
        "Z strays": float(
            np.sqrt(
                np.mean(
                    (found.of[paper_predictor].excess - found.of[paper_predictor].expected).astype(float) ** 2
                )
            )
        ),
    }


online = snapshots(ONLINE)
leaks = {
    "online": outcome(online),
    "online, off by one": outcome(late(online)),
    companion.name: outcome(companion),
    f"{companion.name}, off by one": outcome(late(companion)),
    "a second epoch": outcome(Companion("second epoch", (0,), lambda i: checkpoint)),
}
leaks = pd.DataFrame(leaks).T
assert leaks.loc["online, off by one", "u alone"] < leaks.loc["online", "u alone"]
assert leaks.loc[f"{companion.name}, off by one", "u alone"] < leaks.loc[companion.name, "u alone"]
assert leaks.loc["a second epoch", "u alone"] < leaks["u alone"].drop("a second epoch").min()
leaks.style.format("{:.3f}")

# %% [markdown]
# Each leak lowers the number, and nothing in the numbers tells a leak from a good companion. To see that they are wrong one has to know the truth.
#
# So we take sources whose probabilities are a table, and companions that learn a table along the text, batch by batch. As $h$ we take the *worst* hypothesis of its code, found after a look at each text (`gengap.bounds.companion_settings`). For each mistake there are two settings that differ in one slip. On {glue:text}`n_texts:d` texts of each: how often does
# the true risk exceed its bound, which may happen with probability {glue:text}`failure_prob:g`?


# %% caption="How often the true risk exceeded the bound, % of the texts"
@cache
def violated(mistake, slip, predictor):
    """Share of the texts, in %, on which bounds fail: on q with the worst hypothesis, on u alone."""
    n = 960 if mistake == "batches skipped after a look" else 240  # tokens of a text
    setting = mistakes(n)[mistake][slip]
    found = violations(
        deviations(setting, predictor, n_texts, n, seed, (0.3, 1.0, 4.0), (0.5, 0.98)), failure_prob
    )
    return 100 * found["risk"] / n_texts, 100 * found["companion"] / n_texts


kinds = {"smoothed": Predictor(LITTLE), "hedged, 5 %": Predictor(LITTLE, hedged=True)}
rows_of_table = {}
for mistake in mistakes(240):
    for slip, word in enumerate(("before", "not before")):
        on_q = {name: violated(mistake, slip, predictor)[0] for name, predictor in kinds.items()}
        rows_of_table[mistake, word] = on_q | {"u alone": violated(mistake, slip, kinds["smoothed"])[1]}
verdicts = pd.DataFrame(rows_of_table).T.rename_axis(["mistake", "what is used was known"])
right, wrong = (verdicts.xs(word, level=1) for word in ("before", "not before"))
assert (right <= 100 * binom.ppf(1 - 1e-4, n_texts, failure_prob) / n_texts).all(axis=None)
assert (wrong[list(kinds)] > 20).all(axis=None)
glue_all(n_texts=n_texts, failure_prob=failure_prob, n_mistakes=len(wrong))
glue_all(right_most=right.max(axis=None), wrong_least=wrong[list(kinds)].min(axis=None))
verdicts.style.format("{:.0f} %")

# %% [markdown]
# What was known before fails on at most {glue:text}`right_most:.1f` % of the texts. Each of the {glue:text}`n_mistakes:d` mistakes breaks the bound on $q$ on at least {glue:text}`wrong_least:.0f` % of them. A $Y$ that looks at the token does no harm to the companion alone, which has none.
#
# {doc}`08_beyond` shows how far off the number is for a transformer whose companion had read the text before.
#
# ## Which companion?
#
# Any {term}`predictable` sequence will do, and what it is worth can be measured. The same bounds, model and windows, with other companions:
#
# :::{table} Companions that are compared
# | companion | what it is |
# |---|---|
# | uniform | brings back the bound without a companion |
# | untrained network | knows nothing, in another way |
# | single tokens, pairs | counts of all rows so far |
# | one fixed checkpoint | an early one |
# | online weights | those of the moment |
# | averages | of the weights, over the last shares of the steps |
# :::


# %% caption="Other companions: estimates of the gap, nats per token"
def chosen(u, places):
    """The same rule with some of its snapshots alone."""
    places = [int(i) for i in places]
    return replace(u, starts=tuple(u.starts[i] for i in places), load=lambda i: u.load(places[i]))


early = int(np.searchsorted(online.starts, len(rows) // 8))
companions = {
    "uniform": uniform_companion(vocab_size),
    "untrained network": Companion("untrained", (0,), lambda i: new_model(spec, seed + 1).eval()),
    "single tokens, counted": counting_companion(everything, vocab_size, "unigram", 64),
    "pairs, counted": counting_companion(everything, vocab_size, "bigram", 64),
    "one fixed checkpoint": chosen(online, [0, early]),
    "online weights": online,
    "average, 2 %": snapshots(average_name(0.02)),
    "average, 5 %": snapshots(average_name(0.05)),
    "average, 10 %": companion,
    "average, 20 %": snapshots(average_name(0.2)),
}
compared = pd.DataFrame({name: outcome(u) for name, u in companions.items()}).T
compared.style.format("{:.3f}")

# %% mystnb={"figure": {"caption": "What makes a companion good for the paper's predictor: how closely its losses follow the model's (second panel), rather than its own loss (first). Each mark is a companion of the table; round ones are snapshots of the training.", "name": "fig-companion-kinds"}, "image": {"alt": "Two panels with the gap of the smoothed final model on the vertical axis. Left, against the companion's own loss: pair counts, with the smallest loss of all, have a large gap. Right, against how far Z strays: the marks rise along a line."}}
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.4), sharey=True)
networks = [name for name in compared.index if name.startswith(("average", "online"))]
for ax, column in zip(axes, ("loss of u", "Z strays"), strict=True):
    for name in compared.index:
        ax.plot(
            compared.loc[name, column], compared.loc[name, "smoothed"], "oC2" if name in networks else "sC1"
        )
    for name, place in {
        "uniform": (0, 7),
        "pairs, counted": (0, -14),
        "one fixed checkpoint": (0, 7),
        "average, 10 %": (0, -14),
    }.items():
        at = compared.loc[name, [column, "smoothed"]]
        ax.annotate(name, at, place, textcoords="offset points", ha="center", fontsize="x-small")
    ax.margins(x=0.25, y=0.12)
axes[0].set(xlabel="loss of u, nats above the final model's", ylabel="gap of the smoothed model")
axes[1].set(xlabel="how far Z strays, nats")
plt.show()

# %% caption="Fewer snapshots: estimates of the gap, nats per token"
by_stray = compared["Z strays"].corr(compared["smoothed"], method="spearman")
by_loss = compared["loss of u"].corr(compared["smoothed"], method="spearman")
network_gaps = compared.loc[networks, "smoothed"]
assert compared["smoothed"].idxmin() in networks
assert (
    compared.loc["uniform", "smoothed"] > compared["smoothed"].max() - 0.02
)  # no worse one, but for an untrained network
glue_all(by_stray=by_stray, by_loss=by_loss, pairs_loss=compared.loc["pairs, counted", "loss of u"])
glue_all(
    pairs_alone=compared.loc["pairs, counted", "u alone"],
    pairs_smoothed=compared.loc["pairs, counted", "smoothed"],
)
glue_range("networks", network_gaps)
thinned = {}
for n in (5, 10, 20, 40):
    thinned[f"{n} snapshots"] = outcome(
        chosen(companion, np.linspace(0, len(companion.starts) - 1, n).astype(int))
    )
thinned["all"] = outcome(companion)
thinned = pd.DataFrame(thinned).T
glue_all(
    few_gap=thinned["smoothed"].iloc[0],
    twenty_gap=thinned.loc["20 snapshots", "smoothed"],
    all_gap=thinned["smoothed"].iloc[-1],
)
thinned.drop(columns="Z strays").style.format("{:.3f}")

# %% [markdown]
# * **A good companion is a double.** Over these companions the gap of the paper's predictor follows how far $Z$ strays (rank correlation {glue:text}`by_stray:.2f`), more than the companion's own loss ({glue:text}`by_loss:.2f`). Online weights and all averages give nearly the same, {glue:text}`networks_least:.2f` to {glue:text}`networks_most:.2f` nats.
# * **It need not be a good predictor, and a good predictor need not be one.** On this small rung the counted pairs predict the next token, online, about as well as the trained model does at the end: their loss lies {glue:text}`pairs_loss:+.3f` nats from its training loss, and alone they are certified at a gap of {glue:text}`pairs_alone:+.2f`. As a companion they are worth little, {glue:text}`pairs_smoothed:.2f` nats, because they
#   stumble over other tokens. (That a table of pairs does so well says how little a network of this size can hold.)
# * **Few snapshots will do.** The gap is {glue:text}`few_gap:.2f` nats with 5 of them, {glue:text}`twenty_gap:.2f` with 20, {glue:text}`all_gap:.2f` with all. So released checkpoints can serve, if the text was read once and its order is known.
#
# ## What a test set gives, and why it explains nothing
#
# There is a cheaper way to a number: keep some text aside. The same predictor on {glue:text}`n_test_windows:,` held-out windows, bounded by Hoeffding's inequality and by betting ({doc}`05_bound`):

# %% caption="What held-out text certifies"
heldout = spec.heldout_rows()
unseen = sample_rows(heldout, n_test_windows, seed)
test_nll = token_statistics(model, unseen).nll
test_losses = smoothed_nll(test_nll, paper_alpha, vocab_size).mean(axis=1)  # (n_test_windows,) nats
test_range = min_nll(paper_alpha, vocab_size), max_nll(paper_alpha, vocab_size)
shuffled_losses = np.random.default_rng([seed, 14]).permutation(test_losses)  # betting must not see an order
test_set = (
    pd.Series(
        {
            "mean": test_losses.mean(),
            "betting": betting_upper(shuffled_losses, *test_range, failure_prob, len(heldout)),
            "Hoeffding": float(hoeffding_upper(test_losses, *test_range, failure_prob)),
        }
    )
    - record.risks.train.mean
)
assert test_set["mean"] < test_set["betting"] < test_set["Hoeffding"]
assert test_set["betting"] < min(record.online.gap, archive.hedged.gap)
glue_all(
    test_mean=test_set["mean"],
    test_betting=test_set["betting"],
    test_hoeffding=test_set["Hoeffding"],
    n_test_windows=len(unseen),
)
test_set.rename("above the training loss, nats").to_frame().style.format("{:.3f}")

# %% [markdown]
# The {term}`held-out loss` lies {glue:text}`test_mean:.2f` nats above the training loss. Betting certifies {glue:text}`test_betting:.2f`, below every certificate of {doc}`11_companion`; with a companion in the proof that was {glue:text}`companion_gap:.2f`. (It speaks of another risk: the mean over the {glue:text}`n_heldout:,` held-out rows, from which the windows were
# drawn.)
#
# Why bother with anything else? Because it would be the same number for a model that was found by magic. It holds whatever the training was, however many parameters the model has and however few tokens it saw. So it cannot say what any of these have to do with it. It is a measurement of *that* a model generalizes.
#
# The bounds of this book are made of the code length, the number of tokens and the variation of the losses. What moves them is an explanation, as far as they are small, and the distance to the test set's number shows how far they are from being a complete one. And they use the training text alone: none is set aside.
#
# ## What agreed, what did not
#
# * **Answered**: the companion does not do the work alone. Untrained, shuffled and overfitted models stay above it, and a memorizer is charged more than it gains.
# * **Answered**: a leak shows up as a violation where the truth is known. Where it is not, only the way in which the numbers were made can tell.
# * **Conceded**: at this size the paper's predictor with a companion stays above the companion alone. And a test set gives a smaller number than any certificate of {doc}`11_companion`.

# %%
assert named[final_name].gap > alone  # conceded
model_best, control_best = outcomes["hedged, best"].iloc[0], outcomes["hedged, best"].iloc[1:].min()
glue_all(model_best=model_best, model_word="below" if model_best < alone else "not below")
glue_all(control_best=control_best, control_word="above" if control_best > alone else "not above")
glue_all(companion_gap=archive.companion.gap, n_heldout=len(heldout), allowed=100 * failure_prob)
glue_all(alone=alone, model_size=model_size, bits=bits, n_windows=n_windows)
glue_all(final_place="above" if named[final_name].gap > alone else "below")

# %% [markdown]
# ## Exercises
#
# ```{exercise} A sub-distribution, by hand
# :label: ex-critics-1
#
# Take the two tokens of the first exercise of {doc}`11_companion`: $u = (\frac12, \frac12)$, $q = (0.86, 0.14)$, $\lambda = 1$, $Y = 0.373$. Compute $r$ and its sum. Where is the missing probability lost?
# ```
#
# ```{solution-start} ex-critics-1
# :class: dropdown
# ```

# %%
u2, q2, y2 = np.array([0.5, 0.5]), np.array([0.86, 0.14]), np.log(0.5 / 0.14) - 0.9
r2 = u2 * (1 + y2 - np.log(u2 / q2)) * np.exp(-y2)
divergence = float(u2 @ np.log(u2 / q2))
np.testing.assert_allclose([*r2, r2.sum()], [0.660, 0.034, 0.694], atol=5e-4)
np.testing.assert_allclose(r2.sum(), (1 + y2 - divergence) * np.exp(-y2))

# %% [markdown]
# $r = (0.660, 0.034)$, which sums to 0.694. It would be 1 only if $q = u$ and $Y = 0$. Here the baseline was raised for the sake of the second token, and $e^{-\lambda Y}(1 + \lambda (Y - \mathrm{KL}))$ is what that costs: 0.365 nats at each such token.
#
# ```{solution-end}
# ```
#
# ```{exercise} A cleverer memorizer
# :label: ex-critics-2
#
# The memorizer above buys tokens at places fixed beforehand. Let it buy the 2 % of the tokens that the companion finds hardest. Now its code has to say where they are: $\log_2 \binom{D}{n}$ bits, about $D$ times the entropy of the share. Does it pay?
# ```
#
# ```{solution-start} ex-critics-2
# :class: dropdown
# ```

# %%
bought = statistics.loss >= np.quantile(statistics.loss, 0.98)
share = bought.mean()
places = -(share * math.log(share) + (1 - share) * math.log(1 - share))  # nats a token, for where they are
price = bits_from_nats((float((bought * statistics.loss).mean()) + places) * n_train_tokens)
cleverer = estimate_with(
    replace(coded, code_length_bits=coded.code_length_bits + price),
    companion,
    replace(statistics, of={buyer: memorizer(statistics.of[buyer], LITTLE, bought)}),
    train_risk,
)
assert cleverer.loss < curve[LITTLE].loss
assert cleverer.gap > curve[LITTLE].gap
glue_all(clever_before=curve[LITTLE].gap, clever_after=cleverer.gap)
glue_all(clever_saved=curve[LITTLE].loss - cleverer.loss)

# %% [markdown]
# No. The training loss falls by {glue:text}`clever_saved:.2f` nats, and the gap rises from {glue:text}`clever_before:.2f` to {glue:text}`clever_after:.2f`. The hard tokens are the dear ones to list, and their places cost more.
#
# ```{solution-end}
# ```
#
# ```{exercise} Somebody else's model
# :label: ex-critics-3
#
# Take as companion a public model that was trained before this text was written. Is it predictable, although it never changes? What if it was picked, after a look at this text, as the best of a thousand? And could it make the bound small for an $h$ that knows nothing?
# ```
#
# ```{solution-start} ex-critics-3
# :class: dropdown
# ```

# %%
one_of_many = replace(companion, code_length_bits=math.log2(1000))
unpaid = replace(companion, code_length_bits=0.0)
choice_cost = estimate_alone(coded, one_of_many, statistics, train_risk) - estimate_alone(
    coded, unpaid, statistics, train_risk
)
assert 0 < choice_cost < 0.01
glue_all(choice_cost=choice_cost)

# %% [markdown]
# It is predictable: it belongs to $\mathcal F_0$. Picked among a thousand it costs ten bits, {glue:text}`choice_cost:.4f` nats on the bound for $u$ alone. But the assumption has teeth: nobody looked into what the public model had read, and if this text was part of it, the bound is void.
#
# Nor can it carry an $h$ below itself for nothing. {prf:ref}`thm-two-codes` holds for every companion: $h$ and its code together would have to describe the text in fewer nats.
#
# ```{solution-end}
# ```

# %%
glue_all(runtime_seconds=time.process_time() - started)
