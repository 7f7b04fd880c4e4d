"""Training text in every format that people have: read back equal, each token predicted once, one sentence for what is broken."""

import bz2
import gzip
import json
import lzma
import os
import pickle
from multiprocessing import get_context

import datasets
import numpy as np
import pyarrow as pa
import pytest
from projects import bare_project, stdlib_sources
from token_files import write_megatron
from transformers import PreTrainedTokenizerFast

from gengap.errors import UserError
from gengap.statistics.evaluation import rows_sha256
from gengap.tokens import corpus, readers
from gengap.tokens.memmaps import FLAT_DTYPES
from gengap.tokens.sources import as_rows, open_rows
from gengap.tokens.text import cache_dir

SEQ_LEN = 16
TEXT_LEN = 64
VOCAB = 500
FLAT = np.random.default_rng(0).integers(0, VOCAB, 1000).astype(np.uint16)
OVERLAPPING = np.array([FLAT[i : i + SEQ_LEN + 1] for i in range(0, 1000 - SEQ_LEN, SEQ_LEN)])  # (62, 17)
TEXTS = [*stdlib_sources(30, lines_each=20).values()]


@pytest.fixture(scope="module")
def tokenizer():
    return PreTrainedTokenizerFast(tokenizer_object=corpus.train_tokenizer(TEXTS, 400), eos_token=corpus.SEPARATOR)


@pytest.fixture(autouse=True)
def project(tmp_path_factory, monkeypatch):
    """An empty cache, apart from the data; the hub is never asked."""
    monkeypatch.setenv("GENGAP_ROOT", str(bare_project(tmp_path_factory.mktemp("root"))))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def write_flat(path, tokens=FLAT, dtype="uint16"):
    """As nanoGPT's prepare.py does."""
    tokens.astype(FLAT_DTYPES[dtype]).tofile(path)
    return path


def check(rows, expected):
    """That these are the rows, in this order, however they are asked for, under the name that their content has."""
    assert (len(rows), rows.seq_len) == (len(expected), expected.shape[1] - 1)
    assert rows.n_train_tokens == len(expected) * (expected.shape[1] - 1)
    np.testing.assert_array_equal(rows[:], expected)
    np.testing.assert_array_equal(rows[np.array([7, 3, 7])], expected[[7, 3, 7]])
    assert rows.sha256 == rows_sha256(expected)
    for outside in ([len(expected)], [-1]):
        with pytest.raises(IndexError):
            rows[np.array(outside)]


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("said", [True, False])
def test_flat_tokens_are_cut_so_that_each_but_the_first_is_predicted_once(tmp_path, dtype, said):
    path = write_flat(tmp_path / "train.bin", dtype=dtype)
    rows = open_rows(path, seq_len=SEQ_LEN, dtype=dtype if said else None, vocab_size=VOCAB)
    check(rows, OVERLAPPING)
    np.testing.assert_array_equal(rows[:][:, 1:].ravel(), FLAT[1 : len(rows) * SEQ_LEN + 1])


def test_a_row_that_just_fits(tmp_path):
    for n_tokens, n_rows in ((SEQ_LEN + 1, 1), (2 * SEQ_LEN, 1), (2 * SEQ_LEN + 1, 2)):
        assert len(open_rows(write_flat(tmp_path / f"{n_tokens}.bin", FLAT[:n_tokens]), seq_len=SEQ_LEN)) == n_rows


@pytest.mark.parametrize("dtype", ["<u2", "<i4", ">i8", "<u1"])
def test_npy_rows_as_they_are_and_flat_ones_cut(tmp_path, dtype):
    tokens = (FLAT % 250).astype(dtype)
    np.save(tmp_path / "rows.npy", tokens.reshape(50, 20))
    check(open_rows(tmp_path / "rows.npy", vocab_size=VOCAB), tokens.reshape(50, 20))
    np.save(tmp_path / "flat.npy", tokens)
    check(open_rows(tmp_path / "flat.npy", seq_len=SEQ_LEN), OVERLAPPING % 250)


@pytest.mark.parametrize(("dtype", "code"), [("<u2", 8), ("<i4", 4), ("<i8", 5), ("<i2", 3)])
@pytest.mark.parametrize("modes", [False, True])
def test_megatron_documents_in_their_order(tmp_path, dtype, code, modes):
    path = write_megatron(tmp_path / "text_document", np.split(FLAT, [10, 500, 730]), dtype, code, modes)
    for source in (path, path.with_suffix(".idx"), path.with_suffix(""), f"{tmp_path}/*", tmp_path):
        check(open_rows(source, seq_len=SEQ_LEN), OVERLAPPING)


def test_rows_do_not_cross_from_one_file_into_the_next(tmp_path):
    for i, part in enumerate(np.split(FLAT, [100, 105, 600])):
        write_flat(tmp_path / f"part{i}.bin", part)
    expected = [FLAT[i : i + 17] for a, b in ((0, 100), (105, 600), (600, 1000)) for i in range(a, b - 16, 16)]
    for source in (tmp_path, f"{tmp_path}/part*.bin"):
        check(open_rows(source, seq_len=SEQ_LEN, dtype="uint16"), np.array(expected))


def test_arrays_lists_and_tensors(tmp_path):
    import torch

    rows = FLAT.reshape(50, 20)
    for array in (rows, rows.tolist(), torch.from_numpy(rows.astype(np.int64)), as_rows(rows), list(rows)):
        check(as_rows(array, vocab_size=VOCAB), rows)
        check(open_rows(array), rows)
    check(as_rows(FLAT, seq_len=SEQ_LEN), OVERLAPPING)
    assert np.shares_memory(as_rows(rows).rows, rows)


def test_the_ladders_corpus_is_read_by_its_manifest(small_rows, small_project):
    folder = small_project / "build" / "corpus"
    for source in (folder, folder / "train.bin"):
        rows = open_rows(source, n_train_tokens=small_rows.rows[:, 1:].size)
        check(rows, small_rows.rows)
        assert rows.notes == ()
    check(open_rows(folder / "heldout.bin"), corpus.corpus_rows("heldout").rows)
    with pytest.raises(UserError, match="64 of them predicted, not 63"):
        open_rows(folder, seq_len=63)


def expected_rows(tokenizer, texts):
    """Documents joined by the separator, after one."""
    ids = [[0], *([*tokenizer.encode(text, add_special_tokens=False), 0] for text in texts)]
    flat = np.concatenate(ids)
    return np.array([flat[i : i + TEXT_LEN + 1] for i in range(0, len(flat) - TEXT_LEN, TEXT_LEN)])


PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
PACKERS[".zst"] = lambda content: pa.Codec("zstd").compress(content, asbytes=True)


def json_lines(texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


@pytest.mark.parametrize("packing", PACKERS)
def test_json_lines_packed_or_not(tmp_path, tokenizer, packing):
    path = tmp_path / f"texts.jsonl{packing}"
    path.write_bytes(PACKERS[packing](json_lines([TEXTS[0], None, " \n", *TEXTS[1:]])))
    for source in (path, tmp_path, f"{tmp_path}/texts*"):
        check(open_rows(source, seq_len=TEXT_LEN, tokenizer=tokenizer), expected_rows(tokenizer, TEXTS))


def test_parquet_and_saved_data_sets(tmp_path, tokenizer):
    table = datasets.Dataset.from_dict({"n": range(len(TEXTS) + 2), "body": [None, "", *TEXTS]})
    expected = expected_rows(tokenizer, TEXTS)
    table.to_parquet(str(tmp_path / "texts.parquet"))
    table.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": table, "test": table.take(3)}).save_to_disk(str(tmp_path / "splits"))
    for name in ("texts.parquet", "saved", "splits"):
        check(open_rows(tmp_path / name, seq_len=TEXT_LEN, tokenizer=tokenizer, column="body"), expected)
    test = open_rows(tmp_path / "splits", seq_len=TEXT_LEN, tokenizer=tokenizer, column="body", split="test")
    check(test, expected_rows(tokenizer, TEXTS[:1]))


def test_data_sets_of_tokens(tmp_path, tokenizer):
    blocks = FLAT.reshape(50, 20)
    table = datasets.Dataset.from_dict({"input_ids": blocks.tolist(), "labels": blocks.tolist()})
    table.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": table.select(range(10)), "valid": table}).save_to_disk(str(tmp_path / "splits"))
    for rows in (as_rows(table), open_rows(tmp_path / "saved"), open_rows(tmp_path / "splits", split="valid")):
        check(rows, blocks)
    check(open_rows(tmp_path / "saved", column="labels", vocab_size=VOCAB), blocks)
    check(as_rows(table.select(range(5, 30))), blocks[5:30])
    ragged = datasets.Dataset.from_dict({"input_ids": [[1, 2, 3], [4, 5]]})
    with pytest.raises(UserError, match="lists of 2 different lengths"):
        as_rows(ragged)
    with pytest.raises(UserError, match="no lists of tokens in a column 'input_ids'"):
        as_rows(datasets.Dataset.from_dict({"text": TEXTS}))
    with pytest.raises(UserError, match="has no split 'test': it has 'train', 'valid'"):
        open_rows(tmp_path / "splits", split="test")
    datasets.Dataset.from_dict({"text": TEXTS}).save_to_disk(str(tmp_path / "texts"))
    with pytest.raises(UserError, match="give the tokenizer"):
        open_rows(tmp_path / "texts", seq_len=SEQ_LEN)


def test_a_text_file_is_one_document(tmp_path, tokenizer):
    for i, text in enumerate(TEXTS[:4]):
        (tmp_path / f"{i}.txt").write_text(text)
    rows = open_rows(tmp_path, seq_len=TEXT_LEN, tokenizer=tokenizer)
    assert tokenizer.decode(rows[:][:, 1:].ravel()).startswith("<|endoftext|>".join(TEXTS[:2]))


def test_files_that_change_are_read_anew(tmp_path, tokenizer):
    folder = tmp_path / "data"
    folder.mkdir()
    for source in (folder, f"{folder}/*.txt", f"{folder}/**/*.txt", folder / "one.txt"):
        found = []
        for text in TEXTS[:2]:
            (folder / "one.txt").write_text(text)
            found.append(open_rows(source, seq_len=TEXT_LEN, tokenizer=tokenizer).sha256)
        assert found[0] != found[1]
    before = open_rows(folder, seq_len=TEXT_LEN, tokenizer=tokenizer)
    (folder / "two.txt").write_text(TEXTS[2])
    assert len(open_rows(folder, seq_len=TEXT_LEN, tokenizer=tokenizer)) > len(before)


def test_a_file_that_changes_under_the_rows_is_noticed(tmp_path):
    path = write_flat(tmp_path / "train.bin")
    rows = open_rows(path, seq_len=SEQ_LEN)
    os.utime(path, ns=(1, 1))
    with pytest.raises(UserError, match=r"train.bin has changed since it was opened"):
        rows[:1]
    rows = open_rows(path, seq_len=SEQ_LEN)
    write_flat(path, FLAT[:-100])  # reading a map beyond the end would kill the process
    with pytest.raises(UserError, match="has changed"):
        rows[:]
    path.unlink()
    with pytest.raises(UserError, match=r"cannot read .*train.bin"):
        rows[:]


def test_rows_are_small_to_send_and_read_by_several_processes(tmp_path):
    rows = open_rows(write_flat(tmp_path / "train.bin", np.arange(60_000)), seq_len=SEQ_LEN)
    assert len(pickle.dumps(rows)) < 2000
    with get_context("spawn").Pool(2) as pool:
        parts = pool.map(rows.__getitem__, [slice(i, None, 4) for i in range(4)])
    for i in range(4):
        np.testing.assert_array_equal(parts[i], rows[i::4])


def test_fewer_training_tokens_take_the_first_rows():
    rows = as_rows(FLAT, seq_len=SEQ_LEN, n_train_tokens=10 * SEQ_LEN)
    check(rows, OVERLAPPING[:10])
    assert rows.notes == ()
    rows = as_rows(FLAT, seq_len=SEQ_LEN, n_train_tokens=10 * SEQ_LEN + 3)
    check(rows, OVERLAPPING[:10])
    assert "last 3 of 163 training tokens" in rows.notes[0]
    check(as_rows(FLAT, seq_len=SEQ_LEN, n_rows=9), OVERLAPPING[:9])


def test_more_epochs_count_once():
    rows = as_rows(FLAT, seq_len=SEQ_LEN, n_train_tokens=3 * 62 * SEQ_LEN)
    check(rows, OVERLAPPING)
    assert rows.notes == (
        "training read 2,976 tokens, 3 times the 992 that there are: each is counted once, since another epoch changes the model "
        "and not the text",
    )
    assert as_rows(FLAT, seq_len=SEQ_LEN, n_train_tokens=62 * SEQ_LEN).notes == ()


def test_rows_that_repeat_count_once():
    rows = FLAT.reshape(50, 20)
    shuffled = np.random.default_rng(1).permutation(rows)
    for twice in (np.concatenate([rows, rows]), np.concatenate([rows, shuffled, rows[:7]])):
        found = as_rows(twice)
        check(found, rows)
        assert f"{len(twice) - 50} of {len(twice)} rows equal an earlier one" in found.notes[0]
    one = np.concatenate([rows[:5], rows[2:3], rows[5:]])
    check(as_rows(one), rows)
    assert as_rows(rows).notes == ()


@pytest.mark.parametrize("seq_len", [10, 100, 128])
@pytest.mark.parametrize("shift", [0, 1, 31, 50, 64])
def test_a_text_read_twice_never_counts_twice(seq_len, shift):
    rng = np.random.default_rng(2)
    text, between = rng.integers(0, VOCAB, 20_000), rng.integers(0, VOCAB, shift)
    documents = np.split(text, np.arange(701, 20_000, 701))
    order = np.random.default_rng(3).permutation(len(documents))
    for again in (text, np.concatenate([documents[i] for i in order])):
        twice = np.concatenate([text, between, again])
        if again is text and (20_000 + shift) % seq_len == 0:  # the same rows once more
            rows = as_rows(twice, seq_len=seq_len)
            assert 20_000 - seq_len <= rows.n_train_tokens <= 20_000 + shift + seq_len
            assert "equal an earlier one" in rows.notes[0]
            continue
        with pytest.raises(UserError, match=r"(4[0-9]|50)% of the passages .* give the text of one epoch"):
            as_rows(twice, seq_len=seq_len)


def test_a_text_that_repeats_itself_a_little_is_taken():
    text = np.random.default_rng(2).integers(0, VOCAB, 20_000)
    assert len(as_rows(np.concatenate([text, [1], text[:5000]]), seq_len=99)) > 200  # a fifth: less than a second epoch
    assert len(as_rows(text, seq_len=100)) == 199


def test_padding_is_no_text():
    rows = np.full((60, 200), 7)
    rows[:, :50] = np.random.default_rng(0).integers(0, VOCAB, (60, 50))
    with pytest.raises(UserError, match="or padding"):
        as_rows(rows)


def test_a_sequence_of_ones_own():
    class Sequence:
        """Rows by number alone, and for any number."""

        def __len__(self):
            return 5

        def __getitem__(self, i):
            return [i, 2, 3]

    np.testing.assert_array_equal(as_rows(Sequence())[:], [[i, 2, 3] for i in range(5)])
    with pytest.raises(UserError, match="no array of integers"):
        as_rows({1: [2, 3], 4: [5, 6]})


def bad_parquet(path, cut):
    datasets.Dataset.from_dict({"text": TEXTS}).to_parquet(str(path))
    content = path.read_bytes()
    path.write_bytes(content[:-cut] if cut > 0 else content[:200] + bytes(600) + content[800:])
    return path


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def save(path, array):
    np.save(path, array)
    return path


def cut(path, n_bytes, suffix=None):
    """The same path, the file (or the one beside it) shorter."""
    file = path.with_suffix(suffix) if suffix else path
    file.write_bytes(file.read_bytes()[:-n_bytes])
    return path


def patched(path, offset, content):
    index = path.with_suffix(".idx")
    data = bytearray(index.read_bytes())
    data[offset : offset + len(content)] = content
    index.write_bytes(data)
    return path


def megatron(folder):
    return write_megatron(folder / "m", np.split(FLAT, [10, 500]))


LINES = json_lines(TEXTS)
TOKENS = {
    "odd length": (lambda f: write(f / "t.bin", FLAT.tobytes()[:-1]), r"odd length, 1,999 bytes"),
    "cut uint32": (lambda f: cut(write_flat(f / "t.bin", dtype="uint32"), 2), r"no whole number of uint32 tokens"),
    "empty": (lambda f: write(f / "t.bin", b""), r"t.bin is empty"),
    "too short": (lambda f: write_flat(f / "t.bin", FLAT[:SEQ_LEN]), r"holds 16 tokens, too few for a row of 16 and one"),
    "above the vocabulary": (lambda f: write_flat(f / "t.bin", FLAT + 1), r"token 500 in row \d+, outside the vocabulary of 500"),
    "negative": (lambda f: save(f / "t.npy", FLAT.reshape(50, 20)[:, :17].astype(int) - 5), r"token -[1-5] in row \d+"),
    "objects": (lambda f: save(f / "t.npy", np.array([[1], None], object)), r"Python objects, which are never unpickled"),
    "floats": (lambda f: save(f / "t.npy", np.ones((4, 17))), r"type float64: tokens are integers"),
    "truth values": (lambda f: save(f / "t.npy", np.ones((4, 17), bool)), r"type bool: tokens are integers"),
    "three dimensions": (lambda f: save(f / "t.npy", np.ones((4, 17, 2), int)), r"shape \(4, 17, 2\)"),
    "by columns": (lambda f: save(f / "t.npy", np.asfortranarray(FLAT[:34].reshape(2, 17))), r"stored by columns"),
    "another row length": (lambda f: save(f / "t.npy", FLAT.reshape(50, 20)), r"rows of 20 tokens, 19 of them predicted, not 16"),
    "rows of nothing": (lambda f: save(f / "t.npy", FLAT.reshape(-1, 1)), r"nothing is predicted"),
    "no rows": (lambda f: save(f / "t.npy", FLAT[:0].reshape(0, 17)), r"nothing is predicted"),
    "cut npy": (lambda f: cut(save(f / "t.npy", FLAT), 7), r"cannot read .*t.npy as an array"),
    "cut header": (lambda f: cut(save(f / "t.npy", FLAT), 2100), r"cannot read .*t.npy as an array"),
    "longer npy": (lambda f: write(f / "t.npy", save(f / "t.npy", FLAT).read_bytes() + b"xx"), r"header announces 2,128"),
    "not npy": (lambda f: write(f / "t.npy", "words"), r"cannot read .*t.npy as an array"),
    "pickle": (lambda f: write(f / "t.pkl", pickle.dumps(FLAT)), r"never unpickled"),
    "torch": (lambda f: write(f / "t.pt", b"PK"), r"never unpickled"),
    "npz": (lambda f: write(f / "t.npz", b"PK"), r"archive of arrays"),
    "packed tokens": (lambda f: write(f / "t.bin.gz", gzip.compress(FLAT.tobytes())), r"unpack it first"),
    "no such file": (lambda f: f / "none.bin", r"none.bin does not exist"),
    "no such pattern": (lambda f: f"{f}/*.bin", r"no file matches"),
    "unknown format": (lambda f: write(f / "t.csv", "a,b"), r"t.csv is of no known format"),
    "no suffix": (lambda f: write(f / "t", "a,b"), r"is of no known format"),
    "empty folder": (lambda f: f, r"holds no data"),
    "folder of others": (lambda f: write(f / "a.csv", "a,b").parent, r"holds no data"),
    "mixed folder": (lambda f: save(write_flat(f / "a.bin").with_suffix(".npy"), FLAT).parent, r"more than one format \(a.bin, a.npy\)"),
    "no index": (lambda f: write(f / "m.idx", b"MMIDIDX\x00\x00"), r"cannot read .*m.bin"),
    "other index": (lambda f: patched(megatron(f), 0, b"TNTIDX\x00\x00"), r"does not begin with MMIDIDX"),
    "other version": (lambda f: patched(megatron(f), 9, b"\x02"), r"version 2, and version 1 is known"),
    "type of floats": (lambda f: patched(megatron(f), 17, b"\x06"), r"type code 6"),
    "other count": (lambda f: patched(megatron(f), 18, b"\x09"), r"header announces"),
    "cut index": (lambda f: cut(megatron(f), 3, ".idx"), r"it is cut or damaged"),
    "cut index header": (lambda f: cut(megatron(f), 70, ".idx"), r"of a header of 34"),
    "other pointers": (lambda f: patched(megatron(f), 34 + 12 + 8, b"\x01"), r"one after the other"),
    "cut data": (lambda f: cut(megatron(f), 2), r"1,998 bytes, but m.idx announces 2,000"),
}  # fmt: skip
TEXT = {
    "cut gz": (lambda f: write(f / "t.jsonl.gz", gzip.compress(LINES)[:-300]), r"t.jsonl.gz is cut or damaged"),
    "bad gz": (lambda f: write(f / "t.jsonl.gz", gzip.compress(LINES)[:900] + bytes(3000)), r"t.jsonl.gz.*damaged"),
    "no gz": (lambda f: write(f / "t.jsonl.gz", LINES), r"t.jsonl.gz is cut or damaged"),
    "cut bz2": (lambda f: write(f / "t.jsonl.bz2", bz2.compress(LINES)[:-300]), r"t.jsonl.bz2 is cut or damaged"),
    "bad bz2": (lambda f: write(f / "t.jsonl.bz2", bz2.compress(LINES)[:300] + bytes(900)), r"t.jsonl.bz2.*damaged"),
    "cut xz": (lambda f: write(f / "t.jsonl.xz", lzma.compress(LINES)[:-300]), r"t.jsonl.xz is cut or damaged"),
    "bad xz": (lambda f: write(f / "t.jsonl.xz", lzma.compress(LINES)[:300] + bytes(300)), r"t.jsonl.xz is cut or damaged"),
    "cut zst": (lambda f: write(f / "t.jsonl.zst", PACKERS[".zst"](LINES)[:-300]), r"t.jsonl.zst.*cut or damaged"),
    "bad zst": (lambda f: write(f / "t.jsonl.zst", PACKERS[".zst"](LINES)[:300] + bytes(300)), r"t.jsonl.zst.*damaged"),
    "not UTF-8": (lambda f: write(f / "t.jsonl", LINES + b'{"text": "\xff"}\n'), rf"t.jsonl, line {len(TEXTS) + 1}: not UTF-8"),
    "latin text": (lambda f: write(f / "t.txt", "größer\n".encode("latin-1")), r"t.txt, line 1: not UTF-8"),
    "no JSON": (lambda f: write(f / "t.jsonl", LINES + b'{"text": "a\n'), rf"t.jsonl, line {len(TEXTS) + 1}: no JSON object"),
    "JSON array": (lambda f: write(f / "t.json", '[\n{"text": "a"}]'), r"t.json, line 1: .* begins a JSON array"),
    "no object": (lambda f: write(f / "t.jsonl", '"a"\n'), r"line 1: str instead of a JSON object"),
    "deep JSON": (lambda f: write(f / "t.jsonl", "[" * 200_000), r"line 1: no JSON object"),
    "no column": (lambda f: write(f / "t.jsonl", '{"body": "a"}'), r"no text in a column 'text': it has 'body'"),
    "number": (lambda f: write(f / "t.jsonl", '{"text": 7}'), r"line 1: no text in a column 'text', but int"),
    "list": (lambda f: write(f / "t.jsonl", '{"text": ["a"]}'), r"line 1: no text in a column 'text', but list"),
    "surrogate": (lambda f: write(f / "t.jsonl", r'{"text": "\ud800"}'), r"line 1: half of a surrogate pair"),
    "nulls alone": (lambda f: write(f / "t.jsonl", '{"text": null}\n' * 50), r"holds 1 tokens, too few"),
    "empty text": (lambda f: write(f / "t.txt", ""), r"holds 2 tokens, too few"),
    "cut parquet": (lambda f: bad_parquet(f / "t.parquet", 100), r"cannot read .*t.parquet.* as parquet"),
    "bad parquet": (lambda f: bad_parquet(f / "t.parquet", 0), r"cannot read .*t.parquet.* as parquet"),
    "no parquet": (lambda f: write(f / "t.parquet", "words"), r"cannot read .*t.parquet as parquet"),
    "numbers in parquet": (
        lambda f: f / "t.parquet" if datasets.Dataset.from_dict({"text": [1]}).to_parquet(str(f / "t.parquet")) else None,
        r"t.parquet, row 1: no text in a column 'text', but int",
    ),
    "mixed texts": (lambda f: write(write(f / "a.txt", "a").with_suffix(".jsonl"), LINES).parent, r"more than one format"),
    "hub": (lambda f: "nobody/has-this-data-set", r"need the network"),
    "no data set": (lambda f: write(f / "dataset_dict.json", '{"splits": ["train"]}').parent, r"cannot read data set .*is it whole"),
    "no path": (lambda f: "", r"'' is no path"),
    "an empty byte": (lambda f: f"{f}\0.bin", r"is no path"),
    "address": (lambda f: "https://example.org/t.jsonl", r"fetch the file and give its path"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENS)
def test_broken_tokens_are_one_sentence(tmp_path, name):
    make, message = TOKENS[name]
    with pytest.raises(UserError, match=message) as raised:
        open_rows(make(tmp_path), seq_len=SEQ_LEN, vocab_size=VOCAB)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", TEXT)
def test_broken_texts_are_one_sentence(tmp_path, tokenizer, name):
    make, message = TEXT[name]
    with pytest.raises(UserError, match=message):
        open_rows(make(tmp_path), seq_len=SEQ_LEN, tokenizer=tokenizer)
    assert not list(cache_dir().rglob("*.part"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give seq_len"),
        ({"seq_len": 0}, "seq_len = 0: choose at least 1"),
        ({"seq_len": 2.5}, r"seq_len = 2.5: choose a whole number"),
        ({"seq_len": True}, "seq_len = True: choose a whole number"),
        ({"seq_len": 16, "n_train_tokens": -3}, "n_train_tokens = -3: choose at least 1"),
        ({"seq_len": 16, "n_train_tokens": 15}, "do not fill a row"),
        ({"seq_len": 16, "n_rows": 63}, "holds 62 rows, fewer than 63"),
        ({"seq_len": 16, "vocab_size": "500"}, "vocab_size = '500': choose a whole number"),
        ({"seq_len": 16, "dtype": "float32"}, "not float32"),
        ({"seq_len": 16, "dtype": "nonsense"}, "not nonsense"),
        ({"seq_len": 16, "dtype": "uint32"}, "give dtype uint16"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        open_rows(write_flat(tmp_path / "train.bin"), **settings)


def test_the_other_dtype_is_named_either_way(tmp_path):
    path = write_flat(tmp_path / "train.bin", dtype="uint32")
    with pytest.raises(UserError, match="give dtype uint32"):
        open_rows(path, seq_len=16, dtype="uint16")


def test_text_asks_for_what_it_needs(tmp_path, tokenizer):
    path = write(tmp_path / "t.jsonl", LINES)
    for settings, message in (
        ({"seq_len": 16}, "give the tokenizer"),
        ({"tokenizer": tokenizer}, "give seq_len"),
        ({"seq_len": 16, "tokenizer": tokenizer, "dtype": "uint16"}, "no dtype to give"),
        ({"seq_len": 16, "tokenizer": tokenizer, "split": "test"}, "split 'train' alone"),
    ):
        with pytest.raises(UserError, match=message):
            open_rows(path, **settings)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ma.masked_array([[1, 2]], [[0, 1]]), "masked array"),
        ([[1, 2], [3]], "no array of integers: cut them to rows of one length"),
        ([[1.0, 2.0]], "type float64"),
        ([["a", "b"]], "type <U1"),
        (np.ones((2, 2, 2), int), r"shape \(2, 2, 2\)"),
        (np.arange(9), r"shape \(9,\)"),
        (np.ones((3, 1), int), "nothing is predicted"),
        (np.ones((0, 9), int), "holds no rows"),
        ([[1, 2**40]], "outside the vocabulary"),
        ([[1, -2]], "token -2 in row 0"),
    ],
)
def test_arrays_that_are_no_rows(array, message):
    with pytest.raises(UserError, match=message):
        as_rows(array)


@pytest.mark.parametrize("packing", [".gz", ".xz", ".bz2", ".zst"])
def test_a_bomb_does_not_fill_the_memory(tmp_path, tokenizer, packing, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(readers, "LONGEST_TEXT", 2**22)
    path = write(tmp_path / f"t.jsonl{packing}", PACKERS[packing](bytes(2**26)))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="line 1: longer than 4 MiB"):
            open_rows(path, seq_len=SEQ_LEN, tokenizer=tokenizer)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(readers, "UNPACKED_FREE", 2**16)
    path = write(tmp_path / f"t.txt{packing}", PACKERS[packing](b"a line\n" * 2**17))
    with pytest.raises(UserError, match="unpacks to more than 400 times its length"):
        open_rows(path, seq_len=SEQ_LEN, tokenizer=tokenizer)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path, tokenizer):
    for path in (write_flat(tmp_path / "t.bin"), write(tmp_path / "t.jsonl", LINES)):
        path.chmod(0)
        with pytest.raises(UserError, match=r"cannot read .*Permission denied"):
            open_rows(path, seq_len=SEQ_LEN, tokenizer=tokenizer)
