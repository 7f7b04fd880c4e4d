"""Bounds that a predictable companion makes small, with their terms (chapter 11).

A companion is any sequence of distributions u_k that was known before token k was drawn: here an earlier state of the model,
with a share `floor` (eta) of the uniform distribution mixed in. X^u is its loss, X^q that of the predictor q whose risk is
bounded, Z = X^q - X^u. Tokens that are hard for q are hard for u, so Z varies far less than X^q, and the martingale of Z is what the
code of the model has to pay for:

    R(q)  <=  mean X^u + eps  +  C/lambda + mean f,      f = Y - log(1 + lambda (Y - Z)) / lambda,
    Y     =   max( E[Z] if the token came from (q + u)/2,  max_v Z(v) - s/lambda ).

Y is known before the token, and 1 + lambda (Y - Z) >= 1 - s whatever the token, so that f is the summand of the empirical
Freedman inequality with the range that each prediction has, and not the worst of all. The sequence u is one for all
models: eps costs no code but its own. The predictor q is either the paper's, the model mixed with the uniform
distribution, and a function of the context alone; or the model *hedged*, mixed with the companion of that moment. For the
companion itself, q = u, what remains is R(u) <= mean X^u + eps: the information content of a training, a certified gap.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gengap.arrays import real_array
from gengap.bounds.companion_grids import GRID_SIZE, Beside, CodedCompanion, CompanionChoice
from gengap.bounds.concentration import Floats
from gengap.bounds.sampling import Sample
from gengap.bounds.terms import CodedModel, CompanionBound, OnlineBound

ROUNDING = 1e-3  # nats of float32 rounding allowed in what is known to lie in a range


def companion_bound(
    coded: CodedModel,
    companion: CodedCompanion,
    beside: Beside,
    choice: CompanionChoice,
    share: float,
    train_risk: float,
    quantized_risk: float,
    sample: Sample | None = None,
) -> CompanionBound:
    """The bound on the risk of a predictor built from a coded model, with a companion in the proof (statement T12).

    `coded` carries delta_1, the failure probability of the union over models and grid, `companion` delta_2; `choice` comes from
    `choose_companion`, `share` from `choose_share`, both from the pilot of the sample or, without one, from
    everything. `train_risk` and `quantized_risk` are mean losses of the checkpoint and of the quantized model on the same
    tokens. Of each window one sum, that of both summands, is certified. Assumes that u_k, hence Y_k, is a function of
    the tokens before k and of what was fixed before the text; and the points of `gengap.bounds.theorems`. ValueError for
    arrays that cannot belong to this choice.

    >>> import gengap, numpy as np
    >>> from gengap.bounds.companion import companion_bound
    >>> from gengap.bounds.companion_grids import Beside, CodedCompanion, Predictor, choose_companion, choose_share
    >>> rng = np.random.default_rng(0)
    >>> p, other = rng.dirichlet(np.full(16, 0.5), (2, 10_000))  # a model's 10,000 predictions over 16 tokens, and some error
    >>> u, q = 0.99 * (0.8 * p + 0.2 * other) + 0.01 / 16, 0.9 * p + 0.1 / 16
    >>> tokens = np.array([rng.choice(16, p=row) for row in p])[:, None]
    >>> z = np.log(u / q)
    >>> loss, excess = (np.take_along_axis(values, tokens, 1)[:, 0] for values in (-np.log(u), z))
    >>> beside = Beside(loss, -(u * np.log(u)).sum(1), excess, ((q + u) / 2 * z).sum(1), z.max(1))
    >>> coded, companion = gengap.CodedModel(500, 10_000, 16), CodedCompanion(0, 10_000, 16, floor=0.01)
    >>> choice = choose_companion(coded, companion, {Predictor(0.1): beside})
    >>> risk = (loss + excess).mean()
    >>> bound = companion_bound(coded, companion, beside, choice, choose_share(companion, *beside[:2]), risk, risk)
    >>> bool(risk < bound.value < np.log(16))
    True
    """
    beside = _checked(coded, companion, beside, choice, sample)
    c = companion.with_model(coded)
    both = companion.summand(beside.loss, beside.entropy, share), choice.summand(beside)
    of_u, of_z = (_window_means(values) for values in both)
    loss, excess = _window_means(beside.loss).mean(), _window_means(beside.excess).mean()
    top = choice.greatest(companion) + companion.charge_limit(share)
    return CompanionBound(
        train_risk=float(train_risk),
        quantization_gap=float(quantized_risk - train_risk),
        smoothing=float(loss + excess - quantized_risk),
        deviation=float(c / choice.rate + of_z.mean() - excess),
        companion=float(companion.complexity / companion.rate(share) + of_u.mean() - loss),
        sampling=_sampling_error(sample, of_u + of_z, top),
        complexity=c,
        alpha=choice.predictor.alpha,
        hedged=choice.predictor.hedged,
        rate=choice.rate,
        s=choice.share,
        grid_size=GRID_SIZE,
        companion_risk=float(loss),
        companion_rate=companion.rate(share),
        code_length_bits=float(coded.code_length_bits),
        **_settings(companion, coded.failure_prob + companion.failure_prob, beside.loss, sample),
    )


def online_bound(
    companion: CodedCompanion,
    loss: NDArray,
    entropy: NDArray,
    share: float,
    train_risk: float,
    sample: Sample | None = None,
) -> OnlineBound:
    """R(u) <= mean X^u + eps: the risk of the companion itself, with no code of any model (statement T13).

    mean X^u - `train_risk` is the information content of the training, K(h)/D; what is assumed is what `companion_bound` assumes of u.
    """
    beside = _checked_companion(companion, loss, entropy, sample)
    of_u, mean = _window_means(companion.summand(*beside, share)), _window_means(beside[0]).mean()
    return OnlineBound(
        train_risk=float(train_risk),
        information=float(mean - train_risk),
        companion=float(companion.complexity / companion.rate(share) + of_u.mean() - mean),
        sampling=_sampling_error(sample, of_u, companion.max_loss + companion.charge_limit(share)),
        companion_rate=companion.rate(share),
        **_settings(companion, companion.failure_prob, beside[0], sample),
    )


def _window_means(values: NDArray) -> Floats:
    return values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)


def _sampling_error(sample: Sample | None, values: Floats, upper: float) -> float:
    return 0.0 if sample is None else float(sample.upper_mean(np.maximum(values, 0.0), 0.0, upper) - values.mean())


def _settings(companion: CodedCompanion, failure_prob: float, loss: NDArray, sample: Sample | None) -> dict[str, float]:
    return {
        "floor": companion.floor,
        "companion_code_length_bits": float(companion.code_length_bits),
        "failure_prob": float(failure_prob),
        "sampling_failure_prob": 0.0 if sample is None else float(sample.failure_prob),
        "n_tokens_evaluated": int(loss.size),
    }


def _checked_companion(
    companion: CodedCompanion, loss: NDArray, entropy: NDArray, sample: Sample | None
) -> tuple[NDArray, NDArray]:
    loss, entropy = real_array(loss, "loss"), real_array(entropy, "entropy")
    if loss.shape != entropy.shape or not loss.size:
        raise ValueError(f"losses of shape {loss.shape} and entropies of shape {entropy.shape} of the companion")
    if sample is not None:
        sample.check(loss.shape, companion.n_train_tokens)
    elif loss.size != companion.n_train_tokens:
        raise ValueError(f"{loss.size} of {companion.n_train_tokens} training tokens: pass their sample")
    _check_range("losses of the companion", loss, 0, companion.max_loss)
    _check_range("entropies of the companion", entropy, 0, math.log(companion.vocab_size))
    return np.clip(loss, 0, companion.max_loss), entropy


def _checked(
    coded: CodedModel, companion: CodedCompanion, beside: Beside, choice: CompanionChoice, sample: Sample | None
) -> Beside:
    if (coded.n_train_tokens, coded.vocab_size) != (companion.n_train_tokens, companion.vocab_size):
        raise ValueError("the companion is of another training or another vocabulary than the model")
    loss, entropy = _checked_companion(companion, beside.loss, beside.entropy, sample)
    rest = [real_array(values, name) for name, values in zip(Beside._fields[2:], beside[2:], strict=True)]
    if any(values.shape != loss.shape for values in rest):
        raise ValueError(f"excess, expected and most have shapes {[v.shape for v in rest]}, the losses {loss.shape}")
    excess, expected, most = rest
    most_excess, most_loss = choice.limits(companion)
    _check_range("losses of the predictor", loss + excess, 0, most_loss)
    _check_range("most", most, 0, most_excess)
    _check_range("expected beyond most / 2", expected - most / 2, -math.inf, 0)
    _check_range("excess beyond most", excess - most, -math.inf, 0)
    return Beside(loss, entropy, np.minimum(excess, most), expected, most)


def _check_range(what: str, values: NDArray, low: float, high: float) -> None:
    if not (values.min() >= low - ROUNDING and values.max() <= high + ROUNDING):
        raise ValueError(
            f"{what} in [{values.min():.6g}, {values.max():.6g}] leave [{low:.6g}, {high:.6g}]: they belong to another predictor or floor"
        )
