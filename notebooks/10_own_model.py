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
# # Your own model
#
# | | |
# |---|---|
# | **Paper section** | none: the paper bounds Pythia, this page bounds whatever you have trained |
# | **Reads** | rows of the ladder's text; the published record of a rung, to stand beside |
# | **Writes** | two checkpoints, their archives and records under `build/own/` |
# | **Runtime** | {glue:text}`runtime_minutes:.1f` minutes on one core, training included |
#
# You have trained a language model and kept the tokens that it was trained on. A certificate needs no more than that. This page goes through it with two
# models that nothing in this book was made for: a GPT-2 and a Llama, trained in the usual way with the `Trainer` of transformers. The three commands at
# the end do the same for yours.

# %% tags=["parameters"]
n_rows: int = 6_144  # training rows of the ladder's text, 257 tokens each
batch_rows: int = 8  # per optimizer step
learning_rate: float = 8e-3  # at its peak
n_pilot_windows: int = 100  # training windows drawn to choose the constants of the bound
n_windows: int = 600  # training windows drawn to certify it
n_pairs: int = 500  # (window, position) pairs of the paper's own estimate
seed: int = 0  # of weights, batches and samples

# %%
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
from gengap.compression import archive
from gengap.models.architecture import architecture_of
from gengap.models.loading import load_checkpoint
from gengap.paths import build_dir, published_results_dir
from gengap.records import BoundRecord
from gengap.tokens import corpus_rows, open_rows
from gengap.training.precision import keep_freed_memory
from gengap.workflow.certify import own_identity
from gengap.workflow.settings import Settings
from gengap.workflow.verify import verify

plt.style.use("gengap.book")
torch.set_num_threads(1)
keep_freed_memory()  # faster, and no digit changes
logging.set_verbosity_error()
logging.disable_progress_bar()
started = time.monotonic()
settings = Settings(n_pilot_windows=n_pilot_windows, n_windows=n_windows, n_pairs=n_pairs, seed=seed)
folder = build_dir() / "own"
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## The text
#
# Rows are what the model reads at once: `seq_len` inputs and, shifted by one, their targets. Yours may lie in nanoGPT's flat `train.bin`, in
# Megatron's `.bin` and `.idx`, in an `.npy` file, as `.jsonl`, `.parquet` or `.txt` beside the model's tokenizer, or in a data set that `datasets`
# has saved; `open_rows` tells them apart. Here they lie in an `.npy` file.
#
# $D$ counts each token of the text once. Rows that repeat an earlier one do not count, and a model that has read its text five times has not seen five times
# as much. The order may be any that nobody chose after looking at the text, so the order of the file will do, even though `Trainer` shuffles: training in
# another order, or for longer, gives another hypothesis, and the bound holds for all of them at once ({doc}`05_bound`).

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
# GPT-2 has learned positions, layer norms with biases, and one matrix that is both embedding and output head. Llama has rotary positions, root-mean-square
# norms, a gated layer, and here two attention heads for each pair of keys and values. Both are of the size of the rung `ladder-200k`.

# %%
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
# A checkpoint is loaded if it holds exactly the weights that its `config.json` names, as safetensors; nothing in the folder chooses code. Then the model is
# looked at: are its losses those of its own forward pass, and do later tokens leave earlier predictions alone? A mixture of experts, an encoder, an adapter,
# a file that was cut short are refused in one sentence.
#
# The archive of a model that is none of the book's begins with its configuration and the names and shapes of its tensors, so that the file alone
# gives the model back. All of that is paid for.


# %%
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
ax.axhline(math.log(2048), linestyle="--", linewidth=1, color="0.5")
ax.set(ylabel="nats/token", ylim=(0, None))
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()

# %% [markdown]
# The line is $\log V$, what guessing costs. A bound below it says something; one above it says only that there were too few tokens for so many bits, and the way
# down is more text, fewer parameters or a shorter code.
#
# ## What others can check
#
# A record names everything by its hash: the weights, the archive, the windows that were drawn. Whoever has the file and the rows can go through it again, without trust
# in whoever made it. What cannot be checked is said too.

# %%
path = folder / records["gpt2"].place
model = load_checkpoint(folder / "gpt2")
findings = verify(records["gpt2"], path.with_suffix(".ggq"), model, rows, heldout, share=0.1, seed=seed)
assert not any(finding.fine is False for finding in findings)
told = {True: "checked", None: "taken on trust"}
pd.DataFrame([(told[f.fine], f.name, f.what) for f in findings], columns=["", "what", "found"]).style.hide()

# %% [markdown]
# ## Three commands
#
# ```bash
# gengap certify my-model --rows train.bin --seq-len 1024 --heldout val.bin
# gengap verify build/results/own/my-model/main-gptq-4bit.json --model my-model --rows train.bin
# gengap report
# ```
#
# `my-model` is the folder that `save_pretrained` wrote, or a repository of the hub (`--revision` takes a branch or commit). Rows that the model was not trained on
# give no certificate: with `--not-training-rows` and the published number of tokens the same command does the arithmetic, and every page says that this is all it is.
# Other quantizers and lengths are `--method` and `--bits`; `gengap certify --help` lists the rest.

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
)

# %% [markdown]
# ## What agreed, what did not
#
# * **Agreed**: nothing in the bound is special to one architecture. Both models go through the same pipeline as the rungs, and {glue:text}`beat_guessing` of the bounds lie below the
#   {glue:text}`log_vocab:.2f` nats of guessing.
# * **Different**: with {glue:text}`tokens_per_parameter:.0f` tokens a parameter instead of the rung's {glue:text}`rung_tokens_per_parameter:.0f` the gaps are
#   {glue:text}`gpt2_gap:.2f` and {glue:text}`llama_gap:.2f` nats instead of {glue:text}`rung_gap:.2f`: what is paid for is bits a token.
# * **Beyond**: the paper needed a family with public weights and a public order of its text. A model of your own has both.
