"""Llama's architecture: trained, saved and read back, quantized into a file, with its companion."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gengap import models
from gengap.compression import archive
from gengap.compression.methods import compress
from gengap.errors import UserError
from gengap.models.loading import load_checkpoint
from gengap.models.snapshots import companion_of
from gengap.statistics.companion import beside_statistics
from gengap.tokens.rows import TokenRows
from gengap.training.loop import new_model, train

TINY = replace(models.get("llama-50k"), vocab_size=64, seq_len=16, hidden_size=16, n_heads=4, batch_rows=64)
ROWS = TokenRows(np.random.default_rng(0).integers(64, size=(TINY.n_train_rows, 17)).astype(np.uint16), "0" * 64)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    train(TINY, ROWS, folder, snapshots=True)
    return folder


def test_architecture_is_llamas():
    config = models.get("llama-200k").config()
    assert (config.model_type, config.hidden_act, config.tie_word_embeddings) == ("llama", "silu", True)
    assert config.num_attention_heads == 2 * config.num_key_value_heads
    assert not config.attention_bias
    assert not config.mlp_bias
    assert config.rope_parameters.get("partial_rotary_factor", 1.0) == 1.0


def test_checkpoint_and_archive_are_read_back(trained, tmp_path):
    model = load_checkpoint(trained / "checkpoint", config=TINY.config(), name="it")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    hypothesis = compress(model, ROWS)
    archive.write(hypothesis.quantized, TINY.config(), tmp_path / "model.ggq")
    again = archive.read(tmp_path / "model.ggq", TINY.config()).build(model.config)
    assert all(map(torch.equal, again.parameters(), hypothesis.build(model).parameters()))
    with pytest.raises(UserError, match="holds another architecture"):
        archive.read(tmp_path / "model.ggq", replace(TINY, n_layers=3).config())


def test_companion_is_read_from_snapshots_without_the_tied_head(trained):
    model, hedged, n = load_checkpoint(trained / "checkpoint"), ((0.1, True),), TINY.batch_rows
    companion = companion_of(trained / "snapshots", n, TINY.config(), "online")
    fresh = replace(companion, load=lambda i: new_model(TINY, 0).eval())
    of_both = [beside_statistics(model, of, ROWS[: 2 * n], np.arange(2 * n), hedged).loss for of in (companion, fresh)]
    np.testing.assert_allclose(of_both[0][:n], of_both[1][:n], atol=1e-3)  # before the first step; kept in float16
    assert abs(of_both[0][n:] - of_both[1][n:]).max() > 0.02
    with pytest.raises(UserError, match="is of another model"):
        companion_of(trained / "snapshots", n, replace(TINY, hidden_size=32).config()).load(0)


def test_attention_of_grouped_heads_in_bfloat16_is_torchs():
    """The attention that large rungs are trained with, against torch's own."""
    from gengap.training import precision

    ids = torch.from_numpy(ROWS[:2, :-1].astype(np.int64))
    model = new_model(TINY, 1)
    wanted = model(input_ids=ids).logits
    model.set_attn_implementation(precision.CAUSAL_ATTENTION)
    torch.testing.assert_close(model(input_ids=ids).logits, wanted, atol=1e-5, rtol=1e-4)
