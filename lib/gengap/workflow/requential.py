"""From a training of student and teacher to its record: losses, code lengths, and the bounds that the student gets with them (chapter 18)."""

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from gengap import files
from gengap.bounds.sampling import split_failure_prob
from gengap.bounds.terms import PAPER_S_GRID_SIZE, CodedModel
from gengap.bounds.theorems import paper_bound
from gengap.errors import UserError
from gengap.models.ladder import LadderSpec
from gengap.models.snapshots import companion_of
from gengap.paths import build_dir
from gengap.records.base import identify, provenance
from gengap.records.bound import BoundSettings, Evidence
from gengap.records.requential import (
    LENGTHS,
    Pieces,
    RequentialFile,
    RequentialRecord,
    StudentBounds,
    Teaching,
    lengths_of,
    read_costs,
    write_costs,
    write_requential,
    write_requential_file,
)
from gengap.requential.loop import TEACHER, VALIDATION_ROWS, Trained, train
from gengap.requential.recipe import ROWS_AT_ONCE, Requential
from gengap.requential.transmission import MOST_PROPOSALS, decode, encode
from gengap.statistics.companion import beside_statistics
from gengap.statistics.evaluation import rows_sha256, statistics_dir, weights_sha256
from gengap.statistics.per_token import token_statistics
from gengap.tokens.rows import sample_rows
from gengap.workflow.certify import draw, estimate, smoothing_weights
from gengap.workflow.companions import bounds_with
from gengap.workflow.settings import Settings
from gengap.workflow.tilts import choose_tilts, n_pilot, tight_bounds

LENGTH_FAILURE_PROB = 0.001  # that a code is longer than its record says


def run_dir(task: Requential) -> Path:
    """Where this machine trains a student."""
    return build_dir() / "requential" / task.spec.model_size / task.name


def carry_out(task: Requential, settings: Settings | None = None, out_dir: Path | None = None) -> Path:
    """Train a student, or go on where it was stopped, measure and bound it; its record among this machine's.

    A student that was taught a control is not bounded. Raises `UserError` if the text has too few rows.
    """
    out_dir = out_dir or run_dir(task)
    rows, everything = task.spec.train_rows(), task.spec.all_rows()
    validation = everything[len(rows) : len(rows) + VALIDATION_ROWS]
    if task.recipe.project and len(validation) < VALIDATION_ROWS:
        raise UserError(f"{task.spec.model_size} leaves no rows to compare teachers on: take a smaller size")
    trained = train(task, rows[:], validation, rows.sha256, out_dir)
    return write_requential(record_of(task, trained, out_dir, settings or Settings()), trained.costs)


def send(task: Requential, n_steps: int, most_proposals: int = MOST_PROPOSALS) -> Path:
    """The first steps as a real file, decoded once more; its record. `UserError` if the decoder comes to another student."""
    rows, path = task.spec.train_rows(), run_dir(task) / "student.grq"
    sent = encode(task, rows[:], n_steps, path, most_proposals)
    started = time.monotonic()
    student, decoded = (weights_sha256(learner.average) for learner in (sent.student, decode(path, task.spec)))
    if student != decoded:
        raise UserError(f"{path} decodes to another student: this machine computes the same step in two ways")
    record = RequentialFile(
        family=task.spec.family,
        size=task.spec.size,
        seq_len=task.spec.seq_len,
        n_steps=n_steps,
        n_tokens=sent.n_tokens,
        most_proposals=most_proposals,
        file_bits=sent.file_bits,
        delta_bits=sent.delta_bits,
        divergence_bits=sent.divergence_bits,
        ratio_bits=sent.ratio_bits,
        cut_share=sent.cut_share,
        student_sha256=student,
        file_sha256=files.file_sha256(path),
        decoder_seconds=time.monotonic() - started,
        provenance=provenance("cpu", sent.seconds),
    )
    return write_requential_file(record, path)


def record_of(task: Requential, trained: Trained, out_dir: Path, settings: Settings) -> RequentialRecord:
    """What a training says, with bounds unless it was a control."""
    spec, recipe, rows = task.spec, task.recipe, task.spec.train_rows()
    key = task.key(rows.sha256)
    write_costs(out_dir / "costs.csv.gz", key, trained.costs)
    costs = read_costs(out_dir / "costs.csv.gz")[1]  # as many digits as are kept
    lengths = lengths_of(costs, LENGTH_FAILURE_PROB)
    student, teacher = (_built(spec, weights) for weights in (trained.student, trained.teacher))
    settings = settings.on(len(rows))
    evaluate = partial(token_statistics, store=statistics_dir() / spec.model_size / task.name)
    unseen = sample_rows(spec.heldout_rows(), settings.n_windows, settings.seed)
    sample = draw(len(rows), spec.seq_len, settings).windows
    drawn = rows[sample.windows]
    teacher_steps = int(costs["teacher_step"][-1])
    losses = costs["teacher_loss"][np.isfinite(costs["teacher_loss"])]
    found = {}
    if task.control:
        nll = evaluate(student, drawn, desc="student").nll
    else:
        delta = split_failure_prob(settings.failure_prob).martingale
        coded = {
            which: CodedModel(lengths[which].total, spec.n_train_tokens, spec.vocab_size, delta) for which in LENGTHS
        }
        tilts = choose_tilts(evaluate, student, drawn[: n_pilot(sample, spec.seq_len)], coded, sample.range_cost)
        statistics = evaluate(student, drawn, smoothing_weights(coded), desc="student", tilts=list(tilts.values()))
        nll, entropies = statistics.nll, dict(zip(statistics.alphas, statistics.entropy, strict=True))
        risk = estimate(nll).mean
        companion = companion_of(out_dir / "snapshots", spec.batch_rows, spec.config(), TEACHER)
        beside = bounds_with(beside_statistics, student, companion, drawn, risk, risk, sample, coded)
        tight = tight_bounds(statistics, tilts, risk, sample, coded)
        found = {
            "settings": BoundSettings(**asdict(settings), s_grid_size=PAPER_S_GRID_SIZE),
            "online": beside.online,
            "evidence": Evidence(
                checkpoint_sha256=weights_sha256(student),
                quantized_sha256=weights_sha256(student),
                windows_sha256=rows_sha256(drawn),
                heldout_sha256=rows_sha256(unseen),
                companion_sha256=beside.sha256,
            ),
            "bounds": {
                which: StudentBounds(
                    paper=paper_bound(c, nll, entropies[c.paper_alpha], risk, sample),
                    tight=tight[which],
                    **beside.bounds[which]._asdict(),
                )
                for which, c in coded.items()
            },
        }
    return RequentialRecord(
        recipe=task.recipe_name,
        control=task.control or None,
        seed=task.seed,
        identity=identify(spec, rows.sha256),
        teaching=Teaching(
            least_window=recipe.least_window,
            teacher_share=recipe.teacher_share,
            student_share=recipe.student_share,
            threshold=recipe.threshold,
            projected=recipe.project,
            rows_per_step=task.rows_per_step,
            rows_at_once=ROWS_AT_ONCE,
            n_steps=len(costs["kl"]),
            n_teacher_steps=teacher_steps,
        ),
        length_failure_prob=LENGTH_FAILURE_PROB,
        lengths={which: Pieces(**length._asdict()) for which, length in lengths.items()},
        prequential_nats=float(np.sum(losses)) * task.run.tokens_per_step,
        student_train=estimate(nll),
        student_heldout=estimate(evaluate(student, unseen, desc="held-out").nll),
        teacher_heldout=estimate(evaluate(teacher, unseen, desc="held-out, teacher").nll),
        run_key=key,
        provenance=provenance("cpu", trained.seconds),
        **found,
    )


def _built(spec: LadderSpec, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    model = AutoModelForCausalLM.from_config(spec.config(), dtype=torch.float32).eval()
    model.load_state_dict(weights)
    return model
