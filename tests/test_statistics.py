"""Per-token statistics: equal to the plain computation, whatever the chunks, and refused when not finite."""

import numpy as np
import pytest
import torch

from conftest import SMALL
from gengap import statistics, training
from gengap.errors import UserError

ALPHAS = (0.01, 0.3)


@pytest.fixture
def model():
    model = training.new_model(SMALL, seed=3).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(40)  # predictions far from uniform
    return model


@pytest.fixture
def rows():
    return np.random.default_rng(0).integers(0, SMALL.vocab_size, (11, SMALL.seq_len + 1)).astype(np.uint16)


def plain(model, rows):
    """The textbook computation, all logits at once, in float64."""
    tokens = torch.from_numpy(rows.astype(np.int64))
    with torch.no_grad():
        log_probs = model(tokens[:, :-1]).logits.double().log_softmax(-1)
    nll = -log_probs.gather(-1, tokens[:, 1:, None])[..., 0]
    smoothed = [(1 - alpha) * log_probs.exp() + alpha / SMALL.vocab_size for alpha in ALPHAS]
    return nll.numpy(), np.stack([-(q * q.log()).sum(-1).numpy() for q in smoothed])


def test_matches_the_plain_computation_for_any_chunk(model, rows, monkeypatch):
    nll, entropy = plain(model, rows)
    for tokens in (1, 7, 64, 4096):
        monkeypatch.setattr(statistics, "TOKENS_PER_CHUNK", tokens)
        found = statistics.token_statistics(model, rows, ALPHAS)
        np.testing.assert_allclose(found.nll, nll, rtol=2e-5, atol=1e-5)
        np.testing.assert_allclose(found.entropy, entropy, rtol=2e-5, atol=1e-5)
    assert found.alphas == ALPHAS
    assert found.vocab_size == SMALL.vocab_size


def test_positions_pick_one_token_of_each_row(model, rows):
    positions = np.arange(len(rows)) * 5 % SMALL.seq_len
    whole = statistics.token_statistics(model, rows, ALPHAS)
    picked = statistics.token_statistics(model, rows, ALPHAS, positions)
    np.testing.assert_allclose(picked.nll[:, 0], whole.nll[np.arange(len(rows)), positions], rtol=1e-5)
    np.testing.assert_allclose(
        picked.entropy[..., 0], whole.entropy[:, np.arange(len(rows)), positions], rtol=1e-5
    )


def test_loss_that_is_not_finite_is_refused(model, rows):
    with torch.no_grad():
        model.lm_head.weight[5] = torch.nan
    with pytest.raises(UserError, match="damaged or has diverged"):
        statistics.token_statistics(model, rows)
