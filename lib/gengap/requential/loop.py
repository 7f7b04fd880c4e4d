"""A student learns from what its teacher draws; what each step would cost to send is measured, no index is coded.

The run can be killed at any moment: its state is written atomically, and a resumed run is bit-identical to an undisturbed one.
"""

import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from gengap import files, hardware, locks
from gengap.errors import UserError
from gengap.models import sealed
from gengap.models.snapshots import snapshot_path
from gengap.requential.recipe import Requential
from gengap.requential.sampler import Drawn, Sampler
from gengap.requential.state import Learner, RequentialState
from gengap.training import precision
from gengap.training.run import GRADIENT_CLIP
from gengap.training.snapshots import snapshot_steps
from gengap.training.state import refuse_other_run

SAVE_EVERY_S = 60.0
TEACHER = "teacher"  # the name of its weights in a snapshot
VALIDATION_ROWS = 16  # of text that neither is trained on: they say when a projected teacher is as good as it was
CHECK_EVERY = 10  # steps of a projection
_RESULT = "student.safetensors"


class Trained(NamedTuple):
    """What a requential training leaves."""

    student: dict[str, torch.Tensor]  # the averaged weights, float32: the model that is coded
    teacher: dict[str, torch.Tensor]
    costs: np.ndarray  # (n_steps, 7) float64: `gengap.requential.recipe.COSTS`
    seconds: float


def train(
    task: Requential,
    rows: np.ndarray,
    validation: np.ndarray,
    data_sha256: str,
    out_dir: Path,
    save_every_s: float = SAVE_EVERY_S,
) -> Trained:
    """Train a student from the beginning or from the state in `out_dir`; what was left there, if it is finished.

    `rows` (n, seq_len + 1) are the rung's training rows in order, `validation` rows of the same text that are not among them. Snapshots of the teacher lie
    in `out_dir/snapshots`, as companions of a bound. Raises `UserError` if a loss is not finite, if `out_dir` holds another run, and while another process trains there.
    """
    with locks.writing(out_dir):
        key = task.key(data_sha256)
        if not (out_dir / _RESULT).exists():
            _train(task, rows, validation, key, out_dir, save_every_s)
        tensors, facts = sealed.read(out_dir / _RESULT, "delete it and run again")
        refuse_other_run(facts["key"], key, out_dir)
        split = {
            who: {k.removeprefix(f"{who}."): v for k, v in tensors.items() if k.startswith(f"{who}.")}
            for who in ("student", "teacher")
        }
        return Trained(split["student"], split["teacher"], tensors["costs"].numpy(), float(facts["seconds"]))


def _train(
    task: Requential, rows: np.ndarray, validation: np.ndarray, key: str, out_dir: Path, save_every_s: float
) -> None:
    hardware.keep_freed_memory(of_any_size=True)
    torch.set_num_threads(precision.N_THREADS)
    n_steps, recipe = task.run.n_steps, task.recipe
    batches = control_rows(task, rows[: task.run.n_rows]).reshape(n_steps, task.spec.batch_rows, -1)
    state = RequentialState(task.spec, task.seed, task.most_steps, task.steps_per_draw * task.rows_per_step)
    path = out_dir / "state.safetensors"
    if path.exists():
        try:
            state.load(path, key)
        except files.Damaged as error:
            tqdm.write(f"note: {error}", sys.stderr)
            path.unlink()
            state = RequentialState(task.spec, task.seed, task.most_steps, len(state.slots))
    student, teacher = state.student, state.teacher
    snapshots, projections = set(snapshot_steps(n_steps)), set(task.projections)
    drawn = None
    with tqdm(
        total=n_steps, desc=f"{task.spec.model_size} {task.name}", unit="step", initial=state.teacher_step, disable=None
    ) as bar:
        while state.teacher_step < n_steps and state.step < task.most_steps:
            step, place = state.step, state.step % task.steps_per_draw
            rate = task.run.schedule.rate(state.teacher_step)
            if place == 0:
                if time.monotonic() - state.saved >= save_every_s:
                    state.save(path, key)
                sampler = Sampler(teacher.average, len(state.slots), task.spec.seq_len)
                drawn = sampler.draw(
                    state.slots.numpy(), task.random(step).random((task.spec.seq_len, len(state.slots)))
                )
                state.slots = drawn.rows[:, -1].clone()
            batch = drawn.part(slice(place * task.rows_per_step, (place + 1) * task.rows_per_step))
            costs = distance(student.average, batch)
            waits = (
                bool(recipe.threshold)
                and costs[0] > recipe.threshold * task.tokens_per_step
                and task.most_steps - step > n_steps - state.teacher_step
            )
            own = learn(student, batch.rows, rate)
            student.take_in(recipe.student_share * step)
            if state.teacher_step in snapshots:
                _snapshot(teacher.average, out_dir / "snapshots", state.teacher_step)
            read = np.nan
            if not waits:
                read = learn(teacher, torch.from_numpy(batches[state.teacher_step].astype(np.int64)), rate)
                state.teacher_step += 1
                teacher.take_in(max(recipe.least_window, recipe.teacher_share * state.teacher_step))
                bar.update()
            state.costs[step] = torch.tensor([*costs, own, read, state.teacher_step])
            state.step += 1
            if state.step in projections:
                project(task, state, batches, validation)
            bar.set_postfix(
                bits=f"{costs[0] / np.log(2):.0f}", student=f"{own:.3f}", teacher=f"{read:.3f}", refresh=False
            )
    tensors = {"costs": state.costs[: state.step]}
    for who, learner in (("student", student), ("teacher", teacher)):
        tensors |= {f"{who}.{name}": p for name, p in learner.average.named_parameters()}
    sealed.write(out_dir / _RESULT, tensors, {"key": key, "seconds": repr(state.seconds)})
    path.unlink(missing_ok=True)


def control_rows(task: Requential, rows: np.ndarray) -> np.ndarray:
    """What the teacher reads: the text, or what takes its place in a control."""
    match task.control:
        case "random":
            return task.random(0, 1).integers(task.spec.vocab_size, size=rows.shape, dtype=rows.dtype)
        case "repeated":
            return np.full_like(rows, rows[0, 1])
    return np.asarray(rows)


def learn(learner: Learner, rows: torch.Tensor, rate: float) -> float:
    """One step of AdamW on rows (n, seq_len + 1); their mean NLL before it, nats/token. `UserError` if that is not finite."""
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    loss = _loss(learner.model, rows)
    if not torch.isfinite(loss):
        raise UserError(f"a loss is {loss.item()}: lower the learning rate of the rung in gengap.models")
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learner.model.parameters(), GRADIENT_CLIP)
    learner.optimizer.step()
    learner.optimizer.zero_grad()
    return loss.item()


class _HeadLoss(torch.autograd.Function):
    """Sum of -log p of the tokens wanted, from what the head reads: a row at a time, whose logits and gradient stay in the core's cache."""

    @staticmethod
    def forward(ctx, hidden: torch.Tensor, head: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Of hidden (n, seq, d), head (V, d) and wanted (n, seq); a scalar."""
        transposed, total = head.T.contiguous(), 0.0
        of_hidden, of_head = torch.empty_like(hidden), torch.zeros_like(transposed)
        place = torch.arange(hidden.shape[1])
        for h, tokens, gradient in zip(hidden, wanted, of_hidden, strict=True):
            p = torch.mm(h, transposed).softmax(-1)
            total -= p[place, tokens].log().sum(dtype=torch.float64).item()
            p[place, tokens] -= 1
            torch.mm(p, head, out=gradient)
            of_head.addmm_(h.T, p)
        ctx.save_for_backward(of_hidden, of_head)
        return hidden.new_tensor(total)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        of_hidden, of_head = ctx.saved_tensors
        return of_hidden * gradient, of_head.T * gradient, None


def _loss(model: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """`gengap.training.loop.next_token_nll` in half the time on a small rung, equal but for rounding."""
    hidden = model.gpt_neox(input_ids=rows[:, :-1]).last_hidden_state
    return _HeadLoss.apply(hidden, model.get_output_embeddings().weight, rows[:, 1:]) / rows[:, 1:].numel()


@torch.no_grad()
def distance(student: torch.nn.Module, drawn: Drawn) -> tuple[float, float, float, float]:
    """What rows drawn from a teacher cost beside a student's predictions: nats, and nats^2.

    (sum of KL(teacher || student) over all prefixes, each summed over the vocabulary; the log ratio of the rows themselves, of which that is the expectation
    step by step; the sum of its conditional variances; its variance as the rows, which are independent of each other, show it).
    """
    hidden = student.gpt_neox(input_ids=drawn.rows[:, :-1]).last_hidden_state
    head = student.get_output_embeddings().weight.T.contiguous()
    kl = variance = 0.0
    ratios = []
    for row, of_teacher, of_student in zip(drawn.rows, drawn.hidden, hidden, strict=True):
        log_q = torch.addmm(drawn.head[1], of_teacher, drawn.head[0]).log_softmax(-1)
        ratio = log_q - torch.mm(of_student, head).log_softmax(-1)  # (seq_len, V) nats
        weighted = log_q.exp_().mul_(ratio)
        mean = weighted.sum(-1).double()
        kl += mean.sum().item()
        variance += (torch.linalg.vecdot(weighted, ratio).double() - mean**2).sum().item()
        ratios.append(ratio.gather(1, row[1:, None]).sum(dtype=torch.float64).item())
    return kl, sum(ratios), variance, len(ratios) * float(np.var(ratios, ddof=1)) if len(ratios) > 1 else variance


@torch.no_grad()
def mean_loss(model: torch.nn.Module, rows: np.ndarray) -> float:
    return _loss(model, torch.from_numpy(rows.astype(np.int64))).item()


def project(task: Requential, state: RequentialState, batches: np.ndarray, validation: np.ndarray) -> None:
    """The teacher becomes the student, and is trained on text it has read until it is as good as it was, or for half as many steps as it had taken."""
    teacher, most = state.teacher, max(50, state.teacher_step // 2)
    wanted = mean_loss(teacher.average, validation)
    teacher.take_over(state.student.average)
    teacher.begin_again(task.spec)
    rate, window = (
        task.run.schedule.rate(state.teacher_step),
        max(task.recipe.least_window, task.recipe.teacher_share * state.teacher_step),
    )
    chosen = task.random(state.step, 2).integers(state.teacher_step, size=most)
    for i, batch in enumerate(chosen, 1):
        learn(teacher, torch.from_numpy(batches[batch].astype(np.int64)), rate * min(1.0, i / CHECK_EVERY))
        teacher.take_in(min(window, i / 2))
        if i % CHECK_EVERY == 0 and mean_loss(teacher.average, validation) <= wanted:
            break


def _snapshot(model: torch.nn.Module, folder: Path, step: int) -> None:
    sealed.write(
        snapshot_path(folder, step), {f"{TEACHER}/{name}": p.half() for name, p in model.named_parameters()}, {}
    )
