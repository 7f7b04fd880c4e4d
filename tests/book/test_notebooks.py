"""The pair contract and the runner: wrong parameters never run, failures keep what ran, prose costs nothing."""

import os
import re
from dataclasses import asdict

import jupytext
import nbformat
import pytest
import yaml
from matplotlib import rc_context

from gengap.book import notebooks
from gengap.book import parameters as params
from gengap.compression.methods import DEFAULT_BITS, DEFAULT_METHOD
from gengap.errors import UserError
from gengap.paths import project_root
from gengap.workflow.settings import Settings

SOURCES = notebooks.notebook_sources()
SOURCE = """# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,mystnb,-all
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A page

# %% tags=["parameters"]
n_windows: int = 3  # windows
share: float = 0.5  # of them
name: str = "ladder"  # a name

# %%
print(n_windows * share, name)

# %%
assert n_windows < 100, "too many"
"""


@pytest.fixture
def pair(tmp_path, empty_project):
    source = tmp_path / "01_page.py"
    source.write_text(SOURCE)
    assert notebooks.sync_pair(source)
    return source


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_committed_pairs_are_in_step_and_without_outputs(source):
    assert notebooks.pair_difference(source) == ""


def test_overrides_exist_with_their_types():
    overrides = yaml.safe_load((project_root() / "tests" / "overrides.yaml").read_text())
    for name, parameters in overrides.items():
        params.check_parameters(project_root() / "notebooks" / f"{name}.ipynb", parameters)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_first_code_cell_holds_typed_parameters_with_comments(source):
    first = next(cell for cell in jupytext.read(source).cells if cell.cell_type == "code")
    assert first.metadata.get("tags") == ["parameters"]
    for line in filter(str.strip, first.source.splitlines()):
        assert re.match(r"\w+: \w+ = [^#]+  +# \S", line), f"{line!r}: name: type = literal  # meaning"


def test_the_chapter_of_one_model_has_the_settings_of_a_certificate():
    declared = {p.name: p.default for p in params.parameters(notebooks.chapter_path())}
    assert asdict(Settings()).items() <= declared.items()
    assert (declared["method"], declared["bits"]) == (DEFAULT_METHOD, DEFAULT_BITS)


@pytest.mark.parametrize("name", ["11_companion", "17_critics"])
def test_the_chapters_on_companions_ask_for_snapshots_in_a_sentence(empty_project, name):
    source = next(path for path in SOURCES if path.stem == name)
    parameters, setup = [cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code"][:2]
    page = {}
    exec(parameters, page)
    with pytest.raises(UserError, match=r"run `gengap train ladder-50k --snapshots`"), rc_context():
        exec(setup, page)


def test_edits_are_seen_and_mended_keeping_cell_ids(pair):
    ids = [cell.id for cell in nbformat.read(notebooks.pair_of(pair), as_version=4).cells]
    pair.write_text(SOURCE.replace("# # A page", "# # Another page"))
    assert "Another page" in notebooks.pair_difference(pair)
    assert notebooks.sync_pair(pair)
    assert not notebooks.sync_pair(pair)
    after = nbformat.read(notebooks.pair_of(pair), as_version=4)
    assert [cell.id for cell in after.cells] == ids


def edited(pair, change):
    """The pair of a source, changed as an editor does."""
    notebook = nbformat.read(notebooks.pair_of(pair), as_version=4)
    change(notebook)
    nbformat.write(notebook, notebooks.pair_of(pair))
    return notebooks.pair_of(pair).read_text()


def kept(root):
    return {path.read_text() for path in (root / "build" / "pairs").glob("*.ipynb")}


def work(notebook):
    notebook.cells[-1].source += "\n# an hour's work"


def more_work(notebook):
    notebook.cells.append(nbformat.v4.new_markdown_cell("Another hour."))


def run_it(notebook):
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="1")]
    notebook.cells[2].execution_count = 3


def test_an_edit_of_the_pair_is_kept_whichever_side_is_later(pair, empty_project):
    first = edited(pair, work)
    done = notebooks.sync_pair(pair)
    assert kept(empty_project) == {first}
    assert done.startswith("wrote 01_page.ipynb; what it said before, which 01_page.py does not, is kept in ")
    assert "hour" not in notebooks.pair_of(pair).read_text()
    second = edited(pair, more_work)
    pair.write_text(SOURCE.replace("A page", "Both sides edited"))
    assert "kept in" in notebooks.sync_pair(pair)
    assert kept(empty_project) == {first, second}
    assert "Both sides" in notebooks.pair_of(pair).read_text()


def test_outputs_alone_and_edits_of_the_source_alone_are_no_edit_of_the_pair(pair, empty_project):
    edited(pair, run_it)
    assert notebooks.sync_pair(pair) == "wrote 01_page.ipynb"
    pair.write_text(SOURCE.replace("A page", "Another page"))
    assert notebooks.sync_pair(pair) == "wrote 01_page.ipynb"
    edited(pair, run_it)
    pair.write_text(SOURCE.replace("A page", "A third page"))
    assert notebooks.sync_pair(pair) == "wrote 01_page.ipynb"
    assert notebooks.sync_pair(pair) == ""
    assert not kept(empty_project)


def test_a_pair_that_cannot_be_read_or_was_never_seen_is_kept_too(pair, empty_project):
    notebooks.pair_of(pair).write_text("<<<<<<< a conflict")
    assert "cannot be read" not in notebooks.sync_pair(pair)
    former = edited(pair, work)
    for path in (empty_project / "build" / "pairs").glob("*.sha256"):
        path.unlink()  # a fresh checkout
    pair.write_text(SOURCE.replace("A page", "Another page"))
    assert "kept in" in notebooks.sync_pair(pair)
    assert kept(empty_project) == {"<<<<<<< a conflict", former}


def test_an_edit_brought_into_the_source_is_in_step(pair, empty_project):
    edited(pair, lambda notebook: notebook.cells[0].update(source="# A better page"))
    pair.write_text(SOURCE.replace("A page", "A better page"))
    assert notebooks.sync_pair(pair) == ""
    assert not kept(empty_project)


def test_outputs_in_the_pair_are_out_of_step(pair):
    notebook = nbformat.read(notebooks.pair_of(pair), as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="1")]
    nbformat.write(notebook, notebooks.pair_of(pair))
    assert notebooks.pair_difference(pair)


def test_the_code_that_is_kept_is_as_old_as_its_last_change(pair, tmp_path):
    kept = tmp_path / "code" / pair.name
    notebooks.keep_code(pair, kept)
    assert "A page" not in kept.read_text()
    os.utime(kept, (1, 1))
    pair.write_text(SOURCE.replace("A page", "Other words"))
    notebooks.keep_code(pair, kept)
    assert kept.stat().st_mtime == 1
    pair.write_text(SOURCE.replace("< 100", "< 10"))
    notebooks.keep_code(pair, kept)
    assert "< 10" in kept.read_text()
    assert kept.stat().st_mtime > 1


def test_run_injects_parameters_and_writes_atomically(pair, tmp_path):
    output = tmp_path / "run" / "01_page.ipynb"
    notebooks.execute(notebooks.pair_of(pair), output, {"n_windows": 8, "share": 2})
    texts = [out.text for c in nbformat.read(output, as_version=4).cells for out in c.get("outputs", [])]
    assert texts == ["16 ladder\n"]
    assert [path.name for path in output.parent.iterdir()] == ["01_page.ipynb"]


def test_failed_run_keeps_its_partial_notebook(pair, tmp_path):
    output = tmp_path / "01_page.ipynb"
    with pytest.raises(
        UserError, match=r"failed in cell .*AssertionError: too many\nits partial run is .*failed.ipynb"
    ):
        notebooks.execute(notebooks.pair_of(pair), output.with_name("out.ipynb"), {"n_windows": 100})
    assert not output.with_name("out.ipynb").exists()
    assert "50.0 ladder" in output.with_name("out.failed.ipynb").read_text()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"n_window": 3}, "no parameter 'n_window': did you mean n_windows?"),
        ({"n_windows": 3.5}, "n_windows is a int, but 3.5 is a float"),
        ({"n_windows": True}, "n_windows is a int, but True is a bool"),
        ({"name": 7}, "name is a str, but 7 is a int"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(pair, tmp_path, parameters, said):
    with pytest.raises(UserError) as error:
        notebooks.execute(notebooks.pair_of(pair), tmp_path / "out.ipynb", parameters)
    assert said in str(error.value)
    assert not (tmp_path / "out.failed.ipynb").exists()


def test_parameters_are_read_with_type_default_and_help(pair):
    assert params.parameters(notebooks.pair_of(pair)) == [
        params.Parameter("n_windows", int, 3, "windows"),
        params.Parameter("share", float, 0.5, "of them"),
        params.Parameter("name", str, "ladder", "a name"),
    ]
    with pytest.raises(UserError, match="`make sync` writes the pairs"):
        params.parameters(pair.with_name("02_other.ipynb"))


def test_parameters_on_the_command_line_keep_their_types():
    parsed = params.parse_parameters(["a=7", "b=0.5", "c=ladder-50k", "d=True", "e='7'"])
    assert parsed == {"a": 7, "b": 0.5, "c": "ladder-50k", "d": True, "e": "7"}
    with pytest.raises(UserError, match="name=value"):
        params.parse_parameters(["a"])


def test_pages_that_need_snapshots_wait_for_them():
    """The graph lists them by name; any other page may begin before there is a training."""
    graph = (project_root() / "Snakefile").read_text(encoding="utf-8")
    listed = re.search(r"^WITH_SNAPSHOTS = \[(.*)\]", graph, re.MULTILINE)[1]
    pages = sorted((project_root() / "notebooks").glob("*.py"))
    assert re.findall(r'"(.*?)"', listed) == [page.stem for page in pages if " subject(" in page.read_text("utf-8")]
