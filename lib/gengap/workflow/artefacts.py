"""What belongs together: an archive and the checkpoint it was made from, a record and the settings it was made with.

Every artefact is tied by a hash to the weights that it came from. Beside an archive that this machine makes lies a small file with the hash of
the checkpoint's weights; of a published one its record says the same.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gengap.errors import UserError
from gengap.models.spec import ModelSpec, quantized_name
from gengap.paths import atomic_path, published_results_dir, run_results_dir
from gengap.records.bound import BoundRecord
from gengap.records.survey import QuantizationSurvey, SurveySettings
from gengap.workflow.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def keep_source(archive: Path, checkpoint_sha256: str) -> None:
    """Write beside an archive from which weights it was made."""
    with atomic_path(_source(archive)) as part:
        part.write_text(f"{checkpoint_sha256}\n", encoding="utf-8")


def forget_source(archive: Path) -> None:
    """Before another archive is written in its place."""
    _source(archive).unlink(missing_ok=True)


def source_of(archive: Path) -> str:
    """The hash of the weights that an archive was made from; empty if nobody knows."""
    if (kept := _source(archive)).is_file():
        said = kept.read_bytes()[:100].decode("ascii", "replace").strip()
        return said if re.fullmatch("[0-9a-f]{64}", said) else ""
    published = archive.is_relative_to(published_results_dir())
    record = archive.with_suffix(".json")
    return BoundRecord.read(record).evidence.checkpoint_sha256 if published and record.is_file() else ""


def archives(spec: ModelSpec, method: str, bits: int) -> Iterator[Path]:
    """This machine's archive and the published one, as far as they are there and their source is known."""
    name = f"{quantized_name(spec.revision, method, bits)}.ggq"
    for base in (run_results_dir(), published_results_dir()):
        path = base / spec.family / spec.size / name
        if path.is_file() and source_of(path):
            yield path


def usable_archive(spec: ModelSpec, method: str, bits: int) -> Path | None:
    """The archive of the checkpoint that is here, if there is one.

    Small checkpoints are read for it. Of those that are trained elsewhere any archive is taken; `archive_of` compares them once they
    have been loaded.
    """
    from gengap.statistics.evaluation import weights_sha256

    found = list(archives(spec, method, bits))
    if found and spec.trained_here:
        weights = weights_sha256(spec.load())
        found = [path for path in found if source_of(path) == weights]
    return found[0] if found else None


def archive_of(spec: ModelSpec, method: str, bits: int, checkpoint: "PreTrainedModel") -> Path:
    """The archive that was made from the weights of `checkpoint`.

    Raises `UserError` naming the command that makes it; and if a record says that another revision has the same weights.
    """
    from gengap.statistics.evaluation import weights_sha256

    weights = weights_sha256(checkpoint)
    require_distinct(spec, weights)
    spec.find_archive(method, bits)  # says what to do if there is none at all
    for path in archives(spec, method, bits):
        if source_of(path) == weights:
            return path
    raise UserError(
        f"the archive of {spec.model_size} was not made from this checkpoint: run `gengap quantize {spec.model_size} "
        f"--revision {spec.revision} --method {method} --bits {bits}`"
    )


def require_distinct(spec: ModelSpec, weights: str) -> None:
    """Raise `UserError` if the record of another revision was made from the same weights: one of the two names is wrong."""
    if len(spec.revisions()) == 1:
        return
    for record in _records(f"{spec.family}/{spec.size}/*bit.json"):
        other = record.identity.revision
        if record.evidence.checkpoint_sha256 == weights and other != spec.revision:
            raise UserError(
                f"{spec.model_size} at {spec.revision} holds the same weights as at {other}, of which there is a record: "
                f"a branch of the hub may repeat another's files; take another revision, or remove the record of {other}"
            )


def _records(pattern: str) -> Iterator[BoundRecord]:
    """Those here and the published ones, whatever is no valid record aside: it may be about to be replaced."""
    for base in (run_results_dir(), published_results_dir()):
        for path in sorted(base.glob(pattern)):
            with contextlib.suppress(UserError):
                yield BoundRecord.read(path)


def other_settings(record: Path, asked: Mapping[str, Any]) -> str:
    """In what the settings of a record differ from those asked for, "n_windows = 40 and not 60"; empty if they agree or it is not there.

    `asked` are fields of `Settings`; what is not named has its default.
    """
    if not record.exists():
        return ""
    try:
        found = BoundRecord.read(record, recompute=False)
        made = asdict(Settings.of(found))
        needed = asdict(Settings(**asked).on(found.identity.n_train_tokens // found.identity.seq_len))
        if other := [f"{n} = {made[n]} and not {value}" for n, value in needed.items() if made[n] != value]:
            return ", ".join(other)
        BoundRecord.read(record)
    except UserError:
        return "it is no valid record"
    return ""


def is_other_survey(path: Path) -> bool:
    """Whether a survey is there that was not made with the default settings, which the book shows."""
    try:
        return path.exists() and QuantizationSurvey.read(path).settings != SurveySettings()
    except UserError:
        return True


def _source(archive: Path) -> Path:
    return archive.with_suffix(".source")
