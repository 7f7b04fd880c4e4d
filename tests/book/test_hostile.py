"""Records whose words are markup: names are refused, what is free text stands on the page as text, and no script runs."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
import yaml
from browser import chromium, open_browser, serve
from made_up import made_up_record
from projects import bare_project

from gengap.book import notebooks, report, site
from gengap.errors import UserError
from gengap.records.bound import BoundRecord
from gengap.records.survey import QuantizationSurvey
from gengap.records.training_run import TrainingRun

ROOT = Path(__file__).parents[2]
RUNG = ROOT / "results" / "ladder" / "50k"
RAN = "window.ran = true"
WORDS = [
    f"<script>{RAN}</script>",
    f'"><img src=x onerror="{RAN}">',
    f"</td></table><svg onload='{RAN}'>",
    f"</script><script>{RAN}//",
    f"<a href='javascript:{RAN}' autofocus onfocus='{RAN}'>a link</a>",
    f"[a link](javascript:{RAN.replace(' ', '')})",
    rf"$\href{{javascript:{RAN}}}{{x}}$ {{{{ 7 * 7 }}}} {{glue:text}}`x`",
]


def places(node, path=()):
    """The place of every text in a record."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from places(value, (*path, name))
    elif isinstance(node, list):
        for number, value in enumerate(node[:1]):
            yield from places(value, (*path, number))
    elif isinstance(node, str):
        yield path


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (BoundRecord, RUNG / "main-gptq-4bit.json"),
        (QuantizationSurvey, RUNG / "main-quantization.json"),
        (TrainingRun, RUNG / "runs" / "grid-1x.json"),
    ],
)
def test_no_word_of_a_record_may_be_markup(kind, source, tmp_path):
    honest = json.loads(source.read_text(encoding="utf-8"))
    found = list(places(honest))
    assert len(found) > 5
    for place in found:
        record = json.loads(source.read_text(encoding="utf-8"))
        *inner, last = place
        node = record
        for key in inner:
            node = node[key]
        node[last] = WORDS[0]
        (tmp_path / "r.json").write_text(json.dumps(record), encoding="utf-8")
        with pytest.raises(UserError, match=r"is no valid|contradicts itself"):
            kind.read(tmp_path / "r.json")
    names = honest["provenance"]["packages"]
    honest["provenance"]["packages"] = names | {WORDS[0]: "1.0"}
    (tmp_path / "r.json").write_text(json.dumps(honest), encoding="utf-8")
    with pytest.raises(UserError, match="is no valid"):
        kind.read(tmp_path / "r.json")


@pytest.fixture
def hostile(empty_project):
    """One certificate, and for each of the words a record that gives them as the reason why it is none."""
    records = [made_up_record(size=f"{k}k").model_copy(update={"not_certified": said}) for k, said in enumerate(WORDS)]
    return [record.write() for record in (made_up_record(), *records)]


needs_browser = pytest.mark.skipif(
    chromium() is None, reason="there is no Chromium: install it, on Debian with `apt install chromium`"
)


def assert_harmless(folder: Path, name: str):
    """Opened and clicked through in a browser, the page shows the words and runs none of them."""
    with serve(folder) as address, open_browser() as page:
        page.open(f"{address}/{name}")
        page.evaluate("document.querySelectorAll('a[href^=javascript]').forEach(link => link.click())")
        page.evaluate("new Promise(done => setTimeout(done, 500))")
        assert page.evaluate("window.ran === undefined")
        shown = page.evaluate("document.body.innerText")
        for words in WORDS[:5]:
            assert words in shown, f"{words} is not shown as it is"
        assert page.evaluate("[...document.querySelectorAll('img')].every(image => image.getAttribute('src') !== 'x')")


@needs_browser
def test_a_report_of_hostile_records_runs_no_script(hostile, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(ROOT / "notebooks", notebooks.project_root() / "notebooks")
    report.write(hostile, folder / "report.html")
    assert_harmless(folder, "report.html")


@needs_browser
def test_a_book_of_hostile_records_runs_no_script(hostile, tmp_path, monkeypatch):
    """The code of chapter 09, run on them and built as the book is."""
    project = bare_project(tmp_path / "book")
    (project / "notebooks").mkdir()
    (project / "book").mkdir()
    for name in ("_ext", "_static", "references.bib"):
        source, target = ROOT / "book" / name, project / "book" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    page = nbformat.read(ROOT / "notebooks" / "09_report.ipynb", as_version=4)
    title = nbformat.v4.new_markdown_cell("# A page", id="title")
    page.cells = [title, *(cell for cell in page.cells if cell.cell_type == "code")]
    for cell in page.cells:
        cell.metadata.pop("mystnb", None)
    nbformat.write(page, pair := project / "notebooks" / "01_page.ipynb")
    (project / "book" / "index.md").write_text("# A book\n\nWords.\n")
    (project / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n  - file: notebooks/01_page\n")
    (project / "_config.yml").write_text(yaml.safe_dump({"title": "A book", "repository": {"url": ""}}))
    monkeypatch.setenv("GENGAP_ROOT", str(project))
    executed = project / "build" / "notebooks" / "01_page.ipynb"
    notebooks.execute(pair, executed, {"files": [str(path) for path in hostile]})
    index = site.build(site.stage(config=site.read_config(ROOT)))
    assert_harmless(index.parent, "notebooks/01_page.html")
