"""From a checkpoint to its quantized model by any method of the book: one table for commands, pages, surveys, the graph.

A method spends `bits` bits on every weight, or it aims at a file of `bits` bits a parameter, everything counted: its
codes may then take many values, and an entropy coder charges for what they say. Another quantizer is a file beside
this one and a line in `METHODS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gengap.compression.settings import check_quantization
from gengap.errors import MAX_SEED, UserError, check_whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gengap.compression.archive import Hypothesis
    from gengap.compression.quantized import QuantizedModel
    from gengap.compression.rate_distortion import FisherFactors
    from gengap.models.architecture import Architecture, Blueprint
    from gengap.tokens.rows import Rows


@dataclass(frozen=True)
class Compressor:
    """One checkpoint and everything that its quantization may look at; `seed` draws the windows."""

    model: "PreTrainedModel"
    rows: "Rows"  # the training rows, (n, seq + 1)
    group_size: int = 128  # weights that share a float16 scale; of the methods with a fixed number of bits
    n_calibration_rows: int = 128  # training windows that GPTQ sees
    seed: int = 0
    state: Path | None = None  # a file for how far a long retraining has come

    def quantize(self, method: str, bits: int) -> "QuantizedModel":
        """The quantized model; `UserError` for what cannot be asked for, before any work."""
        check(method, bits, self.group_size, self.n_calibration_rows, self.seed)
        return METHODS[method].quantize(self, bits)

    @cached_property
    def architecture(self) -> "Architecture | Blueprint":
        """Of the model, what its archive begins with; `UserError` if there is no archive for such a model."""
        from gengap.models.architecture import architecture_of

        return architecture_of(self.model)

    @cached_property
    def factors(self) -> "dict[str, FisherFactors]":
        """Which weights matter. A token that the windows do not hold gets the coarsest steps, so large rungs need more."""
        from gengap.compression.rate_distortion import fisher_factors
        from gengap.tokens.rows import sample_rows

        n_windows = 400 if self.architecture.n_params < 300_000 else 800
        drawn = sample_rows(self.rows, n_windows, self.seed + 1)[:, :-1]
        return fisher_factors(self.model, drawn, self.seed)


def _of_width(method: str, of: Compressor, bits: int) -> "QuantizedModel":
    from gengap.compression.layerwise import quantize
    from gengap.tokens.rows import sample_rows

    n_rows = of.n_calibration_rows if METHODS[method].looks_at_data else 1
    calibration = sample_rows(of.rows, n_rows, of.seed)[:, :-1]
    return quantize(of.model, method, bits, of.group_size, calibration, of.seed)


def _entropy(of: Compressor, bits: int) -> "QuantizedModel":
    from gengap.compression.rate_distortion import quantize_to_length

    return quantize_to_length(of.model, of.factors, bits, of.architecture)


def _qat(of: Compressor, bits: int) -> "QuantizedModel":
    from gengap.compression import archive
    from gengap.compression.retraining import COMPANION_RATE, Retraining, price_per_bit, retrain

    n_params = of.architecture.n_params
    n_tokens = len(of.rows) * (of.rows[:1].shape[1] - 1)  # D, if the checkpoint was trained on all rows

    def excess(quantized: "QuantizedModel") -> float:
        return archive.prefix_free_bits(len(archive.encode(quantized, of.architecture))) / n_params - bits

    config, price = of.architecture.config(), price_per_bit(n_params, n_tokens, COMPANION_RATE)
    return retrain(_entropy(of, bits), config, of.rows, price, of.seed, Retraining.of(n_params, bits), excess, of.state)


class Method(NamedTuple):
    label: str  # in figures and tables
    quantize: "Callable[[Compressor, int], QuantizedModel]"
    rooms: tuple[str, ...] = ("layerwise",)  # modules of this package that it is made of, for the graph
    looks_at_data: bool = True
    to_length: bool = False  # bits are those of the file, a parameter; else those of each weight's code
    survey_bits: tuple[int, ...] = tuple(range(2, 9))  # tried by a survey


METHODS: dict[str, Method] = {
    "gptq": Method("GPTQ", partial(_of_width, "gptq")),
    "quip": Method("QuIP", partial(_of_width, "quip")),
    "rtn": Method("round to nearest", partial(_of_width, "rtn"), looks_at_data=False),
    "entropy": Method("entropy-coded steps", _entropy, ("rate_distortion",), to_length=True, survey_bits=(2, 3, 4)),
    "qat": Method("retrained", _qat, ("rate_distortion", "retraining"), to_length=True, survey_bits=(3,)),
}

DEFAULT_METHOD, DEFAULT_BITS = "gptq", 4  # the paper's


def check(method: str, bits: int, group_size: int = 128, n_calibration_rows: int = 128, seed: int = 0) -> None:
    """Raise `UserError` for a method that there is not, and for numbers that cannot be."""
    if method not in METHODS:
        raise UserError(f"unknown quantization method {method!r}: choose one of {', '.join(METHODS)}")
    check_whole("group_size", group_size, 1)
    check_whole("seed", seed, 0, MAX_SEED)
    check_quantization(bits, group_size, seed, n_calibration_rows)


def compress(
    model: "PreTrainedModel",
    rows: "Rows",
    method: str = DEFAULT_METHOD,
    bits: int = DEFAULT_BITS,
    group_size: int = 128,
    n_calibration_rows: int = 128,
    seed: int = 0,
) -> "Hypothesis":
    """Quantize a checkpoint and measure its code: the hypothesis that `gengap.certify` bounds.

    `rows`, (n, seq_len + 1), are training rows; a method may look at some of them, drawn by `seed`. Raises `UserError`
    for a method or a number of bits that there is not, and for an architecture that the archive cannot hold.

    >>> import gengap, numpy as np
    >>> from transformers import GPTNeoXForCausalLM
    >>> model = GPTNeoXForCausalLM(gengap.get("ladder-50k").config()).eval()  # untrained
    >>> rows = np.random.default_rng(0).integers(2048, size=(20, 257))
    >>> hypothesis = gengap.compress(model, rows, "rtn", bits=4)
    >>> hypothesis.code_length_bits["nominal"] == 4 * gengap.get("ladder-50k").n_params
    True
    >>> list(hypothesis.code_length_bits)
    ['nominal', 'honest', 'archive']
    """
    from gengap.compression.archive import Hypothesis

    compressor = Compressor(model, rows, group_size, n_calibration_rows, seed)
    quantized = compressor.quantize(method, bits)
    return Hypothesis.of(quantized, compressor.architecture, method, bits)
