"""Cost and accuracy of Sigma: the bisection against the whole grid, a stream of 10^9 values, float32 input.

    python benchmarks/bench_concentration.py [--n-stream 1000000000]

writes benchmarks/concentration.json, shown in chapter 01. The three measurements run in one process, the stream
first, so that its peak memory is its own. One thread; a slow machine needs some minutes, nearly all for the stream.
"""

import argparse
import json
import math
import platform
import resource
import time
from pathlib import Path

import numpy as np

from gengap.bounds.concentration import (
    complexity,
    default_s_grid,
    freedman,
    loss_variation,
    mean_log,
    odds_s_grid,
    scaled_gaps,
)
from gengap.bounds.streaming import LossVariationStream

LOSS_RANGE = 10.0  # nats
CODE_LENGTH_BITS_PER_VALUE = 0.2  # 4 bits a parameter at 20 tokens a parameter
STREAM_CHUNK = 1 << 20  # values drawn at a time


def draw(rng, n, dtype=np.float64):
    """(X, Y) nats: Y uniform on [0.2, 3], X exponential with mean Y, cut at Y + LOSS_RANGE."""
    baseline = rng.random(n, dtype=dtype) * dtype(2.8) + dtype(0.2)
    observations = rng.standard_exponential(n, dtype=dtype) * baseline
    return np.minimum(observations, baseline + dtype(LOSS_RANGE), out=observations), baseline


def complexity_of(n, grid_size):
    return complexity(n, 0.01, grid_size, CODE_LENGTH_BITS_PER_VALUE * n)


def expected_log(s):
    """E log(1+sA) under `draw`, by quadrature: an answer that does not come from the stream."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    y = 1.6 + 1.4 * nodes  # (400,)
    u = (nodes + 1) / 2  # (400,) probability levels below the cut
    top = -np.expm1(-(y + LOSS_RANGE) / y)  # P(X < Y + range | Y)
    x = -y[:, None] * np.log1p(-u * top[:, None])  # quantiles
    inner = (np.log1p(s * (y[:, None] - x) / LOSS_RANGE) @ weights) / 2 * top + (1 - top) * np.log1p(-s)
    return float(inner @ weights / 2)


def stream(n):
    """One pass over n float32 values drawn on the fly."""
    rng, sums = np.random.default_rng(0), LossVariationStream(LOSS_RANGE)
    begun, drawing = time.process_time(), 0.0
    while sums.n < n:
        before = time.process_time()
        x, y = draw(rng, min(STREAM_CHUNK, n - sums.n), np.float32)
        drawing += time.process_time() - before
        sums.update(x, y)
    seconds = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    c = complexity_of(n, sums.s_grid.size)
    bound = sums.freedman(c)
    expected = LOSS_RANGE * (c - expected_log(bound.s)) / bound.s  # mean A = 0 but for the cut
    expected += LOSS_RANGE * mean_gap_of_the_cut()
    return {
        "n_values": n,
        "s_grid_size": int(sums.s_grid.size),
        "cpu_seconds": seconds,
        "cpu_seconds_drawing": drawing,
        "nanoseconds_per_value": (seconds - drawing) / n * 1e9,
        "peak_memory_bytes": peak,
        "bound_nats": bound.value,
        "bound_by_quadrature_nats": expected,
        "sigma_nats": bound.terms["variation"] / math.sqrt(c),
    }


def mean_gap_of_the_cut():
    """E A under `draw`: E[Y - min(X, Y + range)] / range = E[Y exp(-(Y + range)/Y)] / range."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    y = 1.6 + 1.4 * nodes
    return float((y * np.exp(-(y + LOSS_RANGE) / y)) @ weights / 2) / LOSS_RANGE


def minimizer(n):
    """Bisection against all 1000 points; both use the same chunked evaluation of one s."""
    x, y = draw(np.random.default_rng(1), n)
    grid, c = default_s_grid(), complexity_of(n, 1000)
    begun = time.process_time()
    gaps = scaled_gaps(x, y, LOSS_RANGE)
    logs = np.array([mean_log(gaps, s)[0] for s in grid])
    sigmas = LOSS_RANGE * (math.sqrt(c) * (1 - grid) / grid + (gaps.mean() - logs / grid) / math.sqrt(c))
    middle = time.process_time()
    fast = loss_variation(x, y, LOSS_RANGE, c)
    ended = time.process_time()
    few = freedman(x, y, LOSS_RANGE, complexity_of(n, 16), odds_s_grid()).value
    return {
        "n_values": n,
        "grid_size": 1000,
        "whole_grid_cpu_seconds": middle - begun,
        "bisection_cpu_seconds": ended - middle,
        "time_ratio": (ended - middle) / (middle - begun),
        "sigma_difference": abs(fast.sigma - float(sigmas.min())),
        "bound_1000_points_nats": LOSS_RANGE * c + fast.sigma * math.sqrt(c),
        "bound_16_points_nats": few,
    }


def precision(n):
    """The same float32 values in three arithmetics; the bound's error against float64 throughout."""
    x, y = draw(np.random.default_rng(2), n, np.float32)
    c, s = complexity_of(n, 1), 0.5
    exact = freedman(x.astype(np.float64), y.astype(np.float64), LOSS_RANGE, c, [s]).value
    gaps = (y - x) / np.float32(LOSS_RANGE)
    logs = np.log1p(np.float32(s) * gaps)
    pairwise = LOSS_RANGE * (c / s + gaps.mean() - logs.mean() / s)
    running = [float(np.cumsum(values, dtype=np.float32)[-1]) / n for values in (gaps, logs)]
    return {
        "n_values": n,
        "float32_input_error_nats": abs(freedman(x, y, LOSS_RANGE, c, [s]).value - exact),
        "float32_pairwise_sums_error_nats": abs(float(pairwise) - exact),
        "float32_running_sums_error_nats": abs(LOSS_RANGE * (c / s + running[0] - running[1] / s) - exact),
    }


def machine():
    cpu = next((line.split(":")[1].strip() for line in cpu_lines() if line.startswith("model name")), "")
    return {"cpu": cpu or platform.machine(), "python": platform.python_version(), "numpy": np.__version__}


def cpu_lines():
    info = Path("/proc/cpuinfo")
    return info.read_text().splitlines() if info.exists() else []


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-stream", type=int, default=10**9, help="values in the stream")
    arguments = parser.parse_args()
    results = {
        "machine": machine(),
        "stream": stream(arguments.n_stream),
        "minimizer": minimizer(10**6),
        "precision": precision(10**7),
    }
    target = Path(__file__).with_name("concentration.json")
    target.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))
