"""The dictionary: out of its package, as prose, in pages; another package and another one than pinned are refused."""

import gzip
import io
import tarfile

import pytest

from gengap import paths
from gengap.errors import UserError
from gengap.tokens import dictionary

TEXT = r"""00-database-info
This is about the dictionary.

A \A\ (named [=a] in the English),
   The first letter of the English alphabet.
   [1913 Webster]

   {A per se}, a nonesuch. [Obs.]
   [1913 Webster +PJC]

Larine \La"rine\, a. (Zool.)
   Of or pertaining to the Gull family ({Larid[ae]}).
   [1913 Webster]

Lark \Lark\ (l[aum]rk), n. [Perh fr. AS. l[=a]c
   play.]
   A frolic. --Dickens.
   [WordNet 1.5]
"""


def package(text: str, name: str = "./usr/share/dictd/gcide.dict.dz") -> bytes:
    """A Debian package with one file."""
    content, tar = gzip.compress(text.encode()), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:xz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    parts = {"debian-binary": b"2.0", "control.tar.xz": b"odd", "data.tar.xz": tar.getvalue()}
    found = b"!<arch>\n"
    for part, held in parts.items():
        found += f"{part:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(held):<10}`\n".encode() + held + b"\n" * (len(held) % 2)
    return found


def test_entries_become_prose_in_pages(tmp_path, monkeypatch):
    path = tmp_path / "p.deb"
    path.write_bytes(package(TEXT))
    monkeypatch.setattr(dictionary, "PAGE_CHARACTERS", 70)
    first, second = (document.text for document in dictionary.pages(dictionary.read_package(path)))
    assert first == "A, The first letter of the English alphabet.\nA per se, a nonesuch. [Obs.]"
    assert second == (
        "Larine, a. (Zool.) Of or pertaining to the Gull family (Larid[ae]).\n\n"
        "Lark, n. [Perh fr. AS. l[=a]c play.] A frolic. --Dickens."
    )


def test_another_package_is_refused(tmp_path):
    path = tmp_path / "p.deb"
    path.write_bytes(package(TEXT, "./usr/share/doc/other"))
    with pytest.raises(UserError, match=r"another package than dictionary\.lock names"):
        dictionary.read_package(path)


def test_package_that_is_not_the_pinned_one_is_refused_and_a_missing_one_says_what_to_do(empty_project, monkeypatch):
    (empty_project / "dictionary.lock").write_text(f"dict-gcide==0.1 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"put the package Debian's dict-gcide 0\.1 in .* by hand"):
        dictionary.fetch_package()
    (dictionary.DICTIONARY.folder / "packages" / "dict-gcide_0.1_all.deb").write_bytes(package(TEXT))
    with pytest.raises(UserError, match=r"hash pinned in dictionary\.lock"):
        dictionary.fetch_package()


def test_lock_pins_one_package_by_hash():
    lines = (paths.project_root() / "dictionary.lock").read_text().splitlines()
    assert sum(line[0] != "#" for line in lines) == len(dictionary.read_lock("dictionary.lock")) == 1
