"""Pythia's rows: the same from a folder, a server and the cache, whatever the network does; nothing wrong is ever kept."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
from projects import SUPPORT, make_project
from range_server import make_rows, serving, write_shards

from gengap.errors import UserError
from gengap.models.pythia import PythiaSpec
from gengap.models.pythia_deduped import DedupedPythiaSpec
from gengap.tokens import pile
from gengap.tokens.patience import Patience
from gengap.tokens.rows import TokenRows, sample_rows
from gengap.tokens.shards import open_shards

SPEC = PythiaSpec("pythia", "1k", 8, 1, 2, step=10, vocab_size=512, seq_len=64, batch_rows=8)  # saw 80 rows
ROWS = make_rows(100, SPEC.seq_len + 1, SPEC.vocab_size)
HASTE = Patience(attempts=4, first_pause_s=0.005, longest_pause_s=0.02, reply_s=0.4)
DRAWN = np.array([79, 3, 4, 5, 3, 0, 41, 78])  # neighbours, repeats, no order; several straddle two shards


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder of its own: an empty cache."""
    root = make_project(tmp_path / "project", n_documents=2)
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    monkeypatch.delenv("GENGAP_PILE", raising=False)
    return root


@pytest.fixture
def folder(project, tmp_path, monkeypatch):
    folder = write_shards(tmp_path / "shards", ROWS)
    monkeypatch.setenv("GENGAP_PILE", str(folder))
    return folder


@pytest.fixture
def server(folder, monkeypatch):
    with serving(folder) as server:
        monkeypatch.setenv("GENGAP_PILE", server.url)
        yield server


def packs():
    return sorted(pile.cache_dir().glob("*/*"))


def assert_cache_holds_only_true_rows():
    """Every file there is a whole pack, and every row in it is a row of the file."""
    for path in packs():
        assert path.suffix == ".pack"
        content = np.fromfile(path, "<i8", 1)
        numbers = np.fromfile(path, "<i8", content[0], offset=8)
        np.testing.assert_array_equal(
            np.fromfile(path, "<u2", offset=8 * (content[0] + 1)).reshape(-1, 65), ROWS[numbers]
        )


def test_folder_server_and_cache_give_the_same_rows(folder, server, monkeypatch):
    read = {}
    for name, url in {
        "folder": str(folder),
        "listing": server.url,
        "first shard": f"{server.url}/document-00000-of-00012.bin",
    }.items():
        monkeypatch.setenv("GENGAP_PILE", url)
        rows = SPEC.train_rows(HASTE)
        assert len(rows) == 80
        read[name], read[f"{name}, all"] = rows[DRAWN], rows[:]
    ranges = server.ranges_served()
    again = SPEC.train_rows(HASTE)  # asks for sizes, and for no row
    read["cache"], read["cache, all"] = again[DRAWN], again[:]
    assert server.ranges_served() == ranges > 0
    for name, rows in read.items():
        np.testing.assert_array_equal(rows, ROWS[:80] if name.endswith("all") else ROWS[DRAWN], err_msg=name)
        assert rows.dtype == np.uint16
    assert_cache_holds_only_true_rows()


def test_hub_is_the_default_source(server, monkeypatch):
    """Against a server that speaks as much of the hub's interface as is needed; the hub itself is not asked in tests."""
    monkeypatch.delenv("GENGAP_PILE")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    server.fault = lambda key, n: "429" if n == 1 and (key[2] or "/tree/" in key[1]) else None
    np.testing.assert_array_equal(SPEC.train_rows(HASTE)[DRAWN], ROWS[DRAWN])
    # Refused once, then served.
    assert server.requests["GET", "/document-00000-of-00012.bin", "bytes=0-129"] == 2
    assert_cache_holds_only_true_rows()


def test_only_the_rows_asked_for_are_fetched(server):
    SPEC.train_rows(HASTE)[np.array([7, 50])]
    asked = [tuple(map(int, span.removeprefix("bytes=").split("-"))) for _, _, span in server.requests if span]
    assert sum(last + 1 - first for first, last in asked) == 2 * 130


def test_the_interface_is_that_of_the_ladder(folder):
    rows = SPEC.train_rows()
    sample = sample_rows(rows, 20, seed=1)
    np.testing.assert_array_equal(sample, sample_rows(ROWS[:80], 20, seed=1))
    np.testing.assert_array_equal(TokenRows(ROWS, "")[DRAWN], rows[DRAWN])


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize(
    "fault",
    ["429", "503", "reset", "short", "long", "endless", "other range", "other size", "no tokens", "zeros", "drip"],
)  # fmt: skip
def test_faults_that_pass_are_survived(server, fault, at_once):
    server.fault = lambda key, n: fault if n <= at_once else None
    np.testing.assert_array_equal(SPEC.train_rows(HASTE)[np.array([5, 7, 8])], ROWS[[5, 7, 8]])
    assert_cache_holds_only_true_rows()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("429", "429"),
        ("503", "503"),
        ("reset", "failed 4 times"),
        ("short", "announces 129 bytes, not 130"),
        ("long", "announces 132 bytes, not 130"),
        ("endless", "bytes, not 130"),
        ("other range", "the reply is bytes 0-129/1001"),
        ("other size", "the reply is bytes 130-259/1006"),
        ("no tokens", "no tokens"),
        ("zeros", "rows of zeros alone"),
        ("drip", "no whole reply in time"),
        ("whole", "ignores range requests"),
    ],
)
def test_lasting_faults_are_one_error_and_leave_good_rows_only(server, fault, said):
    rows = SPEC.train_rows(HASTE)
    server.fault = lambda key, n: fault if key[2] == "bytes=130-259" else None  # row 1
    with pytest.raises(UserError) as error:
        rows[np.array([1, 3, 5])]
    assert said in str(error.value)
    assert server.endless_replies_read == 0
    assert any(step in str(error.value) for step in ("run again later", "use a server"))
    assert_cache_holds_only_true_rows()
    assert 1 not in SPEC.train_rows(HASTE).cache
    server.fault = lambda key, n: None
    np.testing.assert_array_equal(rows[np.array([1, 3, 5])], ROWS[[1, 3, 5]])


def test_one_error_does_not_wait_for_the_patience_of_the_others(server):
    rows = SPEC.train_rows(replace(HASTE, first_pause_s=20.0, longest_pause_s=20.0))
    bad = {"bytes=130-259": "whole", "bytes=390-519": "short"}
    server.fault = lambda key, n: bad.get(key[2])
    started = time.monotonic()
    with pytest.raises(UserError, match="ignores range requests"):
        rows[np.array([1, 3])]
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("fault", ["429", "503"])
def test_sizes_are_asked_again_too(server, fault):
    server.fault = lambda key, n: fault if n <= 2 and not key[2] else None
    np.testing.assert_array_equal(SPEC.train_rows(HASTE)[DRAWN], ROWS[DRAWN])


def test_server_that_is_gone_or_empty_is_one_error(server, monkeypatch):
    server.listing = False
    with pytest.raises(UserError, match="give the folder that holds them, or the address of the first shard"):
        SPEC.train_rows(HASTE)
    monkeypatch.setenv("GENGAP_PILE", f"{server.url}/no/document-00000-of-00012.bin")
    with pytest.raises(UserError, match=r"404.*check the address in GENGAP_PILE"):
        SPEC.train_rows(HASTE)
    monkeypatch.setenv("GENGAP_PILE", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="failed 4 times"):
        SPEC.train_rows(HASTE)


def test_rows_that_the_checkpoint_has_not_seen_are_out_of_reach(folder):
    seen, unseen = SPEC.train_rows(), SPEC.heldout_rows()
    np.testing.assert_array_equal(unseen[:], ROWS[80:])
    for outside in (80, -1):
        with pytest.raises(IndexError):
            seen[np.array([0, outside])]
    later = replace(SPEC, step=12)
    np.testing.assert_array_equal(later.train_rows()[:], ROWS[:96])
    np.testing.assert_array_equal(later.heldout_rows()[:], ROWS[96:])


@pytest.mark.parametrize(
    ("step", "rows_of", "said"),
    [
        (0, "train_rows", "has seen no data"),
        (13, "train_rows", "holds 100 rows, but pythia-1k step13 was trained on 104"),
        (13, "heldout_rows", "holds no rows after step13"),
    ],
)
def test_rows_that_are_not_there_are_refused(folder, step, rows_of, said):
    with pytest.raises(UserError, match=said):
        getattr(replace(SPEC, step=step), rows_of)()


def test_leading_shards_are_enough_for_an_early_checkpoint(folder):
    for path in sorted(folder.iterdir())[7:]:
        path.unlink()  # 7007 bytes are left: 53 rows and a piece
    np.testing.assert_array_equal(replace(SPEC, step=6).train_rows()[:], ROWS[:48])
    with pytest.raises(UserError, match="holds 53 rows"):
        SPEC.train_rows()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda paths: paths[3].unlink(), "shard 00003 of 00012 is missing"),
        (lambda paths: paths[4].write_bytes(paths[4].read_bytes()[:-2]), "has 999 bytes, but .* has 1,001"),
        (lambda paths: paths[12].write_bytes(paths[12].read_bytes()[:-1]), "no whole number of rows"),
        (lambda paths: paths[12].write_bytes(bytes(1002)), "has 1,002 bytes, but .* has 1,001"),
        (lambda paths: [path.unlink() for path in paths], "lists no shards named like"),
    ],
)
def test_incomplete_copies_are_refused(folder, damage, said):
    damage(sorted(folder.iterdir()))
    with pytest.raises(UserError, match=said):
        SPEC.train_rows()


@pytest.mark.parametrize(
    ("family", "variable"), [(PythiaSpec, "GENGAP_PILE"), (DedupedPythiaSpec, "GENGAP_PILE_DEDUPED")]
)
def test_missing_folder_is_one_error_that_names_the_variable_of_its_family(project, monkeypatch, family, variable):
    monkeypatch.setenv(variable, str(project / "nowhere"))
    with pytest.raises(UserError, match=rf"check the address in {variable} "):
        family(**asdict(SPEC)).train_rows()


def test_damaged_pack_is_fetched_again(server):
    SPEC.train_rows(HASTE)[DRAWN]
    (pack,) = packs()
    content = bytearray(pack.read_bytes())
    content[-1] ^= 1
    pack.write_bytes(content)
    np.testing.assert_array_equal(SPEC.train_rows(HASTE)[DRAWN], ROWS[DRAWN])
    assert_cache_holds_only_true_rows()


def test_another_source_has_another_cache(folder, tmp_path, monkeypatch):
    SPEC.train_rows()[DRAWN]
    other = make_rows(100, 65, SPEC.vocab_size, seed=1)
    monkeypatch.setenv("GENGAP_PILE", str(write_shards(tmp_path / "other", other)))
    np.testing.assert_array_equal(SPEC.train_rows()[DRAWN], other[DRAWN])
    assert open_shards(str(folder)).layout_sha256 == open_shards(str(tmp_path / "other")).layout_sha256


WORKER = """
import sys
sys.path[:0] = {tests!r}
from test_pile import SPEC, np
from gengap.tokens import pile
pile.PACK_ROWS = 4
SPEC.train_rows()[np.arange(0, 80, 2)]
"""


def test_killed_run_keeps_what_it_fetched(server):
    def slow(key, n):
        time.sleep(0.05 if key[2] else 0)

    server.fault = slow
    script = WORKER.format(tests=[str(SUPPORT), os.path.dirname(__file__)])
    process = subprocess.Popen([sys.executable, "-c", script], env=os.environ.copy())
    deadline = time.monotonic() + 30
    while not list(pile.cache_dir().glob("*/*.pack")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    rows = SPEC.train_rows(HASTE)
    kept = [row for row in range(0, 80, 2) if row in rows.cache]
    assert 4 <= len(kept) < 40
    server.requests.clear()
    np.testing.assert_array_equal(rows[np.arange(0, 80, 2)], ROWS[:80:2])
    asked = sum(int(s.split("-")[1]) + 1 - int(s[6:].split("-")[0]) for _, _, s in server.requests if s)
    assert asked == 130 * (40 - len(kept))  # nothing twice
