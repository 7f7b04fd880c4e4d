"""Is a revision what its name says? Two steps of one training never hold the same weights.

76 step branches of pythia-2.8b are reported to be copies of its last checkpoint, the compute-optimal one among them (pythia issue 205), and
two of the 12b model to hold its first file (206): their rows "seen so far" and "held out" would be wrong without anyone noticing.
Before a checkpoint is loaded, its files are compared with those of the revisions beside it: on the hub by the digests that it states,
so that nothing large is fetched, without a network by those of what was fetched before, in a folder byte by byte.
"""

import filecmp
import re
from collections.abc import Iterable
from pathlib import Path

from gengap.errors import UserError

_PATTERN = "*.safetensors"
_SHA256 = re.compile("[0-9a-f]{64}")
_SECONDS = 10.0  # for an answer of the hub


def refuse_copies(folder: Path) -> None:
    """Raise `UserError` if a file of `folder`, `<family folder>/<revision>`, is also one of another revision beside it."""
    mine = sorted(folder.glob(_PATTERN))
    for other in sorted(path for path in folder.parent.iterdir() if path.is_dir() and path.name != folder.name):
        for path in mine:
            twin = other / path.name
            if twin.is_file() and filecmp.cmp(path, twin, shallow=False):
                _refuse(folder.name, other.name, path.name)


def refuse_copies_on_hub(repository: str, revision: str, others: Iterable[str]) -> None:
    """Raise `UserError` if a file of `revision` is also one of `others`, as far as the hub or its cache on this machine knows."""
    mine = digests(repository, revision)
    for other in others if mine else ():
        theirs = digests(repository, other)
        if same := sorted(name for name, digest in mine.items() if theirs.get(name) == digest):
            _refuse(revision, other, same[0])


def _refuse(revision: str, other: str, file: str) -> None:
    raise UserError(
        f"revisions {revision} and {other} hold the same weights ({file}), so that at least one of them is not what its name says "
        "(as in pythia issue 205): choose another revision"
    )


def digests(repository: str, revision: str) -> dict[str, str]:
    """SHA-256 of every safetensors file of a revision, by name; nothing for a revision that is neither to be asked about nor cached."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        files = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=_SECONDS).siblings or []
        return {file.rfilename: file.lfs.sha256 for file in files if file.lfs and Path(file.rfilename).match(_PATTERN)}
    except (OSError, HfHubHTTPError):
        return _cached_digests(repository, revision)


def _cached_digests(repository: str, revision: str) -> dict[str, str]:
    """The cache of the hub keeps each file under its digest."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repository, "config.json", revision=revision)
    if not isinstance(config, str):
        return {}
    found = {path.name: path.resolve().name for path in Path(config).parent.glob(_PATTERN)}
    return {name: digest for name, digest in found.items() if _SHA256.fullmatch(digest)}
