"""Speed and memory of the per-token statistics beside the plain loop and lm-eval, on a model of Pythia-70m's shape.

    python benchmarks/bench_statistics.py [--lm-eval PYTHON]

writes benchmarks/statistics.json. Every contender runs in a process of its own, on the same random weights, tokens and
number of threads, in turns; the best of the rounds counts. On a machine that does other things as well, compare
CPU seconds. Memory is the process's peak while it evaluates, less what it
held before (weights, libraries). lm-eval is no dependency; PYTHON is that of an environment made by

    python3.11 -m venv /tmp/lmeval && /tmp/lmeval/bin/pip install -r benchmarks/lmeval/requirements.txt

Its rolling log-likelihood gives losses alone, so it stands beside the others where they do the same.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

GRIDS = {"losses": (), "1 alpha": (0.1,), "9 alphas": tuple(np.geomspace(0.02, 0.3, 9).tolist())}
CONTENDERS = ("token_statistics", "plain loop", "online log-sum-exp", "lm-eval", "products alone")
NO_VALUES = CONTENDERS[-1]  # it computes no statistic: whoever multiplies with the head cannot be faster
SEQ_LEN = 2048
VOCAB_BLOCK, TOKEN_BLOCK = 512, 512  # of the online contender: a megabyte of logits, the fastest found


def plain_loop(model, rows, alphas):
    """The textbook computation: all logits of a row at once."""
    import torch

    results = []
    with torch.inference_mode():
        for row in torch.from_numpy(rows).split(1):
            log_probs = model(row[:, :-1]).logits.log_softmax(-1)  # (1, seq, vocab)
            nll = -log_probs.gather(-1, row[:, 1:, None])[..., 0]
            probs = log_probs.exp() if alphas else None
            mixed = (probs * (1 - alpha) + alpha / log_probs.shape[-1] for alpha in alphas)
            results.append(torch.cat([nll, *(-(q * q.log()).sum(-1) for q in mixed)]))
    return torch.stack(results, 1).numpy()


def online(model, rows, alphas):
    """Blocks of the vocabulary: log-sum-exp as they come, then the entropies from a second product with the head."""
    import torch

    weight, results = model.get_output_embeddings().weight, []
    vocab_size = len(weight)
    with torch.inference_mode():
        for row in torch.from_numpy(rows).split(1):
            hidden, targets = model.base_model(row[:, :-1]).last_hidden_state[0], row[0, 1:]
            for states, tokens in zip(hidden.split(TOKEN_BLOCK), targets.split(TOKEN_BLOCK), strict=True):
                top, total = torch.full((len(states),), -torch.inf), torch.zeros(len(states))
                for block in weight.split(VOCAB_BLOCK):
                    logits = states @ block.T
                    new = torch.maximum(top, logits.amax(-1))
                    total = total * (top - new).exp() + (logits - new[:, None]).exp_().sum(-1)
                    top = new
                normalizer = top + total.log()
                found = torch.zeros(1 + len(alphas), len(states))
                found[0] = normalizer - torch.linalg.vecdot(states, weight[tokens])
                for block in weight.split(VOCAB_BLOCK) if alphas else ():
                    probs = torch.addmm(-normalizer[:, None], states, block.T).exp_()
                    for i, alpha in enumerate(alphas):
                        q = probs.mul(1 - alpha).add_(alpha / vocab_size)
                        found[1 + i] -= torch.linalg.vecdot(q, q.log())
                results.append(found)
    return torch.cat(results, 1).view(1 + len(alphas), len(rows), -1).numpy()


def ours(model, rows, alphas):
    from gengap.statistics import token_statistics

    found = token_statistics(model, rows, alphas)
    return np.concatenate([found.nll[None], found.entropy])


def lm_eval(model, rows, alphas):
    """HFLM's own rolling log-likelihood; its tokenizer reads words such as "t17". Rows begin with its prefix token, 0."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"t{i}": i for i in range(model.config.vocab_size)}
    core = Tokenizer(models.WordLevel(words, "t0"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="t0", pad_token="t0")
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=SEQ_LEN)
    texts = [" ".join(f"t{i}" for i in row[1:]) for row in rows]
    requests = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(texts)]
    sums = harness.loglikelihood_rolling(requests, disable_tqdm=True)
    return -np.array(sums)[None, :, None] / SEQ_LEN


def products(model, rows, alphas):
    """The model and all its logits, a block of tokens at a time, and nothing made of them."""
    import torch

    weight = model.get_output_embeddings().weight.T
    with torch.inference_mode():
        for row in torch.from_numpy(rows).split(1):
            for states in model.base_model(row[:, :-1]).last_hidden_state[0].split(256):
                torch.mm(states, weight)
    return np.zeros((1 + len(alphas), 1, 1))


def status_bytes(field):
    """A line of /proc/self/status (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def work(folder, contender, grid, n_rows, n_threads):
    """One contender in this process: one line of JSON."""
    import torch
    from transformers import GPTNeoXForCausalLM  # by itself: the environment of lm-eval holds no gengap

    torch.set_num_threads(n_threads)
    model = GPTNeoXForCausalLM.from_pretrained(folder).eval()
    rows = np.load(Path(folder) / "rows.npy")[:n_rows]
    run = dict(zip(CONTENDERS, (ours, plain_loop, online, lm_eval, products), strict=True))[contender]
    run(model, rows[:1, : (SEQ_LEN if contender == "lm-eval" else 65)], GRIDS[grid])  # libraries, work space
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    before, cpu, wall = status_bytes("VmRSS"), time.process_time(), time.perf_counter()
    values = run(model, rows, GRIDS[grid])
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    result = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_bytes_above_weights": status_bytes("VmHWM") - before,
        "means_nats": values.mean(axis=(1, 2), dtype=np.float64).tolist(),
    }
    print(json.dumps(result))


def measure(python, *arguments, n_threads):
    command = [python, __file__, "--worker", *map(str, arguments), "--threads", str(n_threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(n_threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{arguments}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def save_model(folder, n_rows):
    """Random weights of Pythia-70m's shape, spread so that predictions are far from uniform, and random tokens."""
    import torch
    from transformers import GPTNeoXForCausalLM

    from gengap import models

    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(models.get("pythia-70m").config())
    model.get_output_embeddings().weight.data.mul_(6)
    model.save_pretrained(folder)
    rows = np.random.default_rng(0).integers(1, model.config.vocab_size, (n_rows, SEQ_LEN + 1))
    rows[:, 0] = 0  # lm-eval's prefix token
    np.save(Path(folder) / "rows.npy", rows)


def compare(folder, lm_eval_python, n_rows, n_rounds, n_threads):
    """The table: (contender, grid) -> tokens per second, peak memory; checked to agree on what they compute."""
    cases = [(c, g) for g in GRIDS for c in CONTENDERS if c != "lm-eval" or (g == "losses" and lm_eval_python)]
    found = {case: [] for case in cases}
    for _ in range(n_rounds):
        for contender, grid in cases:
            python = lm_eval_python if contender == "lm-eval" else sys.executable
            run = measure(python, folder, contender, grid, n_rows, n_threads=n_threads)
            found[contender, grid].append(run)
            print(contender, grid, run["seconds"], run["cpu_seconds"], file=sys.stderr, flush=True)
    table = []
    for (contender, grid), runs in found.items():
        plain = found["plain loop", grid]
        if contender != NO_VALUES:
            np.testing.assert_allclose(runs[0]["means_nats"], plain[0]["means_nats"], rtol=1e-5)
        least = {key: min(run[key] for run in runs) for key in ("seconds", "cpu_seconds")}
        peak = max(run["peak_bytes_above_weights"] for run in runs)
        plain_peak = max(run["peak_bytes_above_weights"] for run in plain)
        table.append(
            {
                "contender": contender,
                "computes": grid,
                "tokens_per_second": n_rows * SEQ_LEN / least["seconds"],
                "tokens_per_cpu_second": n_rows * SEQ_LEN / least["cpu_seconds"],
                "speed_over_plain": min(run["seconds"] for run in plain) / least["seconds"],
                "cpu_speed_over_plain": min(run["cpu_seconds"] for run in plain) / least["cpu_seconds"],
                "peak_MB_above_weights": peak / 1e6,
                "memory_over_plain": peak / plain_peak,
                "means_nats": runs[0]["means_nats"],
            }
        )
    return table


def linearity(folder, n_threads):
    """Cost and memory of `token_statistics` against the number of rows."""
    lines = []
    for n_rows in (1, 2, 4):
        run = measure(sys.executable, folder, CONTENDERS[0], "1 alpha", n_rows, n_threads=n_threads)
        peak = run["peak_bytes_above_weights"] / 1e6
        lines.append(
            {"rows": n_rows, "cpu_seconds_per_row": run["cpu_seconds"] / n_rows, "peak_MB_above_weights": peak}
        )
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def machine():
    import torch
    import transformers

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")

    return {"cpu": cpu, "torch": torch.__version__, "transformers": transformers.__version__}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lm-eval", default="", help="python of an environment with lm-eval")
    parser.add_argument("--rows", type=int, default=2, help="rows of 2048 tokens in the comparison")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, default=1, help="one: times do not depend on other programs' use of the cores"
    )
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        folder, contender, grid, n_rows = arguments.worker
        work(folder, contender, grid, int(n_rows), arguments.threads)
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        save_model(folder, max(arguments.rows, 4))
        results = {
            "machine": machine() | {"threads": arguments.threads},
            "comparison": compare(folder, arguments.lm_eval, arguments.rows, arguments.rounds, arguments.threads),
            "linearity": linearity(folder, arguments.threads),
        }
    Path(__file__).with_name("statistics.json").write_text(json.dumps(results, indent=1) + "\n")
    for line in results["comparison"]:
        print(
            f"{line['computes']:<9} {line['contender']:<19}{line['tokens_per_second']:8.0f} tokens/s "
            f"{line['tokens_per_cpu_second']:8.0f} a CPU second ({line['cpu_speed_over_plain']:.2f} of plain){line['peak_MB_above_weights']:8.0f} MB ({line['memory_over_plain']:.2f})"
        )
