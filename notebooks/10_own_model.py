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
# # Your own model
#
# You have trained a language model and kept the tokens that it was trained on. Can it have a certificate too? Yes: nothing more is needed. Nothing in the bound knows the architecture.
#
# This page shows it on two models that nothing in this book was made for, a GPT-2 and a Llama, trained in the usual way with the `Trainer` of transformers. Beside them stands a rung of the ladder, which has read more text for its size.
#
# :::{table} Three models side by side
# | | GPT-2 | Llama | rung `ladder-200k` |
# |---|---|---|---|
# | tokens a parameter | {glue:text}`tokens_per_parameter:.0f` | {glue:text}`llama_tokens_per_parameter:.0f` | {glue:text}`rung_tokens_per_parameter:.0f` |
# | certified gap of our bound, nats | {glue:text}`gpt2_gap:.2f` | {glue:text}`llama_gap:.2f` | {glue:text}`rung_gap:.2f` |
# | bound, nats | {glue:text}`gpt2_bound:.2f` | {glue:text}`llama_bound:.2f` | {glue:text}`rung_bound:.2f` |
# | better than guessing, {glue:text}`log_vocab:.2f` nats? | {glue:text}`gpt2_word` | {glue:text}`llama_word` | {glue:text}`rung_word` |
# :::
#
# | | |
# |---|---|
# | **Paper section** | none: the paper bounds Pythia, this page bounds whatever you have trained |
# | **Reads** | rows of the ladder's text; the published record of a rung, to stand beside |
# | **Writes** | two checkpoints, their archives and records under `build/own/` |
# | **Runtime** | {glue:text}`runtime_minutes:.1f` minutes on one core, training included |
#
# ## Three commands
#
# ```bash
# gengap certify my-model --rows train.bin --seq-len 1024 --heldout val.bin
# gengap verify build/results/own/my-model/main-gptq-4bit.json --model my-model --rows train.bin
# gengap report
# ```
#
# `my-model` is the folder that `save_pretrained` wrote, or a repository of the hub (`--revision` takes a branch or commit). Other quantizers and lengths are `--method` and `--bits`; `gengap certify --help` lists the rest.
#
# Rows that the model was not trained on give no {term}`certificate`. With `--not-training-rows` and the published number of tokens the same command does the arithmetic, and every page says that this is all it is.
#
# The rest of this page does the same step by step.

# %% tags=["parameters"]
n_rows: int = 6_144  # training rows of the ladder's text, 257 tokens each
batch_rows: int = 8  # per optimizer step
learning_rate: float = 8e-3  # at its peak
n_pilot_windows: int = 100  # training windows drawn to choose the constants of the bound
n_windows: int = 600  # training windows drawn to certify it
n_pairs: int = 500  # (window, position) pairs of the paper's own estimate
seed: int = 0  # of weights, batches and samples

# %% tags=["hide-input"]
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging

import gengap
from gengap.book.figures import stacked_bars
from gengap.book.glue import glue_all
from gengap.bounds import closed_form_gap
from gengap.compression import archive
from gengap.hardware import keep_freed_memory
from gengap.models.architecture import architecture_of
from gengap.models.loading import load_checkpoint
from gengap.paths import build_dir, published_results_dir
from gengap.records import BoundRecord
from gengap.tokens import corpus_rows, open_rows
from gengap.units import nats_from_bits
from gengap.workflow.certify import own_identity
from gengap.workflow.settings import Settings
from gengap.workflow.verify import verify

plt.style.use("gengap.book")
torch.set_num_threads(1)
keep_freed_memory(of_any_size=True)  # faster, and no digit changes
logging.set_verbosity_error()
logging.disable_progress_bar()
started = time.monotonic()
settings = Settings(n_pilot_windows=n_pilot_windows, n_windows=n_windows, n_pairs=n_pairs, seed=seed)
folder = build_dir() / "own"
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## The text
#
# Rows are what the model reads at once: `seq_len` inputs and, shifted by one, their targets. Yours may lie in one of these:
#
# * nanoGPT's flat `train.bin`, or Megatron's `.bin` and `.idx`;
# * an `.npy` file, as here;
# * `.jsonl`, `.parquet` or `.txt`, beside the model's tokenizer;
# * a data set that `datasets` has saved.
#
# `open_rows` tells them apart.
#
# $D$ counts each token of the text once. Rows that repeat an earlier one do not count, and a model that has read its text five times has not seen five times as much.
#
# Any order will do that nobody chose after looking at the text, so the order of the file will do, even though `Trainer` shuffles. Training in another order, or for longer, gives another hypothesis, and the bound holds for all of them at
# once ({doc}`05_bound`).

# %%
np.save(folder / "train.npy", corpus_rows()[:n_rows])
np.save(folder / "heldout.npy", corpus_rows("heldout")[:n_windows])
rows, heldout = (
    open_rows(folder / "train.npy", vocab_size=2048),
    open_rows(folder / "heldout.npy", vocab_size=2048),
)
print(f"{len(rows):,} rows of {rows.seq_len} predicted tokens: D = {rows.n_train_tokens:,}")

# %% [markdown]
# ## Two models
#
# GPT-2 has learned positions, layer norms with biases, and one matrix that is both embedding and output head. Llama has rotary positions, root-mean-square norms and a gated layer; here two attention heads share each pair of keys and values. Both
# have about as many parameters as the rung `ladder-200k`.

# %% caption="Loss at the beginning and at the end of training, nats per token"
ids = {"vocab_size": 2048, "bos_token_id": 0, "eos_token_id": 0}
no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
configs = {
    "gpt2": GPT2Config(n_positions=257, n_embd=56, n_layer=2, n_head=4, **ids, **no_dropout),
    "llama": LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=257,
        tie_word_embeddings=True,
        **ids,
    ),
}
classes = {"gpt2": GPT2LMHeadModel, "llama": LlamaForCausalLM}


# Rows as `Trainer` wants them; the model shifts the labels itself.
examples = [{"input_ids": row, "labels": row} for row in torch.from_numpy(rows[:].astype(np.int64))]


def train(name):
    """Train one of the two and save it as anybody would; the losses of its steps, nats/token."""
    torch.manual_seed(seed)
    arguments = TrainingArguments(
        folder / "trainer",
        per_device_train_batch_size=batch_rows,
        learning_rate=learning_rate,
        lr_scheduler_type="linear",
        num_train_epochs=1,
        warmup_steps=min(100, len(rows) // batch_rows // 10),
        weight_decay=0.1,
        adam_beta2=0.95,
        logging_steps=max(1, len(rows) // batch_rows // 40),
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=seed,
    )
    trainer = Trainer(classes[name](configs[name]), arguments, train_dataset=examples)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer.save_model(folder / name)
    return pd.Series(
        {entry["step"]: float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry}
    )


losses = {name: train(name) for name in configs}
pd.DataFrame(
    {name: {"first losses": loss.iloc[0], "last losses": loss.iloc[-1]} for name, loss in losses.items()}
).T.style.format("{:.2f}")

# %% [markdown]
# ## From a folder to a record
#
# A checkpoint is loaded if it holds exactly the weights that its `config.json` names, as safetensors; nothing in the folder chooses code. Then the model is looked at. Are its losses those of its own forward pass? Do later tokens leave earlier
# predictions alone? A mixture of experts, an encoder, an adapter or a file that was cut short is refused in one sentence.
#
# The archive of such a model begins with its configuration and the names and shapes of its tensors, so that the file alone gives the model back. All of that is paid for.


# %% caption="Both models beside a rung of the ladder: losses and bounds, nats per token"
def certificate(name):
    """The record of the checkpoint in `folder`/`name`, with its archive beside it."""
    model = load_checkpoint(folder / name)
    hypothesis = gengap.compress(model, rows, method="gptq", bits=4)
    record = gengap.certify(
        model,
        rows,
        heldout,
        hypothesis=hypothesis,
        settings=settings,
        identity=own_identity(model, rows, name),
    )
    path = record.write(folder)
    path.with_suffix(".ggq").write_bytes(archive.encode(hypothesis.quantized, architecture_of(model)))
    return record


records = {name: certificate(name) for name in configs}
rung = BoundRecord.read(published_results_dir() / "ladder" / "200k" / "main-gptq-4bit.json")
side_by_side = pd.DataFrame(
    {
        name: {
            "parameters": record.identity.n_params,
            "training tokens": record.identity.n_train_tokens,
            "training loss": record.risks.train.mean,
            "held-out loss": record.risks.heldout.mean,
            "bits a parameter": record.quantization.code_length_bits["archive"] / record.identity.n_params,
            "paper's bound": record.bounds["nominal"].paper.value,
            "our bound": record.bounds["archive"].tight.value,
        }
        for name, record in {**records, "ladder-200k": rung}.items()
    }
)
counts = pd.IndexSlice[["parameters", "training tokens"], :]
side_by_side.style.format("{:.3f}").format("{:,.0f}", subset=counts)

# %% mystnb={"image": {"alt": "Stacked bars of the terms of our bound with the archive's code length for the GPT-2, the Llama and the rung of 200 thousand parameters, in nats per token; a dashed line marks log V, guessing."}, "figure": {"caption": "Our bound with the archive's length, term by term. The rung has read more tokens, and pays less for each of its bits.", "name": "fig-own-models"}}
bars = {
    name: record.bounds["archive"].tight.terms() for name, record in {**records, "ladder-200k": rung}.items()
}
fig, ax = plt.subplots()
stacked_bars(ax, pd.DataFrame(bars).T, sums=True)
ax.axhline(math.log(2048), linestyle="--", linewidth=1, color="C5")
ax.set(ylabel="nats/token", ylim=(0, None))
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()

# %% [markdown]
# The dashed line is $\log V$, what guessing costs. A bound below it says something. One above it says only that there were too few tokens for so many bits; the way down is more text, fewer parameters or a shorter code.
#
# ## What others can check
#
# A record names everything by its hash: the weights, the archive, the windows that were drawn. Whoever has the file and the rows can go through it again, without trust in whoever made it. What cannot be checked is said too.

# %% caption="What checking the record again found"
path = folder / records["gpt2"].place
model = load_checkpoint(folder / "gpt2")
findings = verify(records["gpt2"], path.with_suffix(".ggq"), model, rows, heldout, share=0.1, seed=seed)
assert not any(finding.fine is False for finding in findings)
told = {True: "checked", None: "taken on trust"}
pd.DataFrame([(told[f.fine], f.name, f.what) for f in findings], columns=["", "what", "found"]).style.hide()

# %%
bounds = {name: record.bounds["archive"].tight for name, record in records.items()}
beat_guessing = [name for name, bound in bounds.items() if bound.value < math.log(2048)]
glue_all(
    runtime_minutes=(time.monotonic() - started) / 60,
    tokens_per_parameter=rows.n_train_tokens / records["gpt2"].identity.n_params,
    rung_tokens_per_parameter=rung.identity.n_train_tokens / rung.identity.n_params,
    gpt2_gap=bounds["gpt2"].gap,
    llama_gap=bounds["llama"].gap,
    rung_gap=rung.bounds["archive"].tight.gap,
    beat_guessing=f"{len(beat_guessing)} of {len(bounds)}",
    log_vocab=math.log(2048),
    gpt2_bound=bounds["gpt2"].value,
    llama_bound=bounds["llama"].value,
    rung_bound=rung.bounds["archive"].tight.value,
)
shown = {**records, "rung": rung}
ratios = {name: record.identity.n_train_tokens / record.identity.n_params for name, record in shown.items()}
values = {name: record.bounds["archive"].tight for name, record in shown.items()}
for name, bound in values.items():
    glue_all(**{f"{name}_word": "yes" if bound.value < math.log(2048) else "no"})
glue_all(llama_tokens_per_parameter=ratios["llama"])
glue_all(fewer="fewer" if max(ratios[name] for name in records) < ratios["rung"] else "not fewer")
glue_all(
    wider="wider" if min(values[name].gap for name in records) > values["rung"].gap else "not both wider"
)

# %% [markdown]
# ## What agreed, what did not
#
# * **Agreed**: nothing in the bound is special to one architecture. Both models go through the pipeline of the rungs, and {glue:text}`beat_guessing` of their bounds lie below guessing.
# * **Different**: both have read {glue:text}`fewer` tokens a parameter than the rung, and their certified gaps are {glue:text}`wider`. What is paid for is bits a token.
# * **Beyond**: the paper needed a family with public weights and a public order of its text. A model of your own has both.

# %% [markdown]
# ## Exercises
#
# ```{exercise} A model of a hundred million parameters
# :label: ex-own-1
#
# You have trained 100 million parameters on two billion tokens, with a vocabulary of 50,304. Take 4 bits a parameter and a {term}`loss variation` of 0.5 nats, and let quantization do no harm. What gap does the paper's bound give? Then find, with
# `closed_form_gap`, how many tokens you would need for a gap of half a nat.
# ```
#
# ```{solution-start} ex-own-1
# :class: dropdown
# ```


# %%
def gap_after(n_tokens):
    """The paper's gap but for quantization, nats, of that model after so many tokens."""
    return closed_form_gap(gengap.CodedModel(4 * 10**8, n_tokens, 50_304), 0.5)


by_hand = 0.1386 * math.log(50_304) + 0.5 * math.sqrt(0.1386) + math.sqrt(2 * 0.1386)
np.testing.assert_allclose(gap_after(2 * 10**9), by_hand, atol=5e-3)
enough = next(n for n in range(2 * 10**9, 10**11, 10**8) if gap_after(n) <= 0.5)
glue_all(gap_by_hand=by_hand, enough=enough / 1e9, enough_ratio=enough / 1e8)
assert 100 < enough / 1e8 < 200

# %% [markdown]
# $\mathcal C \approx 4 \log 2 / 20 = 0.139$ nats a token. The parameters cost $\mathcal C \log V = 1.50$, the loss variation $0.5 \sqrt{\mathcal C} = 0.19$ and smoothing $\sqrt{2\,\mathcal C} = 0.53$ nats: {glue:text}`gap_by_hand:.2f` in all. Half a nat needs about {glue:text}`enough:.1f`
# billion tokens, {glue:text}`enough_ratio:.0f` a parameter.
#
# ```{solution-end}
# ```
#
# ```{exercise} A text that repeats itself
# :label: ex-own-2
#
# Write the first half of the training rows twice into one file and open it with `open_rows`. What is $D$? Why must it be so?
# ```
#
# ```{solution-start} ex-own-2
# :class: dropdown
# ```

# %%
half = corpus_rows()[: n_rows // 2]
np.save(folder / "twice.npy", np.concatenate([half, half]))
twice = open_rows(folder / "twice.npy", vocab_size=2048)
assert twice.n_train_tokens == half[:, 1:].size
print(
    f"{2 * len(half):,} rows in the file, D = {twice.n_train_tokens:,} = {len(half):,} rows of {twice.seq_len}"
)

# %% [markdown]
# The second copy adds nothing to $D$. Given the first, its tokens are known: nothing is drawn that the inequality could be about. {doc}`08_beyond` puts a number on what counting them would do.
#
# ```{solution-end}
# ```
#
# ```{exercise} What did you look at?
# :label: ex-own-3
#
# You trained with five learning rates and kept the model with the least training loss. You also tried five quantizers, and kept the one whose *certificate* came out lowest. Which of the two choices has to be paid for? What does it cost, at the very most, the GPT-2 of this page?
# ```
#
# ```{solution-start} ex-own-3
# :class: dropdown
# ```

# %%
cost = nats_from_bits(math.log2(5)) / (
    rows.n_train_tokens * bounds["gpt2"].rate
)  # of a choice among five, nats/token
assert cost < 1e-4
glue_all(choice_cost=cost)

# %% [markdown]
# Neither for the martingale part. The bound holds for all models that have a code, however they were found: the file decodes to weights, and not to the way that led to them. But the *sampling* part of a
# certificate is a statement about one predictor on windows that were drawn, so the lowest of five fails with up to five times the probability. Either evaluate all windows, or give each a fifth of its $\delta$.
#
# If the decoder had to be told which of five it should be, $\log_2 5$ bits would have to be added. They cost {glue:text}`choice_cost:.1e` nats a token.
#
# ```{solution-end}
# ```
