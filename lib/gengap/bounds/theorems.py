"""Bounds on the risk of a smoothed, quantized language model, with their terms (chapters 02 and 05).

What is bounded is R(h) = (1/D) sum_k E[X_k | F_{k-1}], nats/token: each training context kept, its next token
drawn afresh. It is neither the risk on fresh documents nor that of whole sequences. The functions see arrays
and a code length alone: `nll`, the losses of the quantized model without smoothing, and `entropy`, the
entropies of its smoothed predictor, of one shape (n_windows, seq_len) or (n,). Either they hold all D
training tokens (`sample=None`), or those of a `gengap.bounds.sampling` sample, whose error is then bounded too;
a part of the data that is not declared as a sample is an error.

Assumptions common to all bounds:

* L(h) is the length of a prefix-free code that was fixed before the data were seen (paper, Thm 3.2);
* every choice made on the data is in L(h), or in a finite grid that enters the complexity C (the grid itself
  may depend on h, as alpha = C/(1+C) does through L(h));
* every baseline is a function of h and of earlier tokens alone;
* `failure_prob` is the martingale statement's; the sample carries its own; each bound is one such pair.

What is averaged over tokens is the summand f_k of the empirical Freedman inequality. For a baseline Y known
before the token and a rate lambda with lambda (Y - X) > -1, chapter 01 proves that
sum_k E[X_k | F_{k-1}] <= D C / lambda + sum_k f_k with

    f(X, Y) = Y - log(1 + lambda (Y - X)) / lambda  >=  X.

Here X is the loss of the smoothed predictor and Y = max(entropy of the smoothed predictor, y0).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gengap.arrays import real_array, rounding
from gengap.bounds import smoothing
from gengap.bounds.concentration import Floats, default_s_grid
from gengap.bounds.grids import Choice, Grid, Tilt, choose, tight_grid
from gengap.bounds.sampling import PairSample, Sample, WindowSample
from gengap.bounds.summands import window_means
from gengap.bounds.terms import AzumaBound, CodedModel, PaperBound, TightBound

ENTROPY_ROUNDING = 1e-3  # nats of float32 rounding allowed in an entropy


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

    >>> import gengap, numpy as np
    >>> coded = gengap.CodedModel(code_length_bits=4_000, n_train_tokens=10_000, vocab_size=256)
    >>> nll = np.random.default_rng(0).gamma(2.0, 0.9, 10_000)  # losses of all training tokens, nats
    >>> entropy = np.full(10_000, 1.8)  # of the smoothed predictions
    >>> bound = gengap.paper_bound(coded, nll, entropy, train_risk=nll.mean())
    >>> {name: round(term, 2) for name, term in bound.terms().items() if term}
    {'train_risk': 1.82, 'parameters': 1.54, 'loss_variation': 0.15, 'smoothing': 0.75}
    """
    c, alpha, vocab_size = coded.complexity(coded.s_grid_size), coded.paper_alpha, coded.vocab_size
    nll = _checked_losses(coded, nll, sample)
    entropy = _checked_entropy(entropy, nll.shape, alpha, vocab_size)
    low, high = float(smoothing.min_nll(alpha, vocab_size)), float(smoothing.max_nll(alpha, vocab_size))
    grid = Grid((alpha,), np.array([[low]]), default_s_grid(coded.s_grid_size))
    choice = choose(*_pilot(sample, nll, entropy[None]), grid, vocab_size, c, _range_cost(sample))
    means = window_means(nll, entropy, choice)
    freedman = means.deviation(c / choice.rate)  # Delta C + Sigma sqrt(C)
    variation = freedman - choice.loss_range * c
    if isinstance(sample, PairSample):
        error = sample.upper_mean(means.smoothed, low, high) - means.smoothed.mean()
    else:
        error = _sampling_error(sample, means.summand, *choice.summand_range)
    return PaperBound(
        train_risk=_finite(train_risk),
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
    coded: CodedModel, nll: ArrayLike, train_risk: float, sample: Sample | None = None, alphas: ArrayLike | None = None
) -> AzumaBound:
    """The bound that Azuma's inequality gives for the smoothed model (Lotfi et al. 2024b), nats/token.

    alpha minimizes log(1/(1-alpha)) + Delta(alpha) sqrt(C'/2) over `alphas` (default: 1000 interior points of
    (0, 1)), paid by log(len(alphas))/D. A sample's error is that of the mean smoothed loss. Assumes and
    raises as `paper_bound` does.

    >>> import gengap, numpy as np
    >>> coded = gengap.CodedModel(code_length_bits=4_000, n_train_tokens=10_000, vocab_size=256)
    >>> nll = np.random.default_rng(0).gamma(2.0, 0.9, 10_000)  # losses of all training tokens, nats
    >>> bound = gengap.azuma_bound(coded, nll, train_risk=nll.mean())
    >>> round(bound.value, 2), round(float(np.log(256)), 2)  # the second is that of guessing
    (4.55, 5.55)
    """
    alphas, c, costs, deviations = _azuma_curve(coded, alphas)
    best = int(np.argmin(costs + deviations))
    alpha, vocab_size = float(alphas[best]), coded.vocab_size
    nll = _checked_losses(coded, nll, sample)
    low, high = float(smoothing.min_nll(alpha, vocab_size)), float(smoothing.max_nll(alpha, vocab_size))
    x = smoothing.smoothed_nll(nll, alpha, vocab_size).reshape(len(nll), -1).mean(axis=1)  # (n_windows,)
    return AzumaBound(
        train_risk=_finite(train_risk),
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
    *_, costs, deviations = _azuma_curve(coded, alphas)
    return float(np.min(costs + deviations))


def _azuma_curve(coded: CodedModel, alphas: ArrayLike | None) -> tuple[Floats, float, Floats, Floats]:
    """The grid of alphas, C', and along the grid the smoothing costs and the deviations."""
    alphas = default_s_grid(1000) if alphas is None else real_array(alphas, "alphas", np.float64)
    c = coded.complexity(len(alphas))
    deviations = smoothing.loss_range(alphas, coded.vocab_size) * math.sqrt(c / 2)
    return alphas, c, smoothing.smoothing_cost(alphas), deviations


def tight_bound(
    coded: CodedModel,
    nll: ArrayLike,
    entropy: ArrayLike,
    choice: Choice | Tilt,
    train_risk: float,
    sample: Sample | None = None,
    loss: ArrayLike | None = None,
) -> TightBound:
    """Our bound: R_s <= C/lambda + mean f, f_k = Y_k - log(1 + lambda (Y_k - X_k))/lambda (chapter 05, eq-tight).

    `entropy` H is that of the model smoothed by `choice`: by uniform mixing (`Choice`), or so that no smoothing of
    a calibrated model does better (`Tilt`; chapter 02, thm-maximum-entropy). A `Tilt` needs the `loss` X of that
    smoothed model too (`gengap.statistics.per_token`); with mixing it follows from `nll`. `choice` comes from
    `choose` or `choose_tilt`, applied to the pilot of the sample or, without a sample, to everything (its grid is
    paid for in C). With a sample, the mean of f is certified. Assumes and raises as `paper_bound` does.

    >>> import gengap, numpy as np
    >>> coded = gengap.CodedModel(code_length_bits=4_000, n_train_tokens=10_000, vocab_size=256)
    >>> nll = np.random.default_rng(0).gamma(2.0, 0.9, 10_000)  # losses of all training tokens, nats
    >>> entropy = np.full(10_000, 1.8)  # of the predictions smoothed with alpha = 0.05
    >>> from gengap.bounds.grids import choose, tight_grid
    >>> grid = tight_grid([0.05], vocab_size=256)
    >>> choice = choose(nll, entropy[None], grid, 256, coded.complexity(grid.size))
    >>> bound = gengap.tight_bound(coded, nll, entropy, choice, train_risk=nll.mean())
    >>> round(bound.value, 2)
    3.61
    """
    nll = _checked_losses(coded, nll, sample)
    if choice.vocab_size != coded.vocab_size:
        raise ValueError(f"{choice} is not of a vocabulary of {coded.vocab_size} tokens")
    if isinstance(choice, Tilt) != (loss is not None):
        raise ValueError("the smoothed model's `loss` goes with a `Tilt`, and with a `Tilt` alone")
    if loss is not None:
        loss, entropy = real_array(loss, "loss", np.float64), real_array(entropy, "entropy")
        if not loss.shape == entropy.shape == nll.shape:
            raise ValueError(f"loss and entropy have shape {loss.shape} and {entropy.shape}, nll {nll.shape}")
    else:
        entropy = _checked_entropy(entropy, nll.shape, choice.alpha, choice.vocab_size)
    c, constants = coded.complexity(choice.grid_size), choice.constants()
    means = window_means(nll, entropy, choice, loss)
    return TightBound(
        train_risk=_finite(train_risk),
        deviation=means.deviation(c / constants["rate"]),
        smoothing=float(np.mean(means.smoothed - means.nll)),
        quantization_gap=float(means.nll.mean() - train_risk),
        sampling=_sampling_error(sample, means.summand, *choice.summand_range),
        complexity=c,
        **constants,
        **_settings(coded, nll, sample),
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
    alphas, vocab_size = tuple(real_array(alphas, "alphas", np.float64).tolist()), coded.vocab_size
    nll, entropies = real_array(nll, "nll"), real_array(entropies, "entropies")
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
    steps: dict[str, PaperBound | TightBound] = {"paper": paper_bound(coded, nll, entropies[at], train_risk, sample)}
    for name, grid in grids.items():
        rows = [alphas.index(alpha) for alpha in grid.alphas]
        pilot, c = _pilot(sample, nll, entropies[rows]), coded.complexity(grid.size)
        choice = choose(*pilot, grid, vocab_size, c, _range_cost(sample))
        entropy = entropies[alphas.index(choice.alpha)]
        steps[name] = tight_bound(coded, nll, entropy, choice, train_risk, sample)
    return steps


def _finite(train_risk: float) -> float:
    if not math.isfinite(train_risk):
        raise ValueError(f"train_risk must be a finite number of nats, got {train_risk}")
    return float(train_risk)


def _checked_losses(coded: CodedModel, nll: ArrayLike, sample: Sample | None) -> NDArray:
    nll = real_array(nll, "nll")
    if nll.size == 0:
        raise ValueError("no tokens: nll is empty")
    if sample is not None:
        sample.check(nll.shape, coded.n_train_tokens)
    elif nll.size != coded.n_train_tokens:
        raise ValueError(f"nll holds {nll.size} of {coded.n_train_tokens} training tokens: pass their sample")
    return nll


def _checked_entropy(entropy: ArrayLike, shape: tuple[int, ...], alpha: float, vocab_size: int) -> NDArray:
    """`entropy` as an array; ValueError unless it can be the alpha-smoothed predictor's on this many tokens."""
    entropy = real_array(entropy, "entropy")
    if entropy.shape != shape:
        raise ValueError(f"entropy has shape {entropy.shape}, the losses {shape}")
    low, high = float(smoothing.entropy_floor(alpha, vocab_size)), math.log(vocab_size)
    slack = max(ENTROPY_ROUNDING, rounding(entropy) * high)
    if not (entropy.min() >= low - slack and entropy.max() <= high + slack):
        raise ValueError(
            f"entropies in [{entropy.min():.4g}, {entropy.max():.4g}] are not of a predictor smoothed with "
            f"alpha = {alpha:.4g}, which lie in [{low:.4g}, {high:.4g}] nats: evaluate them at this alpha"
        )
    return entropy


def _pilot(sample: Sample | None, nll: NDArray, entropies: NDArray) -> tuple[NDArray, NDArray]:
    """The tokens that may choose constants: the pilot windows, or everything that was evaluated."""
    n = len(sample.pilot) if isinstance(sample, WindowSample) else len(nll)
    return nll[:n], entropies[:, :n]


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
