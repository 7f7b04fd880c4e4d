"""Somebody else's record, checked without trust: every number that follows from others, every hash, every mean (`gengap verify`).

What cannot be checked is said too, with the reason. Nothing is written.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gengap.compression import archive as archives
from gengap.compression.archive import Hypothesis
from gengap.errors import UserError
from gengap.paths import file_sha256
from gengap.records import companion_arithmetic
from gengap.records.arithmetic import Check, checks, n_rows
from gengap.records.bound import BoundRecord
from gengap.statistics.evaluation import rows_sha256, weights_sha256
from gengap.tokens.rows import sample_rows
from gengap.workflow import remeasure, remeasure_companion
from gengap.workflow.certify import draw
from gengap.workflow.settings import Settings

if TYPE_CHECKING:
    from gengap.statistics.companion import Companion
    from gengap.tokens.rows import Rows

SHOWN = 3  # faults of one topic that are spelt out
TOPICS = {
    "counts": "rows, windows, tokens and settings go together",
    "code lengths": "L(h) of each accounting, the same in every bound",
    "failure probabilities": "delta, shared between the martingale and the sample",
    "complexity": "C from L(h), D, delta and the size of the grid",
    "risks": "training risk and quantization gap of every bound",
    "closed forms": "terms that follow from C, alpha, lambda and V",
    "grids": "constants chosen on the data lie in the grids that are paid for",
    "sampling": "errors of the samples, as far as they follow from the rest",
    "companion": "its losses, rates and hashes are the same in every bound that has one",
    "accountings": "what was measured alike is alike in all accountings",
}


class Finding(NamedTuple):
    """One line: what was looked at, and what was found."""

    name: str
    fine: bool | None  # None: could not be looked at
    what: str  # what agrees; what is wrong, and where; or why it could not be checked


def verify(
    record: BoundRecord,
    archive: Path | None = None,
    checkpoint=None,
    rows: "Rows | None" = None,
    heldout: "Rows | None" = None,
    companion: "Companion | None" = None,
    share: float = 1.0,
    tolerance: float = remeasure.TOLERANCE,
    seed: int | None = None,
) -> list[Finding]:
    """Everything about a record that its own numbers, an archive, a checkpoint and rows allow to check; each may be missing.

    `checkpoint` is the model before quantization, in evaluation mode; `rows` and `heldout` are all that it was trained on, and
    others, and `companion` is what it was while it was trained, as in `gengap.workflow.certify.certify`. Losses are measured anew on `share` of the recorded windows, all or a random
    part drawn with `seed` (default: nobody knows which): means over all have to agree within `tolerance` nats, those
    over a part within `remeasure.ERRORS` standard errors besides. Raises `UserError` for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise UserError(f"a share of {share}: choose a number between 0 (nothing is measured again) and 1 (everything)")
    findings = list(of_checks(itertools.chain(checks(record), companion_arithmetic.checks(record))))
    quantized, of_archive = _read_archive(record, archive)
    findings += of_archive
    for name, model in (("quantized", quantized), ("checkpoint", checkpoint)):
        if model is None:
            findings.append(
                Finding(f"{name} weights", None, f"there is no {'archive' if name == 'quantized' else name} at hand")
            )
        else:
            hashed = getattr(record.evidence, f"{name}_sha256")
            findings.append(same(f"{name} weights", f"evidence.{name}_sha256", weights_sha256(model), hashed))
    findings += _windows(record, rows, heldout)
    findings += _companion(record, rows, companion)
    findings += _measured(record, findings, quantized, checkpoint, rows, heldout, companion, share, tolerance, seed)
    trusted = "that the checkpoint was trained on this text, in an order that nobody chose after looking at it"
    findings.append(Finding("training", None, f"taken on trust: {trusted}"))
    if record.not_certified:
        findings.append(
            Finding("certificate", None, f"none, this is the arithmetic of a bound: {record.not_certified}")
        )
    return findings


def of_checks(found: Iterable[Check], topics: dict[str, str] = TOPICS) -> Iterator[Finding]:
    """A line for each topic: how many numbers agree, or the first that do not."""
    by_topic: dict[str, list[Check]] = defaultdict(list)
    for check in found:
        by_topic[check.topic].append(check)
    for topic, of_topic in by_topic.items():
        faults = [f"{check.place}: {check.said}" for check in of_topic if not check.holds]
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        said = "; ".join(faults[:SHOWN]) + more if faults else f"{topics.get(topic, topic)} ({len(of_topic)} numbers)"
        yield Finding(topic, not faults, said)


def same(name: str, place: str, found: str, needed: str) -> Finding:
    what = (
        f"{place}: {needed[:12]}..."
        if found == needed
        else f"{place} says {needed[:12]}..., here it is {found[:12]}..."
    )
    return Finding(name, found == needed, what)


def _read_archive(record: BoundRecord, path: Path | None) -> "tuple[Any, list[Finding]]":
    """The dense model that the archive stands for, and what was found on the way."""
    code, model = record.quantization, record.identity
    if path is None:
        return None, [Finding("archive", None, "there is no archive at hand")]
    findings = []
    if record.evidence.archive_sha256:
        findings.append(same("archive", "evidence.archive_sha256", file_sha256(path), record.evidence.archive_sha256))
    try:
        content = path.read_bytes()
        quantized, architecture = archives.decode(content)
    except (OSError, UserError) as error:
        return None, [*findings, Finding("archive", False, f"{path.name}: {error}")]
    hypothesis = Hypothesis(quantized, code.method, code.bits, len(content))
    facts = {
        f"quantization.code_length_bits.{name}": (found, code.code_length_bits.get(name))
        for name, found in hypothesis.code_length_bits.items()
    }
    facts["quantization.group_size"] = hypothesis.group_size, code.group_size
    facts["identity.n_params"] = hypothesis.quantized.n_params, model.n_params
    found = [
        Check("archive", place, here == there, f"{there}, but {path.name} has {here}")
        for place, (here, there) in facts.items()
    ]
    return quantized.build(architecture.config()), [
        *findings,
        *of_checks(found, {"archive": f"{path.name} decodes; its length, its three accountings and its size"}),
    ]


def _windows(record: BoundRecord, rows: "Rows | None", heldout: "Rows | None") -> Iterator[Finding]:
    """The rows are those that the record speaks of, and so are the windows that its seed draws from them."""
    model, evidence = record.identity, record.evidence
    if rows is None:
        yield Finding("training rows", None, "there are no training rows at hand")
    else:
        shape, needed = (len(rows), rows[:1].shape[1] - 1), (n_rows(record), model.seq_len)
        right = shape == needed or bool(record.not_certified)  # arithmetic may be of fewer rows
        said = "{} of {} predicted tokens".format
        here = said(*shape)
        yield Finding("training rows", right, here if right else f"the record has {said(*needed)}, here are {here}")
        named = rows.sha256 if hasattr(rows, "sha256") else rows_sha256(rows)
        yield same("training rows", "identity.data_sha256", named, model.data_sha256)
        try:
            drawn = rows[draw(*shape, Settings.of(record))[0].windows]
            yield same("windows", "evidence.windows_sha256", rows_sha256(drawn), evidence.windows_sha256)
        except UserError as error:
            yield Finding("windows", False, str(error))
    if evidence.heldout_sha256 is None:
        yield Finding("held-out windows", None, "the record has none")
    elif heldout is None:
        yield Finding("held-out windows", None, "there are no held-out rows at hand")
    else:
        unseen = sample_rows(heldout, record.settings.n_windows, record.settings.seed)
        yield same("held-out windows", "evidence.heldout_sha256", rows_sha256(unseen), evidence.heldout_sha256)


def _companion(record: BoundRecord, rows: "Rows | None", companion: "Companion | None") -> Iterator[Finding]:
    """The companion of the windows that the record draws has the weights that it names."""
    if record.online is None:
        return
    if companion is None or rows is None:
        yield Finding("companion weights", None, "there are no snapshots of the training at hand")
        return
    try:
        numbers = draw(len(rows), record.identity.seq_len, Settings.of(record))[0].windows
    except UserError as error:
        yield Finding("companion weights", False, str(error))
        return
    found, hashed = companion.sha256(numbers), record.evidence.companion_sha256 or ""
    if found == hashed:
        yield same("companion weights", "evidence.companion_sha256", found, hashed)
    else:
        yield Finding(
            "companion weights", None, "the snapshots at hand are those of another training than the record's"
        )


def _measured(
    record, findings: list[Finding], quantized, checkpoint, rows, heldout, companion, share, tolerance, seed
) -> Iterator[Finding]:
    """The losses once more, if everything that they depend on is there and is what was hashed."""
    needed = {"quantized weights": quantized, "checkpoint weights": checkpoint, "training rows": rows, "windows": rows}
    wrong = {finding.name for finding in findings if finding.fine is False}
    if missing := [name for name, value in needed.items() if value is None]:
        yield Finding("losses", None, f"not measured again: {', '.join(missing)} not at hand")
    elif other := [name for name in needed if name in wrong]:
        yield Finding("losses", None, f"not measured again: {', '.join(other)} are others than the record's")
    elif impossible := wrong & {"counts", "grids"}:
        yield Finding("losses", None, f"not measured again: {' and '.join(sorted(impossible))} are wrong already")
    elif share == 0:
        yield Finding("losses", None, "not measured again, as asked")
    else:
        unseen = heldout if "held-out windows" not in wrong else None
        found = remeasure.checks(record, quantized, checkpoint, rows, unseen, share, tolerance, seed)
        if any(finding.name == "companion weights" and finding.fine for finding in findings):
            how = share, tolerance, seed
            found = itertools.chain(found, remeasure_companion.checks(record, quantized, companion, rows, *how))
        yield from of_checks(found, remeasure.topics(share))
