"""Speed and length of the archive beside general-purpose compressors, on one core.

    OMP_NUM_THREADS=1 python benchmarks/bench_archive.py [model_size] [bits]

Takes the trained checkpoint if there is one, else random weights of the same shape. The compressors get the
packed codes only (b bits each), the archive holds the whole model.
"""

import bz2
import lzma
import sys
import time
import zlib

import numpy as np
import torch

from gengap import archive, models
from gengap.architecture import Architecture
from gengap.errors import UserError
from gengap.quantization import quantize

REPEATS = 5


def packed(quantized) -> bytes:
    """All codes at b bits each."""
    parts = []
    for tensor in quantized.tensors.values():
        planes = (tensor.codes.ravel()[:, None] >> np.arange(tensor.bits)) & 1  # (codes, bits)
        parts.append(np.packbits(planes.astype(np.uint8).ravel()).tobytes())
    return b"".join(parts)


def best_seconds(function, *arguments):
    """Least time of a few runs: what the machine can do when nobody else uses it."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = function(*arguments)
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def main(model_size: str = "ladder-4.5m", bits: str = "3") -> None:
    spec = models.get(model_size)
    try:
        model, origin = models.load(spec), "trained"
    except UserError:
        from transformers import GPTNeoXForCausalLM

        torch.manual_seed(0)
        model, origin = GPTNeoXForCausalLM(spec.config()).eval(), "random"
    rows = np.random.default_rng(0).integers(0, spec.vocab_size, (2, spec.seq_len))
    quantized = quantize(model, "rtn", int(bits), 0, rows)
    shape = Architecture.of(spec.config())
    n_codes = sum(tensor.codes.size for tensor in quantized.tensors.values())
    encode_s, content = best_seconds(archive.encode, quantized, shape)
    decode_s, _ = best_seconds(archive.decode, content)
    print(f"{model_size} ({origin} weights), {bits} bits, {n_codes:,} codes of one byte in memory")
    print(f"{'archive':<10}{8 * len(content) / spec.n_params:>8.4f} bits/parameter, everything counted")
    print(f"{'':<10}{n_codes / encode_s / 1e6:>8.1f} MB/s encode, {n_codes / decode_s / 1e6:.1f} MB/s decode")
    print(f"{'honest':<10}{archive.honest_bits(quantized) / spec.n_params:>8.4f}")
    plain = packed(quantized)
    for name, compress in (("zlib", zlib.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        print(f"{name:<10}{8 * len(compress(plain)) / spec.n_params:>8.4f} bits/parameter, codes alone")


main(*sys.argv[1:])
