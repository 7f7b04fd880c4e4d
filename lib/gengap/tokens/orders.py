"""Orders of training that are published as a rule or as an index, and not as a file of rows: OLMo's and Megatron's.

Nothing is copied: a row is put together from the tokenized files when it is asked for. The rows are not searched for repeats.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gengap.errors import UserError
from gengap.tokens.counted import TrainingRows
from gengap.tokens.memmaps import FileRows, TokenFile, flat_file, megatron_documents, npy_file, row_numbers


def olmo_order(n_instances: int, seed: int, epoch: int) -> np.ndarray:
    """(n_instances,) numbers of the instances in the order of training of one epoch: a shuffle by PCG64 of seed + epoch.

    Both of OLMo's trainers do this (`IterableDataset._build_global_indices` of OLMo, which counts epochs from 0; the data loader of OLMo-core,
    which counts them from 1). It takes four bytes an instance: 4 GB for the 4 T tokens of OLMo 2.
    """
    if not 0 < n_instances < 2**32 - 1 or seed + epoch < 0:
        raise UserError(
            f"{n_instances} instances, seed {seed} and epoch {epoch} have no order: give numbers as in OLMo's configuration"
        )
    order = np.arange(n_instances, dtype=np.uint32)
    np.random.Generator(np.random.PCG64(seed=seed + epoch)).shuffle(order)
    return order


def olmo_rows(
    paths: Sequence[Path], instance_tokens: int, seed: int, epoch: int, batch_rows: int = 1, dtype: str = "uint32"
) -> TrainingRows:
    """One epoch of OLMo's training rows, (n, instance_tokens), from its flat files in the order of its configuration.

    An instance is `instance_tokens` tokens of one file (4096 for OLMo 2), all but the first predicted; what is left at the end of a file,
    and the instances after the last whole batch of `batch_rows`, are not read. In files named `.npy` OLMo keeps bare tokens, without numpy's header.
    Raises `UserError` for a file that is not there or holds no whole number of tokens, and for less than a batch.
    """
    files = [flat_file(Path(path), dtype) for path in paths]
    rows = FileRows(files, instance_tokens, instance_tokens) if files else ()
    n_rows = len(rows) // batch_rows * batch_rows
    if not n_rows:
        raise UserError(
            f"{len(files)} files hold {len(rows)} instances of {instance_tokens} tokens, less than a batch: give all files"
        )
    named = [[file.path.name, file.n_tokens] for file in files]
    facts = {
        "files": named,
        "dtype": dtype,
        "instance_tokens": instance_tokens,
        "seed": seed,
        "epoch": epoch,
        "n_rows": n_rows,
    }
    source = f"{len(files)} files in OLMo's order of seed {seed}, epoch {epoch}"
    return TrainingRows(rows, _sha256(facts), source, n_rows, olmo_order(len(rows), seed, epoch)[:n_rows])


class IndexedRows:
    """Megatron's rows in the order of training, by its three index maps (`*_doc_idx.npy`, `*_sample_idx.npy`, `*_shuffle_idx.npy`).

    Row i is sample `shuffle_idx[i]`; sample s begins in document `doc_idx[d]` at token o and ends in the one at which sample s + 1 begins,
    where (d, o) = `sample_idx[s]`; neighbouring samples share a token. Use `megatron_rows`.
    """

    def __init__(self, data: TokenFile, sizes: np.ndarray, maps: dict[str, np.ndarray], row_tokens: int, what: str):
        self.data, self.maps, self.row_tokens, self.what = data, maps, row_tokens, what
        self.starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self.sha256 = _sha256(
            [data.n_tokens, [hashlib.sha256(np.ascontiguousarray(maps[name])).hexdigest() for name in sorted(maps)]]
        )

    def __len__(self) -> int:
        return len(self.maps["shuffle"])

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        """(n, row_tokens) in the order asked; `UserError` where the maps describe no row."""
        tokens, found = self.data.tokens(), []
        for number in row_numbers(indices, len(self)).tolist():
            sample = int(self.maps["shuffle"][number])
            (first, offset), (last, end) = self.maps["sample"][sample : sample + 2].tolist()
            documents = self.maps["doc"][first : last + 1]
            if last < first or len(documents) != last - first + 1:
                raise UserError(
                    f"{self.what}: row {number} ends before it begins, or after the last document: the maps are damaged"
                )
            starts, stops = self.starts[documents], self.starts[documents + 1]
            starts[0] += offset
            stops[-1] = self.starts[documents[-1]] + end + 1  # one token is the next row's first as well
            row = np.concatenate([tokens[start:stop] for start, stop in zip(starts, stops, strict=True)])
            if len(row) != self.row_tokens:
                raise UserError(
                    f"{self.what}: row {number} has {len(row)} tokens, not {self.row_tokens}: the maps are of other data"
                )
            found.append(row)
        return np.array(found, self.data.dtype).reshape(-1, self.row_tokens)


def megatron_rows(data: Path, maps: Path, seq_len: int) -> IndexedRows:
    """Rows of `data` (`.bin` with `.idx`) in the order that the index maps in the folder `maps` describe.

    Raises `UserError` if a map is missing or there twice, if the documents are read more than once, and if the shuffle index is no
    permutation (one of the released ones is not: nine tenths of it are zeros).
    """
    file, sizes = megatron_documents(data)
    found = {}
    for name in ("doc", "sample", "shuffle"):
        paths = sorted(maps.glob(f"*_{name}_idx.npy"))
        if len(paths) != 1:
            raise UserError(
                f"{maps} holds {len(paths)} files *_{name}_idx.npy where one is needed: fetch the three index maps of one seed"
            )
        stored, shape = npy_file(paths[0])
        found[name] = stored.tokens().reshape(shape)
    n_samples = len(found["shuffle"])
    if found["sample"].shape != (n_samples + 1, 2):
        raise UserError(
            f"{maps}: the sample index has the shape {found['sample'].shape}, not {(n_samples + 1, 2)}: the maps are of two orders"
        )
    _check_permutation(found["shuffle"], f"{maps}: the shuffle index")
    _check_permutation(found["doc"], f"{maps}: the document index", within=len(sizes))
    return IndexedRows(file, sizes, found, seq_len + 1, str(maps))


def _check_permutation(numbers: np.ndarray, what: str, within: int | None = None) -> None:
    """That no number below `within` (default: their count) is there twice."""
    seen = np.zeros(len(numbers) if within is None else within, bool)
    if numbers.min(initial=0) < 0 or numbers.max(initial=0) >= len(seen):
        raise UserError(
            f"{what} names what is not there ({int(numbers.max(initial=0)):,} of {len(seen):,}): it is of other data"
        )
    seen[numbers] = True
    if repeated := len(numbers) - int(seen.sum()):
        raise UserError(
            f"{what} names {repeated:,} of {len(numbers):,} entries more than once: it is damaged, or reads its text more than once, and "
            "a certificate needs tokens read once"
        )


def _sha256(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
