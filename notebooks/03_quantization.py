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
# # Quantization: from weights to a file that proves its own size
#
# | | |
# |---|---|
# | **Paper section** | 3.4 and 4 (code length by GPTQ) |
# | **Reads** | a checkpoint and its training rows |
# | **Writes** | nothing |
# | **Runtime** | {glue:text}`runtime_minutes:.1f` minutes for this size on one core |
#
# The bound charges for the length $L(h)$ of a code for the model. A float32 parameter costs 32 bits, a quantized one $b$. The paper takes GPTQ
# {cite}`frantar2023gptq` at $b = 4$ and $L(h) = bN$.
#
# This page derives GPTQ on one layer by hand, quantizes the whole model by three methods, and counts its bits in three
# ways. The last of them is the length of a real file. How short a file can be, and what rounding costs, is the subject of {doc}`16_shorter_codes`.

# %% tags=["parameters"]
model_size: str = "ladder-100k"  # a key of gengap.models.REGISTRY
group_size: int = 128  # weights that share a float16 scale
n_calibration_windows: int = 32  # training windows that GPTQ sees
n_evaluation_windows: int = 32  # other training windows, on which losses are measured
seed: int = 0  # of all draws

# %%
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from gengap import models
from gengap.book.glue import glue_all
from gengap.compression import archive
from gengap.compression.engine import block_shape, fit_grid, gptq, round_to_nearest
from gengap.compression.layerwise import quantize
from gengap.errors import UserError
from gengap.statistics import token_statistics
from gengap.tokens import sample_rows

plt.style.use("gengap.book")
torch.set_grad_enabled(False)
started = time.monotonic()
spec = models.get(model_size)
model = spec.load()
config = spec.config()
train_rows = spec.train_rows().rows
evaluation = sample_rows(train_rows, n_evaluation_windows, seed)  # (m, seq + 1) token ids
calibration = sample_rows(train_rows, n_calibration_windows, seed + 1)[:, :-1]  # (m, seq)

# %% [markdown]
# ## A layer's weights as integers
#
# A quantized matrix holds an integer code $z_{ij} \in \{0, \dots, 2^b - 1\}$ for each weight. For each block of about {glue:text}`group_size:d` weights it holds one float16 scale $\tau$, the step of the block's grid:
#
# $$
# \hat w_{ij} = (z_{ij} - 2^{b-1})\, \tau .
# $$ (eq-quantized-weight)
#
# Take the second matrix of the first layer's feed-forward block. Rounding every weight to the nearest value of its grid is the baseline, RTN.


# %%
name = "gpt_neox.layers.0.mlp.dense_4h_to_h"
bits_by_hand = 3
weight = model.get_submodule(name).weight  # (rows, cols)
grid = fit_grid(weight, bits_by_hand, block_shape(*weight.shape, 0))  # one scale for the whole matrix
scale, middle = float(grid.scales[0, 0]), 2 ** (bits_by_hand - 1)


def dequantize(codes):
    """Equation (quantized-weight)."""
    return (codes.astype(float) - middle) * scale


nearest = np.clip(np.round(weight.numpy() / scale) + middle, 0, 2**bits_by_hand - 1)
np.testing.assert_array_equal(nearest, round_to_nearest(weight, grid))

# %% [markdown]
# What matters is not how far the weights move but how far the layer's *outputs* do. With $x$ the layer's input, drawn from the training windows,
#
# $$
# \mathbb E\, \lVert (\hat W - W) x \rVert^2 = \operatorname{tr}\,(\hat W - W)\, S\, (\hat W - W)^{\mathsf T}, \qquad S = \mathbb E\, x x^{\mathsf T} .
# $$ (eq-layer-error)
#
# $S$ is the second moment of the layer's inputs. (The literature calls it the layer's Hessian: {eq}`eq-layer-error` is a quadratic function of each row with that second derivative.) It is a mean over activations; a hook on the layer collects it.


# %%
inputs = []
handle = model.get_submodule(name).register_forward_pre_hook(
    lambda _module, arguments: inputs.append(arguments[0].flatten(0, -2))
)
model.gpt_neox(torch.from_numpy(calibration.astype(np.int64)))
handle.remove()
x = torch.cat(inputs).double().numpy()  # (n_tokens, cols)
S = x.T @ x / len(x)  # (cols, cols)


def output_error(codes):
    """Equation (layer-error)."""
    error = dequantize(codes) - weight.numpy()
    return np.einsum("rc,cd,rd->", error, S, error)


direct = np.mean(np.sum((x @ (dequantize(nearest) - weight.numpy()).T) ** 2, axis=1))
np.testing.assert_allclose(output_error(nearest), direct, rtol=1e-5)

# %% [markdown]
# ## GPTQ by hand
#
# Inputs are correlated, so an error made in one column can be made good in others. Suppose column $j$ has been rounded, with error $e = w_j - \hat w_j$ in some row, and the columns $J$ that are still
# free may move by $\gamma$. Minimizing $\tfrac12 (\gamma, -e)\, S\, (\gamma, -e)^{\mathsf T}$ over $\gamma$ gives
#
# $$
# \gamma = e\, S_{JJ}^{-1} S_{Jj} = -\frac{e}{[S^{-1}]_{jj}}\, [S^{-1}]_{Jj} , \qquad \text{cost} = \frac{e^2}{2\,[S^{-1}]_{jj}} ,
# $$ (eq-feedback)
#
# where $S^{-1}$ is the inverse for the columns not yet rounded, $j$ included. (Block inversion turns the first form into the second.) So GPTQ goes through the columns one by one. It rounds, divides the error by the pivot, feeds it back
# into the rest, and drops the column.
#
# The inverse of the smaller matrix need not be computed afresh. If $S^{-1} = U^{\mathsf T} U$ with $U$ upper triangular, the rows of $U$ are all that is ever
# needed: $[S^{-1}]_{jJ} / [S^{-1}]_{jj} = U_{jJ} / U_{jj}$, with the column's own remaining inverse on the left.
#
# Two details. Columns with the strongest inputs go first, while there are many others to make up for them. And one percent of the mean is
# added to the diagonal, so that the factor exists.


# %%
def cholesky_of_inverse(S, damping=0.01):
    """Order of the columns, and U with U'U the inverse of the damped S in that order."""
    order = np.argsort(-np.diag(S), kind="stable")
    damped = S + damping * np.mean(np.diag(S)) * np.eye(len(S))
    return order, np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T


order, U = cholesky_of_inverse(S)
damped = S + 0.01 * np.mean(np.diag(S)) * np.eye(len(S))
np.testing.assert_allclose(U.T @ U, np.linalg.inv(damped[np.ix_(order, order)]), rtol=1e-6, atol=1e-8)


# %%
def round_columns(weight, order, U):
    """GPTQ: column by column with error feedback, equation (feedback)."""
    left, codes = weight[:, order].copy(), np.zeros(weight.shape)
    for j in range(len(order)):
        codes[:, order[j]] = np.clip(np.round(left[:, j] / scale) + middle, 0, 2**bits_by_hand - 1)
        error = (left[:, j] - dequantize(codes[:, order[j]])) / U[j, j]
        left[:, j + 1 :] -= np.outer(error, U[j, j + 1 :])
    return codes


by_hand = round_columns(weight.double().numpy(), order, U)

# %% [markdown]
# The engine finds the same integers, and both leave less error in the outputs than rounding does, though the weights themselves may move further:

# %% caption="One layer, rounded and by GPTQ: how far its weights and its outputs move"
engine = gptq(weight, torch.from_numpy(S), grid)
assert np.mean(by_hand == engine) > 0.998  # float64 against float32: a tie may fall either way
assert output_error(engine) < output_error(nearest)
both = {"round to nearest": nearest, "GPTQ": engine}
pd.DataFrame(
    {
        "distance of the weights": {
            k: np.linalg.norm(dequantize(c) - weight.numpy()) for k, c in both.items()
        },
        "error of the outputs": {k: output_error(c) for k, c in both.items()},
    }
).style.format("{:.4f}")

# %% [markdown]
# **Which engine?** The paper used auto-gptq. Its last release, 0.7.1, cannot be imported beside any recent transformers, and the project is archived. Here llm-compressor (of the vLLM project) does the column
# loop. On a fixed layer the two give the same codes: `benchmarks/autogptq` ran auto-gptq once in an environment of its own, and a test compares with the numbers it left.
#
# **Embeddings.** The input of an embedding is one-hot, $x = e_t$ with probability $p_t$, so $S = \mathbb E\, e_t e_t^{\mathsf T} = \operatorname{diag}(p)$ is diagonal. Two tokens never fire together, no error can be made
# good elsewhere, and GPTQ *is* round-to-nearest. In a small model most parameters are of that kind.


# %%
shares = np.bincount(calibration.ravel(), minlength=spec.vocab_size)[:64] / calibration.size + 1e-4
embedding = model.gpt_neox.embed_in.weight[:64].T.contiguous()  # (hidden, tokens), one-hot inputs
embedding_grid = fit_grid(embedding, bits_by_hand, block_shape(*embedding.shape, 0))
one_hot = gptq(embedding, torch.diag(torch.from_numpy(shares)), embedding_grid)
np.testing.assert_array_equal(one_hot, round_to_nearest(embedding, embedding_grid))

# %% [markdown]
# ## The whole model, and three ways to count its bits
#
# Layer after layer is calibrated on the outputs of the quantized layers before it. *QuIP*-style quantization {cite}`chee2023quip` first rotates the columns of each matrix by a random Hadamard matrix, which spreads outliers over all
# weights, and rotates back when the model is used.
#
# What the code length is depends on who counts:
#
# * **nominal** (paper): $bN$ bits;
# * **honest** (ours): every code at $b$ bits, every scale, norm and bias at 16;
# * **archive** (ours): $8 \times$ the bytes of a file, from which this library alone rebuilds every integer, plus $2 \lceil \log_2 \text{bits} \rceil + 1$ bits that make it {term}`prefix-free <prefix-free code>`.
#
# In the archive, codes are entropy-coded by
# {cite}`bamler2022understanding`'s range coder. The file learns its histograms as it goes, shares them between matrices, and picks one for each weight by what its row and column have shown so far.


# %%
def lengths_of(quantized, bits):
    """L(h) in bits, by accounting."""
    content = archive.encode(quantized, spec.architecture)
    return {
        "nominal": archive.nominal_bits(spec.n_params, bits),
        "honest": archive.honest_bits(quantized),
        "archive": archive.prefix_free_bits(len(content)),
    }


loss = float(token_statistics(model, evaluation).nll.mean())


def measure(quantized, bits):
    """Loss increase by a quantization of this model, nats/token, and bits a parameter."""
    gap = float(token_statistics(quantized.build(config), evaluation).nll.mean()) - loss
    lengths = lengths_of(quantized, bits)
    return {"gap": gap} | {name: length / spec.n_params for name, length in lengths.items()}


# %% caption="The whole model by each method: loss increase and bits per parameter, counted in three ways"
by_method = {m: quantize(model, m, 4, group_size, calibration, seed) for m in ("gptq", "quip", "rtn")}
at_four_bits = pd.DataFrame({m: measure(quantized, 4) for m, quantized in by_method.items()}).T
assert (at_four_bits["archive"] < at_four_bits["honest"]).all()
at_four_bits.style.format("{:.3f}")

# %% [markdown]
# *Gap* is the loss increase in nats per token on {glue:text}`n_evaluation:d` windows; then the bits a parameter under the three accountings. The honest count lies above nominal, because scales and norms have to be sent too. The file lies below it, because codes are not used equally often:

# %% mystnb={"figure": {"caption": "How often each code of four bits is used by GPTQ, in the embedding and in the matrix of the first layer that was quantized by hand. The entropies are what an entropy coder would pay without contexts.", "name": "fig-quantization-codes"}, "image": {"alt": "Two histograms over sixteen codes, bell-shaped around the middle code and thin at the ends."}}
fig, axes = plt.subplots(1, 2, sharey=True, figsize=(7.5, 3))
tensors = by_method["gptq"].tensors
shown_tensors = {
    "embedding": next(t for key, t in tensors.items() if "embed_in" in key),
    name: tensors[f"{name}.weight"],
}
for ax, (title, tensor) in zip(axes, shown_tensors.items(), strict=True):
    frequency = np.bincount(tensor.codes.ravel().astype(int), minlength=16) / tensor.codes.size
    entropy = -(frequency[frequency > 0] * np.log2(frequency[frequency > 0])).sum()
    assert entropy < 4
    ax.bar(range(16), frequency)
    ax.set(title=f"{title.rpartition('.')[2]}: {entropy:.2f} bits", xlabel="code $z$")
axes[0].set_ylabel("share of the weights")
plt.show()

# %% [markdown]
# (quantization-file)=
# ## The file
#
# The archive is read back without anything but this library, bit for bit, and a damaged one is refused.


# %%
written = by_method["gptq"]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "model.ggq"
    length_bits = archive.write(written, config, path)
    back = archive.read(path, config)
    content = path.read_bytes()
for key, tensor in written.tensors.items():
    np.testing.assert_array_equal(tensor.codes, back.tensors[key].codes)
tokens = torch.from_numpy(evaluation[:2, :-1].astype(np.int64))
assert torch.equal(written.build(config)(tokens).logits, back.build(config)(tokens).logits)
assert length_bits == archive.prefix_free_bits(len(content))

damaged = bytearray(content)
damaged[len(damaged) // 2] ^= 1
try:
    archive.decode(bytes(damaged))
except UserError as refusal:
    print(f"{len(content):,} bytes for {spec.n_params:,} parameters. One bit flipped: {refusal}")
else:
    raise AssertionError("a damaged archive was read")

# %%
in_file = at_four_bits.loc["gptq", "archive"]
glue_all(group_size=group_size, n_evaluation=n_evaluation_windows, file_bits=in_file)
glue_all(
    file_says="so the nominal bound holds for it a fortiori" if in_file < 4 else "which is more than nominal"
)
glue_all(
    gptq_error=output_error(engine) / output_error(nearest), file_bytes=len(content), n_params=spec.n_params
)

# %% [markdown]
# The file has {glue:text}`file_bytes:,` bytes for {glue:text}`n_params:,` parameters: {glue:text}`file_bits:.2f` bits each, {glue:text}`file_says`.
#
# (Not used: the order of the $4d$ neurons of a layer is free, so sorting them by any rule could save up to $\log_2 (4d)!$ bits a layer.)
#
# ## What agreed, what did not
#
# * **Agreed**: GPTQ written in ten lines gives the engine's integers, and the engine those of auto-gptq. On the layer above it leaves {glue:text}`gptq_error:.2f` of the output error of rounding.
# * **Did not**: $bN$ is the length of no code, since scales, norms and biases are not in it. Counted honestly the model is longer.
# * **Beyond the paper**: the file is shorter than nominal, and nothing about its length has to be believed.
#
# ## Exercises
#
# ```{exercise} Two columns
# :label: ex-03-1
#
# A row has two weights, whose inputs have $S = \bigl(\begin{smallmatrix} 1 & r \\ r & 1 \end{smallmatrix}\bigr)$. The first has been rounded with error $e$. By how much should the second move, and what is left of the cost $e^2/2$ of moving nothing? Take $r = 0.9$.
# ```
#
# ```{solution-start} ex-03-1
# :class: dropdown
# ```
#
# $\gamma = r e$ by the first form of {eq}`eq-feedback`. Since $[S^{-1}]_{11} = 1/(1 - r^2)$, the cost is $(1 - r^2)\, e^2/2$: of what it was, {glue:text}`ex_left:.2f`. The stronger the correlation, the more an error can be made good.

# %%
r = 0.9
pair = np.array([[1, r], [r, 1]])
moves = np.linspace(0, 2, 2001)  # gamma for e = 1
costs = [0.5 * np.array([-1, move]) @ pair @ np.array([-1, move]) for move in moves]
np.testing.assert_allclose(moves[np.argmin(costs)], r, atol=1e-3)
np.testing.assert_allclose(2 * min(costs), 1 / np.linalg.inv(pair)[0, 0], atol=1e-6)
glue_all(ex_left=2 * min(costs))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} When does feedback pay?
# :label: ex-03-2
#
# Quantize the layer of this page to 2, 3, 4 and 6 bits, by GPTQ and by rounding, and compare the errors of the outputs. Does the ratio depend much on the number of bits? Why should it not?
# ```
#
# ```{solution-start} ex-03-2
# :class: dropdown
# ```

# %% caption="Error of the layer's outputs: GPTQ's as a part of rounding's"
ratios = {}
for some_bits in (2, 3, 4, 6):
    finer = fit_grid(weight, some_bits, block_shape(*weight.shape, 0))

    def error_of(codes, grid=finer, half=2 ** (some_bits - 1)):
        moved = (codes.astype(float) - half) * float(grid.scales[0, 0]) - weight.numpy()
        return np.einsum("rc,cd,rd->", moved, S, moved)

    ratios[some_bits] = error_of(gptq(weight, torch.from_numpy(S), finer)) / error_of(
        round_to_nearest(weight, finer)
    )
assert max(ratios.values()) < 1
glue_all(ex_ratio_2=ratios[2], ex_ratio_6=ratios[6])
pd.Series(ratios, name="GPTQ / rounding").rename_axis("bits").to_frame().style.format("{:.3f}")

# %% [markdown]
# The error is {glue:text}`ex_ratio_2:.2f` of that of rounding at 2 bits and {glue:text}`ex_ratio_6:.2f` at 6. In {eq}`eq-feedback` the step appears in $e$ alone, so halving it divides both errors by four. One reason why they still differ: feedback pushes weights beyond the ends of a coarse grid, where they are clipped.
#
# ```{solution-end}
# ```
#
# ```{exercise} Why a file has to say where it ends
# :label: ex-03-3
#
# Let the code words be all files, a file of $m$ bytes costing $8m$ bits. What is the sum in Kraft's inequality {eq}`eq-kraft`? What do the $2 \lceil \log_2 \text{bits} \rceil + 1$ extra bits do to it, and what do they cost the model of this page?
# ```
#
# ```{solution-start} ex-03-3
# :class: dropdown
# ```

# %%
lengths = 8.0 * np.arange(1, 2**20)  # bits of all files up to a megabyte, one for each length
without = np.ones_like(lengths).sum()  # 2^(8m) files of m bytes at 2^(-8m) each
with_length = (2.0 ** -(2 * np.ceil(np.log2(lengths)) + 1)).sum()
assert without > 1
assert with_length < 1
extra = archive.prefix_free_bits(len(content)) - 8 * len(content)
glue_all(ex_kraft=with_length, ex_extra=extra, ex_extra_share=100 * extra / (8 * len(content)))

# %% [markdown]
# There are $2^{8m}$ files of $m$ bytes, so each length adds 1, and the sum diverges: the files are no prefix-free code, and the union bound would claim more than all of the probability. With the length sent first, the sum over all files up to a megabyte is {glue:text}`ex_kraft:.2f`. For this model that costs {glue:text}`ex_extra:d` bits, {glue:text}`ex_extra_share:.3f` % of the file.
#
# ```{solution-end}
# ```

# %%
glue_all(runtime_minutes=(time.monotonic() - started) / 60)
