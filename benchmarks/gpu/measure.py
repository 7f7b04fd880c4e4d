"""What a GPU makes of the library: its digits against the CPU's, its speed and memory, and one certificate from end to end.

    bash benchmarks/gpu/run.sh --out FOLDER [--budget SECONDS] [--device cpu --tiny]

Every part runs in a process of its own, in the order of `PARTS`, and leaves FOLDER/<part>.json; what does not fit into the budget any more is
left out, and FOLDER/gpu.json holds what was measured. `--tiny` takes small shapes, so that the tests can run all of it on a CPU.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROWS = Path("build/gpu/rows.npy")  # (2000, 257) tokens of the ladder's corpus
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
LEAST_S = 15  # no part is begun with less


def tokens(n_rows, seq_len, seed=0, vocab_size=None):
    """(n_rows, seq_len + 1): the corpus in longer rows, or at random over a vocabulary."""
    if vocab_size is None and ROWS.exists():
        flat = np.load(ROWS).ravel()
        return np.resize(flat, n_rows * (seq_len + 1)).reshape(n_rows, -1).astype(np.int64)
    return np.random.default_rng(seed).integers(0, vocab_size or 2048, (n_rows, seq_len + 1))


def random_model(size, dtype, device, tiny, n_layers=None):
    """Random weights in the shape of a Pythia; `n_layers` of its layers."""
    import torch
    from transformers import GPTNeoXForCausalLM

    from gengap import models

    config = models.get(f"pythia-{size}").config()
    for name, value in (TINY if tiny else {}).items():
        setattr(config, name, value)
    if tiny:
        config.vocab_size, config.max_position_embeddings = 2048, 256
    if n_layers and not tiny:
        config.num_hidden_layers = n_layers
    torch.manual_seed(0)
    with torch.device(device):
        model = GPTNeoXForCausalLM._from_config(config, dtype=getattr(torch, dtype), attn_implementation="sdpa")
    return model.eval()


class Watch:
    """Seconds and peak memory of what stands in the `with`."""

    def __init__(self, device):
        self.device = device

    def __enter__(self):
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_):
        import torch

        self.peak_bytes = 0
        if self.device == "cuda":
            torch.cuda.synchronize()
            self.peak_bytes = torch.cuda.max_memory_allocated()
        self.seconds = time.perf_counter() - self.started


def apart(found, expected) -> dict:
    """How far two arrays are apart."""
    difference = np.asarray(found, np.float64) - np.asarray(expected, np.float64)
    return {"greatest": float(np.abs(difference).max()), "of_the_mean": float(abs(difference.mean()))}


def numbers(value, place="") -> Iterator[tuple[str, float]]:
    """Every number of a record, with its place."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from numbers(part, f"{place}.{name}")
    elif isinstance(value, float):
        yield place, value


def digits(device, tiny):
    """ladder-1.5m on a CPU and on the device: statistics, tilts, a companion, a certificate, quantization, the curvature."""
    import torch

    import gengap
    from gengap import models
    from gengap.bounds.grids import TiltGrid
    from gengap.compression import curvature, layerwise
    from gengap.compression.archive import Hypothesis
    from gengap.statistics.companion import beside_statistics
    from gengap.workflow.settings import Settings

    name, other = ("ladder-50k", "ladder-100k") if tiny else ("ladder-1.5m", "ladder-800k")
    spec, rows, found = models.get(name), tokens(400, 256), {"model": name}
    few, tilts = rows[:4] if tiny else rows[:64], TiltGrid().tilts(spec.vocab_size)[::7]
    on_cpu, on_device = spec.load(), spec.load().to(device)
    one, two = (gengap.token_statistics(m, few, (0.02, 0.1, 0.3), tilts=tilts) for m in (on_cpu, on_device))
    found["losses"], found["entropies"] = apart(two.nll, one.nll), apart(two.entropy, one.entropy)
    found["tilted entropies"] = apart(two.tilted_entropy, one.tilted_entropy)
    yield found
    found["tilted losses"] = apart(*([s.tilted(tilt).loss for tilt in tilts] for s in (two, one)))
    at = np.arange(len(few)) * 37 % 256
    found["losses at positions"] = apart(
        gengap.token_statistics(on_device, few, positions=at).nll[:, 0], one.nll[range(len(few)), at]
    )
    yield found
    weights = models.get(other)
    companion = gengap.Companion("another model", (0,), lambda _: weights.load())
    kinds = [(0.1, False), (0.3, True)]
    one, two = (beside_statistics(m, companion, few, range(len(few)), kinds) for m in (on_cpu, on_device))
    found["companion"] = apart([two.loss, two.entropy], [one.loss, one.entropy])
    found["beside"] = apart(*([part for kind in kinds for part in s.of[kind][2:]] for s in (two, one)))
    yield found
    hypothesis = Hypothesis.read(spec.find_archive("gptq", 4), "gptq", 4, spec.config())
    settings = Settings(n_pilot_windows=10, n_windows=40 if tiny else 200, n_pairs=100)
    records = [gengap.certify(m, rows, hypothesis=hypothesis, settings=settings) for m in (on_cpu, on_device)]
    one, two = (dict(numbers(json.loads(r.model_dump_json(include={"risks", "bounds"})))) for r in records)
    found["certificate"] = {"greatest": max(abs(two[place] - one[place]) for place in one), "numbers": len(one)}
    found["same choices"] = all(
        two[place] == one[place] for place in one if place.endswith((".rate", ".baseline_floor"))
    )
    yield found
    small = models.get("ladder-50k" if tiny else "ladder-400k").load()
    for method in ("rtn", "gptq"):
        one, two = (
            layerwise.quantize(m, method, 4, 128, rows[:32, :-1], device=d)
            for m, d in ((small, "cpu"), (small, device))
        )
        same = [np.mean(one.tensors[n].codes == two.tensors[n].codes) for n in one.tensors]
        found[f"equal codes, {method}"] = float(np.mean(same))
        yield found
    matrices = (curvature.gauss_newton(m, few[:2]) for m in (small, small.to(device)))
    start = torch.ones(sum(p.numel() for p in small.parameters()), 1)
    one, two = (matrix.matmul(start).cpu().numpy() for matrix in matrices)
    found["curvature, relative"] = float(np.abs(two - one).max() / np.abs(one).max())
    yield found


def matmul_peak(device, dtype, tiny):
    """FLOP/s of one large matrix product."""
    import torch

    n = 256 if tiny else 8192
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    torch.mm(a, b)
    with Watch(device) as watch:
        for _ in range(20):
            torch.mm(a, b)
    return 20 * 2 * n**3 / watch.seconds


def speed(device, tiny):
    """Tokens per second, peak memory and share of the matmul peak of shapes with random weights, beside the plain loop."""
    import torch

    import gengap
    from gengap.bounds.grids import Tilt

    peak = matmul_peak(device, torch.bfloat16, tiny)
    found = {"matmul_flops_per_s": peak, "shapes": []}
    for size, n_rows in (("410m", 32), ("1.4b", 16), ("6.9b", 8)):
        model = random_model(size, "bfloat16", device, tiny)
        seq_len, vocab_size = model.config.max_position_embeddings, model.config.vocab_size
        rows = tokens(2 if tiny else n_rows, seq_len, vocab_size=vocab_size)
        n_params = sum(p.numel() for p in model.parameters())
        tilts = Tilt(0.143, 0.003, 0.0, 1, vocab_size), Tilt(0.2, 0.003, 0.0, 1, vocab_size)

        def plain(given, model=model):
            with torch.inference_mode():
                for row in torch.from_numpy(given).to(device).split(1):
                    logits = model(input_ids=row[:, :-1], use_cache=False).logits.float()
                    torch.nn.functional.cross_entropy(logits[0], row[0, 1:], reduction="none").cpu()

        ways = {
            "plain loop, losses": plain,
            "losses": lambda given, model=model: gengap.token_statistics(model, given),
            "3 alphas": lambda given, model=model: gengap.token_statistics(model, given, (0.02, 0.1, 0.3)),
            "3 alphas and 2 tilts": lambda given, model=model, tilts=tilts: gengap.token_statistics(
                model, given, (0.02, 0.1, 0.3), tilts=tilts
            ),
        }
        for way, run in ways.items():
            run(rows[:2])
            with Watch(device) as watch:
                run(rows)
            rate = rows[:, 1:].size / watch.seconds
            line = {
                "shape": size,
                "n_params": n_params,
                "computes": way,
                "tokens_per_s": rate,
                "share_of_matmul_peak": 2 * n_params * rate / peak,
                "peak_bytes": watch.peak_bytes,
                "weight_bytes": 2 * n_params,
            }
            found["shapes"].append(line)
            yield found
        del model, plain, ways
        if device == "cuda":
            torch.cuda.empty_cache()


def training(device, tiny):
    """Steps of ladder-4.5m's training, on the CPU in float32 and on the device in float32 and under bfloat16 autocast."""
    import torch

    from gengap import models
    from gengap.training.loop import new_model, new_optimizer, next_token_nll
    from gengap.training.run import GRADIENT_CLIP

    spec = models.get("ladder-50k" if tiny else "ladder-4.5m")
    rows, n_steps = tokens(8 * spec.batch_rows, 256), 2 if tiny else 8
    found = {"model": spec.model_size, "tokens_per_step": spec.batch_rows * 256, "ways": {}}
    for where, low in (("cpu", False), (device, False), (device, True)):
        model = new_model(spec, 0).train().to(where)
        optimizer, losses, seconds = new_optimizer(model, spec), [], []
        for step in range(2 if tiny or where == "cpu" else n_steps):
            batch = torch.from_numpy(rows[step * spec.batch_rows : (step + 1) * spec.batch_rows]).to(where)
            with Watch(where) as watch:
                with torch.autocast(where, torch.bfloat16, enabled=low):
                    loss = next_token_nll(model, batch)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
                optimizer.step()
            losses.append(loss.item())
            seconds.append(watch.seconds)
        name = f"{where}, {'bfloat16' if low else 'float32'}"
        found["ways"][name] = {"seconds_per_step": min(seconds), "losses": losses}
        yield found


def gptq(device, tiny):
    """GPTQ at 4 bits of a few layers of 410m and 1.4b, with their embeddings and heads: seconds and memory."""
    from gengap.compression import layerwise

    found = {}
    for size, n_layers in (("410m", 2), ("410m", 6), ("1.4b", 2)):
        model = random_model(size, "float32", device, tiny, n_layers)
        rows = tokens(2 if tiny else 32, model.config.max_position_embeddings)[:, :-1]
        with Watch(device) as watch:
            layerwise.quantize(model, "gptq", 4, 128, rows, device=device)
        found[f"{size}, {n_layers} layers"] = {
            "seconds": watch.seconds,
            "peak_bytes": watch.peak_bytes,
            "n_params": sum(p.numel() for p in model.parameters()),
        }
        yield found
        del model


def certificate(device, tiny):
    """`gengap certify` on the shape of 410m, with random weights, from a folder and a file of rows."""
    from gengap.cli import app

    with tempfile.TemporaryDirectory() as folder:
        model = random_model("410m", "float32", device, tiny)
        seq_len = min(1024, model.config.max_position_embeddings)
        model.save_pretrained(folder)
        Path(folder, "lib", "gengap").mkdir(parents=True)
        Path(folder, "corpus.lock").touch()
        os.environ["GENGAP_ROOT"] = folder  # its record is none of this project's
        del model
        np.save(Path(folder, "rows.npy"), tokens(60 if tiny else 480, seq_len, vocab_size=2048))
        settings = ["--n-pilot-windows", "8", "--n-windows", "20" if tiny else "200", "--n-pairs", "100"]
        rows = ["--rows", f"{folder}/rows.npy", "--name", "gpu", "--method", "rtn"]
        with Watch(device) as watch:
            app(["certify", folder, *rows, *settings], standalone_mode=False)
    n_windows = 28 if tiny else 208
    yield {"seconds": watch.seconds, "peak_bytes": watch.peak_bytes, "n_windows": n_windows, "seq_len": seq_len}


PARTS = {  # name: (function, seconds it is given at most)
    "digits": (digits, 110),
    "speed": (speed, 100),
    "training": (training, 60),
    "gptq": (gptq, 90),
    "certificate": (certificate, 150),
}


def machine(device):
    import torch
    import transformers

    found = {"torch": torch.__version__, "transformers": transformers.__version__, "device": device}
    if device == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(), "memory_bytes": torch.cuda.mem_get_info()[1]}
    return found


def work(part, out, device, tiny):
    """One part in this process: what it finds is written as soon as it is found, for it may not come to its end."""
    for state in PARTS[part][0](device, tiny):
        content = {"machine": machine(device), "found": state}
        (out / f"{part}.json").write_text(json.dumps(content, indent=1) + "\n")


def drive(parts, out, budget, device, tiny):
    """All parts, as long as there is time; what each left is gathered in gpu.json."""
    end, gathered = time.monotonic() + budget, {}
    for part in parts:
        left = end - time.monotonic()
        if left < LEAST_S:
            gathered[part] = {"left_out": "no time left"}
            continue
        command = [sys.executable, __file__, "--part", part, "--out", str(out), "--device", device]
        started, limit = time.monotonic(), min(left, PARTS[part][1])
        with (out / f"{part}.log").open("w") as log:
            process = subprocess.Popen(
                [*command, *(["--tiny"] if tiny else [])], start_new_session=True, stdout=log, stderr=log
            )
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
        path = out / f"{part}.json"
        gathered[part] = json.loads(path.read_text()) if path.exists() else {}
        gathered[part] |= {"seconds": time.monotonic() - started, "exit": code}
        print(f"{part}: {gathered[part]['seconds']:.0f} s, exit {code}", file=sys.stderr, flush=True)
        if code:
            print((out / f"{part}.log").read_text()[-1500:], file=sys.stderr, flush=True)
        (out / "gpu.json").write_text(json.dumps(gathered, indent=1) + "\n")
    (out / "gpu.json").write_text(json.dumps(gathered, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=math.inf, help="seconds for all parts together")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.part:
        work(given.part, given.out, given.device, given.tiny)
    else:
        drive(given.parts, given.out, given.budget, given.device, given.tiny)
