"""Files: read up to a length, unpacked up to a length, sealed or listed with a digest, written whole; whatever is wrong is one sentence."""

import gzip
import json
import lzma
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from gengap import files
from gengap.errors import UserError
from gengap.paths import DAY_S, atomic_path
from gengap.tokens import wheels
from gengap.training.log import TrainingLog

ROOT = Path(__file__).parents[1]


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("body", [b"\n", b"a line\n", b"two\nlines\n", "ü\n".encode()])
def test_a_seal_is_broken_by_whatever_is_done_to_the_file(body):
    sealed = files.seal(body)
    assert files.unseal(sealed) == (body, True)
    for at in range(len(sealed)):
        for changed in (sealed[:at], sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]):
            try:
                assert files.unseal(changed) != (body, True)
                assert not files.unseal(changed)[1]
            except ValueError:
                continue


def test_a_file_is_vouched_for_by_the_one_beside_it_alone(tmp_path):
    path = tmp_path / "rows.bin"
    assert not files.is_vouched(path)
    path.write_bytes(b"rows")
    assert not files.is_vouched(path)
    files.vouch(path)
    assert files.is_vouched(path)
    path.write_bytes(b"rowt")
    assert not files.is_vouched(path)
    path.write_bytes(b"rows")
    (tmp_path / "rows.bin.sha256").write_bytes(b"\xff")
    assert not files.is_vouched(path)


def test_reading_stops_at_a_length_and_says_what_is_wrong(tmp_path):
    (tmp_path / "long").write_bytes(bytes(101))
    assert len(files.read(tmp_path / "long", 101)) == 101
    for path, most, said in [
        (tmp_path / "long", 100, "has more than 100 bytes"),
        (tmp_path, 100, "is a folder"),
        (tmp_path / "none", 100, "there is no file"),
        (tmp_path / "a\0b", 100, "cannot read"),
    ]:
        with pytest.raises(UserError, match=said):
            files.read(path, most)
    (tmp_path / "latin").write_bytes("ü".encode("latin-1"))
    with pytest.raises(UserError, match="is no text in UTF-8"):
        files.read_text(tmp_path / "latin")
    for deep in (b"[" * 10**6, b'{"a":' * 10**5, b"1" * 5000, b"\xff", b""):
        with pytest.raises(UserError, match=r"it is no JSON \(.*\): mend it"):
            files.parse_json(deep, "it is no JSON", "mend it")


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_what_is_packed_is_unpacked_up_to_a_length(tmp_path, suffix, pack):
    path = tmp_path / f"a{suffix}"
    assert files.unpack(path, pack(bytes(100)), 100) == bytes(100)
    for content in (pack(bytes(101)), pack(bytes(100))[:-3], b"", b"nonsense", pack(bytes(100))[:-8] + bytes(8)):
        with pytest.raises(UserError, match="is damaged or cut short"):
            files.unpack(path, content, 100)
    bomb, before = pack(bytes(300_000_000)), peak_mb()
    with pytest.raises(UserError, match="it unpacks to more than"):
        files.unpack(path, bomb, 10_000_000)
    assert peak_mb() - before < 60
    assert files.unpack(tmp_path / "a.bin", b"as it is", 100) == b"as it is"


def test_the_header_of_an_xz_does_not_choose_the_memory(tmp_path):
    greedy = lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**30}])
    with pytest.raises(UserError, match=r"damaged or cut short \(Memory usage limit"):
        files.unpack(tmp_path / "a.xz", greedy, 100)


def test_a_log_that_is_a_bomb_is_refused_in_little_memory(tmp_path):
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(30):
            file.write(bytes(10_000_000))
    before = peak_mb()
    with pytest.raises(UserError, match="it unpacks to more than"):
        TrainingLog.read(path)
    assert peak_mb() - before < 60


def test_members_of_a_wheel_are_bounded(tmp_path, monkeypatch):
    path = tmp_path / "bomb-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("bomb/a.py", bytes(300_000_000))
        wheel.writestr("bomb/service-2.json.gz", gzip.compress(bytes(300_000_000)))
    before = peak_mb()
    with pytest.raises(UserError, match=r"a\.py in .* cannot be read \(it unpacks to more than"):
        list(wheels.read_wheel(path))
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("bomb/service-2.json.gz", gzip.compress(bytes(300_000_000)))
    with pytest.raises(UserError, match=r"service-2\.json\.gz is damaged or cut short \(it unpacks to more than"):
        list(wheels.read_wheel(path))
    assert peak_mb() - before < 200
    monkeypatch.setattr(wheels, "MOST_FILES", 0)
    with pytest.raises(UserError, match="it lists more than 0 files"):
        list(wheels.read_wheel(path))
    path.write_bytes(b"no zip")
    with pytest.raises(UserError, match="is no wheel"):
        list(wheels.read_wheel(path))


# --- What was published -----------------------------------------------------------------------------------------------


def test_every_published_file_is_listed_and_is_what_the_list_says():
    """`git ls-files`, so that what lies there uncommitted is not asked for."""
    listed = files.published()
    done = subprocess.run(["git", "-C", ROOT / "results", "ls-files", "-z"], capture_output=True, check=True)
    committed = {name for name in done.stdout.decode().split("\0") if name and name != files.LISTING}
    assert len(committed) > 200
    assert listed.keys() == committed
    for name in committed:
        files.check_listed(ROOT / "results" / name)


def test_sha256sum_reads_the_list_too(tmp_path):
    done = subprocess.run(
        ["sha256sum", "-c", "--quiet", files.LISTING], cwd=ROOT / "results", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_a_listed_file_that_was_altered_is_refused_wherever_its_folder_lies(empty_project, tmp_path):
    path = empty_project / "results" / "a" / "b" / "file.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{}")
    files.list_files(empty_project / "results", [path])
    assert files.read(path) == b"{}"
    (empty_project / "results").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "a" / "b" / "file.json"
    assert files.read(moved) == b"{}"
    moved.write_bytes(b"{ }")
    with pytest.raises(UserError, match="is not the file that SHA256SUMS lists"):
        files.read(moved)
    (tmp_path / "moved" / files.LISTING).write_bytes(b"nonsense\n")
    with pytest.raises(UserError, match="holds a line that is no digest and name"):
        files.read(moved)


def test_a_log_of_before_seals_is_read_if_it_is_listed_or_has_the_steps_asked_for(tmp_path):
    source = ROOT / "results" / "ladder" / "50k" / "loss_log.csv"
    whole = TrainingLog.read(source)
    (copy := tmp_path / "copy.csv").write_bytes(source.read_bytes())
    assert len(TrainingLog.read(copy).online_nll) == len(whole.online_nll)  # the same bytes elsewhere
    lines = source.read_text().splitlines(keepends=True)
    seconds = next(fact for fact in lines[0].split() if fact.startswith("seconds="))
    copy.write_text("".join(lines).replace(seconds, "seconds=1.0"))  # another run of the same training
    assert TrainingLog.read(copy, len(whole.online_nll)).seconds == 1.0
    damages = {
        "half of the steps": "".join(lines[: len(lines) // 2]),
        "last digits gone": "".join(lines)[:-4],
        "nan": "".join(lines).replace(lines[9].split(",")[1].strip(), "nan", 1),
        "seconds": "".join(lines).replace("seconds=", "seconds=-", 1),
    }
    for text in damages.values():
        copy.write_text(text)
        for n_steps in (None, len(whole.online_nll)):
            with pytest.raises(UserError, match="is no loss log"):
                TrainingLog.read(copy, n_steps)


# --- Parts ------------------------------------------------------------------------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
from gengap.paths import atomic_path
with atomic_path(Path(sys.argv[1])) as part:
    part.write_bytes(b"x" * 1000)
    print(part.name, flush=True)
    os.kill(os.getpid(), 9) if sys.argv[2] == "killed" else sys.stdin.read()
"""


def writer(target: Path, how: str) -> subprocess.Popen:
    command = [sys.executable, "-c", KILLED, target, how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_parts_of_killed_writers_go_and_those_at_work_stay(tmp_path):
    target = tmp_path / "train.bin"
    at_work = writer(target, "at work")
    kept = at_work.stdout.readline().strip()
    for _ in range(2):
        with writer(target, "killed") as killed:
            assert killed.wait() == -signal.SIGKILL
    elsewhere, old = (tmp_path / f".train.bin.{name}-1-abc.part" for name in ("00000000", "11111111"))
    for path in (elsewhere, old, tmp_path / ".other.bin.00000000-1-abc.part"):
        path.touch()
    os.utime(old, (time.time() - 2 * DAY_S,) * 2)
    with atomic_path(target) as part:
        part.write_bytes(b"whole")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"train.bin", kept, elsewhere.name, ".other.bin.00000000-1-abc.part"}
    at_work.communicate("")
    assert at_work.returncode == 0
    assert target.read_bytes() == b"x" * 1000


# --- Encodings --------------------------------------------------------------------------------------------------------


def test_text_is_utf8_whatever_the_locale():
    """As `ruff`'s PLW1514, for the graph too: every reading and writing of text names its encoding."""
    import re

    bare = []
    for path in [ROOT / "Snakefile", *sorted((ROOT / "lib" / "gengap").rglob("*.py"))]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if (
                re.search(r"\.(read_text|write_text)\(|text=True|\bopen\([^)]*\"[rwa]t?\"\)", line)
                and "encoding" not in line
            ):
                bare.append(f"{path.name}:{number}")
    assert bare == []


def test_records_are_read_in_a_locale_of_seven_bits():
    code = "from gengap.records.bound import load_records; print(len(load_records()))"
    plain = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **plain, "GENGAP_ROOT": str(ROOT)}, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


# --- Packages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "least"), [("requirements.lock", 150), ("cpu.lock", 1), ("cuda.lock", 15)])
def test_every_package_is_pinned_with_hashes(name, least):
    lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert len(lines) >= least
    for line in lines:
        pin, *hashes = line.split()
        assert pin.count("==") == 1
        assert hashes, pin
        assert all(len(text) == len("--hash=sha256:") + 64 and text.startswith("--hash=sha256:") for text in hashes)
    assert "--require-hashes" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_what_is_installed_is_what_the_lock_pins():
    """In the environment of the tests, which `make` made."""
    import importlib.metadata

    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = dict(line.split()[0].split("==") for line in text.splitlines() if not line.startswith("#"))
    other = {}
    for name, version in pins.items():
        found = importlib.metadata.version(name)
        if found.removesuffix("+cpu") != version:
            other[name] = f"{found} and not {version}"
    assert json.dumps(other) == "{}"
