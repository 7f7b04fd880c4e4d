"""Speed and length of the archive beside general-purpose compressors, on one core.

    OMP_NUM_THREADS=1 python benchmarks/bench_archive.py

Trained checkpoints where there are some, else random weights of the same shape. All compressors get the same codes of
round-to-nearest, packed at b bits each for the others; the archive holds the rest of the model too. Times are CPU times, the
least of several runs; megabytes are codes of one byte in memory.
"""

import argparse
import bz2
import json
import lzma
import time
import zlib
from pathlib import Path

import numpy as np
import torch

from gengap import models
from gengap.compression import archive
from gengap.compression.layerwise import quantize
from gengap.errors import UserError
from gengap.models.architecture import Architecture

REPEATS = 7
PEERS = {
    "zlib": (zlib.compress, zlib.decompress),
    "bz2": (bz2.compress, bz2.decompress),
    "xz": (lzma.compress, lzma.decompress),
}


def packed(quantized) -> bytes:
    """All codes at b bits each."""
    parts = []
    for tensor in quantized.tensors.values():
        planes = (tensor.codes.ravel()[:, None] >> np.arange(tensor.bits)) & 1  # (codes, bits)
        parts.append(np.packbits(planes.astype(np.uint8).ravel()).tobytes())
    return b"".join(parts)


def least_seconds(function, *arguments):
    """Least CPU time of a few runs, and the result."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        result = function(*arguments)
        seconds.append(time.process_time() - start)
    return min(seconds), result


def compare(model_size: str, bits: int) -> dict:
    spec = models.get(model_size)
    try:
        model, weights = spec.load(), "trained"
    except UserError:
        from transformers import GPTNeoXForCausalLM

        torch.manual_seed(0)
        model, weights = GPTNeoXForCausalLM(spec.config()).eval(), "random"
    rows = np.random.default_rng(0).integers(0, spec.vocab_size, (2, spec.seq_len))
    quantized = quantize(model, "rtn", bits, 128, rows)
    shape = Architecture.of(spec.config())
    megabytes = sum(tensor.codes.size for tensor in quantized.tensors.values()) / 1e6
    encode_s, content = least_seconds(archive.encode, quantized, shape)
    decode_s, _ = least_seconds(archive.decode, content)
    found = {
        "archive": {
            "bits_per_parameter": 8 * len(content) / spec.n_params,
            "encode_MB_per_s": megabytes / encode_s,
            "decode_MB_per_s": megabytes / decode_s,
        }
    }
    plain = packed(quantized)
    for name, (compress, decompress) in PEERS.items():
        seconds, short = least_seconds(compress, plain)
        back_s, _ = least_seconds(decompress, short)
        found[name] = {
            "bits_per_parameter": 8 * len(short) / spec.n_params,
            "encode_MB_per_s": megabytes / seconds,
            "decode_MB_per_s": megabytes / back_s,
            "length_over_archive": len(short) / len(content),
            "encode_time_over_archive": seconds / encode_s,
            "decode_time_over_archive": back_s / decode_s,
        }
    return {"model_size": model_size, "weights": weights, "bits": bits, "megabytes": megabytes, "found": found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", nargs="+", default=["ladder-50k", "ladder-400k", "ladder-800k", "ladder-1.5m", "ladder-4.5m"]
    )
    parser.add_argument("--bits", type=int, default=3)
    arguments = parser.parse_args()
    results = [compare(size, arguments.bits) for size in arguments.sizes]
    Path(__file__).with_name("archive.json").write_text(json.dumps(results, indent=1) + "\n")
    for result in results:
        print(f"{result['model_size']}, {result['weights']} weights, {result['bits']} bits")
        for name, numbers in result["found"].items():
            print(
                f"  {name:<8}{numbers['bits_per_parameter']:7.3f} bits/parameter, "
                f"{numbers['encode_MB_per_s']:6.1f} MB/s in, {numbers['decode_MB_per_s']:6.1f} MB/s out"
            )
