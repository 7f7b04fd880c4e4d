"""Tokens a second of the ladder's training beside nanoGPT's loop: same architecture, same text, same machine, one run.

    python benchmarks/bench_training.py [--sizes ladder-50k ladder-200k ladder-800k] [--rounds 3] [--seconds 15]

writes benchmarks/training.json. The two loops take turns, each in a process of its own, for they differ in how they use
the allocator. nanoGPT's loop (github.com/karpathy/nanoGPT, train.py, the CPU settings of its README) is rebuilt here from its
structure: crops drawn at random from a memory map and stacked anew for each step, float32 without autocast, torch.compile
off, AdamW with fused=True on CUDA only, gradient scaler and clipping called as there (idle on a CPU), logits of the whole
batch through F.cross_entropy, the loss read every ten steps. The model is the ladder's GPT-NeoX in both loops, with PyTorch's
attention kernel in nanoGPT's. Not reproduced: tied embeddings and learned positions (the architecture is to be the same),
evaluations and checkpoints on the way (neither loop makes any).

What ours does otherwise, for the same rows of tokens: rows packed beforehand and read in order, the fused optimizer, freed memory kept by the process, and from
0.5 million parameters on bfloat16 products with attention a row at a time. Both use one thread, as the ladder does.
`cpu` figures count the processor time of the process, which other work on the machine changes little; `wall` counts the clock.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from gengap import hardware, models
from gengap.tokens import wheels
from gengap.training import Run, precision
from gengap.training.loop import new_model, new_optimizer, prepared_model, take_step

WARMUP_STEPS = 3
LOOPS = ("nanogpt", "gengap")


def nanogpt_step(spec):
    """One step of nanoGPT's loop, as a function of the step's number."""
    tokens = np.memmap(wheels.corpus_dir() / "train.bin", np.uint16, "r")
    model = new_model(spec, 0).train()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=spec.peak_lr, betas=(0.9, 0.95))
    scaler = torch.amp.GradScaler("cpu", enabled=False)

    def get_batch():
        starts = torch.randint(len(tokens) - spec.seq_len, (spec.batch_rows,))
        crops = [tokens[i : i + spec.seq_len + 1].astype(np.int64) for i in starts]
        return (
            torch.stack([torch.from_numpy(crop[:-1]) for crop in crops]),
            torch.stack([torch.from_numpy(crop[1:]) for crop in crops]),
        )

    batch = get_batch()

    def step(number):
        nonlocal batch
        inputs, targets = batch
        logits = model(input_ids=inputs).logits  # (batch, seq, vocab)
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)
        batch = get_batch()  # nanoGPT fetches the next one while a GPU computes
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if number % 10 == 0:
            loss.item()

    return step


def gengap_step(spec):
    """One step of `gengap.training.loop.train_run`, by its own functions."""
    hardware.keep_freed_memory(of_any_size=True)
    run, rows = Run(spec), spec.train_rows()
    model = prepared_model(run)
    optimizer = new_optimizer(model, spec)
    batches = rows[: run.n_rows].reshape(run.n_steps, spec.batch_rows, -1)

    def step(number):
        take_step(model, optimizer, batches[number % run.n_steps], number % run.n_steps, run)

    return step


def measure(loop: str, model_size: str, seconds: float) -> dict:
    """Tokens a second of one loop in this process."""
    spec = models.get(model_size)
    torch.set_num_threads(precision.N_THREADS)
    torch.manual_seed(0)
    step = {"nanogpt": nanogpt_step, "gengap": gengap_step}[loop](spec)
    for number in range(WARMUP_STEPS):
        step(number)
    n, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds or n < 5:
        step(WARMUP_STEPS + n)
        n += 1
    tokens = n * spec.batch_rows * spec.seq_len
    return {"wall": tokens / (time.perf_counter() - wall), "cpu": tokens / (time.process_time() - cpu)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", nargs="+", default=["ladder-50k", "ladder-200k", "ladder-800k"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--one", choices=LOOPS, help="measure one loop here and print it (used by this script)")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.sizes[0], options.seconds)))
        return
    report = {"python": platform.python_version(), "torch": torch.__version__, "sizes": {}}
    for size in options.sizes:
        runs = {loop: [] for loop in LOOPS}
        for _ in range(options.rounds):
            for loop in LOOPS:
                command = [sys.executable, __file__, "--one", loop, "--sizes", size]
                command += ["--seconds", str(options.seconds)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                runs[loop].append(json.loads(done.stdout))
        entry = {"n_params": models.get(size).n_params, "n_threads": precision.N_THREADS}
        for clock in ("wall", "cpu"):
            rates = {loop: [run[clock] for run in runs[loop]] for loop in LOOPS}
            ratios = [ours / peer for peer, ours in zip(*rates.values(), strict=True)]
            entry[clock] = {
                "tokens_per_second": {loop: sorted(map(round, rates[loop])) for loop in LOOPS},
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
            }
            print(
                f"{size:<12} {clock}: "
                + ", ".join(f"{loop} {statistics.median(rates[loop]):,.0f} tokens/s" for loop in LOOPS)
                + f", ratio {entry[clock]['ratio']:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                flush=True,
            )
        report["sizes"][size] = entry
    path = Path(__file__).with_name("training.json")
    path.write_text(json.dumps(report, indent=1) + "\n")


main()
