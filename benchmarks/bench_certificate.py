"""CPU seconds of a whole certificate beside the plain forward passes of both models over the windows that it draws.

    OMP_NUM_THREADS=1 python benchmarks/bench_certificate.py [--sizes 50k 400k 1.5m] [--windows 3000]

writes benchmarks/certificate.json. A certificate without companion holds every bound under every accounting, on windows drawn from the training
rows, on as many held-out ones, and on the paper's pairs: by tokens about three times what the plain passes read. Those are
`model(input_ids).logits`, eight rows at a time, the fastest number found; with losses, `cross_entropy` follows. They run once before the
certificate and once after it, in the same process, and the mean counts, so that what else the machine does weighs on both alike.
The published checkpoints and archives are measured, on one core. The last line is of Pythia-70m's shape: random weights, a vocabulary of 50304, rows of 2048.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROWS_AT_A_TIME = 8  # of 256 tokens
WIDE = "70m shape"


def plain_passes(models, windows, losses=False):
    """CPU seconds."""
    import torch

    started = time.process_time()
    step = max(1, ROWS_AT_A_TIME * 256 // (windows.shape[1] - 1))
    with torch.inference_mode():
        for model in models:
            for start in range(0, len(windows), step):
                rows = torch.from_numpy(windows[start : start + step].astype(np.int64))
                logits = model(input_ids=rows[:, :-1], use_cache=False).logits
                if losses:
                    torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
    return time.process_time() - started


def example(size):
    """Checkpoint, hypothesis, training rows, held-out rows, identity."""
    from gengap import compress, models
    from gengap.compression import Hypothesis
    from gengap.records import identify
    from gengap.workflow.certify import own_identity

    if size == WIDE:
        import torch
        from transformers import GPTNeoXForCausalLM

        from gengap.tokens.sources import as_rows

        torch.manual_seed(0)
        model = GPTNeoXForCausalLM(models.get("pythia-70m").config()).eval()
        model.get_output_embeddings().weight.data.mul_(6)  # predictions far from uniform
        rows = np.random.default_rng(0).integers(0, model.config.vocab_size, (40, 2049))
        rows, heldout = as_rows(rows[:30]), as_rows(rows[30:])
        return model, compress(model, rows, "rtn"), rows, heldout, own_identity(model, rows)
    spec = models.get(f"ladder-{size}")
    model, rows = spec.load(), spec.train_rows()
    hypothesis = Hypothesis.read(spec.find_archive("gptq", 4), "gptq", 4, spec.config())
    return model, hypothesis, rows, spec.heldout_rows(), identify(spec, rows.sha256, spec.revision)


def measure(size, n_windows):
    """One line of the table, in this process."""
    import gengap
    from gengap.workflow import certify

    model, hypothesis, rows, heldout, identity = example(size)
    settings = certify.Settings(n_windows=n_windows, n_pilot_windows=n_windows // 15, n_pairs=n_windows * 10 // 3)
    if size == WIDE:
        settings = certify.Settings(n_windows=6, n_pilot_windows=2, n_pairs=20)
    both, windows = (
        (model, hypothesis.build(model)),
        rows[certify.draw(len(rows), identity.seq_len, settings).windows.windows],
    )
    plain_passes(both, windows[:ROWS_AT_A_TIME])  # libraries, work space
    forward = [plain_passes(both, windows)]
    loop = [plain_passes(both, windows, losses=True)]
    started = time.process_time()
    losses = [gengap.token_statistics(m, windows, desc="") for m in both]
    ours = time.process_time() - started
    started = time.process_time()
    gengap.certify(model, rows, heldout, hypothesis=hypothesis, settings=settings, identity=identity)
    certificate = time.process_time() - started
    loop.append(plain_passes(both, windows, losses=True))
    forward.append(plain_passes(both, windows))
    return {
        "size": size,
        "n_params": identity.n_params,
        "n_windows": len(windows),
        "seq_len": identity.seq_len,
        "certificate_cpu_s": certificate,
        "forward_cpu_s": float(np.mean(forward)),
        "plain_loop_cpu_s": float(np.mean(loop)),
        "losses_cpu_s": ours,
        "ratio": certificate / float(np.mean(forward)),
        "losses_over_plain_loop": float(np.mean(loop)) / ours,
        "mean_loss_nats": [float(s.nll.mean()) for s in losses],
    }


def slopes(lines):
    """Exponents of the certificate's cost against N, along the ladder, and against the number of windows."""
    along = [line for line in lines if line["size"] != WIDE and line["n_windows"] == lines[0]["n_windows"]]
    found = {}
    for name, key, of in (
        ("parameters", "n_params", along),
        ("windows", "n_windows", [line for line in lines if line["size"] == lines[0]["size"]]),
    ):
        if len(of) > 1:
            x, y = (np.log([line[k] for line in of]) for k in (key, "certificate_cpu_s"))
            found[name] = float(np.polyfit(x, y, 1)[0])
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["50k", "400k", "1.5m", WIDE])
    parser.add_argument("--windows", type=int, default=3000, help="that certify; the pilot and the pairs go with them")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(arguments.worker[0], int(arguments.worker[1]))))
        sys.exit()
    lines = []
    cases = [(size, arguments.windows) for size in arguments.sizes]
    cases += [(arguments.sizes[0], n) for n in (arguments.windows // 4, arguments.windows // 2)]
    for size, n_windows in cases:
        command = [sys.executable, __file__, "--worker", size, str(n_windows)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise SystemExit(f"{size}: {done.stderr[-2000:]}")
        lines.append(json.loads(done.stdout.splitlines()[-1]))
        print(lines[-1], file=sys.stderr, flush=True)
        import torch

        results = {"torch": torch.__version__, "threads": 1, "certificates": lines, "slopes": slopes(lines)}
        Path(__file__).with_name("certificate.json").write_text(json.dumps(results, indent=1) + "\n")
