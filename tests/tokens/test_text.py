"""Rows from streamed text: the tokens of the documents in order, kept on disk, and one clear message when there are none."""

import json

import datasets
import numpy as np
import pytest
from projects import bare_project, stdlib_sources
from transformers import PreTrainedTokenizerFast

from gengap.errors import UserError
from gengap.tokens import corpus, text
from gengap.tokens.text import TextSource, cache_dir, text_rows

SEQ_LEN = 40
TEXTS = [*stdlib_sources(30, lines_each=20).values()]


@pytest.fixture(scope="module")
def tokenizer():
    return PreTrainedTokenizerFast(tokenizer_object=corpus.train_tokenizer(TEXTS, 400), eos_token=corpus.SEPARATOR)


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """An empty cache; the hub is never asked."""
    monkeypatch.setenv("GENGAP_ROOT", str(bare_project(tmp_path / "root")))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def write(folder, kind):
    """The same documents as parquet, JSON lines or plain text, an empty one among them; the source that reads them."""
    texts, path = [TEXTS[0], " \n", *TEXTS[1:]], folder / f"texts.{kind}"
    if kind == "parquet":
        datasets.Dataset.from_dict({"number": range(len(texts)), "content": texts}).to_parquet(str(path))
    elif kind == "json":
        path.write_text("".join(json.dumps({"content": text, "number": i}) + "\n" for i, text in enumerate(texts)))
    else:
        path.write_text("\n".join(" ".join(text.split()) for text in texts))
    return TextSource(kind, "text" if kind == "text" else "content", data_files=(str(path),))


@pytest.mark.parametrize("kind", ["parquet", "json", "text"])
def test_rows_are_the_documents_in_order(tmp_path, tokenizer, kind):
    rows = text_rows(write(tmp_path, kind), tokenizer, 50, SEQ_LEN)
    texts = [" ".join(text.split()) for text in TEXTS] if kind == "text" else TEXTS
    ids = [[0], *([*tokenizer.encode(text, add_special_tokens=False), 0] for text in texts)]
    flat = np.concatenate(ids)[: 50 * (SEQ_LEN + 1)]
    np.testing.assert_array_equal(rows[:], flat.reshape(50, SEQ_LEN + 1))
    assert (len(rows), rows[:].dtype) == (50, np.uint16)
    np.testing.assert_array_equal(rows[np.array([7, 3])], rows.rows[[7, 3]])
    assert len(rows.sha256) == 64


def test_the_cache_is_used_while_nothing_has_changed(tmp_path, tokenizer, monkeypatch):
    source = write(tmp_path, "json")
    first = text_rows(source, tokenizer, 20, SEQ_LEN)
    with monkeypatch.context() as patch:
        patch.setattr(TextSource, "pieces", lambda self: iter(()))  # nothing is read
        again = text_rows(source, tokenizer, 20, SEQ_LEN)
    assert again.sha256 == first.sha256
    path = next(cache_dir().glob("*.bin"))
    path.write_bytes(path.read_bytes()[:-2])  # a damaged file is made again
    assert text_rows(source, tokenizer, 20, SEQ_LEN).sha256 == first.sha256
    (tmp_path / "texts.json").write_text("".join(json.dumps({"content": text}) + "\n" for text in TEXTS[::-1]))
    assert text_rows(source, tokenizer, 20, SEQ_LEN).sha256 != first.sha256


def test_reading_stops_when_there_are_enough_rows(tmp_path, tokenizer, monkeypatch):
    source, read = write(tmp_path, "json"), []
    plain = TextSource.pieces

    def counted(self):
        for document in plain(self):
            read.append(document)
            yield document

    monkeypatch.setattr(TextSource, "pieces", counted)
    monkeypatch.setattr(text, "DOCUMENTS_PER_BATCH", 2)
    text_rows(source, tokenizer, 5, SEQ_LEN)
    assert 0 < len(read) < 10


def test_what_cannot_be_read_is_one_message(tmp_path, tokenizer):
    source = write(tmp_path, "json")
    for asked, n_rows, message in (
        (source, 10**6, r"ask for fewer than 1,000,000 rows"),
        (TextSource("json", "body", data_files=source.data_files), 5, r"no text in a column 'body'.*'content'"),
        (TextSource("json", "number", data_files=source.data_files), 5, r"no text in a column 'number'"),
        (TextSource("json", data_files=(str(tmp_path / "none.json"),)), 5, r"check name, split and files"),
        (TextSource("json", split="test", data_files=source.data_files), 5, r"check name, split and files"),
        (TextSource("nobody/has-this-data-set"), 5, r"need the network"),
    ):
        with pytest.raises(UserError, match=message):
            text_rows(asked, tokenizer, n_rows, SEQ_LEN)
    (tmp_path / "empty.json").write_text(json.dumps({"text": ""}) + "\n")
    empty = TextSource("json", data_files=(str(tmp_path / "empty.json"),))
    with pytest.raises(UserError, match=r"holds 1 tokens, 0 rows"):
        text_rows(empty, tokenizer, 5, SEQ_LEN)
    assert not list(cache_dir().glob("*.bin"))


def test_a_tokenizer_without_end_of_text_is_refused(tmp_path, tokenizer):
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(UserError, match="no end-of-text token"):
        text_rows(write(tmp_path, "json"), bare, 5, SEQ_LEN)


def test_files_named_by_pattern_or_folder_are_read_anew_when_they_change(tmp_path, tokenizer):
    folder = tmp_path / "texts"
    folder.mkdir()
    for source in (TextSource("text", data_files=(f"{folder}/*.txt",)), TextSource(str(folder))):
        found = []
        for content in TEXTS[:2]:
            (folder / "one.txt").write_text(content)
            found.append(text_rows(source, tokenizer, 2, SEQ_LEN).sha256)
        (folder / "another.txt").write_text(TEXTS[2])  # read first
        found.append(text_rows(source, tokenizer, 2, SEQ_LEN).sha256)
        (folder / "another.txt").unlink()
        assert len(set(found)) == 3


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path, tokenizer, monkeypatch):
    source, plain = write(tmp_path, "json"), text._write

    def written_to(*args):
        plain(*args)
        (tmp_path / "texts.json").write_text(json.dumps({"content": TEXTS[1]}) + "\n")

    monkeypatch.setattr(text, "_write", written_to)
    with pytest.raises(UserError, match=r"texts.json.* changed while it was read"):
        text_rows(source, tokenizer, 5, SEQ_LEN)
    assert not list(cache_dir().iterdir())


def test_nulls_are_skipped_as_empty_texts_are(tmp_path, tokenizer):
    texts = [TEXTS[0], None, "", TEXTS[1], None]
    table = datasets.Dataset.from_dict({"text": texts})
    table.to_parquet(str(tmp_path / "texts.parquet"))
    table.to_json(str(tmp_path / "texts.json"))
    found = [
        text_rows(TextSource(kind, data_files=(str(tmp_path / f"texts.{kind}"),)), tokenizer, None, SEQ_LEN)
        for kind in ("parquet", "json")
    ]
    assert found[0].sha256 == found[1].sha256
    ids = np.concatenate([[0], *([*tokenizer.encode(text, add_special_tokens=False), 0] for text in TEXTS[:2])])
    n_rows = len(ids) // (SEQ_LEN + 1)
    np.testing.assert_array_equal(found[0][:].ravel(), ids[: n_rows * (SEQ_LEN + 1)])
