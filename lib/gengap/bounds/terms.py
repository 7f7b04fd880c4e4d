"""What a bound needs to know of a model, and what it consists of: the displayed terms of every bound (chapter 05)."""

import math
from dataclasses import dataclass
from typing import ClassVar

from gengap.bounds import smoothing
from gengap.bounds.concentration import complexity

PAPER_S_GRID_SIZE = 1000  # |K|, the paper's setting


@dataclass(frozen=True)
class CodedModel:
    """What a bound needs to know of a model besides its losses.

    >>> import gengap
    >>> coded = gengap.CodedModel(code_length_bits=4_000, n_train_tokens=10_000, vocab_size=256)
    >>> round(coded.complexity(grid_size=1000), 3), round(coded.paper_alpha, 3)  # C, nats/token, and C/(1+C)
    (0.278, 0.218)
    """

    code_length_bits: float  # L(h), bits of a prefix-free code
    n_train_tokens: int  # D
    vocab_size: int  # V, the model's output width
    failure_prob: float = 0.01  # delta of the martingale statement
    s_grid_size: int = PAPER_S_GRID_SIZE  # |K|

    def complexity(self, grid_size: int) -> float:
        """C = (L log 2 + log(grid_size/delta))/D, nats/token, with a finite grid paid (paper, Thm 3.2)."""
        return float(complexity(self.n_train_tokens, self.failure_prob, grid_size, self.code_length_bits))

    @property
    def paper_alpha(self) -> float:
        """The smoothing weight C/(1+C) of the paper's bound; ask before evaluating the entropies."""
        return float(smoothing.optimal_alpha(self.complexity(self.s_grid_size)))


class _Terms:
    TERMS: ClassVar[tuple[str, ...]]

    def terms(self) -> dict[str, float]:
        """The displayed terms in stacking order, nats/token; they sum to `value`."""
        return {name: getattr(self, name) for name in self.TERMS}

    @property
    def value(self) -> float:
        """The bound on R(h), nats/token."""
        return math.fsum(self.terms().values())

    @property
    def gap(self) -> float:
        """The bound less the training loss of the unquantized model, nats/token."""
        return self.value - self.train_risk


@dataclass(frozen=True)
class PaperBound(_Terms):
    """Paper, Thm 3.4: R_sq <= Rhat_h + C log V + Sigma sqrt(C) + sqrt(2C) + (Rhat_q - Rhat_h), nats/token."""

    TERMS = ("train_risk", "parameters", "loss_variation", "smoothing", "quantization_gap", "sampling")
    train_risk: float  # Rhat_h of the unquantized model
    parameters: float  # C log V
    loss_variation: float  # Sigma sqrt(C)
    smoothing: float  # sqrt(2C)
    quantization_gap: float  # Rhat_q - Rhat_h
    sampling: float  # error of the sample; 0 if all tokens were evaluated
    complexity: float  # C, nats/token
    sigma: float  # Sigma, nats
    s: float  # its minimizer in K
    alpha: float  # C/(1+C)
    code_length_bits: float  # L(h)
    failure_prob: float  # of the martingale statement
    sampling_failure_prob: float  # of the sampling statement; 0 if all tokens were evaluated
    n_tokens_evaluated: int


@dataclass(frozen=True)
class AzumaBound(_Terms):
    """Lotfi et al. 2024b: R_sq <= Rhat_q + log(1/(1-alpha)) + Delta(alpha) sqrt(C'/2), nats/token."""

    TERMS = ("train_risk", "deviation", "smoothing", "quantization_gap", "sampling")
    train_risk: float  # Rhat_h of the unquantized model
    deviation: float  # Delta sqrt(C'/2)
    smoothing: float  # log(1/(1-alpha))
    quantization_gap: float  # Rhat_q - Rhat_h
    sampling: float  # error of the sample; 0 if all tokens were evaluated
    complexity: float  # C' = (L log 2 + log(n_alphas/delta))/D, nats/token
    alpha: float  # minimizer over the grid
    code_length_bits: float  # L(h)
    failure_prob: float  # of the martingale statement
    sampling_failure_prob: float  # of the sampling statement
    n_tokens_evaluated: int

    @property
    def quantized_risk(self) -> float:
        """Rhat_q, nats/token."""
        return self.train_risk + self.quantization_gap


@dataclass(frozen=True)
class TightBound(_Terms):
    """Ours: R_s <= C/lambda + (1/D) sum_k f_k (chapter 05), in terms that compare with the paper's."""

    TERMS = ("train_risk", "deviation", "smoothing", "quantization_gap", "sampling")
    train_risk: float  # Rhat_h of the unquantized model
    deviation: float  # C/lambda + mean f - mean X: parameters and variation together
    smoothing: float  # mean X - Rhat_q, the measured cost of smoothing
    quantization_gap: float  # Rhat_q - Rhat_h
    sampling: float  # certified mean of f less its mean over the sample
    complexity: float  # C = (L log 2 + log(|G|/delta))/D, nats/token
    rate: float  # lambda, 1/nats
    alpha: float  # smoothing weight
    baseline_floor: float  # y0, nats
    s: float  # lambda (log(V/alpha) - y0)
    grid_size: int  # |G|
    code_length_bits: float  # L(h)
    failure_prob: float  # of the martingale statement
    sampling_failure_prob: float  # of the sampling statement
    n_tokens_evaluated: int
    smoother: str = "uniform mixing"  # or "maximum entropy"


@dataclass(frozen=True)
class CompanionBound(_Terms):
    """Ours: R(q) <= mean X^u + eps + C/lambda + mean f with a predictable companion u (chapter 11), nats/token."""

    TERMS = ("train_risk", "quantization_gap", "smoothing", "deviation", "companion", "sampling")
    train_risk: float  # Rhat_h of the unquantized model
    quantization_gap: float  # Rhat_q - Rhat_h
    smoothing: float  # mean X^q - Rhat_q, the measured cost of mixing; negative where the companion helps
    deviation: float  # C/lambda + mean f - mean Z: the price of the code
    companion: float  # eps: what R(u) can lie above mean X^u
    sampling: float  # certified mean of both summands less their mean over the sample
    complexity: float  # C = ((L(h) + L(u)) log 2 + log(|G|/delta_1))/D, nats/token
    alpha: float  # share of the uniform distribution, or of the companion
    hedged: bool  # whether it is the companion's: then the predictor is no function of the context alone
    rate: float  # lambda, 1/nats
    s: float  # share of the range that lambda leaves
    grid_size: int  # |G|
    companion_risk: float  # mean X^u
    companion_rate: float  # lambda' of eps, 1/nats
    code_length_bits: float  # L(h)
    floor: float  # eta, of the companion
    companion_code_length_bits: float  # L(u)
    failure_prob: float  # of both martingale statements
    sampling_failure_prob: float  # of the sampling statement
    n_tokens_evaluated: int


@dataclass(frozen=True)
class OnlineBound(_Terms):
    """Ours: R(u) <= mean X^u + eps for the companion itself (chapter 11), nats/token."""

    TERMS = ("train_risk", "information", "companion", "sampling")
    train_risk: float  # Rhat_h of the final model
    information: float  # mean X^u - Rhat_h = K(h)/D
    companion: float  # eps
    sampling: float  # certified mean of the summand less its mean over the sample
    companion_rate: float  # lambda' of eps, 1/nats
    floor: float  # eta
    companion_code_length_bits: float  # L(u)
    failure_prob: float  # of the martingale statement
    sampling_failure_prob: float  # of the sampling statement
    n_tokens_evaluated: int
