"""Files of tokens written by hand, as the documentation of their formats lays them out."""

import struct

import numpy as np


def write_megatron(stem, documents, dtype=np.uint16, code=8, modes=False):
    """As Megatron's IndexedDatasetBuilder lays them out: header, sizes, pointers, document index."""
    sizes = np.array([len(document) for document in documents], "<i4")
    pointers = np.concatenate([[0], np.cumsum(sizes[:-1], dtype=np.int64)]) * np.dtype(dtype).itemsize
    index = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(sizes), len(sizes) + 1)
    index += sizes.tobytes() + pointers.astype("<i8").tobytes() + np.arange(len(sizes) + 1, dtype="<i8").tobytes()
    stem.with_suffix(".idx").write_bytes(index + bytes(len(sizes) if modes else 0))
    stem.with_suffix(".bin").write_bytes(np.concatenate(documents).astype(dtype).tobytes())
    return stem.with_suffix(".bin")


def write_index_maps(folder, documents, seq_len, seed):
    """The index maps and the rows of one epoch, as Megatron's plain builder makes them: token by token."""
    rng = np.random.RandomState(seed)  # as Megatron does
    doc_idx = rng.permutation(len(documents)).astype(np.int32)
    places = [(d, k) for d, document in enumerate(doc_idx) for k in range(len(documents[document]))]
    tokens = np.concatenate([documents[document] for document in doc_idx])
    n_samples = (len(tokens) - 1) // seq_len
    sample_idx = np.array([places[i * seq_len] for i in range(n_samples + 1)], np.int32)
    shuffle_idx = rng.permutation(n_samples).astype(np.uint32)
    folder.mkdir(parents=True)
    for name, array in (("doc", doc_idx), ("sample", sample_idx), ("shuffle", shuffle_idx)):
        np.save(folder / f"pile_20B_tokenizer_text_document_train_0_indexmap_{seed}s_{name}_idx.npy", array)
    return np.array([tokens[i * seq_len : (i + 1) * seq_len + 1] for i in shuffle_idx])
