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
# # Every model, side by side
#
# How well do the models predict that were run, and what is certified of each? This page answers for any set of records: those of the book, or the ones you name. First it counts on how many models each
# claim holds; then come all numbers, and how they move with size and with the length of the training.
#
# | | |
# |---|---|
# | **Paper section** | 4 and the table of the public reviews, for whatever was run |
# | **Reads** | records: those of the book, or any that are named |
# | **Writes** | nothing |
# | **Runtime** | seconds |
#
# A record holds everything that is known about one model, at one checkpoint, under one quantization. `make sweep` makes records; `gengap report RECORDS...` makes this page of the ones you name.
#
# What is bounded is the token-wise risk on the training contexts, and the predictor that has it is the quantized and smoothed model. Each bound holds with the probability that its record states, 99 % unless
# another was asked for. Losses and bounds are in nats per token. Models with different vocabularies cannot be compared by them, but by their distance from guessing.

# %% tags=["parameters"]
files: list = []  # paths of records; empty: all published ones and this machine's

# %% tags=["hide-input"]
import math
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

from gengap.book.figures import family_panels, size_axis, stacked_bars
from gengap.models.spec import TOKENS_PER_PARAMETER
from gengap.records import BoundRecord, load_records
from gengap.records.bound import ordered, same_weights
from gengap.records.gaps import length_of

plt.style.use("gengap.book")
records = ordered(BoundRecord.read(Path(file)) for file in files) if files else load_records()
assert records, "there are no records yet: `make sweep MODELS=ladder-50k` makes one"


def name_of(record):
    """Model size and quantization; the revision too where a family has several; and whether it is no certificate."""
    revision = "" if record.identity.revision == "main" else f" {record.identity.revision}"
    code = f"{record.quantization.method}-{record.quantization.bits}"
    name = f"{record.identity.model_size}{revision} {code}{' (arithmetic)' if record.not_certified else ''}"
    namesakes = [r.identity.n_params for r in records if (r.place, r != record) == (record.place, True)]
    return f"{name} {record.evidence.checkpoint_sha256[:6]}" if namesakes else name


def log_vocab(record):
    """The loss of guessing tokens uniformly, nats."""
    return math.log(record.identity.vocab_size)


def with_companion(record, kind):
    """A bound that needs snapshots of the training, archive length, nats; NaN where there were none."""
    bound = getattr(record.bounds["archive"], kind)
    return bound.value if bound else math.nan


# %% [markdown]
# ## What holds, and how often
#
# Each row is a claim of the paper or of this book, counted over the records shown. Records that are mere arithmetic count too.

# %% caption="Claims, and how many of the records they hold for"
claims = {
    "the paper's bound is below guessing": [r.bounds["nominal"].paper.value < log_vocab(r) for r in records],
    "ours, archive, is below guessing": [r.bounds["archive"].tight.value < log_vocab(r) for r in records],
    "ours is below the paper's": [r.bounds["nominal"].tight.value < r.bounds["nominal"].paper.value for r in records],
    "Freedman (paper) is below Azuma": [r.bounds["nominal"].paper.value < r.bounds["nominal"].azuma.value for r in records],
    "the archive is shorter than nominal": [
        r.quantization.code_length_bits["archive"] < r.quantization.code_length_bits["nominal"] for r in records
    ],
}  # fmt: skip
pd.DataFrame({claim: {"holds for": sum(held), "of": len(held)} for claim, held in claims.items()}).T.style

# %% [markdown]
# ## Losses and bounds
#
# :::{table} Columns of the tables below
# | column | what it is |
# |---|---|
# | loss, held-out loss | of the trained model, on its training text and on text kept apart |
# | quantized | training loss of the quantized model |
# | Azuma, paper, ours | bounds that count the bits asked for, for every parameter, as the paper does |
# | archive | our bound, with the length of the real file |
# | with a companion | bound on the paper's predictor; the proof uses snapshots of the training (chapter *What do you pay for?*); length of the file |
# | hedged, 5 % | bound on the model mixed with at most 5 % of its companion; length of the file |
# | guessing | $\log V$: a bound above it says nothing |
# :::
#
# A name that ends in *(arithmetic)* is that of a record that certifies nothing; the reason is printed below. Bounds with a companion are missing where no snapshots were at hand.
#
# Each bound holds with its own probability. That all bounds of a column hold is less certain, and the lowest of several is no certificate at 99 %, unless it was chosen without looking at them.

# %% caption=["Every record: the model and its losses, nats per token", "Every record: its bounds, nats per token"]
for record in records:
    if record.not_certified:
        print(f"{name_of(record)} is no certificate: {record.not_certified}.")
columns = {
    name_of(record): {
        "parameters": record.identity.n_params,
        "tokens per parameter": record.identity.n_train_tokens / record.identity.n_params,
        "loss": record.risks.train.mean,
        "held-out loss": record.risks.heldout.mean if record.risks.heldout else math.nan,
        "quantized": record.risks.quantized.mean,
        "Azuma": record.bounds["nominal"].azuma.value,
        "paper": record.bounds["nominal"].paper.value,
        "ours": record.bounds["nominal"].tight.value,
        "archive": record.bounds["archive"].tight.value,
        "with a companion": with_companion(record, "companion"),
        "hedged, 5 %": with_companion(record, "hedged_little"),
        "guessing": log_vocab(record),
        "bits per parameter": record.quantization.code_length_bits["archive"] / record.identity.n_params,
        "gap, ours / paper's": record.bounds["nominal"].tight.gap / record.bounds["nominal"].paper.gap,
    }
    for record in records
}
table = pd.DataFrame(columns).T
losses, bounds = table.loc[:, :"quantized"], table.loc[:, "Azuma":]
display(
    losses.style.format("{:.3f}", na_rep="not measured")
    .format("{:,.0f}", subset=["parameters"])
    .format("{:.1f}", subset=["tokens per parameter"]),
    bounds.style.format("{:.3f}", na_rep="not measured"),
)

# %% [markdown]
# ## The terms
#
# What is each bound made of? A bar for each record shows the terms of the paper's bound. Marks on it are the other bounds of the same model, and the short line is the loss of guessing.

# %% mystnb={"image": {"alt": "A stacked bar per record with the terms of the paper's bound in nats per token; a triangle marks Azuma's bound, a diamond ours, a dot ours with the archive's code length, and a short line the loss of guessing."}, "figure": {"caption": "The terms of the paper's bound, nominal code length, for every record; marks: Azuma's bound, ours, and ours with the archive's length; the short line is guessing.", "name": "fig-report-terms"}}
nominal = [record.bounds["nominal"] for record in records]
terms = pd.DataFrame([bounds.paper.terms() for bounds in nominal], [name_of(record) for record in records])
marks = {
    "Azuma": ("^", "C3", [bounds.azuma.value for bounds in nominal]),
    "ours": ("D", "C2", [bounds.tight.value for bounds in nominal]),
    "ours, archive": ("o", "1.0", [record.bounds["archive"].tight.value for record in records]),
}
fig, ax = plt.subplots(figsize=(6.4, 1.8 + 0.34 * len(records)))
stacked_bars(ax, terms, horizontal=True)
for label, (marker, color, values) in marks.items():
    style = {"marker": marker, "color": color, "markeredgecolor": "0.4", "linestyle": "none"}
    ax.plot(values, range(len(records)), **style, label=label)
y = np.arange(len(records))
guessing = [log_vocab(record) for record in records]
ax.plot([guessing, guessing], [y - 0.45, y + 0.45], color="C5", linewidth=1.5)
ax.set(xlabel="nats per token", xlim=(0, None))
ax.invert_yaxis()
ax.grid(visible=False, axis="y")
fig.legend(loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# ## Against size
#
# One record for each size, and one code for each family: the code that most of its sizes have, so that a line joins like with like. Of a size's trainings it is the one nearest to 20 tokens a parameter, from its first seed. A point
# above 100 % is no better than guessing.


# %% mystnb={"image": {"alt": "Loss, our bound and the paper's bound as shares of the loss of guessing, against the number of parameters on a logarithmic axis, a panel per family."}, "figure": {"caption": "Loss and bounds as shares of the loss of guessing, for the record of each size nearest to 20 tokens a parameter, one code for each family.", "name": "fig-report-size"}}
def code_of(record):
    """Family and code: what a line of the figure has in common."""
    return record.identity.family, record.quantization.method, record.quantization.bits


n_sizes = Counter(code for code, _ in dict.fromkeys((code_of(r), r.identity.size) for r in records))
usual = {
    code[0]: code for code, _ in reversed(n_sizes.most_common())
}  # of each family, the code of most sizes
best = {}
for record in sorted(records, key=lambda r: (abs(math.log(length_of(r))), r.identity.revision)):
    if code_of(record) == usual[record.identity.family]:
        best.setdefault(record.identity.model_size, record)
SERIES = {
    "paper": ("C1", lambda record: record.bounds["nominal"].paper.value),
    "ours": ("C2", lambda record: record.bounds["nominal"].tight.value),
    "ours, archive": ("C0", lambda record: record.bounds["archive"].tight.value),
    "training loss": ("C6", lambda record: record.risks.train.mean),
}
families = {}
for record in ordered(best.values()):
    families.setdefault(record.identity.family, []).append(record)
fig, axes = family_panels(families, 3.6)
for ax, shown in zip(axes, families.values(), strict=True):
    sizes = {record.identity.size: record.identity.n_params for record in shown}
    for (label, (color, value)), marker in zip(SERIES.items(), "sD^o", strict=True):
        shares = [100 * value(record) / log_vocab(record) for record in shown]
        ax.plot(list(sizes.values()), shares, f"{marker}-", color=color, label=label)
    ax.axhline(100, linestyle="--", linewidth=1, color="C5")
    size_axis(ax, sizes)
axes[0].set(ylabel="% of guessing", ylim=(0, None))
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()

# %% [markdown]
# ## Along training
#
# The code of a model is paid once, over all the tokens that it was trained on. So a short training pays much for each token and a long one little, while the loss falls ever more slowly.
#
# Models with records at several lengths are drawn here against the tokens they had seen; 20 tokens a parameter is the compute-optimal number. Revisions whose records name the same weights are no two points of a training, and are left out.

# %% mystnb={"image": {"alt": "Training loss, our bound and the paper's bound in nats per token against the tokens seen per parameter, a group of lines per model; a vertical line at twenty tokens per parameter."}, "figure": {"caption": "Loss and bounds of one model along its training. Vertical line: 20 tokens per parameter; dashed: guessing.", "name": "fig-report-training"}}
for said in same_weights(records):
    print(f"Left out here: {said}.")
revisions = {}  # weights -> the names under which they stand in records
for record in records:
    names = revisions.setdefault(record.evidence.checkpoint_sha256, set())
    names.add((record.identity.model_size, record.identity.revision))
runs = {}
for record in records:
    if len(revisions[record.evidence.checkpoint_sha256]) > 1:
        continue
    key = record.identity.model_size, record.quantization.method, record.quantization.bits
    runs.setdefault(key, []).append(record)
runs = {key: found for key, found in runs.items() if len({r.identity.n_train_tokens for r in found}) > 1}
if runs:
    fig, axes = plt.subplots(len(runs), 1, figsize=(6.4, 1 + 2.8 * len(runs)), sharex=True, squeeze=False)
    for ax, ((model_size, method, bits), found) in zip(axes[:, 0], runs.items(), strict=True):
        found = sorted(found, key=lambda record: record.identity.n_train_tokens)
        seen = [record.identity.n_train_tokens / record.identity.n_params for record in found]
        for label, (color, value) in SERIES.items():
            ax.plot(seen, [value(record) for record in found], "o-", color=color, label=label)
        ax.axhline(log_vocab(found[0]), linestyle="--", linewidth=1, color="C5")
        ax.axvline(TOKENS_PER_PARAMETER, linewidth=1, color="0.5")
        ax.set(xscale="log", yscale="log", ylabel="nats per token", title=f"{model_size} {method}-{bits}")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}")
    axes[-1, 0].set_xlabel("tokens seen per parameter")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    plt.show()
else:
    print("No model here has records at several revisions: gengap sweep with several --revision makes them.")
