"""The main job: a checkpoint, its quantized form and its training rows go in, the bound record comes out (chapter 05).

`certify` is all of it; the functions that it calls are the steps that the chapter goes through. Everything a model is evaluated for can be
kept in a folder (`store`), so that a run killed at any moment goes on where it was and a second one is quick.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gengap.bounds.sampling import PairSample, WindowSample, draw_pairs, draw_windows, split_failure_prob
from gengap.bounds.terms import PAPER_S_GRID_SIZE, CodedModel, PaperBound
from gengap.bounds.theorems import azuma_bound, paper_bound
from gengap.compression.archive import Hypothesis
from gengap.compression.methods import compress
from gengap.errors import UserError
from gengap.models.architecture import architecture_of
from gengap.models.loading import load_checkpoint
from gengap.models.spec import ModelSpec, quantized_name
from gengap.records.base import Estimate, Identity, identify, provenance
from gengap.records.bound import BoundRecord, Bounds, BoundSettings, CompanionFacts, Evidence, Quantization, Risks
from gengap.statistics.checks import check_model
from gengap.statistics.companion import Companion, beside_statistics
from gengap.statistics.evaluation import rows_sha256, statistics_dir, weights_sha256
from gengap.statistics.per_token import TokenStatistics, token_statistics
from gengap.tokens.rows import Rows, sample_rows
from gengap.tokens.sources import as_rows
from gengap.workflow.artefacts import archive_of
from gengap.workflow.companions import bounds_with
from gengap.workflow.settings import Settings
from gengap.workflow.tilts import choose_tilts, n_pilot, tight_bounds

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Draw(NamedTuple):
    """Which training tokens are looked at: independent of the model, from one seeded stream."""

    windows: WindowSample  # ours: whole windows, a pilot and a certificate
    pairs: PairSample  # the paper's: (window, position) pairs


def draw(n_rows: int, seq_len: int, settings: Settings, n_train_tokens: int | None = None) -> Draw:
    """The windows and pairs of a certificate; a tenth of delta is the martingale's, the rest the sample's.

    `n_train_tokens` is given where the rows at hand are not the training rows: in the arithmetic they then stand for so many tokens.
    """
    settings = settings.on(n_rows)
    settings.check_rows(n_rows)
    rng = np.random.default_rng([settings.seed, 5])  # its own stream: no model has been fitted to this draw
    failure_prob = split_failure_prob(settings.failure_prob).sampling
    windows = draw_windows(n_rows, settings.n_pilot_windows, settings.n_windows, failure_prob, rng)
    pairs = draw_pairs(n_rows, seq_len, settings.n_pairs, failure_prob, rng)
    if n_train_tokens is not None:
        windows, pairs = (replace(drawn, n_windows=n_train_tokens // seq_len) for drawn in (windows, pairs))
    return Draw(windows, pairs)


def coded_models(hypothesis: Hypothesis, identity: Identity, settings: Settings) -> dict[str, CodedModel]:
    """What the bounds need to know of the hypothesis, for each accounting of its code length."""
    failure_prob = split_failure_prob(settings.failure_prob).martingale
    return {
        name: CodedModel(length, identity.n_train_tokens, identity.vocab_size, failure_prob)
        for name, length in hypothesis.code_length_bits.items()
    }


def smoothing_weights(coded: dict[str, CodedModel]) -> list[float]:
    """The weights at which entropies are evaluated: the paper's, which depend on L(h) alone."""
    return sorted({c.paper_alpha for c in coded.values()})


def estimate(nll: np.ndarray) -> Estimate:
    """Mean and standard error over windows, for (n_windows, seq_len) losses."""
    means = nll.mean(axis=1, dtype=np.float64)
    error = means.std(ddof=1) / math.sqrt(len(means))
    return Estimate(mean=means.mean(), standard_error=error, n_tokens=nll.size)


def paper_mode_bounds(
    evaluate: Callable[..., TokenStatistics],
    checkpoint,
    model,
    rows: Rows,
    drawn: Draw,
    known: tuple[TokenStatistics, TokenStatistics],
    coded: dict[str, CodedModel],
) -> dict[str, PaperBound]:
    """Thm 3.4 as the paper evaluates it: on pairs, one token of each window, for each accounting.

    A token's loss does not depend on why its window was drawn: of pairs in windows that are known already (`known`: the checkpoint's
    statistics on `drawn.windows`, and the model's) it is looked up, and the windows of the others are read once, as far as to the last token that is wanted.
    """
    pairs, alphas = drawn.pairs, smoothing_weights(coded)
    place = {window: i for i, window in enumerate(drawn.windows.windows)}
    known_at = np.array([place.get(window, -1) for window in pairs.windows])
    new, at = np.flatnonzero(known_at < 0), (np.maximum(known_at, 0), pairs.positions)
    new = new[np.argsort(pairs.windows[new], kind="stable")]  # those of one window are read together
    others = rows[pairs.windows[new]], pairs.positions[new]

    def at_pairs(which, statistics: TokenStatistics, weights: Sequence[float], desc: str) -> tuple[np.ndarray, dict]:
        nll = statistics.nll[at]
        entropies = {alpha: statistics.entropy[statistics.alphas.index(alpha)][at] for alpha in weights}
        if len(new):
            found = evaluate(which, others[0], weights, others[1], desc)
            nll[new] = found.nll[:, 0]
            for alpha, entropy in zip(weights, found.entropy, strict=True):
                entropies[alpha][new] = entropy[:, 0]
        return nll, entropies

    nll, entropies = at_pairs(model, known[1], alphas, "pairs")
    train_risk = float(at_pairs(checkpoint, known[0], (), "pairs, checkpoint")[0].mean())
    return {name: paper_bound(c, nll, entropies[c.paper_alpha], train_risk, pairs) for name, c in coded.items()}


def certify(
    model: "PreTrainedModel | str | Path",
    rows: "Rows | np.ndarray",
    heldout: "Rows | np.ndarray | None" = None,
    *,
    hypothesis: Hypothesis | Callable[[], Hypothesis] | None = None,
    settings: Settings | None = None,
    identity: Identity | None = None,
    companion: Companion | None = None,
    store: Path | None = None,
    started: float | None = None,
    not_certified: str | None = None,
) -> BoundRecord:
    """The bound record of a checkpoint: what its quantized form, smoothed, can lose on the training contexts at most.

    `model` is the checkpoint, any dense causal language model of transformers, or the folder that it was saved in; `rows`
    (n_train_rows, seq_len + 1), an array or what `gengap.tokens.open_rows` gives, are all rows that it was trained on, each
    counted once, in an order that nobody chose after looking; `heldout` rows that it was not trained on, if there are any.
    `hypothesis` is its quantized form with the code that is paid for, or what makes it once the model has been looked at
    (default: GPTQ at 4 bits); `identity` names the model (default: an own one); `companion` is what the model was before each row,
    for the bounds that use one: `rows` are then in the order of training; `store` is a folder for what is evaluated, `started` the
    `time.monotonic()` from which the record counts its seconds (default: now). With probability at least
    1 - `settings.failure_prob` over the text and the draw of windows each bound of the record holds; unless `not_certified`
    says why not: then the record is arithmetic and marked so. Raises `UserError` for too few rows, for a model that cannot
    be bounded, and if a loss is not finite. Paper, Thm 3.4, and chapter 05.

    >>> import gengap, numpy as np
    >>> from dataclasses import replace
    >>> from gengap.workflow.settings import Settings
    >>> from transformers import GPTNeoXForCausalLM
    >>> shape = replace(gengap.get("ladder-50k"), vocab_size=64, seq_len=16)
    >>> model = GPTNeoXForCausalLM(shape.config()).eval()  # untrained
    >>> rows = np.random.default_rng(0).integers(64, size=(60, 17))
    >>> hypothesis = gengap.compress(model, rows[:50], "rtn")
    >>> settings = Settings(n_pilot_windows=2, n_windows=10, n_pairs=10)
    >>> record = gengap.certify(model, rows[:50], rows[50:], hypothesis=hypothesis, settings=settings)
    >>> record.identity.n_train_tokens, list(record.bounds)
    (800, ['nominal', 'honest', 'archive'])
    """
    started = time.monotonic() if started is None else started
    if isinstance(model, str | Path):
        model = load_checkpoint(model)
    rows, heldout = _rows_of(model, rows, heldout)
    settings = (settings or Settings()).on(len(rows))
    identity = identity or own_identity(model, rows)
    standing_for = identity.n_train_tokens if not_certified else None
    at_random = draw(len(rows), identity.seq_len, settings, standing_for)
    sample = at_random.windows
    check_model(model, rows[:1])
    if not isinstance(hypothesis, Hypothesis):
        hypothesis = hypothesis() if hypothesis else compress(model, rows)
    quantized = hypothesis.build(model)
    evaluate = partial(token_statistics, store=store)
    coded = coded_models(hypothesis, identity, settings)
    drawn = rows[sample.windows]
    unseen = None if heldout is None else sample_rows(heldout, settings.n_windows, settings.seed)
    tilts = choose_tilts(evaluate, quantized, drawn[: n_pilot(sample, identity.seq_len)], coded, sample.range_cost)
    weights = smoothing_weights(coded)
    statistics = evaluate(quantized, drawn, weights, desc="quantized model", tilts=tilts.values())
    before = evaluate(model, drawn, desc="checkpoint")
    risks = {"train": before.nll, "quantized": statistics.nll}
    if unseen is not None:
        risks["heldout"] = evaluate(model, unseen, desc="held-out").nll
        risks["heldout_quantized"] = evaluate(quantized, unseen, desc="held-out, quantized").nll
    risks = Risks(**{name: estimate(nll) for name, nll in risks.items()})
    nll, train_risk = statistics.nll, risks.train.mean
    entropy_at = dict(zip(statistics.alphas, statistics.entropy, strict=True))  # alpha -> (n, seq)
    paper_mode = paper_mode_bounds(evaluate, model, quantized, rows, at_random, (before, statistics), coded)
    tight = tight_bounds(statistics, tilts, train_risk, sample, coded)
    beside = companion and bounds_with(
        partial(beside_statistics, store=store),
        quantized,
        companion,
        drawn,
        train_risk,
        risks.quantized.mean,
        sample,
        coded,
    )
    return BoundRecord(
        not_certified=not_certified,
        identity=identity,
        evidence=Evidence(
            checkpoint_sha256=weights_sha256(model),
            quantized_sha256=weights_sha256(quantized),
            windows_sha256=rows_sha256(drawn),
            archive_sha256=hypothesis.sha256 or None,
            heldout_sha256=None if unseen is None else rows_sha256(unseen),
            companion_sha256=beside.sha256 if beside else None,
        ),
        quantization=Quantization.model_validate(hypothesis, from_attributes=True),
        settings=BoundSettings(**asdict(settings), s_grid_size=PAPER_S_GRID_SIZE),
        risks=risks,
        bounds={
            name: Bounds(
                paper=paper_bound(c, nll, entropy_at[c.paper_alpha], train_risk, sample),
                paper_mode=paper_mode[name],
                azuma=azuma_bound(c, nll, train_risk, sample),
                tight=tight[name],
                **(beside.bounds[name]._asdict() if beside else {}),
            )
            for name, c in coded.items()
        },
        companion=companion and CompanionFacts(name=companion.name, n_snapshots=len(companion.starts)),
        online=beside.online if beside else None,
        provenance=provenance(str(model.device), time.monotonic() - started),
    )


def _rows_of(model: "PreTrainedModel", *given) -> "Iterator[Rows | None]":
    """What is given as training and held-out rows, arrays checked and counted; `UserError` if they are of two lengths."""
    vocab_size = model.config.vocab_size
    found = [r if r is None or hasattr(r, "sha256") else as_rows(r, vocab_size=vocab_size) for r in given]
    lengths = {r[:1].shape[1] for r in found if r is not None}
    if len(lengths) > 1:
        raise UserError(
            f"rows of {' and of '.join(map(str, sorted(lengths)))} tokens: held-out rows are as long as training rows"
        )
    return iter(found)


def own_identity(
    model: "PreTrainedModel",
    rows: "Rows | np.ndarray",
    name: str = "",
    revision: str = "main",
    n_train_tokens: int | None = None,
) -> Identity:
    """Of a model that is in no registry: its `name` or its size, and the tokens that it was trained on (default: all of `rows`)."""
    n_params, seq_len = architecture_of(model).n_params, rows[:1].shape[1] - 1
    return Identity(
        family="own",
        size=name or f"{n_params / 1e6:.3g}m",
        revision=revision,
        n_params=n_params,
        n_train_tokens=(n_train_tokens // seq_len if n_train_tokens else len(rows)) * seq_len,
        vocab_size=model.config.vocab_size,
        seq_len=seq_len,
        data_sha256=rows.sha256,
    )


def store_of(spec: ModelSpec, method: str, bits: int) -> Path:
    """Where this machine keeps what a model of the registry was evaluated for, until its record is written."""
    return statistics_dir() / spec.model_size / quantized_name(spec.revision, method, bits)


def certify_spec(spec: ModelSpec, method: str, bits: int, settings: Settings | None = None) -> BoundRecord:
    """The record of a model of the registry from its checkpoint and its archive; `UserError` unless both are there and belong together."""
    model, rows = spec.load(), spec.train_rows()
    hypothesis = Hypothesis.read(archive_of(spec, method, bits, model), method, bits, spec.config())
    identity = identify(spec, rows.sha256, spec.revision)
    store = store_of(spec, method, bits)
    return certify(
        model,
        rows,
        spec.heldout_rows(),
        hypothesis=hypothesis,
        settings=settings,
        identity=identity,
        companion=spec.companion(),
        store=store,
    )
