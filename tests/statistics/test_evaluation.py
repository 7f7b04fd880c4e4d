"""Long evaluations: killed at any moment, shared by processes, read again, and never taken for another run's."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from projects import SUPPORT
from tiny_models import tiny_config, tiny_model, token_rows

from gengap.bounds.grids import Tilt
from gengap.errors import UserError
from gengap.statistics import evaluation, forward
from gengap.statistics.evaluation import ChunkStore, rows_sha256, weights_sha256
from gengap.statistics.per_token import tilted_statistics, token_statistics

ALPHAS = (0.05, 0.2)
N_PARTS = 1 + len(ALPHAS)  # the losses and the entropies, each kept by itself
N_ROWS, CHUNK_ROWS = 60, 2
WORKER = """
import sys
sys.path[:0] = {tests!r}
from pathlib import Path
import numpy as np
from test_evaluation import ALPHAS, CHUNK_ROWS, example
from gengap import hardware
from gengap.statistics import evaluation, token_statistics
model, rows = example()
evaluation.TOKENS_PER_CHUNK = CHUNK_ROWS * (rows.shape[1] - 1)
for name, store in (("memory", None), ("store", Path({store!r}))):
    found = token_statistics(model, rows, ALPHAS, store=store)
    np.savez(f"{out}-{{name}}-{{hardware.share(9).start}}.npz", nll=found.nll, entropy=found.entropy)
"""  # one of two processes


def example():
    return tiny_model(tiny_config()), token_rows(N_ROWS)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(evaluation, "TOKENS_PER_CHUNK", CHUNK_ROWS * (token_rows(1).shape[1] - 1))


@pytest.fixture(autouse=True)
def one_thread():
    """As the processes of these tests have it: with another number of threads, sums are taken in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def chunks(store):
    return sorted(store.glob("*/*.chunk"))


def count_reductions(monkeypatch):
    """A list that grows by one for every chunk computed."""
    computed, plain = [], forward.reduce_logits

    def counted(*arguments):
        computed.append(1)
        return plain(*arguments)

    monkeypatch.setattr(forward, "reduce_logits", counted)
    return computed


def assert_equal(found, expected):
    np.testing.assert_array_equal(found.nll, expected.nll)
    np.testing.assert_array_equal(found.entropy, expected.entropy)


def test_stored_run_is_read_and_not_repeated(store, monkeypatch):
    model, rows = example()
    expected = token_statistics(model, rows, ALPHAS)
    computed = count_reductions(monkeypatch)
    assert_equal(token_statistics(model, rows, ALPHAS, store=store), expected)
    assert len(computed) == len(chunks(store)) // N_PARTS == N_ROWS // CHUNK_ROWS
    assert_equal(token_statistics(model, rows, ALPHAS, store=store), expected)
    assert len(computed) == N_ROWS // CHUNK_ROWS


def test_what_is_known_of_a_wider_run_serves_a_narrower_one_and_the_other_way_round(store, monkeypatch):
    """To the same bits as computed alone; entropies that follow from moments are kept apart from those that do not."""
    model, rows = example()
    tilt = Tilt(0.2, 1e-2, 0.0, 1, model.config.vocab_size)
    token_statistics(model, rows, ALPHAS, store=store)
    computed = count_reductions(monkeypatch)
    narrow = token_statistics(model, rows, ALPHAS[1:], store=store)
    assert not computed
    wide = token_statistics(model, rows, (0.0, *ALPHAS), store=store, tilts=[tilt])
    assert len(computed) == N_ROWS // CHUNK_ROWS
    assert len(list(store.iterdir())) == N_PARTS + 2 + len(ALPHAS)
    monkeypatch.undo()
    assert_equal(narrow, token_statistics(model, rows, ALPHAS[1:]))
    alone = token_statistics(model, rows, (0.0, *ALPHAS), tilts=[tilt])
    assert_equal(wide, alone)
    np.testing.assert_array_equal(wide.tilted(tilt), alone.tilted(tilt))


def test_everything_that_decides_the_numbers_names_another_run(store):
    model, rows = example()
    positions = np.zeros(len(rows), int)
    other_rows = rows.copy()
    other_rows[3, 4] += 1
    other_model = tiny_model(tiny_config())
    with torch.no_grad():
        other_model.gpt_neox.final_layer_norm.bias[2] += 1e-6
    other_shape = tiny_model(tiny_config())
    other_shape.config.layer_norm_eps = 1e-6
    token_statistics(model, rows, ALPHAS, store=store)
    for arguments in (
        (model, other_rows, ALPHAS),
        (model, rows, ALPHAS, positions),
        (model, rows, ALPHAS, positions + 1),
        (other_model, rows, ALPHAS),
        (other_shape, rows, ALPHAS),
    ):
        before = len(list(store.iterdir()))
        assert_equal(token_statistics(*arguments, store=store), token_statistics(*arguments))
        assert len(list(store.iterdir())) == before + N_PARTS
    tilt = Tilt(0.2, 1e-2, 0.0, 1, model.config.vocab_size)
    for _ in range(2):
        np.testing.assert_array_equal(
            tilted_statistics(model, rows, tilt, store=store), tilted_statistics(model, rows, tilt)
        )


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_chunks_are_computed_again(store, damage, monkeypatch):
    model, rows = example()
    expected = token_statistics(model, rows, ALPHAS, store=store)
    path = chunks(store)[-1]
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes({"cut": content[:99], "flip": content, "empty": b""}[damage])
    computed = count_reductions(monkeypatch)
    assert_equal(token_statistics(model, rows, ALPHAS, store=store), expected)
    assert len(computed) == 1


def test_chunks_of_another_run_are_refused(store):
    model, rows = example()
    token_statistics(model, rows, store=store)
    token_statistics(model, rows[::-1], store=store)
    one, other = sorted(store.iterdir())
    evaluate_all = [lambda order=order: token_statistics(model, order, store=store) for order in (rows, rows[::-1])]
    own = (one / "000003.chunk").read_bytes()
    (one / "000003.chunk").write_bytes((other / "000003.chunk").read_bytes())
    refusals = [str(error) for error in map(refusal, evaluate_all) if error]
    assert refusals == [f"{one / '000003.chunk'} belongs to another run: delete {one} and evaluate again"]
    (one / "000003.chunk").write_bytes(own)
    said = (other / "run.json").read_text()
    (other / "run.json").write_text("{}")  # the name of its folder says which run it is
    assert [error for error in map(refusal, evaluate_all) if error] == []
    assert (other / "run.json").read_text() == said


def refusal(evaluation_of_a_run):
    """The `UserError` of a call, None without one."""
    try:
        evaluation_of_a_run()
    except UserError as error:
        return error


def evaluate_into(store):
    """What the processes do that are killed."""
    torch.set_num_threads(1)
    evaluation.TOKENS_PER_CHUNK = CHUNK_ROWS * (token_rows(1).shape[1] - 1)
    model, rows = example()
    token_statistics(model, rows, ALPHAS, store=store)


def test_a_run_killed_again_and_again_ends_with_the_same_numbers(store):
    """SIGKILL at random moments; each loses at most the chunk under way, since no file changes that was there before."""
    processes = multiprocessing.get_context("forkserver")  # imports torch once, for all that will be killed
    processes.set_forkserver_preload(["gengap.statistics.per_token", "transformers.models.gpt_neox.modeling_gpt_neox"])
    rng, kept, n_kills = np.random.default_rng(0), {}, 0
    while len(kept) < N_PARTS * (N_ROWS // CHUNK_ROWS - 4):
        process = processes.Process(target=evaluate_into, args=(store,))
        process.start()
        goal = len(kept) + N_PARTS * int(rng.integers(1, 4))
        while len(chunks(store)) < goal and process.is_alive():
            time.sleep(0.0002)
        time.sleep(rng.uniform(0, 0.005))
        process.kill()
        process.join()
        n_kills += process.exitcode == -signal.SIGKILL
        now = {path: path.stat().st_mtime_ns for path in chunks(store)}
        assert len(now) >= goal
        assert {path: now[path] for path in kept} == kept
        kept = now
    assert n_kills >= 5
    model, rows = example()
    assert_equal(token_statistics(model, rows, ALPHAS, store=store), token_statistics(model, rows, ALPHAS))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_two_processes_share_the_rows_and_both_know_everything(store, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(
        WORKER.format(tests=[str(SUPPORT), str(Path(__file__).parent)], store=str(store), out=str(tmp_path / "out"))
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stderr[-3000:]
    model, rows = example()
    expected = token_statistics(model, rows, ALPHAS)
    for name in ("memory", "store"):
        for rank in (0, 1):
            found = np.load(tmp_path / f"out-{name}-{rank}.npz")
            np.testing.assert_array_equal(found["nll"], expected.nll)
            np.testing.assert_array_equal(found["entropy"], expected.entropy)
    assert len(chunks(store)) == N_PARTS * N_ROWS // CHUNK_ROWS


def test_a_chunk_that_cannot_be_is_not_kept(store):
    model, rows = example()
    with torch.no_grad():
        model.lm_head.weight[5] = torch.nan
    with pytest.raises(UserError, match="damaged or has diverged"):
        token_statistics(model, rows, ALPHAS, store=store)
    assert not chunks(store)


def test_fingerprints_tell_weights_and_rows_apart():
    model, rows = example()
    assert weights_sha256(model) == weights_sha256(tiny_model(tiny_config()))
    assert weights_sha256(model) != weights_sha256(tiny_model(tiny_config(), seed=1))
    assert weights_sha256(model) != weights_sha256(tiny_model(tiny_config()).bfloat16())
    assert rows_sha256(rows) == rows_sha256(rows.astype(np.int64))
    assert rows_sha256(rows) != rows_sha256(rows[::-1])
    assert rows_sha256(rows) != rows_sha256(rows.reshape(-1, 16))


def test_store_keeps_arrays_exactly(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 3, 4))
    ChunkStore(tmp_path, {"a": 1}).save(7, values)
    again = ChunkStore(tmp_path, {"a": 1})
    np.testing.assert_array_equal(again.load(7, (2, 3, 4), np.float64), values)
    assert again.load(8, (2, 3, 4), np.float64) is None
    assert ChunkStore(tmp_path, {"a": 2}).load(7, (2, 3, 4), np.float64) is None
