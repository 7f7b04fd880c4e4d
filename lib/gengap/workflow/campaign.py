"""Works through the plan: trains a run, measures it, writes its record; goes on where it was stopped."""

import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch

from gengap import files, locks, models
from gengap.errors import UserError
from gengap.models.ladder import FRONTIER, run_place
from gengap.models.spec import load_folder
from gengap.paths import published_results_dir
from gengap.records.base import Estimate, provenance
from gengap.records.training_run import Noise, Schedule, Shape, TrainingRun, record_path, write_run
from gengap.statistics.per_token import token_statistics
from gengap.tokens.corpus import CODE, king_james_rows
from gengap.tokens.rows import TokenRows, sample_rows
from gengap.training import noise_scale, precision
from gengap.training.log import read_heldout_log
from gengap.training.loop import new_model, published_trunks, train_run
from gengap.training.run import Checks, Run
from gengap.training.state import fork_path, fork_weights, pack, step_of_fork
from gengap.workflow.plan import GROUPS, PlannedRun, plan

N_WINDOWS = 500  # of each loss at the end of a run
N_CHECK_WINDOWS = 100  # of each held-out loss on the way
N_CHECKS = 24  # on the way
N_NOISE_ROWS = 512  # of each gradient noise scale
WINDOWS_SEED = 0


def selected(
    groups: Collection[str] = (), sizes: Collection[str] = (), max_flops: float = math.inf
) -> list[PlannedRun]:
    """The runs of some groups and model sizes (empty: all) that cost at most `max_flops` each, cheapest first.

    Raises `UserError` for an unknown name.
    """
    if unknown := [group for group in groups if group not in GROUPS]:
        raise UserError(f"unknown group {unknown[0]!r}: there are {', '.join(GROUPS)}")
    wanted = {models.get(size).model_size for size in sizes}
    found = [p for p in plan() if p.flops <= max_flops and (not groups or p.group in groups)]
    return [p for p in found if not wanted or p.model_size in wanted]


def is_done(planned: PlannedRun, anew: bool = False) -> bool:
    """Whether its record is there; `anew`: on this machine, a published one does not count."""
    name = f"runs/{planned.name}.json"
    return record_path(planned.model_size, planned.name).exists() or (
        not anew and planned.run.spec.find(name) is not None
    )


def folder(planned: PlannedRun) -> Path:
    """Checkpoint and log of a run."""
    return planned.run.spec.results_dir() / run_place(planned.name)


def carry_out(planned: PlannedRun) -> TrainingRun:
    """Train and measure one run (resumed where it was stopped), and write its record; `UserError` while another process does."""
    with locks.writing(folder(planned)):
        return _carry_out(planned)


def _carry_out(planned: PlannedRun) -> TrainingRun:
    run, spec, out = planned.run, planned.run.spec, folder(planned)
    rows, heldout = spec.all_rows(), spec.heldout_rows()
    # First of all: it may have to be downloaded. It is in the tokens of the ladder's text.
    other = king_james_rows(spec.seq_len + 1) if spec.text is CODE else None
    trunks = spec.results_dir() / "trunks" if planned.group == "grid" else None  # shared by runs of other lengths
    checks = _checks(run, heldout.rows) if planned.group == "repeat" else None  # over-fitted, and stopped early
    log = train_run(run, rows, out, trunks, checks)
    torch.set_num_threads(precision.N_THREADS)  # training may have had nothing to do
    model = load_folder(out / "checkpoint")
    curve = read_heldout_log(out / "heldout_log.csv") if checks else ((), ())
    record = TrainingRun(
        group=planned.group,
        name=planned.name,
        family=spec.family,
        size=spec.size,
        shape=Shape(
            hidden_size=spec.hidden_size,
            n_layers=spec.n_layers,
            n_heads=spec.n_heads,
            n_params=spec.n_params,
            n_nonembedding=spec.n_params - spec.n_embedding,
        ),
        schedule=Schedule(
            n_steps=run.n_steps,
            tokens_per_step=run.tokens_per_step,
            warmup_steps=run.schedule.warmup_steps,
            decay_steps=run.schedule.decay_steps,
            peak_lr=spec.peak_lr,
            precision=run.computed_in,
        ),
        seed=run.seed,
        length=run.length,
        n_train_tokens=run.n_steps * run.tokens_per_step,
        n_unique_tokens=run.n_unique_steps * run.tokens_per_step,
        train=_loss(model, rows[: run.n_rows]),
        heldout=_loss(model, heldout.rows),
        transfer=None if other is None else _loss(model, other),
        heldout_steps=tuple(map(int, curve[0])),
        heldout_curve=tuple(map(float, curve[1])),
        noise=_noise(run, rows, trunks) if trunks else None,
        run_key=log.run_key,
        data_sha256=rows.sha256,
        provenance=provenance(run.device, log.seconds),
    )
    write_run(record, log)
    return record


def _checks(run: Run, heldout: np.ndarray) -> Checks:
    """Evenly spaced over the run, the last at its end."""
    steps = np.linspace(0, run.n_steps, N_CHECKS + 1)[1:].astype(int) - 1
    return Checks(sample_rows(heldout, N_CHECK_WINDOWS, WINDOWS_SEED), tuple(dict.fromkeys(steps.tolist())))


def _loss(model, rows: np.ndarray) -> Estimate:
    """Mean loss on windows drawn from `rows`, its standard error over windows; 0 if they were all evaluated."""
    sample = sample_rows(rows, N_WINDOWS, WINDOWS_SEED)
    means = token_statistics(model, sample).nll.mean(axis=1)  # (m,) nats/token
    error = 0.0 if len(sample) == len(rows) else means.std(ddof=1) / np.sqrt(len(means))
    return Estimate(mean=float(means.mean()), standard_error=float(error), n_tokens=sample[:, 1:].size)


def _noise(run: Run, rows: TokenRows, trunks: Path) -> Noise | None:
    """The gradient noise scale at the weights with which this run left the trunk, if they are kept."""
    step = run.schedule.fork_step
    if not (path := fork_path(trunks / run.trunk_key(rows.sha256)[:16], step)).exists():
        return None
    model = new_model(run.spec, run.seed)
    model.load_state_dict(fork_weights(path))
    found = noise_scale.noise_scale(model, rows[-N_NOISE_ROWS:])  # the last rows: no rung comes so far
    return Noise(step=step, **found._asdict())


def publish_waypoints() -> list[Path]:
    """Bring the last waypoint of each unfinished rung into `results/`, so that another machine can go on; the files that changed.

    Earlier ones are removed, and the last too once the rung's own run has its record.
    """
    changed = []
    for planned in plan():
        spec, steps = planned.run.spec, planned.run.waypoints
        if planned.name != FRONTIER or not steps:
            continue
        there = sorted(published_trunks(spec).glob("*/*.safetensors.xz"))
        here = [path for path in spec.results_dir().glob("trunks/*/*.safetensors") if step_of_fork(path) in steps]
        last = None if is_done(planned) else max([*there, *here], key=step_of_fork, default=None)
        if last in here:
            changed.append(pack(last, published_trunks(spec) / last.parent.name))
        for old in (path for path in there if path != last):
            old.unlink()
            changed.append(old)
    with locks.writing(published_results_dir() / files.LISTING, wait=True):
        files.list_files(published_results_dir(), changed)
    return changed


def change_from_published(record: TrainingRun) -> float | None:
    """Held-out loss less that of the published record, nats/token; None if there is none.

    Zero on a machine like the one that published; elsewhere sums in another order make digits drift apart.
    """
    path = published_results_dir() / record.place
    return record.heldout.mean - TrainingRun.read(path).heldout.mean if path.exists() else None
