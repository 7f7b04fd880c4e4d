"""A training sent as a file: the encoder finds the teacher's tokens among the student's proposals, the decoder trains the same student from their numbers.

A block is the next token of each row of the batch: given what was sent before, the rows' tokens are independent, so that both laws are products of known
distributions. Short blocks pay the overhead of an index for every few bits of divergence.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gengap import hardware
from gengap.bounds.requential import elias_delta_bits
from gengap.errors import UserError
from gengap.models import get
from gengap.requential.coding import CHUNK, arrival_times, choose, proposals, read_file, tokens_of, write_file
from gengap.requential.loop import learn
from gengap.requential.recipe import Requential
from gengap.requential.sampler import Sampler
from gengap.requential.state import Learner
from gengap.training import precision
from gengap.units import bits_from_nats

MOST_PROPOSALS = 1024  # that the encoder looks at for a block


class Encoded(NamedTuple):
    """A file, and what it is made of."""

    path: Path
    file_bits: int
    delta_bits: int  # the same indices in Elias' delta code
    divergence_bits: (
        float  # the sum of KL(teacher || student) of all blocks: what an ideal code of one long block would take
    )
    ratio_bits: float  # the sum of log2(1 + r) of the tokens sent
    cut_share: float  # of the blocks, those whose search was cut off
    n_tokens: int
    student: Learner
    seconds: float


@dataclass
class _Pupil:
    """The student's side, which encoder and decoder share."""

    task: Requential

    def __post_init__(self):
        hardware.keep_freed_memory(of_any_size=True)
        torch.set_num_threads(precision.N_THREADS)
        self.learner = Learner(self.task.spec, self.task.seed)
        self.slots, self.step = torch.zeros(self.task.rows_per_step, dtype=torch.int64), 0

    def positions(self, find) -> torch.Tensor:
        """One batch (n_rows, seq_len + 1): `find` gives the tokens at a block, from its number, those before and the running sums of the predictions (n_rows, V)."""
        seq_len = self.task.spec.seq_len
        sampler = Sampler(self.learner.average, len(self.slots), seq_len)
        rows = torch.empty(seq_len + 1, len(self.slots), dtype=torch.int64)
        rows[0] = self.slots
        for position in range(seq_len):
            probs = sampler.logits(rows[position], position).double().softmax(-1).numpy()
            rows[position + 1] = torch.from_numpy(find(position, rows[position], probs))
        return rows.T

    def learn(self, rows: torch.Tensor) -> None:
        rate = self.task.run.schedule.rate(self.step)
        learn(self.learner, rows, rate)
        self.learner.take_in(self.task.recipe.student_share * self.step)
        self.slots = rows[:, -1].clone()
        self.step += 1


def encode(task: Requential, rows: NDArray, n_steps: int, path: Path, most_proposals: int = MOST_PROPOSALS) -> Encoded:
    """Send the first `n_steps` steps of a student whose teacher learns from `rows` (n, seq_len + 1), the rung's training rows.

    The recipe is smoothing alone. Raises `UserError` for another.
    """
    if task.recipe_name != "smoothing" or task.control:
        raise UserError(f"recipe {task.recipe_name!r} is measured only: a file is made with smoothing")
    started, pupil, teacher = time.monotonic(), _Pupil(task), Learner(task.spec, task.seed)
    batches = rows[: n_steps * task.spec.batch_rows].reshape(n_steps, task.spec.batch_rows, -1)
    indices, divergence, ratio, cut = [], 0.0, 0.0, 0
    for step in range(n_steps):
        sampler = Sampler(teacher.average, task.rows_per_step, task.spec.seq_len)

        def find(position: int, before: torch.Tensor, p: NDArray, step=step, sampler=sampler) -> NDArray:
            nonlocal divergence, ratio, cut
            q = sampler.logits(before, position).double().softmax(-1).numpy()
            log_r, ends = np.log(q) - np.log(p), np.cumsum(p, -1)
            each = np.arange(len(p))

            def ratios(chunk: int) -> NDArray:
                tokens = tokens_of(proposals(task.seed, step, position, chunk, len(p)), ends)
                return log_r[each, tokens].sum(-1)

            times = arrival_times(task.random(step, 5 + position))
            sent = choose(ratios, times, float(log_r.max(-1).sum()), most_proposals)
            chosen = _tokens(task, step, position, sent.index, ends)
            indices.append(sent.index)
            divergence += float((q * log_r).sum())
            ratio += float(np.logaddexp(0, log_r[each, chosen].sum()))
            cut += sent.cut
            return chosen

        pupil.learn(pupil.positions(find))
        learn(teacher, torch.from_numpy(batches[step].astype(np.int64)), task.run.schedule.rate(step))
        teacher.take_in(max(task.recipe.least_window, task.recipe.teacher_share * (step + 1)))
    found = np.array(indices)
    facts = {"size": task.spec.model_size, "seed": task.seed, "n_steps": n_steps}
    return Encoded(
        path,
        write_file(path, facts, found),
        int(elias_delta_bits(found).sum()),
        bits_from_nats(divergence),
        bits_from_nats(ratio),
        cut / len(found),
        n_steps * task.tokens_per_step,
        pupil.learner,
        time.monotonic() - started,
    )


def decode(path: Path, spec=None) -> Learner:
    """The student that a file is the training of, from nothing else: no text and no teacher. `spec` (default: the registered size it names)."""
    facts, indices = read_file(path)
    pupil = _Pupil(Requential(spec or get(facts["size"]), seed=facts["seed"]))
    sent: Iterator[int] = iter(indices.tolist())
    for step in range(facts["n_steps"]):
        pupil.learn(
            pupil.positions(
                lambda position, _, p, step=step: _tokens(pupil.task, step, position, next(sent), np.cumsum(p, -1))
            )
        )
    return pupil.learner


def _tokens(task: Requential, step: int, position: int, index: int, ends: NDArray) -> NDArray[np.int64]:
    """The tokens of a block that an index stands for."""
    chunk, place = divmod(index - 1, CHUNK)
    return tokens_of(proposals(task.seed, step, position, chunk, len(ends))[place : place + 1], ends)[0]
