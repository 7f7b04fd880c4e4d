"""A project folder of its own for whole runs: this checkout's code and notebooks, other results; and a Pythia without the hub."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from range_server import make_rows, write_shards
from transformers import GPTNeoXForCausalLM

from gengap.models.pythia import PythiaSpec

CHECKOUT = Path(__file__).parents[2]
GENGAP = Path(sys.executable).with_name("gengap")


def make_root(root: Path, with_corpus: bool = False) -> Path:
    """A project at `root` with the graph, the library and the notebooks of this checkout, and nothing computed.

    The corpus is linked, not copied. Raises `FileNotFoundError` if it is asked for and was never built.
    """
    root.mkdir(parents=True, exist_ok=True)
    for folder in ("lib", "notebooks"):
        shutil.copytree(CHECKOUT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("Snakefile", "_config.yml", "_toc.yml", "corpus.lock", "pyproject.toml"):
        shutil.copy2(CHECKOUT / file, root / file)
    if with_corpus:
        (root / "build" / "corpus").mkdir(parents=True)
        for file in ("train.bin", "heldout.bin", "tokenizer.json", "manifest.json"):
            os.link(CHECKOUT / "build" / "corpus" / file, root / "build" / "corpus" / file)
        os.utime(root / "corpus.lock", (0, 0))  # a fresh checkout's is newer than the corpus
    return root


def gengap(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """`gengap` with the code of `root`, in `root`."""
    return subprocess.run(
        [GENGAP, *arguments],
        cwd=root,
        env=environment_of(root, **environment),
        capture_output=True,
        text=True,
        check=False,
    )


def environment_of(root: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "GENGAP_ROOT": str(root), "PYTHONPATH": str(root / "lib"), **more}


def save_pythia(folder: Path, specs: Iterable[PythiaSpec]) -> Path:
    """`<folder>/<model size>/<revision>/` of the given shapes, with random weights that differ by revision.

    float16 safetensors and the field names of the released config.json.
    """
    for spec in specs:
        path = folder / spec.model_size / spec.revision
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.step)
            GPTNeoXForCausalLM(spec.config()).half().save_pretrained(path)
        config = json.loads((path / "config.json").read_text())
        del config["rope_parameters"]
        config |= {"rotary_pct": spec.rotary_fraction, "rotary_emb_base": 10000, "torch_dtype": "float16"}
        (path / "config.json").write_text(json.dumps(config))
    return folder


def save_rows(folder: Path, spec: PythiaSpec, n_heldout: int = 300) -> Path:
    """Shards of made-up rows, cut inside rows: all that `spec` has seen and `n_heldout` more."""
    rows = make_rows(spec.n_train_rows + n_heldout, spec.seq_len + 1, spec.vocab_size)
    return write_shards(folder, rows, shard_bytes=rows.nbytes // 20 | 1)


def register(root: Path, spec: PythiaSpec) -> Path:
    """Make `spec` a model size of the project at `root`, and of no other."""
    with (root / "lib" / "gengap" / "models" / "__init__.py").open("a") as registry:
        registry.write(f"\nfrom gengap.models.pythia import PythiaSpec\nREGISTRY[{spec.model_size!r}] = {spec!r}\n")
    return root
