"""One epoch of training of a ladder rung, with the online loss of every batch before its update.

The run can be killed at any moment: its whole state is written atomically every few seconds, and a resumed run is
bit-identical to an undisturbed one.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save as serialized
from tqdm import tqdm
from transformers import AutoModelForCausalLM, PreTrainedModel

from gengap import files, hardware, locks
from gengap.errors import UserError
from gengap.models.ladder import LadderSpec
from gengap.models.snapshots import snapshot_path
from gengap.paths import atomic_path, published_results_dir
from gengap.statistics.per_token import token_statistics
from gengap.tokens.rows import TokenRows
from gengap.training import precision
from gengap.training.log import TrainingLog, write_heldout_log
from gengap.training.run import BETAS, GRADIENT_CLIP, WEIGHT_DECAY, Checks, Device, Run
from gengap.training.snapshots import MovingAverages, snapshot_steps
from gengap.training.state import TrainingState, fork_path, last_start, refuse_other_run, unpack_into

SAVE_EVERY_S = 10.0


def next_token_nll(model: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Mean NLL in nats of a batch of rows, (batch, seq_len + 1) int64."""
    logits = model(input_ids=rows[:, :-1]).logits  # (batch, seq, vocab)
    return F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())


def new_model(spec: LadderSpec, seed: int) -> PreTrainedModel:
    """A freshly initialised rung (its architecture's own initialisation, seeded)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(spec.config())


def new_optimizer(model: torch.nn.Module, spec: LadderSpec) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=spec.peak_lr, betas=BETAS, fused=True)


def train(
    spec: LadderSpec,
    rows: TokenRows,
    out_dir: Path,
    seed: int = 0,
    save_every_s: float = SAVE_EVERY_S,
    snapshots: bool = False,
    trunks: Path | None = None,
    device: Device = "cpu",
) -> TrainingLog:
    """Train `spec` on its rows in order, once: a rung's run of its length. See `train_run`.

    With `snapshots`, weights along the way and their averages are kept in `out_dir/snapshots`, about 1.3 kB a parameter.
    """
    folder = out_dir / "snapshots" if snapshots else None
    run = Run(spec.at("main"), spec.length, spec.seed or seed, device=device)
    return train_run(run, rows, out_dir, trunks, save_every_s=save_every_s, snapshots=folder)


def train_run(
    run: Run,
    rows: TokenRows,
    out_dir: Path,
    trunks: Path | None = None,
    checks: Checks | None = None,
    save_every_s: float = SAVE_EVERY_S,
    snapshots: Path | None = None,
) -> TrainingLog:
    """Train from the beginning, from the state in `out_dir`, or from the last fork in `trunks`; return if finished.

    Waypoints that were published for the rung are brought into `trunks`. Writes `out_dir/checkpoint/`,
    `out_dir/heldout_log.csv` if there are `checks`, last `out_dir/loss_log.csv`; a fork in `trunks` when the rate begins
    to fall; and snapshots of the weights into the folder `snapshots`, for which it begins at the beginning. Raises `UserError` if
    there are too few rows or no such device, if a loss is not finite, if `out_dir` holds another run (other size, length,
    data, seed or settings), and while another process trains there.
    """
    with locks.writing(out_dir):
        return _train_run(run, rows, out_dir, trunks, checks, save_every_s, snapshots)


def _train_run(
    run: Run,
    rows: TokenRows,
    out_dir: Path,
    trunks: Path | None,
    checks: Checks | None,
    save_every_s: float,
    snapshots: Path | None,
) -> TrainingLog:
    key = run.key(rows.sha256)
    if (out_dir / "loss_log.csv").exists():
        log = TrainingLog.read(out_dir / "loss_log.csv", run.n_steps)
        refuse_other_run(log.run_key, key, out_dir)
        return log
    if len(rows) < run.n_rows:
        name = run.spec.model_size
        raise UserError(f"{name}: {run.n_rows:,} rows are needed, {len(rows):,} are there: take a shorter run")
    if run.device == "cuda" and not torch.cuda.is_available():
        raise UserError("torch finds no GPU here: train on the device cpu, or run `gengap doctor`")
    hardware.keep_freed_memory(of_any_size=True)
    torch.set_num_threads(precision.N_THREADS)
    schedule, checks = run.schedule, checks or Checks(rows[:0], ())
    model = prepared_model(run).to(run.device)
    averages = MovingAverages(model) if snapshots else None
    state = TrainingState(model, new_optimizer(model, run.spec), run.n_steps, len(checks.steps), averages)
    snapshot_at = set(snapshot_steps(run.n_steps)) if snapshots else ()
    if averages and not (first := snapshot_path(snapshots, 0)).exists():  # a graph that was killed takes it away
        averages.save(first)
    path = out_dir / "training_state.safetensors"
    trunk = trunks and trunks / run.trunk_key(rows.sha256)[:16]
    resumed = path.exists() and _goes_on(state, path, key)
    if trunk and not resumed and not averages:  # which reach back to the beginning
        unpack_into(trunk, published_trunks(run.spec) / trunk.name)
        while (start := last_start(trunk, schedule.fork_step)) and not _goes_on(state, start, trunk.name):
            continue
    batches = rows[: run.n_rows].reshape(run.n_unique_steps, run.spec.batch_rows, -1)
    with tqdm(
        total=run.n_steps, desc=run.spec.model_size, unit="step", initial=state.step, unit_scale=True, disable=None
    ) as bar:
        for step in range(state.step, run.n_steps):
            if rounded := step in run.waypoints:
                state.round_off()
            if trunk and (rounded or step == schedule.fork_step) and not fork_path(trunk, step).exists():
                state.save(fork_path(trunk, step), trunk.name, rounded)
            if averages:
                averages.update(step)
            if step in snapshot_at:
                averages.save(snapshot_path(snapshots, step))
            batch = batches[step % run.n_unique_steps]
            state.losses[step] = loss = take_step(model, state.optimizer, batch, step, run)
            if step in checks.steps:
                state.checks[checks.steps.index(step)] = float(token_statistics(model, checks.rows).nll.mean())
            if time.monotonic() - state.saved >= save_every_s:
                state.save(path, key)
            bar.update()
            bar.set_postfix(nll=f"{loss:.3f}", refresh=False)
    save_checkpoint(model, out_dir / "checkpoint")
    if checks.steps:
        write_heldout_log(out_dir / "heldout_log.csv", checks.steps, state.checks.numpy())
    log = TrainingLog(state.losses.numpy(), run.tokens_per_step, state.seconds, key)
    log.write(out_dir / "loss_log.csv")
    path.unlink(missing_ok=True)
    return log


def _goes_on(state: TrainingState, path: Path, key: str) -> bool:
    """Whether the run can go on from this file; one that is damaged is removed, since a run comes to the same without it."""
    try:
        state.load(path, key)
    except files.Damaged as error:
        tqdm.write(f"note: {error}", sys.stderr)
        path.unlink()
        return False
    return True


def published_trunks(spec: LadderSpec) -> Path:
    """Where waypoints of a rung's unfinished runs are published, for other machines to go on from."""
    return published_results_dir() / spec.family / spec.size / "trunk"


def prepared_model(run: Run) -> PreTrainedModel:
    """The fresh model of a run, with the attention that suits its precision."""
    model = new_model(run.spec, run.seed).train()
    if run.computed_in == "bfloat16" and run.device == "cpu":
        model.set_attn_implementation(precision.CAUSAL_ATTENTION)
    return model


def take_step(model: torch.nn.Module, optimizer: torch.optim.AdamW, batch: np.ndarray, step: int, run: Run) -> float:
    """One step of AdamW on a batch, (batch_rows, seq_len + 1) tokens; its mean NLL before the update, nats/token.

    Raises `UserError` if that is not finite.
    """
    for group in optimizer.param_groups:
        group["lr"] = run.schedule.rate(step)
    with precision.autocast(run.computed_in, run.device):
        loss = next_token_nll(model, torch.from_numpy(batch.astype(np.int64)).to(run.device))
    if not torch.isfinite(loss):
        raise UserError(
            f"{run.spec.model_size}: the loss of step {step} is {loss.item()}: lower its learning rate in gengap.models"
        )
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def save_checkpoint(model: PreTrainedModel, folder: Path) -> None:
    """Weights in float16 and the configuration, in the layout of the hub."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach().to(torch.float16).contiguous().cpu() for name, p in model.named_parameters()}
    with atomic_path(folder / "config.json") as part:
        model.config.to_json_file(part)
    files.forget(folder / "model.safetensors")
    with atomic_path(folder / "model.safetensors") as part:
        part.write_bytes(serialized(tensors, {"format": "pt"}))
    files.vouch(folder / "model.safetensors")
