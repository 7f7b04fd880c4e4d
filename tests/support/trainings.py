"""A training of seconds, what it leaves, and stopping it."""

from dataclasses import replace

import pytest
import torch
from projects import SMALL
from safetensors.torch import load_file

from gengap.training import loop
from gengap.training.loop import next_token_nll, train

SHORT = replace(SMALL, size="1k", hidden_size=4)  # a shorter run of the same kind


def result(folder):
    """Weights and losses; the first and the last line of a log tell how long it took."""
    losses = (folder / "loss_log.csv").read_text().splitlines()[1:-1]
    return load_file(folder / "checkpoint" / "model.safetensors"), losses


def assert_same(one, other):
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])


def stop_after(steps, spec, rows, out, monkeypatch):
    """Run until an exception at step `steps`, its state saved at every step."""
    calls = iter(range(steps))
    real = next_token_nll
    with monkeypatch.context() as patch:
        patch.setattr(loop, "next_token_nll", lambda *args: (next(calls), real(*args))[1])
        with pytest.raises(StopIteration):
            train(spec, rows, out, save_every_s=0.0)
