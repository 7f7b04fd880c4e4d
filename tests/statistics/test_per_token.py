"""Per-token statistics: equal to the plain computation, whatever the chunks, and refused when not finite."""

import numpy as np
import pytest
import torch
from projects import SMALL
from transformers import LlamaConfig, LlamaForCausalLM

from gengap import hardware
from gengap.errors import UserError
from gengap.statistics import forward
from gengap.statistics.per_token import loss_and_entropies, token_statistics
from gengap.training.loop import new_model

ALPHAS = (0.0, 1e-4, 0.01, 0.3)


@pytest.fixture
def model():
    model = new_model(SMALL, seed=3).eval()
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


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 7, 2), (2, 64, 64), (11, 4096, 5)])
def test_matches_the_plain_computation_for_any_sizes(model, rows, monkeypatch, size):
    nll, entropy = plain(model, rows)
    monkeypatch.setattr(forward, "sizes", lambda *_: forward.Sizes(*size))
    found = token_statistics(model, rows, ALPHAS)
    np.testing.assert_allclose(found.nll, nll, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(found.entropy, entropy, rtol=2e-6, atol=2e-6)
    assert found.alphas == ALPHAS
    assert found.vocab_size == SMALL.vocab_size


@pytest.mark.parametrize("spread", [0.01, 1.0, 4.0, 30.0])
def test_a_wide_vocabulary_keeps_six_digits(spread):
    """From nearly uniform to one-hot predictions over 50304 tokens, where float32 sums have to be watched."""
    generator = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(40, 50304, generator=generator) + 50
    tokens = torch.randint(0, 50304, (40,), generator=generator)
    log_probs = logits.double().log_softmax(-1)
    mixed = [(1 - alpha) * log_probs.exp() + alpha / 50304 for alpha in ALPHAS]
    found = loss_and_entropies(logits, tokens, ALPHAS)
    nll = -log_probs.gather(-1, tokens[:, None])[:, 0]
    np.testing.assert_allclose(found[0], nll, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(found[1:], torch.stack([torch.special.entr(q).sum(-1) for q in mixed]), atol=1e-5)


def test_no_tensor_holds_the_logits_of_a_batch(model, rows, monkeypatch):
    seen = []

    def reduction(logits, tokens):
        seen.append(logits.shape)
        return logits.new_zeros(1, len(tokens))

    monkeypatch.setattr(forward, "TOKENS_PER_PRODUCT", 16)
    monkeypatch.setattr(forward, "LOGITS_PER_BLOCK", 4 * SMALL.vocab_size)
    found = forward.reduce_logits(model, rows, reduction)
    assert found.shape == (1, *rows[:, 1:].shape)
    assert set(seen) == {(4, SMALL.vocab_size)}


def test_sizes_shrink_with_memory_and_are_refused_without(model):
    many, few = forward.sizes(model, SMALL.seq_len, 10**9), forward.sizes(model, SMALL.seq_len, 600_000)
    assert (many.rows, many.product) == (forward.TOKENS_PER_BATCH // SMALL.seq_len, forward.TOKENS_PER_PRODUCT)
    assert 1 <= few.rows < many.rows
    assert 1 <= few.block <= few.product < many.product
    with pytest.raises(UserError, match="do not suffice for one row"):
        forward.sizes(model, SMALL.seq_len, 1000)
    assert hardware.memory_bytes() > 10**9  # so that the other tests see the full sizes


def test_a_model_that_changes_its_logits_is_refused(model, rows):
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(UserError, match="final_logit_softcapping"):
        token_statistics(model, rows)


def test_smoothing_weights_outside_the_interval_are_refused(model, rows):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        token_statistics(model, rows, (0.1, 1.0))


def test_positions_pick_one_token_of_each_row(model, rows):
    positions = np.arange(len(rows)) * 5 % SMALL.seq_len
    whole = token_statistics(model, rows, ALPHAS)
    picked = token_statistics(model, rows, ALPHAS, positions)
    np.testing.assert_allclose(picked.nll[:, 0], whole.nll[np.arange(len(rows)), positions], rtol=1e-5)
    np.testing.assert_allclose(picked.entropy[..., 0], whole.entropy[:, np.arange(len(rows)), positions], rtol=1e-5)


def test_a_row_is_read_to_about_the_one_position_that_is_wanted(model, monkeypatch):
    """In full batches, whose rows are of like length; what is found stays with its row."""
    n_rows, batches = 400, []
    rows = np.random.default_rng(1).integers(0, SMALL.vocab_size, (n_rows, SMALL.seq_len + 1)).astype(np.uint16)
    positions = np.random.default_rng(2).permutation(n_rows) % SMALL.seq_len
    monkeypatch.setattr(forward, "TOKENS_PER_BATCH", 8 * SMALL.seq_len)
    whole = token_statistics(model, rows, ALPHAS)
    hook = model.base_model.register_forward_pre_hook(
        lambda _, __, given: batches.append(given["input_ids"].shape), with_kwargs=True
    )
    picked = token_statistics(model, rows, ALPHAS, positions.astype(np.uint8))
    hook.remove()
    np.testing.assert_allclose(picked.nll[:, 0], whole.nll[np.arange(n_rows), positions], rtol=1e-5)
    np.testing.assert_allclose(picked.entropy[..., 0], whole.entropy[:, np.arange(n_rows), positions], rtol=1e-5)
    assert sum(n for n, _ in batches) == n_rows
    assert max(n * length for n, length in batches) <= 8 * SMALL.seq_len
    assert sum(n * length for n, length in batches) < 0.6 * n_rows * SMALL.seq_len


def test_loss_that_is_not_finite_is_refused(model, rows):
    with torch.no_grad():
        model.lm_head.weight[5] = torch.nan
    with pytest.raises(UserError, match="damaged or has diverged"):
        token_statistics(model, rows)


def test_another_architecture_with_tied_embeddings_gives_its_own_losses(rows):
    config = LlamaConfig(
        vocab_size=SMALL.vocab_size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(20)
    nll, entropy = plain(model, rows)
    found = token_statistics(model, rows, ALPHAS)
    np.testing.assert_allclose(found.nll, nll, rtol=2e-5)
    np.testing.assert_allclose(found.entropy, entropy, rtol=2e-5)
