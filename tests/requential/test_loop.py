"""Student and teacher: the sampler is the model, what a step costs is counted right, and a kill changes no bit."""

import copy
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from projects import SMALL, SUPPORT
from tiny_models import tiny_config, tiny_model, token_rows

from gengap.errors import UserError
from gengap.models.snapshots import companion_of, saved_steps
from gengap.requential import loop
from gengap.requential.loop import TEACHER, Trained, distance, learn, train
from gengap.requential.recipe import RECIPES, Requential
from gengap.requential.sampler import Sampler, chosen
from gengap.requential.state import Learner
from gengap.training.loop import next_token_nll

TINY = replace(SMALL, size="1k", hidden_size=4, batch_rows=16)
ROWS = token_rows(2000, TINY.vocab_size, TINY.seq_len + 1)
SHA = "0" * 64
WORKER = """
import sys
sys.path[:0] = {support!r}, {tests!r}
from pathlib import Path
from test_loop import ROWS, SHA, TINY
from gengap.requential.loop import train
from gengap.requential.recipe import Requential
train(Requential(TINY, "projection"), ROWS, ROWS[-16:], SHA, Path({out!r}), save_every_s=0.05)
"""


def trained(name: str, out, **more) -> Trained:
    return train(Requential(TINY, name, **more), ROWS, ROWS[-16:], SHA, out)


def same(one: Trained, other: Trained) -> bool:
    """Weights and costs, bit by bit."""
    weights = all(
        torch.equal(one.student[k], other.student[k]) and torch.equal(one.teacher[k], other.teacher[k])
        for k in one.student
    )
    return weights and np.array_equal(one.costs, other.costs, equal_nan=True)


@pytest.mark.parametrize("config", [tiny_config(), tiny_config(hidden_size=16, n_layers=3), SMALL.config()])
def test_the_sampler_gives_the_logits_of_the_model(config):
    model, rows = tiny_model(config), torch.from_numpy(token_rows(5, config.vocab_size).astype(np.int64))
    sampler = Sampler(model, 5, 32)
    with torch.no_grad():
        needed = model(input_ids=rows).logits
    for _ in range(2):  # a second reading from the first position on sees nothing of the first
        found = torch.stack([sampler.logits(rows[:, i], i) for i in range(32)], 1)
        torch.testing.assert_close(found, needed, rtol=1e-4, atol=1e-4)
    assert needed.std() > 0.3  # so that it would show


def test_what_is_drawn_depends_on_the_uniforms_alone_and_has_the_models_distribution():
    model = tiny_model(tiny_config())
    uniforms = np.random.default_rng(0).random((4, 4096))
    one, again = (Sampler(model, 4096, 8).draw(np.zeros(4096), uniforms) for _ in range(2))
    assert torch.equal(one.rows, again.rows)
    with torch.no_grad():
        probs = model(input_ids=torch.zeros(1, 1, dtype=torch.int64)).logits[0, 0].double().softmax(-1).numpy()
    counts = np.bincount(one.rows[:, 1], minlength=96)
    chi_square = np.sum((counts - 4096 * probs) ** 2 / (4096 * probs))
    assert 96 - 4 * np.sqrt(2 * 96) < chi_square < 96 + 4 * np.sqrt(2 * 96)


def test_a_number_in_the_part_of_a_token_chooses_it():
    probs = torch.from_numpy(np.random.default_rng(1).dirichlet(np.full(96, 0.2), 50)).float()
    ends = probs.double().cumsum(-1)
    middle = ends - probs.double() / 2
    for token in (0, 1, 31, 32, 60, 95):
        likely = probs[:, token] > 1e-4
        assert (chosen(probs, middle[:, token])[likely] == token).all()


def test_the_loss_and_its_gradient_are_those_of_the_training():
    spec, rows = TINY, torch.from_numpy(ROWS[:16].astype(np.int64))
    one, other = Learner(spec, 3), Learner(spec, 3)
    with torch.no_grad():
        needed = next_token_nll(other.model, rows).item()
    assert learn(one, rows, 1e-2) == pytest.approx(needed, rel=1e-6)
    loss = next_token_nll(other.model, rows)
    loss.backward()
    for group in other.optimizer.param_groups:
        group["lr"] = 1e-2
    torch.nn.utils.clip_grad_norm_(other.model.parameters(), 1.0)
    other.optimizer.step()
    for p, q in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)


def test_the_divergence_is_unbiased_and_varies_less_than_the_log_ratio():
    """Over many draws the full sum and the log ratio of the tokens drawn agree, within their errors; and with a sum in float64."""
    teacher = tiny_model(tiny_config())
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    sampler, rng, found = Sampler(teacher, 64, 12), np.random.default_rng(2), []
    for _ in range(40):
        drawn = sampler.draw(np.zeros(64), rng.random((12, 64)))
        found.append(distance(student, drawn))
    kl, ratio, variance, of_rows = np.array(found).T
    error = ratio.std(ddof=1) / np.sqrt(40)
    assert abs(kl.mean() - ratio.mean()) < 4 * error
    assert kl.std() < ratio.std() / 2
    assert 0.6 < of_rows.mean() / ratio.var(ddof=1) < 1.7  # rows are independent here: the variance of their sum
    assert 0.3 < variance.mean() / of_rows.mean() < 1.5
    with torch.no_grad():
        log_q, log_p = (m(input_ids=drawn.rows[:, :-1]).logits.double().log_softmax(-1) for m in (teacher, student))
    assert kl[-1] == pytest.approx((log_q.exp() * (log_q - log_p)).sum().item(), rel=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_a_student_learns_what_its_teacher_knows(name, tmp_path):
    found = trained(name, tmp_path)
    costs = found.costs
    assert np.isfinite(costs[:, :5]).all()
    assert costs[0, 0] == pytest.approx(0, abs=1e-3)  # both begin with the same weights
    assert (costs[1:, 0] > 0).all()
    assert costs[-5:, 4].mean() < costs[:5, 4].mean() - 0.5  # of what the teacher draws, which is near the text
    assert saved_steps(tmp_path / "snapshots")[0] == 0
    assert (
        companion_of(tmp_path / "snapshots", TINY.batch_rows, TINY.config(), TEACHER).starts[1] % TINY.batch_rows == 0
    )
    waited = np.isnan(costs[:, 5])
    assert waited.any() == (name == "threshold" and len(costs) > Requential(TINY).run.n_steps)


def test_a_projected_teacher_is_the_student_trained_back_to_its_loss(monkeypatch, tmp_path):
    before, after = [], []
    real = loop.project

    def spy(task, state, batches, validation):
        before.append(loop.mean_loss(state.teacher.average, validation))
        real(task, state, batches, validation)
        after.append(loop.mean_loss(state.teacher.average, validation))

    monkeypatch.setattr(loop, "project", spy)
    monkeypatch.setattr("gengap.requential.recipe.FIRST_PROJECTION", 20)
    trained("projection", tmp_path)
    assert len(before) == len(Requential(TINY, "projection").projections) >= 2
    assert max(np.subtract(after, before)) < 0.1


def test_a_killed_run_ends_with_the_same_bits(tmp_path):
    out = tmp_path / "killed"
    script = WORKER.format(support=str(SUPPORT), tests=os.path.dirname(__file__), out=str(out))
    state = out / "state.safetensors"
    for delay_s in (0.05, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        )
        before = state.stat().st_mtime_ns if state.exists() else 0
        deadline = time.monotonic() + 120
        while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns > before):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # it was in the middle
    killed, undisturbed = trained("projection", out), trained("projection", tmp_path / "undisturbed")
    assert same(killed, undisturbed)
    assert not state.exists()
    assert not same(killed, trained("projection", tmp_path / "other", seed=1))


def test_settings_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(UserError, match="choose one of plain, smoothing, projection, threshold"):
        Requential(TINY, "teleportation")
    with pytest.raises(UserError, match="choose a divisor of 64"):
        Requential(TINY, batch_rows=5)
    trained("smoothing", tmp_path)
    with pytest.raises(UserError, match="belongs to another run"):
        trained("smoothing", tmp_path, seed=2)


def test_of_random_tokens_there_is_nothing_to_teach(tmp_path):
    text, found = trained("smoothing", tmp_path / "text"), trained("smoothing", tmp_path / "control", control="random")
    assert found.costs[:, 0].sum() < text.costs[:, 0].sum() / 2
    assert found.costs[-5:, 5].mean() == pytest.approx(np.log(TINY.vocab_size), abs=0.05)


def test_a_repeated_token_is_all_that_the_teacher_of_that_control_reads(tmp_path):
    rows = loop.control_rows(Requential(TINY, control="repeated"), ROWS[:50])
    assert len(np.unique(rows)) == 1
    assert rows.shape == ROWS[:50].shape
