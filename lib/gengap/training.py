"""One epoch of training of a ladder rung, with the online loss of every batch before its update.

The run can be killed at any moment: its whole state (weights, optimizer moments, losses) is written atomically
every few seconds, and a resumed run is bit-identical to an undisturbed one.
"""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXForCausalLM

from gengap import progress
from gengap.data import TokenRows
from gengap.errors import UserError
from gengap.models import ModelSpec
from gengap.paths import atomic_path

WARMUP_SHARE = 0.02  # of the steps: linear warmup
DECAY_SHARE = 0.2  # of the steps: linear decay to zero at the end (warmup-stable-decay)
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1  # of matrices; none on norms and biases
GRADIENT_CLIP = 1.0
SAVE_EVERY_S = 10.0


@dataclass(frozen=True)
class TrainingLog:
    """What one epoch leaves beside the weights."""

    online_nll: np.ndarray  # (n_steps,) mean NLL of each batch before its update, nats/token
    tokens_per_step: int
    seconds: float  # of all training processes together
    run_key: str  # hash of size, data, seed and settings: which run this was

    def write(self, path: Path) -> None:
        with atomic_path(path) as part, part.open("w") as file:
            file.write(
                f"# tokens_per_step={self.tokens_per_step} seconds={self.seconds:.1f} run={self.run_key}\nstep,online_nll_nats\n"
            )
            file.writelines(f"{step},{nll:.9g}\n" for step, nll in enumerate(self.online_nll))

    @classmethod
    def read(cls, path: Path) -> "TrainingLog":
        """Raises `UserError` if the file is not a whole loss log."""
        try:
            head, _, *lines = path.read_text().splitlines()
            facts = dict(fact.split("=") for fact in head.lstrip("# ").split())
            steps, nll = np.loadtxt(lines, delimiter=",", ndmin=2).T
            if not np.array_equal(steps, np.arange(len(steps))):
                raise ValueError("steps are missing")
            return cls(
                nll.astype(np.float32), int(facts["tokens_per_step"]), float(facts["seconds"]), facts["run"]
            )
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} is no loss log ({error}): delete its folder and train the rung again"
            ) from error


def learning_rate(step: int, n_steps: int, peak: float) -> float:
    """Warmup-stable-decay: linear up over the first 2 %, constant, linear to zero over the last 20 %."""
    warmup, decay = max(1, round(WARMUP_SHARE * n_steps)), max(1, round(DECAY_SHARE * n_steps))
    return peak * min(1.0, (step + 1) / warmup, (n_steps - step) / decay)


def next_token_nll(model: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Mean NLL in nats of a batch of rows, (batch, seq_len + 1) int64."""
    logits = model(input_ids=rows[:, :-1]).logits  # (batch, seq, vocab)
    return F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())


def new_model(spec: ModelSpec, seed: int) -> GPTNeoXForCausalLM:
    """A freshly initialised rung (GPT-NeoX's own initialisation, seeded)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPTNeoXForCausalLM(spec.config())


def new_optimizer(model: torch.nn.Module, spec: ModelSpec) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=spec.peak_lr, betas=BETAS, fused=True)


def train(
    spec: ModelSpec, rows: TokenRows, out_dir: Path, seed: int = 0, save_every_s: float = SAVE_EVERY_S
) -> TrainingLog:
    """Train `spec` on its rows in order, once; resume if a state is there; return at once if it is finished.

    Writes `out_dir/checkpoint/` (safetensors in float16, as Pythia's releases) and last `out_dir/loss_log.csv`.
    Raises `UserError` if a loss is not finite, and if `out_dir` holds another run (other size, data, seed or settings).
    """
    key = _run_key(spec, rows, seed)
    if (out_dir / "loss_log.csv").exists():
        log = TrainingLog.read(out_dir / "loss_log.csv")
        _refuse_other_run(log.run_key, key, out_dir)
        return log
    torch.set_num_threads(n_threads(spec))
    model = new_model(spec, seed).train()
    optimizer = new_optimizer(model, spec)
    run = _RunState(model, optimizer, spec.n_steps, out_dir / "training_state.safetensors", key)
    batches = rows.rows[: spec.n_train_rows].reshape(spec.n_steps, spec.batch_rows, -1)

    with progress.bar(total=spec.n_steps, desc=spec.model_size, unit="step", initial=run.step) as bar:
        for step in range(run.step, spec.n_steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, spec.n_steps, spec.peak_lr)
            loss = next_token_nll(model, torch.from_numpy(batches[step].astype(np.int64)))
            if not torch.isfinite(loss):
                raise UserError(
                    f"{spec.model_size}: the loss of step {step} is {loss.item()}: lower its learning rate in gengap.models"
                )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
            optimizer.step()
            optimizer.zero_grad()
            run.losses[step] = loss.item()
            if time.monotonic() - run.saved >= save_every_s:
                run.save()
            bar.update()
            bar.set_postfix(nll=f"{loss.item():.3f}", refresh=False)
    return run.finish(out_dir, tokens_per_step=spec.batch_rows * spec.seq_len)


def n_threads(spec: ModelSpec) -> int:
    """Fixed by size and not by machine, so that sums are taken in the same order everywhere."""
    return 1 if spec.n_params < 500_000 else 2


def _run_key(spec: ModelSpec, rows: TokenRows, seed: int) -> str:
    facts = json.dumps(
        [asdict(spec), rows.sha256, seed, WARMUP_SHARE, DECAY_SHARE, BETAS, WEIGHT_DECAY, GRADIENT_CLIP]
    )
    return hashlib.sha256(facts.encode()).hexdigest()


def _refuse_other_run(found: str, wanted: str, folder: Path) -> None:
    if found != wanted:
        raise UserError(
            f"{folder} belongs to another run (size, data, seed or settings): delete it and run again"
        )


class _RunState:
    """Everything that a resumed run needs, as named tensors in one safetensors file."""

    def __init__(self, model, optimizer, n_steps: int, path: Path, key: str):
        self.model, self.optimizer, self.path, self.key = model, optimizer, path, key
        self.losses = torch.full((n_steps,), torch.nan)
        self.step = 0
        self.seconds = 0.0
        self.started = self.saved = time.monotonic()
        if path.exists():
            self._load()

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        for name, p in self.model.named_parameters():
            tensors |= {f"optimizer.{name}.{key}": value for key, value in self.optimizer.state[p].items()}
        return tensors | {"losses": self.losses}

    def _load(self) -> None:
        try:
            tensors = load_file(self.path)
            facts = json.loads(self.path.with_suffix(".json").read_text())
        except Exception as error:  # safetensors raises its own classes for damaged files
            raise UserError(f"{self.path} is damaged ({error}): delete it and run again") from error
        _refuse_other_run(facts["key"], self.key, self.path.parent)
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(tensors[f"model.{name}"])
                prefix = f"optimizer.{name}."
                self.optimizer.state[p] = {
                    key.removeprefix(prefix): value
                    for key, value in tensors.items()
                    if key.startswith(prefix)
                }
        self.losses = tensors["losses"]
        self.step = int(torch.isfinite(self.losses).sum())
        self.seconds = facts["seconds"]

    def save(self) -> None:
        facts = {"key": self.key, "seconds": self.seconds + time.monotonic() - self.started}
        with atomic_path(self.path.with_suffix(".json")) as part:
            part.write_text(json.dumps(facts))
        with atomic_path(self.path) as part:
            save_file(self._tensors(), part)
        self.saved = time.monotonic()

    def finish(self, out_dir: Path, tokens_per_step: int) -> TrainingLog:
        self.seconds += time.monotonic() - self.started
        save_checkpoint(self.model, out_dir / "checkpoint")
        log = TrainingLog(self.losses.numpy(), tokens_per_step, self.seconds, self.key)
        log.write(out_dir / "loss_log.csv")
        self.path.unlink(missing_ok=True)
        self.path.with_suffix(".json").unlink(missing_ok=True)
        return log


def save_checkpoint(model: GPTNeoXForCausalLM, folder: Path) -> None:
    """Weights in float16 and the configuration, in the layout of the hub."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach().to(torch.float16).contiguous() for name, p in model.named_parameters()}
    with atomic_path(folder / "config.json") as part:
        model.config.to_json_file(part)
    with atomic_path(folder / "model.safetensors") as part:
        save_file(tensors, part, metadata={"format": "pt"})
