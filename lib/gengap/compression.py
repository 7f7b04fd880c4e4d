"""From a checkpoint to its quantized model by any method of the book: one call for commands, pages and surveys (T8).

"gptq", "quip" and "rtn" spend `bits` bits on every weight. "entropy" and "qat" aim at a file of `bits` bits a parameter,
everything counted: their codes may take many values, and an entropy coder charges for what they say.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from gengap import archive, data, quantization
from gengap.architecture import Architecture
from gengap.errors import UserError
from gengap.rate_distortion import FisherFactors, fisher_factors, quantize_for_entropy
from gengap.retraining import price_per_bit, retrain

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM

    from gengap.models import ModelSpec
    from gengap.quantization import QuantizedModel

ENTROPY_CODED = ("entropy", "qat")
METHODS = (*quantization.METHODS, *ENTROPY_CODED)
_FIRST_GAP = 0.1  # nats, of a file of about 2.6 bits a parameter
_TRIALS = 8
_CLOSE = 0.02  # bits a parameter by which a file may be shorter than asked for


def check(method: str, bits: int) -> None:
    """Raise `UserError` for a method or a number of bits that there is not."""
    if method not in METHODS:
        raise UserError(f"unknown quantization method {method!r}: choose one of {', '.join(METHODS)}")
    if not 2 <= bits <= 8:
        raise UserError(f"{bits} bits per weight: choose 2 to 8")


@dataclass(frozen=True)
class Compressor:
    """One checkpoint and everything that its quantization may look at; `seed` draws the windows."""

    spec: "ModelSpec"
    model: "GPTNeoXForCausalLM"
    rows: object  # the training rows, (n, seq + 1)
    group_size: int = 128  # weights that share a float16 scale; of the methods with a fixed number of bits
    n_calibration_rows: int = 128  # training windows that GPTQ sees
    seed: int = 0

    def quantize(self, method: str, bits: int) -> "QuantizedModel":
        """The quantized model; `check` says what can be asked for."""
        check(method, bits)
        if method in quantization.METHODS:
            looks_at_data = method != "rtn"
            n_rows = self.n_calibration_rows if looks_at_data else 1
            calibration = data.sample_rows(self.rows, n_rows, self.seed)[:, :-1]
            return quantization.quantize(self.model, method, bits, self.group_size, calibration, self.seed)
        quantized = self._of_rate(bits)
        if method == "entropy":
            return quantized
        return retrain(quantized, self.spec.config(), self.rows, price_per_bit(self.spec), self.seed)

    @cached_property
    def factors(self) -> dict[str, FisherFactors]:
        """Which weights matter. A token that the windows do not hold gets the coarsest steps, so large rungs need more."""
        n_windows = 400 if self.spec.n_params < 300_000 else 800
        drawn = data.sample_rows(self.rows, n_windows, self.seed + 1)[:, :-1]
        return fisher_factors(self.model, drawn, self.seed)

    def _of_rate(self, bits: int) -> "QuantizedModel":
        """The finest steps found whose file has at most `bits` bits a parameter: a bit is a factor of four in the gap."""
        shape, best, gap = Architecture.of(self.spec.config()), None, _FIRST_GAP * 4.0 ** (2.6 - bits)
        for trial in range(4 * _TRIALS):
            if trial >= _TRIALS and best is not None:
                break
            quantized = quantize_for_entropy(self.model, self.factors, gap)
            length = archive.prefix_free_bits(len(archive.encode(quantized, shape))) / self.spec.n_params
            if length <= bits and (best is None or gap < best[0]):
                best = gap, quantized
                if length > bits - _CLOSE:
                    break
            gap *= 4.0 ** min(1.0, length - bits + _CLOSE / 4)
        if best is None:
            raise UserError(
                f"{self.spec.model_size}: no file of {bits} bits a parameter was found: choose more"
            )
        return best[1]
