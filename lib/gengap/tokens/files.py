"""What a path stands for: its format, and the files that it, its pattern or its folder names, in the order of their names."""

import glob
from pathlib import Path

from gengap.errors import UserError
from gengap.tokens.shards import SHARD_NAME

TEXT_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".txt": "txt",
    ".text": "txt",
}
TOKEN_SUFFIXES = {".bin": "bin", ".npy": "npy"}
PACKINGS = (".gz", ".bz2", ".xz", ".zst")
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".dill")
_KNOWN = "known are .bin, .npy, .jsonl, .parquet and .txt (.jsonl and .txt also as .gz, .bz2, .xz, .zst)"


def data_files(source: str | Path) -> tuple[str, list[Path]]:
    """(kind, files) of a path, a pattern, a folder or a name of the hub.

    Kinds: "bin", "npy", "megatron", "jsonl", "parquet", "txt"; "saved" and "shards" with that folder; "corpus" with the file of
    its rows; "hub", without files. Raises `UserError` if there is nothing, nothing known, or more than one kind.
    """
    text = str(source)
    if not text.strip() or "\0" in text:
        raise UserError(f"{text!r} is no path: give a file, a folder, a pattern or the name of a data set")
    path = Path(text).expanduser()
    try:
        if path.is_dir():
            return _folder(path)
        if _of_corpus(path):
            return "corpus", [path]
        if path.exists():
            return _file_kind(path, alone=True), [path]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if path.with_name(path.name + ".idx").is_file():
        return "megatron", [path.with_name(path.name + ".bin")]
    if "://" in text:
        if text.startswith(("http://", "https://", "hf://")) and "." not in text.rsplit("/", 1)[-1]:
            return "shards", []
        raise UserError(f"{text} is an address of no format that is read from afar: fetch the file and give its path")
    if glob.has_magic(text):
        files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file()]
        if not files:
            raise UserError(f"no file matches {text}: check the pattern, and put it in quotes on a command line")
        return _one_kind(text, files)
    if _may_be_a_name(text):
        return "hub", []
    raise UserError(f"{text} does not exist: check the path")


def _of_corpus(path: Path) -> bool:
    """Whether this is a file of rows that a manifest of the ladder's corpus describes."""
    return path.name in ("train.bin", "heldout.bin") and path.is_file() and path.with_name("manifest.json").is_file()


def _may_be_a_name(text: str) -> bool:
    """Whether this can be a data set of the hub: `owner/name`, with no suffix that a file would have."""
    parts = text.split("/")
    plain = all(
        part and part[0] not in ".~" and part.replace("-", "").replace("_", "").replace(".", "").isalnum()
        for part in parts
    )
    known = {*TEXT_SUFFIXES, *TOKEN_SUFFIXES, *PACKINGS, *PICKLES, ".idx", ".npz", ".arrow", ".csv"}
    return len(parts) == 2 and plain and Path(text).suffix not in known and not Path(parts[0]).exists()


def _folder(path: Path) -> tuple[str, list[Path]]:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return "saved", [path]
    if _of_corpus(path / "train.bin"):
        return "corpus", [path / "train.bin"]
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    if any(SHARD_NAME.fullmatch(file.name) for file in files):
        return "shards", [path]
    files = [file for file in files if suffix(file) in TEXT_SUFFIXES | TOKEN_SUFFIXES]
    if not files:
        raise UserError(f"the folder {path} holds no data: {_KNOWN}")
    return _one_kind(str(path), files)


def _one_kind(source: str, files: list[Path]) -> tuple[str, list[Path]]:
    kinds = {_file_kind(file): file for file in files if file.suffix != ".idx"}
    if len(kinds) > 1:
        first, second = list(kinds.values())[:2]
        raise UserError(
            f"{source} names files of more than one format ({first.name}, {second.name}): give a pattern that names one"
        )
    if not kinds:
        raise UserError(f"{source} names indices without their .bin: give the .bin files")
    return next(iter(kinds)), [file for file in files if file.suffix != ".idx"]


def suffix(path: Path) -> str:
    """The suffix that tells the format, below one that tells how it is packed; in small letters."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() if last in PACKINGS else last


def _file_kind(path: Path, alone: bool = False) -> str:
    found, packed = suffix(path), path.suffix.lower() in PACKINGS
    if alone and not path.is_file():
        raise UserError(f"{path} is neither a file nor a folder: give one of them")
    if found in PICKLES:
        raise UserError(f"{path} may hold code, so it is never unpickled: save the tokens with numpy.save")
    if found == ".npz":
        raise UserError(f"{path} is an archive of arrays: save the tokens alone with numpy.save")
    if packed and found in {**TOKEN_SUFFIXES, ".parquet": ""}:
        raise UserError(f"{path} is compressed, so that it cannot be mapped: unpack it first")
    if found == ".idx" or (found == ".bin" and path.with_suffix(".idx").is_file()):
        return "megatron"
    kind = (TEXT_SUFFIXES | TOKEN_SUFFIXES).get(found)
    if kind is None:
        raise UserError(f"{path} is of no known format: {_KNOWN}")
    return kind
