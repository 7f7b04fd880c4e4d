"""Fixtures of all tests: projects with real text and real records, in seconds."""

import pytest
from made_up import made_up_record
from projects import SMALL, make_project

from gengap.tokens import corpus


@pytest.fixture
def empty_project(tmp_path, monkeypatch):
    """A project without a built corpus, the current one for the test."""
    root = make_project(tmp_path / "project", n_documents=400)
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    return root


@pytest.fixture(scope="session")
def small_project(tmp_path_factory):
    """A project with a corpus for `SMALL`, shared by all tests (do not write into its corpus)."""
    root = make_project(tmp_path_factory.mktemp("project") / "root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENGAP_ROOT", str(root))
        corpus.build(SMALL.vocab_size, SMALL.seq_len)
    return root


@pytest.fixture
def small_rows(small_project, monkeypatch):
    """The training rows of `SMALL`."""
    monkeypatch.setenv("GENGAP_ROOT", str(small_project))
    return SMALL.train_rows()


@pytest.fixture
def record(empty_project):
    """The record of made-up losses."""
    return made_up_record()
