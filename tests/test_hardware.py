"""Free memory inside containers: limits of both versions of control groups, nested ones, and pages that are given back on demand."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest

from gengap import hardware
from gengap.book import notebooks

GB = 10**9


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A machine with 24 GB free whose control groups are described by the test."""
    monkeypatch.setattr(hardware.psutil, "virtual_memory", lambda: SimpleNamespace(available=24 * GB, total=25 * GB))
    monkeypatch.setattr(hardware, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(hardware, "PROC_CGROUP", tmp_path / "self")

    def describe(membership, files):
        (tmp_path / "self").write_text(membership)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return hardware.memory_bytes()

    return describe


STAT = f"anon {GB * 4 // 10}\nfile {7 * GB}\ninactive_file {6 * GB}\nactive_file {GB}\nslab_reclaimable 0"
V2 = {"memory.max": 8 * GB, "memory.current": 76 * GB // 10, "memory.stat": STAT}
V1 = {
    "memory.limit_in_bytes": 8 * GB,
    "memory.usage_in_bytes": 76 * GB // 10,
    "memory.stat": f"cache 1\ninactive_file 5\ntotal_inactive_file {6 * GB}",
}


def under(folder, files, **changes):
    return {f"{folder}{name}": changes.get(name.replace(".", "_"), text) for name, text in files.items()}


@pytest.mark.parametrize(
    ("membership", "files", "free"),
    [
        ("0::/\n", V2, 64 * GB // 10),
        ("0::/\n", {**V2, "memory.max": "max"}, 24 * GB),
        ("0::/\n", {**V2, "memory.max": 100 * GB}, 24 * GB),
        ("0::/\n", {**V2, "memory.stat": "anon 5"}, 4 * GB // 10),
        ("0::/\n", {**V2, "memory.stat": "no numbers at all"}, 4 * GB // 10),
        ("0::/\n", {**V2, "memory.stat": f"inactive_file {50 * GB}"}, 8 * GB),
        ("0::/\n", {**V2, "memory.current": 9 * GB, "memory.stat": "inactive_file 0"}, 0),
        ("0::/\n", {**V2, "memory.max": "?"}, 24 * GB),
        ("0::/\n", {"memory.max": 8 * GB}, 24 * GB),
        ("0::/\n", {}, 24 * GB),
        ("0::/a/b\n", under("a/b/", V2), 64 * GB // 10),
        ("0::/a/b\n", {**under("a/b/", V2, memory_max="max"), **under("a/", V2)}, 64 * GB // 10),
        ("0::/a/b\n", {**under("a/b/", V2), **under("a/", V2, memory_max=75 * GB // 10)}, 59 * GB // 10),
        ("0::/seen/by/the/host/alone\n", V2, 64 * GB // 10),
        ("0::/../..\n", V2, 64 * GB // 10),
        ("4:memory:/\n0::/\n", under("memory/", V1), 64 * GB // 10),
        ("4:memory:/docker/77\n1:cpu:/\n", under("memory/docker/77/", V1), 64 * GB // 10),
        ("4:cpu,memory:/\n", under("memory/", V1), 64 * GB // 10),
        ("4:memory:/\n", under("memory/", V1, memory_limit_in_bytes=2**63 - 4096), 24 * GB),
        ("4:memory:/a:b\n", under("memory/a:b/", V1), 64 * GB // 10),
        ("1:cpu:/\n", under("memory/", V1), 24 * GB),
        ("", V2, 24 * GB),
    ],
)
def test_free_memory_in_a_container(host, membership, files, free):
    assert host(membership, files) == free


def test_without_a_list_of_groups_the_root_counts(host, tmp_path):
    host("", V2)
    (tmp_path / "self").unlink()
    assert hardware.memory_bytes() == 64 * GB // 10


def test_files_that_may_not_be_read_are_no_limit(host, tmp_path):
    host("0::/", V2)
    (tmp_path / "cgroup" / "memory.max").unlink()
    (tmp_path / "cgroup" / "memory.max").mkdir()
    assert hardware.memory_bytes() == 24 * GB


def test_the_real_machine_has_memory():
    assert 10**8 < hardware.memory_bytes() <= hardware.psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("free", "needed", "device"), [([], 1, "cpu"), ([10, 30], 10, "cuda:0"), ([10, 30], 11, "cpu")]
)
def test_a_gpu_is_taken_if_it_can_hold_what_is_needed(monkeypatch, free, needed, device):
    monkeypatch.setattr(hardware, "gpu_free_bytes", lambda: free)
    assert hardware.device_for(needed) == device


OF_ARRAYS = """
import resource, sys
from gengap import hardware

kept, mebibytes = sys.argv[1], int(sys.argv[2])
if kept != "as it is":
    hardware.keep_freed_memory(of_any_size=kept == "any size")
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    arrays = [b"x" * (mebibytes * 2**20) for _ in range(4)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
ON_GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="elsewhere the C library decides")


def pages_mapped(kept, mebibytes, **variables):
    """By the system, for four arrays of this size at a time, eight times."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    command = [sys.executable, "-c", OF_ARRAYS, kept, str(mebibytes)]
    return int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@ON_GLIBC
def test_freed_memory_is_used_again():
    """Arrays of 20 MiB are mapped once, and not eight times; those of 48 MiB, a large model's, are given back but in a training."""
    as_it_is = pages_mapped("as it is", 20)
    assert pages_mapped("up to 32 MiB", 20) < as_it_is / 4
    assert pages_mapped("up to 32 MiB", 48) > as_it_is
    assert pages_mapped("any size", 48) < as_it_is / 2


@ON_GLIBC
def test_what_a_command_starts_uses_freed_memory_again_too(monkeypatch):
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.setenv(name, "")  # so that it is taken back afterwards, whatever it was
        monkeypatch.delenv(name)
    as_it_is = pages_mapped("as it is", 20)
    hardware.keep_freed_memory()
    inherited = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")}
    assert pages_mapped("as it is", 20, **inherited) < as_it_is / 4


def test_a_kernel_and_a_command_search_for_cycles_seldom(tmp_path):
    """The cell of a page, and a command, are told how often; nothing of it stands among the page's names."""
    cell = nbformat.v4.new_code_cell("import gc\nassert 'hardware' not in globals()\nprint(gc.get_threshold()[0])")
    source = tmp_path / "page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), source)
    notebooks.execute(source, tmp_path / "out.ipynb", {})
    [done] = nbformat.read(tmp_path / "out.ipynb", 4).cells
    assert done.outputs[0].text == f"{hardware.OBJECTS}\n"
    code = "import gc\nfrom gengap.cli import app\ntry: app(['sizes'])\nexcept SystemExit: pass\nprint(gc.get_threshold()[0])"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.splitlines()[-1] == str(hardware.OBJECTS)
