"""What the index and the one page say in words about numbers, held against the records that are shown beside them."""

import math

import pytest

from gengap.paths import project_root
from gengap.records import load_records

LADDER = load_records("ladder", "gptq", 4)
ALL = [record for family in ("ladder", "llama", "dictionary") for record in load_records(family, "gptq", 4)]


@pytest.mark.parametrize("record", ALL, ids=lambda record: record.identity.model_size)
def test_language_models_generalize_token_by_token(record):
    """The title: every model has learned more than its text, for its certified loss is below that of guessing."""
    assert record.bounds["nominal"].paper.value < record.identity.guessing
    assert record.bounds["archive"].tight.value < record.bounds["nominal"].paper.value
    assert record.identity.guessing == math.log(record.identity.vocab_size)


def test_half_of_the_gap_goes_away_with_a_companion():
    shares = [r.bounds["archive"].companion.gap / r.bounds["nominal"].paper.gap for r in ALL if r.companion]
    assert len(shares) >= 10
    assert 0.4 < min(shares) <= max(shares) < 0.6


def test_bounds_fall_with_scale_because_the_loss_does():
    first, last = LADDER[0], LADDER[-1]
    fall = first.risks.train.mean - last.risks.train.mean
    gaps = [record.bounds["nominal"].paper.gap for record in (first, last)]
    assert fall > 2
    assert abs(gaps[0] - gaps[1]) < fall / 20


def test_a_number_of_a_prose_page_comes_from_a_record():
    """The tables of both pages hold numbers from records alone."""
    for name in ("index", "one_page"):
        text = (project_root() / "book" / f"{name}.md").read_text(encoding="utf-8")
        rows = [line for line in text.splitlines() if line.startswith("|") and "nats" not in line]
        assert sum("{record}" in row for row in rows) >= 3
        for row in rows:
            assert not any("." in word and word.strip("*").replace(".", "").isdigit() for word in row.split())
