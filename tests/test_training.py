"""Training: one epoch, an honest online loss, and the same bits after a kill at any moment."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import SMALL
from gengap import models, training
from gengap.errors import UserError

SHORT = replace(SMALL, size="1k", hidden_size=4)  # a shorter run of the same kind
WORKER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_training import SHORT
from gengap import data, training
training.train(SHORT, data.train_rows(SHORT), Path({out!r}), save_every_s=0.05)
"""


def result(folder):
    return load_file(folder / "checkpoint" / "model.safetensors"), (
        folder / "loss_log.csv"
    ).read_text().splitlines()[1:]


def assert_same(one, other):
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])


def test_one_epoch_learns_and_logs_the_loss_before_each_update(small_rows, tmp_path):
    log = training.train(SHORT, small_rows, tmp_path)
    assert len(log.online_nll) * log.tokens_per_step == SHORT.n_train_tokens
    fresh = training.new_model(SHORT, seed=0)
    first = torch.from_numpy(small_rows.rows[: SHORT.batch_rows].astype(np.int64))
    np.testing.assert_allclose(log.online_nll[0], training.next_token_nll(fresh, first).item(), rtol=1e-6)
    assert log.online_nll[-20:].mean() < log.online_nll[:20].mean() - 0.3
    again = training.train(SHORT, small_rows, tmp_path)  # finished: read, not repeated
    np.testing.assert_array_equal(again.online_nll, log.online_nll)
    with pytest.raises(UserError, match="belongs to another run"):  # but never taken for another run's result
        training.train(SHORT, small_rows, tmp_path, seed=1)


def test_killed_runs_resume_to_the_same_bits(small_rows, small_project, tmp_path):
    training.train(SHORT, small_rows, tmp_path / "undisturbed")
    out = tmp_path / "killed"
    script = WORKER.format(tests=os.path.dirname(__file__), out=str(out))
    state = out / "training_state.safetensors"
    for delay_s in (0.05, 0.4):
        process = subprocess.Popen(
            [sys.executable, "-c", script], env={**os.environ, "GENGAP_ROOT": str(small_project)}
        )
        before = state.stat().st_mtime_ns if state.exists() else 0
        deadline = time.monotonic() + 60
        while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns > before):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # it was in the middle
    training.train(SHORT, small_rows, out)
    assert_same(result(tmp_path / "undisturbed"), result(out))
    assert not state.exists()


def stop_after(steps, spec, rows, out, monkeypatch):
    """Run until an exception at step `steps`, its state saved at every step."""
    calls = iter(range(steps))
    real = training.next_token_nll
    with monkeypatch.context() as patch:
        patch.setattr(training, "next_token_nll", lambda *args: (next(calls), real(*args))[1])
        with pytest.raises(StopIteration):
            training.train(spec, rows, out, save_every_s=0.0)


def test_state_of_another_run_or_damaged_state_is_refused(small_rows, tmp_path, monkeypatch):
    stop_after(3, SHORT, small_rows, tmp_path, monkeypatch)
    with pytest.raises(UserError, match="belongs to another run"):
        training.train(replace(SHORT, peak_lr=1e-3), small_rows, tmp_path)
    state = tmp_path / "training_state.safetensors"
    state.write_bytes(state.read_bytes()[:-50])
    with pytest.raises(UserError, match="is damaged"):
        training.train(SHORT, small_rows, tmp_path)


def test_loss_that_is_not_finite_stops_the_run_with_its_cause(small_rows, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "next_token_nll", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    with pytest.raises(UserError, match=r"loss of step 0 is nan: lower its learning rate"):
        training.train(SHORT, small_rows, tmp_path)


def test_schedule_warms_up_stays_and_decays_to_zero():
    rates = [training.learning_rate(step, 1000, 2.0) for step in range(1000)]
    assert rates[0] == pytest.approx(2.0 / 20)
    assert set(rates[20:800]) == {2.0}
    assert (np.diff(rates[800:]) < 0).all()
    assert rates[-1] == pytest.approx(2.0 / 200)


@pytest.mark.parametrize(
    "damage", [lambda lines: lines[:3] + lines[4:], lambda lines: ["nonsense"], lambda lines: lines[1:]]
)
def test_damaged_loss_log_is_refused(tmp_path, damage):
    path = tmp_path / "loss_log.csv"
    training.TrainingLog(np.array([3.0, 2.0, 1.0], np.float32), 64, 1.5, "key").write(path)
    np.testing.assert_array_equal(training.TrainingLog.read(path).online_nll, [3.0, 2.0, 1.0])
    path.write_text("\n".join(damage(path.read_text().splitlines())))
    with pytest.raises(UserError, match="is no loss log"):
        training.TrainingLog.read(path)


RUNGS = [spec for spec in models.REGISTRY.values() if isinstance(spec, models.LadderSpec)]


@pytest.mark.parametrize("spec", RUNGS, ids=lambda spec: spec.model_size)
def test_parameter_count_of_every_rung_is_that_of_its_model(spec):
    with torch.device("meta"):
        from transformers import GPTNeoXForCausalLM

        assert sum(p.numel() for p in GPTNeoXForCausalLM(spec.config()).parameters()) == spec.n_params
    assert spec.n_train_tokens == pytest.approx(20 * spec.n_params, rel=0.01)


def test_unknown_model_size_names_its_neighbours():
    with pytest.raises(UserError, match="did you mean ladder-100k"):
        models.get("ladder-10k0")


def test_missing_checkpoint_says_how_to_make_it(empty_project):
    with pytest.raises(UserError, match="gengap train ladder-50k"):
        models.load(models.get("ladder-50k"))
