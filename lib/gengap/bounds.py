"""Bounds on the risk of a smoothed, quantized language model, with their terms (chapters 02 and 05).

What is bounded is R(h) = (1/D) sum_k E[X_k | F_{k-1}], nats/token: each training context kept, its next token
drawn afresh. It is neither the risk on fresh documents nor that of whole sequences. The functions see arrays
and a code length alone: `nll`, the losses of the quantized model without smoothing, and `entropy`, the
entropies of its smoothed predictor, of one shape (n_windows, seq_len) or (n,). Either they hold all D
training tokens (`sample=None`), or those of a `gengap.sampling` sample, whose error is then bounded too; a
part of the data that is not declared as a sample is an error.

Assumptions common to all bounds:

* L(h) is the length of a prefix-free code that was fixed before the data were seen (paper, Thm 3.2);
* every choice made on the data is in L(h), or in a finite grid that enters the complexity C (the grid itself
  may depend on h, as alpha = C/(1+C) does through L(h));
* every baseline is a function of h and of earlier tokens alone;
* `failure_prob` is the martingale statement's; the sample carries its own; each bound is one such pair.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gengap import smoothing
from gengap.choices import Choice, Grid, choose, tight_grid
from gengap.concentration import complexity, default_s_grid
from gengap.sampling import PairSample, Sample, WindowSample
from gengap.summands import checked_entropy, summand_range, window_means
from gengap.tilts import Tilt

Floats = NDArray[np.float64]
PAPER_S_GRID_SIZE = 1000  # |K|, the paper's setting


@dataclass(frozen=True)
class CodedModel:
    """What a bound needs to know of a model besides its losses."""

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


def paper_bound(
    coded: CodedModel, nll: ArrayLike, entropy: ArrayLike, train_risk: float, sample: Sample | None = None
) -> PaperBound:
    """The paper's bound with all its terms (Thm 3.4).

    `entropy` is evaluated at `coded.paper_alpha`; `train_risk` is the unquantized model's mean loss on the
    same tokens. With a `WindowSample`, s is chosen on the pilot, and `sampling` bounds the error of the mean
    of all that depends on data, f_k = X_k + (Delta/s) v(s A_k): the value is certified. With a `PairSample`
    (the paper's mode) s is chosen on the whole sample, and `sampling` is Hoeffding's correction of the
    smoothed loss alone: like the paper's it leaves out the error of Sigma, so the value is an estimate.

    Assumes the points of the module's docstring. ValueError for NaN, negative losses, entropies
    that do not belong to this alpha, or arrays that are not what the sample drew.
    """
    c, alpha, vocab_size = coded.complexity(coded.s_grid_size), coded.paper_alpha, coded.vocab_size
    nll, entropy = _checked_tokens(coded, nll, entropy, alpha, sample)
    low, high = float(smoothing.min_nll(alpha, vocab_size)), float(smoothing.max_nll(alpha, vocab_size))
    grid = Grid((alpha,), np.array([[low]]), default_s_grid(coded.s_grid_size))
    choice = choose(*_pilot(sample, nll, entropy[None]), grid, vocab_size, c, _range_cost(sample))
    means = window_means(nll, entropy, choice, vocab_size)
    freedman = c / choice.rate(vocab_size) + np.mean(
        means.summand - means.smoothed
    )  # Delta C + Sigma sqrt(C)
    variation = freedman - choice.loss_range(vocab_size) * c
    if isinstance(sample, PairSample):
        error = sample.upper_mean(means.smoothed, low, high) - means.smoothed.mean()
    else:
        error = _sampling_error(sample, means.summand, *summand_range(choice, vocab_size))
    return PaperBound(
        train_risk=float(train_risk),
        parameters=c * math.log(vocab_size),
        loss_variation=float(variation),
        smoothing=math.sqrt(2 * c),
        quantization_gap=float(means.nll.mean() - train_risk),
        sampling=float(error),
        complexity=c,
        sigma=float(variation / math.sqrt(c)),
        s=choice.s,
        alpha=alpha,
        **_settings(coded, nll, sample),
    )


def closed_form_gap(coded: CodedModel, loss_variation: float) -> float:
    """C log V + Sigma sqrt(C) + sqrt(2C), nats: the paper's gap but for quantization; no model is run."""
    c = coded.complexity(coded.s_grid_size)
    return float(smoothing.closed_form_cost(c, coded.vocab_size)) + loss_variation * math.sqrt(c)


def azuma_bound(
    coded: CodedModel,
    nll: ArrayLike,
    train_risk: float,
    sample: Sample | None = None,
    alphas: ArrayLike | None = None,
) -> AzumaBound:
    """The bound that Azuma's inequality gives for the smoothed model (Lotfi et al. 2024b), nats/token.

    alpha minimizes log(1/(1-alpha)) + Delta(alpha) sqrt(C'/2) over `alphas` (default: 1000 interior points of
    (0, 1)), paid by log(len(alphas))/D. A sample's error is that of the mean smoothed loss. Assumes and
    raises as `paper_bound` does.
    """
    alphas = _azuma_alphas(alphas)
    c, costs, deviations = _azuma_curve(coded, alphas)
    best = int(np.argmin(costs + deviations))
    alpha, vocab_size = float(alphas[best]), coded.vocab_size
    nll = _checked_losses(coded, nll, sample)
    low, high = float(smoothing.min_nll(alpha, vocab_size)), float(smoothing.max_nll(alpha, vocab_size))
    x = smoothing.smoothed_nll(nll, alpha, vocab_size).reshape(len(nll), -1).mean(axis=1)  # (n_windows,)
    return AzumaBound(
        train_risk=float(train_risk),
        deviation=float(deviations[best]),
        smoothing=float(costs[best]),
        quantization_gap=float(nll.mean(dtype=np.float64) - train_risk),
        sampling=_sampling_error(sample, x, low, high),
        complexity=c,
        alpha=alpha,
        **_settings(coded, nll, sample),
    )


def closed_form_azuma_gap(coded: CodedModel, alphas: ArrayLike | None = None) -> float:
    """min over alpha of log(1/(1-alpha)) + Delta sqrt(C'/2), nats: Azuma's gap but for quantization."""
    _, costs, deviations = _azuma_curve(coded, _azuma_alphas(alphas))
    return float(np.min(costs + deviations))


def _azuma_alphas(alphas: ArrayLike | None) -> Floats:
    return default_s_grid(1000) if alphas is None else np.asarray(alphas, dtype=np.float64)


def _azuma_curve(coded: CodedModel, alphas: Floats) -> tuple[float, Floats, Floats]:
    """C', the smoothing costs and the deviations along the grid of alphas."""
    c = coded.complexity(len(alphas))
    deviations = smoothing.loss_range(alphas, coded.vocab_size) * math.sqrt(c / 2)
    return c, smoothing.smoothing_cost(alphas), deviations


def tight_bound(
    coded: CodedModel,
    nll: ArrayLike,
    entropy: ArrayLike,
    choice: Choice,
    train_risk: float,
    sample: Sample | None = None,
) -> TightBound:
    """Our bound (chapter 05): R_s <= C/lambda + mean f, f_k = Y_k - log(1 + lambda (Y_k - X_k))/lambda.

    `entropy` is evaluated at `choice.alpha`; `choice` comes from `choose`, applied to the pilot of the sample
    or, without a sample, to everything (its grid is paid for in C). With a sample, the mean of f is
    certified. Assumes and raises as `paper_bound` does.
    """
    nll, entropy = _checked_tokens(coded, nll, entropy, choice.alpha, sample)
    c, rate = coded.complexity(choice.grid_size), choice.rate(coded.vocab_size)
    means = window_means(nll, entropy, choice, coded.vocab_size)
    return TightBound(
        train_risk=float(train_risk),
        deviation=float(c / rate + np.mean(means.summand - means.smoothed)),
        smoothing=float(np.mean(means.smoothed - means.nll)),
        quantization_gap=float(means.nll.mean() - train_risk),
        sampling=_sampling_error(sample, means.summand, *summand_range(choice, coded.vocab_size)),
        complexity=c,
        rate=rate,
        alpha=choice.alpha,
        baseline_floor=choice.baseline_floor,
        s=choice.s,
        grid_size=choice.grid_size,
        **_settings(coded, nll, sample),
    )


def maximum_entropy_bound(
    coded: CodedModel,
    nll: ArrayLike,
    loss: ArrayLike,
    entropy: ArrayLike,
    tilt: Tilt,
    train_risk: float,
    sample: Sample | None = None,
) -> TightBound:
    """Our bound with maximum-entropy smoothing (chapter 02) in place of uniform mixing, nats/token.

    `nll` as everywhere, of the model without smoothing; `loss` X and `entropy` H of the model smoothed by `tilt`
    (`gengap.maximum_entropy`), all of one shape. `tilt` comes from a fixed grid, chosen on the pilot. In the
    record, `alpha` is the safety and s = lambda max(X - Y). Assumes and raises as `paper_bound` does.
    """
    nll, loss = _checked_losses(coded, nll, sample), np.asarray(loss, dtype=np.float64)
    f, (low, high) = tilt.summand(loss, entropy), tilt.summand_range(coded.vocab_size)
    if f.shape != nll.shape:
        raise ValueError(f"loss and entropy have shape {f.shape}, nll {nll.shape}")
    if not (f.min() >= low and f.max() <= high):
        raise ValueError(
            f"f in [{f.min():.4g}, {f.max():.4g}] leaves [{low:.4g}, {high:.4g}]: evaluate at {tilt}"
        )
    means = f.reshape(len(f), -1).mean(axis=1)  # (n_windows,)
    c, mean_nll = coded.complexity(tilt.grid_size), float(smoothing.checked_nll(nll).mean())
    floor = max(tilt.baseline_floor, tilt.least_entropy(coded.vocab_size))
    return TightBound(
        train_risk=float(train_risk),
        deviation=float(c / tilt.rate + means.mean() - loss.mean()),
        smoothing=float(loss.mean() - mean_nll),
        quantization_gap=float(mean_nll - train_risk),
        sampling=_sampling_error(sample, means, low, high),
        complexity=c,
        rate=tilt.rate,
        alpha=tilt.safety,
        baseline_floor=floor,
        s=-math.expm1(tilt.rate * (floor - high)),
        grid_size=tilt.grid_size,
        **_settings(coded, nll, sample),
        smoother="maximum entropy",
    )


def tightening_steps(
    coded: CodedModel,
    nll: ArrayLike,
    entropies: ArrayLike,
    alphas: Sequence[float],
    train_risk: float,
    sample: Sample | None = None,
) -> dict[str, PaperBound | TightBound]:
    """From the paper's bound to ours, one gain at a time.

    `entropies` (A, ...) are evaluated at `alphas` (A,), which must hold `coded.paper_alpha`. The steps:
    "paper"; "measured": the smoothed loss evaluated, nothing over-estimated; "entropy floor": the range
    shrunk to log(V/alpha) - H_min; "raised baseline": y0 chosen on the data; "chosen": alpha as well.
    """
    alphas, entropies, vocab_size = tuple(map(float, alphas)), np.asarray(entropies), coded.vocab_size
    at = int(np.argmin(np.abs(np.asarray(alphas) - coded.paper_alpha)))
    if not math.isclose(alphas[at], coded.paper_alpha, rel_tol=1e-6):
        raise ValueError(f"alphas must hold the paper's, {coded.paper_alpha!r}, got {alphas}")
    whole, own = tight_grid(alphas, vocab_size), (alphas[at],)
    grids = {
        "measured": Grid(own, smoothing.min_nll([own], vocab_size), whole.s_grid),
        "entropy floor": Grid(own, smoothing.entropy_floor([own], vocab_size), whole.s_grid),
        "raised baseline": Grid(own, whole.floors[[at]], whole.s_grid),
        "chosen": whole,
    }
    steps: dict[str, PaperBound | TightBound] = {
        "paper": paper_bound(coded, nll, entropies[at], train_risk, sample)
    }
    for name, grid in grids.items():
        rows = [alphas.index(alpha) for alpha in grid.alphas]
        pilot, c = _pilot(sample, nll, entropies[rows]), coded.complexity(grid.size)
        choice = choose(*pilot, grid, vocab_size, c, _range_cost(sample))
        entropy = entropies[alphas.index(choice.alpha)]
        steps[name] = tight_bound(coded, nll, entropy, choice, train_risk, sample)
    return steps


def _checked_losses(coded: CodedModel, nll: ArrayLike, sample: Sample | None) -> NDArray:
    nll = np.asarray(nll)
    if nll.size == 0:
        raise ValueError("no tokens: nll is empty")
    if sample is not None:
        sample.check(nll.shape, coded.n_train_tokens)
    elif nll.size != coded.n_train_tokens:
        raise ValueError(f"nll holds {nll.size} of {coded.n_train_tokens} training tokens: pass their sample")
    return nll


def _checked_tokens(
    coded: CodedModel, nll: ArrayLike, entropy: ArrayLike, alpha: float, sample: Sample | None
) -> tuple[NDArray, NDArray]:
    nll = _checked_losses(coded, nll, sample)
    return nll, checked_entropy(entropy, nll.shape, alpha, coded.vocab_size)


def _pilot(sample: Sample | None, nll: ArrayLike, entropies: ArrayLike) -> tuple[NDArray, NDArray]:
    """The tokens that may choose constants: the pilot windows, or everything that was evaluated."""
    n = len(sample.pilot) if isinstance(sample, WindowSample) else len(np.asarray(nll))
    return np.asarray(nll)[:n], np.asarray(entropies)[:, :n]


def _range_cost(sample: Sample | None) -> float:
    return sample.range_cost if isinstance(sample, WindowSample) else 0.0


def _sampling_error(sample: Sample | None, values: Floats, lower: float, upper: float) -> float:
    """Certified mean over all training windows less the mean over those evaluated, nats."""
    return 0.0 if sample is None else float(sample.upper_mean(values, lower, upper) - values.mean())


def _settings(coded: CodedModel, nll: NDArray, sample: Sample | None) -> dict[str, float]:
    return {
        "code_length_bits": float(coded.code_length_bits),
        "failure_prob": float(coded.failure_prob),
        "sampling_failure_prob": 0.0 if sample is None else float(sample.failure_prob),
        "n_tokens_evaluated": int(nll.size),
    }
