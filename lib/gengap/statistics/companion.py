"""What a bound with a companion needs to know of each token (chapter 11): the model and its companion, read side by side.

A companion is a predictable sequence of predictors u_k: whatever was known before token k was drawn may have made u_k. Here it
is a sequence of snapshots, each known before some training row, and the companion of a row is the last snapshot known before
the row; with a little of the uniform distribution mixed in, so that no loss of it is infinite.
"""

import bisect
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from gengap.bounds.companion_grids import Beside, Predictor
from gengap.errors import UserError
from gengap.statistics.evaluation import evaluate, weights_sha256

FLOOR = 0.01  # eta: weight of the uniform distribution in a companion


@dataclass(frozen=True, eq=False)
class Companion:
    """A predictable sequence of models: that of a training row is the last one which was known before the row.

    Nothing of a row, or of later ones, may have had a part in it: no weights after the row's own step, no second pass over the text, no
    average with later weights. Raises `UserError` unless `starts` ascend from 0. Assumed by statement T12.

    >>> import gengap
    >>> rungs = ["ladder-50k", "ladder-100k", "ladder-200k"]  # three models, known before rows 0, 100 and 400
    >>> companion = gengap.Companion("example", (0, 100, 400), lambda i: gengap.get(rungs[i]).load())
    >>> {i: places.tolist() for i, places in companion.groups([5, 99, 100, 700])}  # which reads which of these rows
    {0: [0, 1], 1: [2], 2: [3]}
    """

    name: str  # "average-10": of the rule that made it
    # Ascending from 0: the i-th model has seen nothing of the training rows from `starts[i]` on.
    starts: tuple[int, ...]
    # The i-th model in evaluation mode; it may reuse the module of an earlier call.
    load: Callable[[int], torch.nn.Module]
    floor: float = FLOOR  # eta
    # L(u): log2 of the number of rules among which this one was chosen after a look at the text.
    code_length_bits: float = 10.0

    def __post_init__(self):
        if (
            not self.starts
            or self.starts[0] != 0
            or any(a >= b for a, b in zip(self.starts, self.starts[1:], strict=False))
        ):
            raise UserError(
                f"snapshots known before rows {self.starts[:3]}...: the first is known before row 0, the others follow in order"
            )

    def groups(self, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """For each model that is needed, its number and the places in `numbers` (n,), training row numbers, that it reads."""
        of_row = np.array([bisect.bisect_right(self.starts, n) - 1 for n in numbers])
        for i in np.unique(of_row):
            yield int(i), np.flatnonzero(of_row == i)

    def sha256(self, numbers: Sequence[int]) -> str:
        """Of the weights of all models that are the companion of these rows."""
        digest = hashlib.sha256()
        for i, _ in self.groups(numbers):
            digest.update(_description(self.starts[i], self.load(i)))
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class BesideStatistics:
    """Per-token quantities of a companion and of predictors beside it, nats, float32."""

    loss: np.ndarray  # (n_rows, seq_len) -log u(token) of the companion
    entropy: np.ndarray  # (n_rows, seq_len) of the companion's prediction
    of: dict[Predictor, Beside]  # the same two, and what each predictor adds to them
    sha256: str  # of the weights of all models that were the companion somewhere


def beside_statistics(
    model,
    companion: Companion,
    rows: np.ndarray,
    numbers: Sequence[int],
    predictors: Sequence[Predictor],
    desc: str = "companion",
    store: Path | None = None,
) -> BesideStatistics:
    """Evaluate a causal language model and its companion on training `rows`, (n_rows, seq_len + 1), of these `numbers` (n_rows,).

    `store` keeps what is known, as in `gengap.statistics.per_token.token_statistics`. Raises `UserError` if a loss is not finite.
    """
    predictors, numbers = tuple(predictors), np.asarray(numbers)
    n_values, seq_len = 2 + 3 * len(predictors), rows.shape[1] - 1
    reduce = partial(beside_tokens, predictors=predictors, floor=companion.floor)
    facts = {"statistics": "companion", "predictors": predictors, "floor": companion.floor}
    values, digest = np.empty((n_values, len(rows), seq_len), np.float32), hashlib.sha256()
    with tqdm(total=rows[:, 1:].size, desc=desc, unit="tok", unit_scale=True, disable=None) as bar:
        for i, places in companion.groups(numbers):
            beside = companion.load(i).to(model.device)
            digest.update(_description(companion.starts[i], beside))
            values[:, places] = evaluate(
                model, rows[places], lambda _: (reduce, np.asarray), [(facts, n_values)], None, "", store, beside
            )
            bar.update(len(places) * seq_len)
    parts = values[2:].reshape(len(predictors), 3, len(rows), seq_len)
    found = {name: Beside(values[0], values[1], *part) for name, part in zip(predictors, parts, strict=True)}
    return BesideStatistics(values[0], values[1], found, digest.hexdigest())


def _description(start: int, model: torch.nn.Module) -> bytes:
    return f"{start} {weights_sha256(model)}\n".encode()


def beside_tokens(
    logits: torch.Tensor, beside: torch.Tensor, tokens: torch.Tensor, predictors: Sequence[Predictor], floor: float
) -> torch.Tensor:
    """(2 + 3 n_predictors, n) of logits (n, V) of model and companion and tokens (n,): loss and entropy of u, then Z, E[Z], max Z of each q."""
    vocab_size, wanted = logits.shape[-1], tokens[:, None]
    p, u = _probabilities(logits), _probabilities(beside).mul_(1 - floor).add_(floor / vocab_size)
    log_u = u.log()
    result = logits.new_empty(2 + 3 * len(predictors), len(tokens))
    result[0] = -log_u.gather(-1, wanted)[:, 0]
    result[1] = -torch.linalg.vecdot(u, log_u)
    q, excess = torch.empty_like(p), torch.empty_like(p)
    for (alpha, hedged), at in zip(predictors, result[2:].view(len(predictors), 3, len(tokens)), strict=True):
        torch.mul(p, 1 - alpha, out=q)
        q.add_(u, alpha=alpha) if hedged else q.add_(alpha / vocab_size)
        torch.log(q, out=excess)
        torch.sub(log_u, excess, out=excess)
        at[0] = excess.gather(-1, wanted)[:, 0]
        at[1] = torch.linalg.vecdot(q.add_(u), excess).div_(2)
        at[2] = excess.amax(-1)
    return result


def _probabilities(logits: torch.Tensor) -> torch.Tensor:
    """torch's fused softmax, divided by its sum, which is one within 1e-5 only."""
    probs = logits.softmax(-1)
    return probs.div_(probs.sum(-1, keepdim=True))
