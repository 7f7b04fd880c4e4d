"""Atomic writes: whole or not at all, and readable by everyone whatever the writer does."""

import os
import stat

import pytest

from gengap.paths import atomic_path


def write_half(part):
    part.write_text("half")
    part.parent.read_text()  # fails


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "folder" / "file"
    with atomic_path(target) as part:
        part.write_text("old")
    with pytest.raises(IsADirectoryError), atomic_path(target) as part:
        write_half(part)
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]  # nothing left behind


def test_a_writer_that_puts_a_private_file_in_its_place_leaves_a_readable_one(tmp_path):
    with atomic_path(tmp_path / "file") as part:
        other = tmp_path / "other"
        other.write_text("content")
        other.chmod(0o600)
        os.replace(other, part)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644
