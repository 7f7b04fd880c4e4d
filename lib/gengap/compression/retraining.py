"""Quantization-aware training: a quantized model learns to live with its grid, and to be short (statement T8).

Steps, scales and file format stay; only codes (and norms and biases) move. Each weight is kept as a real number z of grid
steps and used as round(z); the gradient passes through the rounding as if it were not there (straight-through estimator,
Bengio et al. 2013). What is minimized is what the bound charges for,

    NLL of the quantized model + price * (estimated bits of the codes) / N

where `price` is the rise of the bound in nats for one more bit a parameter. Codes of mean magnitude m follow roughly a
two-sided geometric distribution, under which one unit more of |z| costs asinh(1/m) / log 2 bits. The file is measured along
the way: while it is too long the price rises, and training goes on until it is not.
"""

import hashlib
import math
import sys
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch.func import functional_call
from tqdm import tqdm

from gengap import files
from gengap.compression.engine import expand_blocks
from gengap.compression.quantized import QuantizedModel, QuantizedTensor
from gengap.errors import UserError
from gengap.models import sealed
from gengap.tokens.rows import sample_rows
from gengap.units import nats_from_bits

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

TYPICAL_RATE = 0.17  # lambda, 1/nats, of the tight bound at 20 tokens a parameter (chapter 05)
# A middle one of the bounds with a companion, hedged ones included: a bit is cheaper there (chapter 11).
COMPANION_RATE = 0.7
SAVE_EVERY_S = 60.0
_LARGE = 150_000  # parameters
_SHORT = 2  # bits a parameter
_LEAST_MAGNITUDE = 2.0**-6  # of codes, that an archive tells apart: the price of a first nonzero one is finite
_LOOKS = 30  # at the length of the file along the way, or more
_MARGIN = 0.01  # bits a parameter by which a file may be shorter than allowed before the price falls again
_LEAST_PRICE = 0.01  # nats for a bit, of files that are too long
_GAIN = 60.0  # octaves of the price in a whole run for each bit a parameter too much
_MORE_LOOKS = 60  # for a file that is too long at the end
_LAST_SHARE = 0.1  # of the rates, then


@dataclass(frozen=True)
class Retraining:
    """How long and how fast. Windows of the training text are read again, which is more training."""

    n_steps: int = 800  # at the most
    passes: float = 1.0  # over the training text, at the most
    batch_rows: int = 4  # training windows per step
    code_rate: float = 0.03  # Adam's step for z, in grid steps; falls to zero over the last half
    vector_rate: float = 2e-3  # for norms and biases

    @classmethod
    def of(cls, n_params: int, bits: int) -> "Retraining":
        """Of a model with so many parameters: a minute or two for those that the book trains anew each time, longer for others and for the shortest files."""
        return cls() if n_params < _LARGE and bits > _SHORT else cls(n_steps=6_000, passes=6.0)

    def steps_on(self, n_rows: int) -> int:
        """For a model with `n_rows` training windows."""
        return max(1, min(self.n_steps, int(self.passes * n_rows) // self.batch_rows))


def price_per_bit(n_params: int, n_train_tokens: int, rate: float = TYPICAL_RATE) -> float:
    """Nats of a bound with lambda = `rate` for one more bit a parameter: C/lambda with C = N log 2 / D."""
    return nats_from_bits(n_params) / n_train_tokens / rate


def retrain(
    quantized: QuantizedModel,
    config: "PreTrainedConfig",
    rows,
    price: float,
    seed: int = 0,
    settings: Retraining | None = None,
    excess: Callable[[QuantizedModel], float] = lambda _: -math.inf,
    state: Path | None = None,
    save_every_s: float = SAVE_EVERY_S,
) -> QuantizedModel:
    """`quantized` with codes, norms and biases retrained on windows drawn from `rows`, the training rows (n, seq + 1).

    Windows are drawn by `seed`. Any hypothesis may be chosen by looking at the training data, since the bound holds for
    all of them at once; much of what is gained is more training. `excess` says by how many bits a parameter a file is too
    long (less than 0: it may be longer); what is returned is not too long. A run that was stopped goes on from the file
    `state`, if one is named, to the same result. Raises `UserError` if a loss is not finite, if no file gets short enough,
    and for a `state` that is another run's; one that is damaged is removed. ValueError for rotated matrices.
    """
    settings = settings or Retraining()
    n_steps = settings.steps_on(len(rows))
    every = max(10, min(50, n_steps // _LOOKS))
    windows = sample_rows(rows, min(len(rows), n_steps * settings.batch_rows), seed)
    learner = _Learner(quantized, config, price, settings)
    key = _key(quantized, windows, (price, seed, *astuple(settings)))
    if state is not None and state.exists():
        try:
            learner.load(state, key)
        except files.Damaged as error:
            tqdm.write(f"note: {error}", sys.stderr)
            state.unlink()
    saved = time.monotonic()
    with tqdm(total=n_steps, initial=learner.step, desc="retrain", unit="step", unit_scale=True, disable=None) as bar:
        while True:
            left = n_steps - learner.step
            if learner.step % every == 0 or left == 0:
                if state is not None and learner.step and time.monotonic() - saved > save_every_s:
                    learner.save(state, key)
                    saved = time.monotonic()
                over = excess(found := learner.quantized())
                if left <= 0 and over <= 0:
                    return found
                if -left > _MORE_LOOKS * every:
                    raise UserError("no file was as short as asked for after retraining: choose more bits")
                octaves = _GAIN * every / n_steps * (over + _MARGIN) if left > 0 else 1.0
                least = price if over <= 0 else max(price, _LEAST_PRICE)
                learner.price = max(least, learner.price * 2.0 ** min(1.0, octaves))
                learner.look()
            rows_of_step = _batch(windows, learner.step, settings.batch_rows, seed)
            learner.take_step(rows_of_step, min(1.0, 2 * left / n_steps) if left > 0 else _LAST_SHARE)
            bar.update()


def _batch(windows: np.ndarray, step: int, n_rows: int, seed: int) -> np.ndarray:
    """The rows of a step, (at most n_rows, seq + 1): every pass goes through all windows in an order of its own."""
    per_pass = max(1, len(windows) // n_rows)
    order = np.random.default_rng([seed, step // per_pass]).permutation(len(windows))
    return windows[np.sort(order[step % per_pass * n_rows :][:n_rows])]


def _key(quantized: QuantizedModel, windows: np.ndarray, settings: tuple) -> str:
    """Names a run by all that its result depends on."""
    digest = hashlib.sha256(repr(settings).encode())
    for array in (windows, *(w.numpy() for w in quantized.state_dict().values())):
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


class _Learner:
    """Codes, norms and biases on their way: what a retraining is at the beginning of a step."""

    def __init__(self, quantized: QuantizedModel, config: "PreTrainedConfig", price: float, settings: Retraining):
        self._of, self.price, self.step = quantized, price, 0
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = quantized.build(config).to(self._device)
        self._grids = {name: _CodeGrid.of(tensor, self._device) for name, tensor in quantized.tensors.items()}
        self._z = {name: grid.start.clone().requires_grad_() for name, grid in self._grids.items()}
        vectors = {n: p for n, p in self._model.named_parameters() if p.ndim < 2}
        self._vectors = {n: p.detach().clone().requires_grad_() for n, p in vectors.items()}
        groups = (self._z, settings.code_rate), (self._vectors, settings.vector_rate)
        self._optimizer = torch.optim.Adam(
            [{"params": list(p.values()), "peak": rate} for p, rate in groups], betas=(0.9, 0.99), foreach=True
        )
        self.look()

    @torch.no_grad()
    def look(self) -> None:
        """Price codes by how large those of their row and column are now."""
        self._bits_per_step = {name: _bits_per_step(z) for name, z in self._z.items()}

    def take_step(self, rows: np.ndarray, share: float) -> None:
        """On `rows` (n, seq + 1), with a share of the rates."""
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * share
        batch = torch.from_numpy(rows.astype(np.int64)).to(self._device)
        with torch.enable_grad():
            # the weights that round(z) stands for, with the gradient of z
            weights = {name: (z + (z.round() - z).detach()) * self._grids[name].step for name, z in self._z.items()}
            weights |= {name: weights[name].T for name, tensor in self._of.tensors.items() if tensor.transposed}
            logits = functional_call(self._model, weights | self._vectors, args=(batch[:, :-1],)).logits
            nll = F.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
            bits = sum((z.abs() * self._bits_per_step[name]).sum() for name, z in self._z.items())
            if not math.isfinite(nll.item()):
                raise UserError(f"retraining diverged at step {self.step}: choose more bits or a smaller code_rate")
            self._optimizer.zero_grad()
            (nll + self.price * bits / self._of.n_params).backward()
        self._optimizer.step()
        self.step += 1

    def quantized(self) -> QuantizedModel:
        """What it has come to."""
        tensors = {}
        for name, tensor in self._of.tensors.items():
            codes = (self._z[name].detach().round() + self._grids[name].zero).clamp(0, 2**tensor.bits - 1)
            tensors[name] = replace(tensor, codes=codes.to(torch.uint8).cpu().numpy())
        kept = {name: v.detach().cpu().numpy().astype(np.float16) for name, v in self._vectors.items()}
        return QuantizedModel(tensors, kept)

    def save(self, path: Path, key: str) -> None:
        """Write it, atomically; `key` says whose it is."""
        tensors = {}
        for name, p in (self._z | self._vectors).items():
            moments = self._optimizer.state[p]
            tensors |= {name: p.detach()} | {f"{name}/{moment}": value for moment, value in moments.items()}
        sealed.write(path, tensors, {"key": key, "step": str(self.step), "price": repr(self.price)})

    def load(self, path: Path, key: str) -> None:
        """Go on from a file of `save`. Raises `Damaged` before anything is taken from it if it is, `UserError` if it is another run's."""
        tensors, facts = sealed.read(path, "what can be computed again is")
        if facts.get("key") != key:
            raise UserError(
                f"{path} belongs to another retraining (checkpoint, data or settings): delete it and run again"
            )
        trained = self._z | self._vectors
        with files.one_sentence(f"{path} is damaged", "what can be computed again is"):
            step, price = int(facts["step"]), float(facts["price"])
            moments = {
                name: {moment: tensors[f"{name}/{moment}"] for moment in ("step", "exp_avg", "exp_avg_sq")}
                for name in trained
            }
            if any(tensors[name].shape != p.shape for name, p in trained.items()):
                raise ValueError("its weights are of another shape")
        self.step, self.price = step, price
        for name, p in trained.items():
            p.data.copy_(tensors[name])
            for moment in ("exp_avg", "exp_avg_sq"):
                moments[name][moment] = moments[name][moment].to(self._device)
            self._optimizer.state[p] = moments[name]


def _bits_per_step(z: torch.Tensor) -> torch.Tensor:
    """What one step more costs, (rows, cols): magnitudes are those of the column, times what the row has more than others."""
    codes = z.round().abs()
    expected = codes.mean(0, keepdim=True) * codes.mean(1, keepdim=True) / codes.mean().clamp(min=_LEAST_MAGNITUDE)
    return torch.asinh(1 / expected.clamp(min=_LEAST_MAGNITUDE)) / math.log(2)


@dataclass(frozen=True)
class _CodeGrid:
    """What stays fixed of a matrix: its values at each code."""

    start: torch.Tensor  # (rows, cols) codes less their zero points
    step: torch.Tensor  # (rows, cols) distance of neighbouring values
    zero: torch.Tensor  # (rows, cols)

    @classmethod
    def of(cls, tensor: QuantizedTensor, device: str) -> "_CodeGrid":
        if tensor.rotation_seed is not None:
            raise ValueError("rotated matrices are not retrained")
        shape = tensor.codes.shape
        step = expand_blocks(tensor.scales.astype(np.float32), tensor.block, shape)
        if tensor.column_scales is not None:
            step = step * tensor.column_scales.astype(np.float32)
        zero = expand_blocks(tensor.zero_points.astype(np.float32), tensor.block, shape)
        arrays = tensor.codes - zero, step, zero
        return cls(*(torch.from_numpy(np.ascontiguousarray(values)).to(device) for values in arrays))
