"""Snapshots: the weights before a token was read, and averages of them; no digit of the training depends on them."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from trainings import SHORT, assert_same, result, stop_after

from gengap.errors import UserError
from gengap.models.snapshots import average_name, read_snapshot, saved_steps, snapshot_path
from gengap.training import loop
from gengap.training.loop import new_model, train, train_run
from gengap.training.run import Run
from gengap.training.snapshots import N_SNAPSHOTS, MovingAverages, snapshot_steps


def test_steps_begin_at_none_and_lie_denser_at_the_start():
    steps = snapshot_steps(20_000)
    assert (steps[0], len(steps)) == (0, N_SNAPSHOTS)
    assert steps[-1] == 20_000 * (N_SNAPSHOTS - 1) ** 2 // N_SNAPSHOTS**2
    gaps = np.diff(steps)
    assert (np.diff(gaps[10:]) >= -1).all()
    assert gaps[-1] > 50 * gaps[0]
    assert snapshot_steps(3) == [0, 1, 2]  # a short run has one at every step


def test_an_average_remembers_its_share_of_the_steps_so_far():
    model = torch.nn.Linear(1, 1, bias=False)
    averages = MovingAverages(model, (0.1, 0.5))
    by_hand = {0.1: None, 0.5: None}
    for step in range(200):
        model.weight.data.fill_(float(step))
        averages.update(step)
        for share in by_hand:
            rate = min(1.0, 1 / max(1.0, share * step))
            by_hand[share] = step if by_hand[share] is None else by_hand[share] + rate * (step - by_hand[share])
    for share, value in by_hand.items():
        assert averages.tensors()[f"{average_name(share)}/weight"].item() == pytest.approx(value, rel=1e-5)
        # of weights that grow by one a step, an average over a share s of the steps lags by about s / (1 + s) of them
        assert 199 - value == pytest.approx(199 * share / (1 + share), abs=2)


def test_a_snapshot_is_the_model_before_the_step_and_changes_no_digit(small_rows, tmp_path, monkeypatch):
    with_snapshots, without = tmp_path / "with", tmp_path / "without"
    train(SHORT, small_rows, with_snapshots, snapshots=True)
    train(SHORT, small_rows, without)
    assert_same(result(with_snapshots), result(without))
    assert not (without / "snapshots").exists()
    folder = with_snapshots / "snapshots"
    steps = saved_steps(folder)
    assert steps == snapshot_steps(SHORT.n_steps)
    first = read_snapshot(folder, 0)
    fresh = dict(new_model(SHORT, 0).named_parameters())
    assert first.keys() == fresh.keys()
    assert all(torch.equal(first[name], p.half()) for name, p in fresh.items())
    assert all(torch.equal(first[name], p) for name, p in read_snapshot(folder, 0, "average-5").items())
    step = steps[5]
    stop_after(step, SHORT, small_rows, tmp_path / "stopped", monkeypatch)  # what it keeps is the state before `step`
    state = load_file(tmp_path / "stopped" / "training_state.safetensors")
    for name, p in read_snapshot(folder, step).items():
        assert torch.equal(p, state[f"model.{name}"].half())
        assert not torch.equal(p, first[name]) or p.ndim < 2


def test_a_state_without_averages_and_a_damaged_snapshot_are_refused(small_rows, tmp_path, monkeypatch):
    calls = iter(range(3))
    real = loop.next_token_nll
    with monkeypatch.context() as patch:
        patch.setattr(loop, "next_token_nll", lambda *args: (next(calls), real(*args))[1])
        with pytest.raises(StopIteration):
            train_run(Run(SHORT), small_rows, tmp_path / "run", save_every_s=0.0)
    with pytest.raises(UserError, match="has no moving averages of its weights: delete it and run again"):
        train(SHORT, small_rows, tmp_path / "run", snapshots=True)
    train(SHORT, small_rows, tmp_path / "whole", snapshots=True)
    folder = tmp_path / "whole" / "snapshots"
    with pytest.raises(UserError, match="has no 'average-7': choose one of average-10, average-2"):
        read_snapshot(folder, 0, "average-7")
    path = snapshot_path(folder, 0)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"is missing or damaged .*: run `gengap train` with --snapshots again"):
        read_snapshot(folder, 0)


def test_a_run_that_goes_on_without_its_first_snapshot_has_it_again(small_rows, tmp_path, monkeypatch):
    """As after a kill of the graph, which takes what it had asked for away."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(SHORT, small_rows, whole, snapshots=True)
    calls, real = iter(range(5)), loop.next_token_nll
    with monkeypatch.context() as patch:
        patch.setattr(loop, "next_token_nll", lambda *args: (next(calls), real(*args))[1])
        with pytest.raises(StopIteration):
            train(SHORT, small_rows, killed, snapshots=True, save_every_s=0.0)
    (first := snapshot_path(killed / "snapshots", 0)).unlink()
    train(SHORT, small_rows, killed, snapshots=True)
    assert_same(result(killed), result(whole))
    assert first.read_bytes() == snapshot_path(whole / "snapshots", 0).read_bytes()
    assert saved_steps(killed / "snapshots") == saved_steps(whole / "snapshots")
