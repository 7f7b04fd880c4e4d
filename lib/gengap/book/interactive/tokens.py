"""The token viewer: a stretch of training text, and what each of its tokens means to the bounds, for several smoothing weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from gengap.book.interactive.parts import table, term_styles
from gengap.bounds.companion_grids import Predictor
from gengap.models.ladder import LadderSpec
from gengap.paths import build_dir
from gengap.records.bound import BoundRecord
from gengap.statistics.companion import Companion, beside_statistics
from gengap.statistics.per_token import token_statistics

ALPHAS = (0.001, 0.003, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.2, 0.3, 0.5)


def describe(
    record: BoundRecord, model, companion: Companion, row: np.ndarray, number: int, texts: Sequence[str], stretch: slice
) -> dict[str, Any]:
    """What a notebook keeps of some positions (`stretch`) of one training row, (seq_len + 1,), the `number`-th.

    `model` is the one that the record bounds; `texts` (seq_len,) are the tokens to be predicted. Nats; for every alpha of `ALPHAS`
    the loss of the model itself gives that of the smoothed one, and entropies and expectations are (n_alphas, n_tokens).
    """
    bounds = record.bounds["nominal"]
    plain = token_statistics(model, row[None], ALPHAS)
    kinds = [Predictor(alpha) for alpha in ALPHAS]
    beside = beside_statistics(model, companion, row[None], [number], kinds)

    def cut(values: np.ndarray) -> list[float]:
        return [float(f"{value:.7g}") for value in np.asarray(values, np.float64)[0, stretch]]

    return {
        "model": record.identity.model_size,
        "row": int(number),
        "vocab_size": record.identity.vocab_size,
        "texts": list(texts[stretch]),
        "nll": cut(plain.nll),
        "alphas": list(plain.alphas),
        "entropy": [cut(entropy) for entropy in plain.entropy],
        "paper_alpha": bounds.paper.alpha,
        "s": bounds.paper.s,
        "companion": {
            "name": companion.name,
            "loss": cut(beside.loss),
            "rate": bounds.companion.rate,
            "s": bounds.companion.s,
            "expected": [cut(beside.of[kind].expected) for kind in kinds],
            "most": [cut(beside.of[kind].most) for kind in kinds],
        },
    }


def token_texts(spec: LadderSpec, tokens: np.ndarray) -> list[str]:
    """The text of each of these tokens, (n,), of the corpus that a rung was trained on; what is part of a character is shown as such."""
    tokenizer = Tokenizer.from_file(str(build_dir() / spec.text.name / "tokenizer.json"))
    return [tokenizer.decode([token]) for token in tokens.tolist()]


def data(kept: Mapping[str, Any]) -> dict[str, Any]:
    """What `describe` kept, and the same as a table for one alpha."""
    found = kept["token-viewer"]
    at = int(np.argmin(np.abs(np.array(found["alphas"]) - found["paper_alpha"])))
    return found | {
        "title": "Token viewer",
        "first": at,
        "terms": term_styles(),
        "twin": table(
            f"The first tokens of the passage: loss of {found['model']} and entropy of its smoothed prediction, nats",
            ["token", "loss", f"entropy, α = {found['alphas'][at]:g}", "loss of the companion"],
            (
                [repr(text), f"{loss:.2f}", f"{entropy:.2f}", f"{beside:.2f}"]
                for text, loss, entropy, beside in list(
                    zip(found["texts"], found["nll"], found["entropy"][at], found["companion"]["loss"], strict=True)
                )[:24]
            ),
        ),
    }
