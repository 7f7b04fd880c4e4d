"""The supermartingale of the empirical Freedman inequality: a small source whose truth is known, and an overconfident predictor."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gengap.book.interactive.parts import table, term_styles
from gengap.bounds import coverage, sources

VOCAB_SIZE, N_TOKENS, N_TEXTS = 24, 800, 100
S_GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # from which the best is chosen after the text


def process() -> coverage.Process:
    """The source, and the log-probabilities (n_states, V) of a predictor that is too sure of itself, smoothed."""
    source = sources.language_like(VOCAB_SIZE, np.random.default_rng(4))
    return source, coverage.smoothed(coverage.tempered(source, 1.3), alpha=0.01)


def data(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Probabilities of the source, losses of the predictor, (V, V) each by last token and next one; the grid of s."""
    source, log_probs = process()
    return {
        "title": "The supermartingale",
        "probs": source.probs.tolist(),
        "losses": (-log_probs).tolist(),
        "start": source.start,
        "n_tokens": N_TOKENS,
        "n_texts": N_TEXTS,
        "s_grid": list(S_GRID),
        "terms": term_styles(),
        "twin": table(
            f"What the proof allows: the share of texts of {N_TOKENS} tokens on which the supermartingale of one s may ever reach its level",
            ["complexity C, nats per token", "level n C, nats", "share allowed"],
            (
                [f"{c:.4f}", f"{N_TOKENS * c:.1f}", f"{math.exp(-N_TOKENS * c):.1%}"]
                for c in (math.log(20) / N_TOKENS * k for k in (0.5, 1, 2))
            ),
        ),
    }
