"""Rungs at other lengths: the same shape on other numbers of the same rows, each with a checkpoint of its own."""

from dataclasses import asdict

import numpy as np
import pytest

from gengap import models
from gengap.errors import UserError
from gengap.models.ladder import LENGTHS
from gengap.tokens.rows import TokenRows
from gengap.training.run import Run
from gengap.workflow import campaign
from gengap.workflow.plan import plan

GRID = {(p.model_size, p.run.length): p for p in plan() if p.group == "grid" and p.run.spec.family == "ladder"}


def test_every_run_of_the_grid_is_a_revision_of_its_rung_and_no_other():
    assert set(GRID) == {(size, length) for size, lengths in LENGTHS.items() for length in lengths}
    for (size, length), planned in GRID.items():
        spec = models.get(size, "main" if length == 1 else f"{length:g}x")
        assert spec.n_train_rows == planned.run.n_rows
        assert spec.results_dir() / spec.checkpoint_name == campaign.folder(planned) / "checkpoint"
        assert spec.run_dir() == campaign.folder(planned)


def test_a_length_changes_the_rows_and_the_checkpoint_alone():
    main, longer = models.get("ladder-50k"), models.get("ladder-50k", "4x")
    assert (main.revision, longer.revision) == ("main", "4x")
    assert longer.n_train_tokens == 4 * main.n_train_tokens
    assert (longer.n_params, longer.model_size) == (main.n_params, main.model_size)
    assert asdict(longer) == asdict(main) | {"length": 4.0}
    assert (main.checkpoint_name, longer.checkpoint_name) == ("checkpoint", "runs/grid-4x/checkpoint")
    assert longer.at("main") == main != longer
    assert longer.at("4x") == longer


def test_main_is_the_default_and_its_run_has_the_name_it_had():
    assert models.get("ladder-50k", "main") is models.get("ladder-50k") is models.REGISTRY["ladder-50k"]
    assert "length" not in asdict(models.get("ladder-50k"))  # fields are part of a run's hash


@pytest.mark.parametrize("revision", ["1x", "3x", "4", "step8", "4.0x", "64x"])
def test_lengths_that_nobody_trained_are_refused(revision):
    said = f"ladder-50k has no training of length '{revision}': choose one of 0.25x, 0.5x, main, 2x"
    with pytest.raises(UserError, match=said):
        models.get("ladder-50k", revision)
    with pytest.raises(UserError, match="ladder-3m has no training of length '2x'"):
        models.get("ladder-3m", "2x")


def test_its_rows_are_the_first_of_the_corpus(monkeypatch, tmp_path):
    spec = models.get("ladder-50k", "0.25x")

    def rows(n):
        values = np.arange(n * 257, dtype=np.uint16).reshape(n, 257)
        return TokenRows(values, "0" * 64)

    monkeypatch.setattr("gengap.tokens.corpus.corpus_rows", lambda part, text: rows(spec.n_train_rows + 5))
    found = spec.train_rows()
    np.testing.assert_array_equal(found[:], rows(spec.n_train_rows)[:])
    monkeypatch.setattr("gengap.tokens.corpus.corpus_rows", lambda part, text: rows(spec.n_train_rows - 1))
    with pytest.raises(UserError, match="ladder-50k needs 1032 rows, the corpus has 1031"):
        spec.train_rows()


def test_a_missing_checkpoint_says_what_trains_it(monkeypatch, tmp_path):
    for name in ("corpus.lock", "lib/gengap/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setenv("GENGAP_ROOT", str(tmp_path))
    with pytest.raises(UserError, match="`gengap train ladder-50k --revision 4x` makes it"):
        models.get("ladder-50k", "4x").load()


def test_training_a_length_is_the_run_of_the_plan():
    for (size, length), planned in GRID.items():
        spec = models.get(size, "main" if length == 1 else f"{length:g}x")
        assert Run(spec.at("main"), spec.length).key("0") == planned.run.key("0")
