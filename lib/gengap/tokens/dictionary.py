"""A text of another kind: the GNU Collaborative International Dictionary of English, as Debian packs it.

Webster's dictionary of 1913 with its quotations, and what volunteers have added to it: explanations of words in English prose,
in the order of the alphabet. What only tells how to pronounce a word or where an entry came from is left out. A document is some
consecutive entries, so that words of one root do not stand on both sides of what is held out.
"""

import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from gengap import files, locks
from gengap.errors import UserError
from gengap.paths import file_sha256
from gengap.tokens.corpus import Text, in_order
from gengap.tokens.wheels import Document, aside, read_lock

MOST = 2**27  # bytes of the package, and of the text in it
PAGE_CHARACTERS = 4_000  # of a document, or a little more: it ends with an entry
FIRST_ENTRY = "A \\A\\"  # what comes before it is about the dictionary
_INSIDE = "usr/share/dictd/gcide.dict.dz"  # of the package
_ORIGIN = re.compile(r"\s*\[[^\[\]]*(?:1913 Webster|Webster 1913|WordNet|PJC|Century Dict)[^\[\]]*\]")
_PRONUNCIATION = re.compile(r"^([^\\]*?)(?: \\[^\\]*\\)+(?: \([^()]*\))?")  # of the head of an entry


def fetch_package() -> Path:
    """The pinned package, checked; downloaded by `apt-get` if it is not there or damaged. `UserError` if it cannot be had."""
    ((pin, sha256),) = read_lock(DICTIONARY.lock).items()
    name, version = pin.split("==")
    folder = DICTIONARY.folder / "packages"
    path = folder / f"{name}_{version}_all.deb"
    by_hand = f"Debian's {name} {version} in {folder}"
    if not (path.exists() and file_sha256(path) == sha256):
        other = f"{path} does not have the hash pinned in {DICTIONARY.lock}, and " if path.exists() else ""
        with aside(folder) as new:
            command, words = ["apt-get", "download", f"{name}={version}"], {"capture_output": True, "encoding": "utf-8"}
            try:
                done = subprocess.run(command, cwd=new, **words, pass_fds=locks.held_files(), check=False)
                why = done.stderr.strip()[-500:]
            except OSError as error:
                why = str(error)
            if not (new / path.name).exists():
                raise UserError(
                    f"{other}apt-get could not download {name} {version} ({why}): put the package {by_hand} by hand"
                )
            if file_sha256(new / path.name) != sha256:
                raise UserError(
                    f"{path.name} from apt-get does not have the hash pinned in {DICTIONARY.lock}: put {by_hand}"
                )
            (new / path.name).replace(path)
    return path


def read_package(path: Path) -> str:
    """The dictionary's text out of a Debian package: an `ar` archive with a compressed tar file in it. `UserError` if it is not there."""
    content = files.read(path, MOST)
    place = 8  # after the magic word
    with files.one_sentence(f"{path} is no package of Debian", "delete it and run again"):
        while place < len(content):
            name, size = content[place : place + 16].decode().strip(" /"), int(content[place + 48 : place + 58])
            place += 60
            if name.startswith("data.tar"):
                with tarfile.open(fileobj=io.BytesIO(content[place : place + size])) as tar:
                    for member in tar:
                        if member.name.removeprefix("./") == _INSIDE:
                            packed = tar.extractfile(member).read(MOST)
                            return files.unpack(Path("text.gz"), packed, MOST).decode(errors="replace")
            place += size + size % 2
    raise UserError(f"{path} holds no {_INSIDE}: it is another package than {DICTIONARY.lock} names")


def entry_text(entry: str) -> str:
    """An entry as prose: a paragraph a line; without pronunciation, origin, braces of cross-references and line breaks."""
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", _ORIGIN.sub("", entry)))
    lines = [re.sub(r"[{}]", "", part) for part in paragraphs if part]
    return _PRONUNCIATION.sub(r"\1", "\n".join(lines))


def pages(text: str) -> Iterator[Document]:
    """The dictionary's entries, some thousands of characters at a time, in the order of the alphabet."""
    held, size = [], 0
    for entry in re.split(r"\n\s*\n(?=\S)", text[text.index(FIRST_ENTRY) :]):
        held.append(entry_text(entry))
        size += len(held[-1])
        if size >= PAGE_CHARACTERS:
            yield Document("gcide", "prose", "\n\n".join(held))
            held, size = [], 0
    if held:
        yield Document("gcide", "prose", "\n\n".join(held))


DICTIONARY = Text(
    "dictionary",
    "dictionary.lock",
    lambda: in_order(pages(read_package(fetch_package()))),
    command="gengap corpus dictionary",
    heldout_share=1 / 14,  # more rows than a certificate draws
)
