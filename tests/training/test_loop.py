"""Training: one epoch, an honest online loss, and the same bits after a kill at any moment."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from projects import SMALL, SUPPORT, bare_project
from safetensors.torch import load_file
from trainings import SHORT, assert_same, result, stop_after

from gengap import models
from gengap.errors import UserError
from gengap.models.ladder import LadderSpec
from gengap.models.snapshots import saved_steps, snapshot_path
from gengap.models.spec import load_folder
from gengap.statistics.per_token import token_statistics
from gengap.training import loop
from gengap.training import run as training_settings
from gengap.training.log import TrainingLog, read_heldout_log
from gengap.training.loop import new_model, next_token_nll, published_trunks, train, train_run
from gengap.training.run import WAYPOINTS, Checks, Run, Schedule
from gengap.training.snapshots import snapshot_steps
from gengap.training.state import fork_path, fork_steps, pack, rank_one

ROOT = Path(__file__).parents[2]
WORKER = """
import sys
sys.path[:0] = {tests!r}
from pathlib import Path
from trainings import SHORT
from gengap.training import train
train(SHORT, SHORT.train_rows(), Path({out!r}), save_every_s=0.05, snapshots=True)
"""


def test_one_epoch_learns_and_logs_the_loss_before_each_update(small_rows, tmp_path):
    log = train(SHORT, small_rows, tmp_path)
    assert len(log.online_nll) * log.tokens_per_step == SHORT.n_train_tokens
    fresh = new_model(SHORT, seed=0)
    first = torch.from_numpy(small_rows.rows[: SHORT.batch_rows].astype(np.int64))
    np.testing.assert_allclose(log.online_nll[0], next_token_nll(fresh, first).item(), rtol=1e-6)
    assert log.online_nll[-20:].mean() < log.online_nll[:20].mean() - 0.3
    again = train(SHORT, small_rows, tmp_path)  # finished: read, not repeated
    np.testing.assert_array_equal(again.online_nll, log.online_nll)
    with pytest.raises(UserError, match="belongs to another run"):  # but never taken for another run's result
        train(SHORT, small_rows, tmp_path, seed=1)


def test_killed_runs_resume_to_the_same_bits(small_rows, small_project, tmp_path):
    train(SHORT, small_rows, tmp_path / "undisturbed", snapshots=True)
    out = tmp_path / "killed"
    script = WORKER.format(tests=[str(SUPPORT)], out=str(out))
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
    train(SHORT, small_rows, out, snapshots=True)
    assert_same(result(tmp_path / "undisturbed"), result(out))
    assert not state.exists()
    snapshots, of_killed = tmp_path / "undisturbed" / "snapshots", out / "snapshots"
    assert saved_steps(snapshots) == saved_steps(of_killed)
    for step in saved_steps(snapshots):
        assert snapshot_path(snapshots, step).read_bytes() == snapshot_path(of_killed, step).read_bytes()


def test_state_of_another_run_is_refused(small_rows, tmp_path, monkeypatch):
    stop_after(3, SHORT, small_rows, tmp_path, monkeypatch)
    with pytest.raises(UserError, match="belongs to another run"):
        train(replace(SHORT, peak_lr=1e-3), small_rows, tmp_path)


def flipped(content: bytes) -> bytes:
    """One bit of a weight, where the format itself notices nothing."""
    return content[:-3] + bytes([content[-3] ^ 4]) + content[-2:]


@pytest.mark.parametrize(
    "damage", [flipped, lambda content: content[:-50], lambda content: b"", lambda content: b"{" * 99]
)
def test_a_run_whose_state_is_damaged_comes_to_the_same_bits_from_the_beginning(
    small_rows, tmp_path, monkeypatch, capsys, damage
):
    train(SHORT, small_rows, tmp_path / "whole")
    stop_after(3, SHORT, small_rows, tmp_path / "damaged", monkeypatch)
    state = tmp_path / "damaged" / "training_state.safetensors"
    state.write_bytes(damage(state.read_bytes()))
    train(SHORT, small_rows, tmp_path / "damaged")
    assert "training_state.safetensors is missing or damaged" in capsys.readouterr().err
    assert_same(result(tmp_path / "damaged"), result(tmp_path / "whole"))


def test_loss_that_is_not_finite_stops_the_run_with_its_cause(small_rows, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "next_token_nll", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    with pytest.raises(UserError, match=r"loss of step 0 is nan: lower its learning rate"):
        train(SHORT, small_rows, tmp_path)


def test_schedule_warms_up_stays_and_decays_to_zero():
    rates = [Schedule(1000, 20, peak=2.0).rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(2.0 / 20)
    assert set(rates[20:800]) == {2.0}
    assert (np.diff(rates[800:]) < 0).all()
    assert rates[-1] == pytest.approx(2.0 / 200)


def test_branches_of_one_trunk_are_the_runs_from_the_beginning(small_rows, tmp_path):
    lengths = (0.25, 0.5, 1.0)
    for length in lengths:
        run = Run(SHORT, length)
        branch, alone = tmp_path / f"branch-{length}", tmp_path / f"alone-{length}"
        log = train_run(run, small_rows, branch, trunks=tmp_path / "trunks")
        assert len(log.online_nll) == run.n_steps
        train_run(run, small_rows, alone)
        assert_same(result(branch), result(alone))
    train(SHORT, small_rows, tmp_path / "published")  # and the longest is the rung's own run
    assert_same(result(tmp_path / "published"), result(tmp_path / "branch-1.0"))
    (trunk,) = (tmp_path / "trunks").iterdir()
    forks = [Run(SHORT, length).schedule.fork_step for length in lengths]
    assert fork_steps(trunk) == forks
    with pytest.raises(UserError, match="belongs to another run"):
        train_run(Run(SHORT, 0.5), small_rows, tmp_path / "branch-1.0")


def test_branch_goes_on_from_the_last_fork_and_not_from_the_beginning(small_rows, tmp_path, monkeypatch):
    train_run(Run(SHORT, 0.5), small_rows, tmp_path / "half", trunks=tmp_path / "trunks")
    steps = []
    real = next_token_nll
    monkeypatch.setattr(loop, "next_token_nll", lambda *args: (steps.append(1), real(*args))[1])
    run = Run(SHORT)
    train_run(run, small_rows, tmp_path / "whole", trunks=tmp_path / "trunks")
    assert len(steps) == run.n_steps - Run(SHORT, 0.5).schedule.fork_step
    steps.clear()
    other = Run(SHORT, 0.1, seed=1)  # another seed grows from a trunk of its own
    train_run(other, small_rows, tmp_path / "other", trunks=tmp_path / "trunks")
    assert len(steps) == other.n_steps


def test_a_branch_with_snapshots_has_those_of_its_whole_way(small_rows, tmp_path):
    trunks, beside = tmp_path / "trunks", tmp_path / "with"
    train_run(Run(SHORT, 0.25), small_rows, tmp_path / "quarter", trunks)
    train_run(Run(SHORT, 0.5), small_rows, beside, trunks, snapshots=beside / "snapshots")
    train_run(Run(SHORT, 0.5), small_rows, tmp_path / "alone")
    assert_same(result(beside), result(tmp_path / "alone"))
    assert saved_steps(beside / "snapshots") == snapshot_steps(Run(SHORT, 0.5).n_steps)
    train_run(Run(SHORT), small_rows, tmp_path / "whole", trunks)  # from the fork that it left
    train(SHORT, small_rows, tmp_path / "published")
    assert_same(result(tmp_path / "whole"), result(tmp_path / "published"))


def test_rank_one_keeps_the_sums_and_gives_such_a_matrix_back():
    squares = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)) * 1e-9
    found = rank_one(squares.sum(1), squares.sum(0))
    torch.testing.assert_close(found.sum(1), squares.sum(1), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.sum(0), squares.sum(0), rtol=1e-5, atol=0)
    torch.testing.assert_close(rank_one(found.sum(1), found.sum(0)), found, rtol=1e-5, atol=0)
    assert torch.linalg.matrix_rank(found / found.max()) == 1
    assert not rank_one(torch.zeros(5), torch.zeros(3)).any()  # not 0/0


def n_bytes(path, parameter):
    """What a state takes for one parameter, its moments included."""
    return sum(tensor.nbytes for name, tensor in load_file(path).items() if parameter in name)


def test_waypoint_is_a_sixth_of_a_state_and_going_on_from_it_changes_no_digit(small_rows, tmp_path, monkeypatch):
    monkeypatch.setattr(training_settings, "WAYPOINTS_FROM", 0)
    monkeypatch.setenv("GENGAP_ROOT", str(bare_project(tmp_path)))  # a project without anything published
    run, steps = Run(SHORT, 0.97), []
    train_run(run, small_rows, tmp_path / "alone")
    train_run(run, small_rows, tmp_path / "whole", trunks=tmp_path / "trunks")
    assert_same(result(tmp_path / "whole"), result(tmp_path / "alone"))
    (trunk,) = (tmp_path / "trunks").iterdir()
    fork = fork_path(trunk, run.schedule.fork_step)
    assert len(run.waypoints) == 0.8 * WAYPOINTS
    assert fork_steps(trunk) == [*run.waypoints, run.schedule.fork_step]

    # another machine, to which one waypoint was published
    here = fork_path(trunk, run.waypoints[9])
    there = pack(here, published_trunks(SHORT) / trunk.name)
    assert there.stat().st_size < here.stat().st_size
    wide = "embed_in.weight"
    assert 0 < n_bytes(here, wide) < 0.3 * n_bytes(fork, wide)  # a sixth of matrices wider than these
    real = next_token_nll
    monkeypatch.setattr(loop, "next_token_nll", lambda *args: (steps.append(1), real(*args))[1])
    train_run(run, small_rows, tmp_path / "there", trunks=tmp_path / "new trunks")
    assert len(steps) == run.n_steps - run.waypoints[9]
    assert_same(result(tmp_path / "there"), result(tmp_path / "alone"))
    there.write_bytes(there.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"is damaged .*: restore the committed file"):
        train_run(run, small_rows, tmp_path / "other", trunks=tmp_path / "other trunks")


def test_only_large_rungs_have_waypoints_however_short_the_run(monkeypatch):
    assert not Run(SHORT).waypoints
    assert Run(models.get("ladder-3m")).waypoints
    monkeypatch.setattr(training_settings, "WAYPOINTS_FROM", 0)
    few = replace(SHORT, batch_rows=SMALL.batch_rows * 20)  # fewer steps than waypoints
    assert few.n_steps < WAYPOINTS
    assert list(Run(few).waypoints) == list(range(1, Run(few).schedule.fork_step + 1))


def test_repeated_text_is_learned_by_heart_and_seen_on_the_way(small_rows, tmp_path):
    run = Run(SHORT, unique_share=1 / 16)
    checks = Checks(small_rows[-20:], (0, run.n_steps // 2, run.n_steps - 1))
    log = train_run(run, small_rows, tmp_path / "repeated", checks=checks)
    once = train(SHORT, small_rows, tmp_path / "once")
    np.testing.assert_array_equal(log.online_nll[: run.n_unique_steps], once.online_nll[: run.n_unique_steps])
    assert log.online_nll[-20:].mean() < once.online_nll[-20:].mean() - 0.05
    steps, heldout = read_heldout_log(tmp_path / "repeated" / "heldout_log.csv")
    assert tuple(steps) == checks.steps
    assert heldout[0] == pytest.approx(np.log(SHORT.vocab_size), abs=0.2)  # after one step
    model = load_folder(tmp_path / "repeated" / "checkpoint")  # float16: the last digits are lost
    expected = token_statistics(model, checks.rows).nll.mean()
    assert heldout[-1] == pytest.approx(expected, abs=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_a_training_on_one_is_refused_before_any_work(small_rows, tmp_path):
    with pytest.raises(UserError, match="torch finds no GPU here: train on the device cpu"):
        train_run(Run(SHORT, device="cuda"), small_rows, tmp_path)
    assert not list(tmp_path.iterdir())


def test_run_needs_enough_rows(small_rows, tmp_path):
    with pytest.raises(UserError, match="take a shorter run"):
        train_run(Run(SHORT, 10.0), small_rows, tmp_path)


def test_what_changes_the_digits_changes_the_key_and_nothing_else_does():
    run = Run(SHORT)
    others = [
        Run(SHORT, 0.5),
        Run(SHORT, seed=1),
        Run(SHORT, unique_share=0.5),
        Run(SHORT, precision="bfloat16"),
        Run(SHORT, device="cuda"),
        Run(replace(SHORT, peak_lr=1e-3)),
    ]
    assert len({other.key("data") for other in (run, *others)}) == 7
    assert run.key("data") != run.key("other data")
    assert Run(SHORT, precision="float32").key("data") == run.key("data")
    assert Run(SHORT, 0.5).trunk_key("data") == run.trunk_key("data")
    assert len({other.trunk_key("data") for other in (run, *others)}) == 6


def test_published_logs_name_the_run_that_the_registry_describes():
    manifest = json.loads((ROOT / "results" / "corpus" / "manifest.json").read_text())
    logs = sorted((ROOT / "results" / "ladder").glob("*/loss_log.csv"))
    assert len(logs) >= 4
    for path in logs:
        spec = models.get(f"ladder-{path.parent.name}")
        assert TrainingLog.read(path).run_key == Run(spec).key(manifest["sha256"]["train"])


@pytest.mark.parametrize(
    "damage", [lambda lines: lines[:3] + lines[4:], lambda lines: ["nonsense"], lambda lines: lines[1:]]
)
def test_damaged_loss_log_is_refused(tmp_path, damage):
    path = tmp_path / "loss_log.csv"
    TrainingLog(np.array([3.0, 2.0, 1.0], np.float32), 64, 1.5, "key").write(path)
    np.testing.assert_array_equal(TrainingLog.read(path).online_nll, [3.0, 2.0, 1.0])
    path.write_text("\n".join(damage(path.read_text().splitlines())))
    with pytest.raises(UserError, match="is no loss log"):
        TrainingLog.read(path)


def test_compressed_loss_log_keeps_every_bit(tmp_path):
    losses = np.random.default_rng(0).gamma(9, 0.3, 1000).astype(np.float32)
    log = TrainingLog(losses, 64, 1.5, "key")
    log.write(tmp_path / "log.csv.gz")
    first = (tmp_path / "log.csv.gz").read_bytes()
    log.write(tmp_path / "log.csv.gz")
    assert (tmp_path / "log.csv.gz").read_bytes() == first  # no time stamp inside
    np.testing.assert_array_equal(TrainingLog.read(tmp_path / "log.csv.gz").online_nll, losses)
    (tmp_path / "log.csv.gz").write_bytes(first[: len(first) // 2])
    with pytest.raises(UserError, match="is damaged or cut short"):
        TrainingLog.read(tmp_path / "log.csv.gz")


RUNGS = [spec for spec in models.REGISTRY.values() if isinstance(spec, LadderSpec)]


@pytest.mark.parametrize("spec", RUNGS, ids=lambda spec: spec.model_size)
def test_parameter_count_of_every_rung_is_that_of_its_model(spec):
    with torch.device("meta"):
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_config(spec.config())
    assert sum(p.numel() for p in model.parameters()) == spec.n_params
    ends = {id(end.weight): end.weight.numel() for end in (model.get_input_embeddings(), model.get_output_embeddings())}
    assert sum(ends.values()) == spec.n_embedding
    assert spec.n_train_tokens == pytest.approx(20 * spec.n_params, rel=0.01)


def test_unknown_model_size_names_its_neighbours():
    with pytest.raises(UserError, match="did you mean ladder-100k"):
        models.get("ladder-10k0")


def test_missing_checkpoint_says_how_to_make_it(empty_project):
    with pytest.raises(UserError, match="gengap train ladder-50k"):
        models.get("ladder-50k").load()
