"""The craft of the book: every page of it measured in a browser, and pages made to fail each measure."""

import json
from pathlib import Path

import checklist
import pytest
from browser import chromium, open_browser, serve

from gengap.book import site

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
needs_browser = pytest.mark.skipif(
    chromium() is None, reason="there is no Chromium: install it, on Debian with `apt install chromium`"
)
needs_book = pytest.mark.skipif(
    not (HTML / "index.html").is_file() or not (ROOT / "build" / "site" / "_toc.yml").is_file(),
    reason="the book is not built: `make book` builds it",
)

#: Pages of the library, which a program writes: a package, fields, parameters one below the other, a long docstring.
OF_EACH_KIND = [f"book/library/gengap.{name}" for name in ("bounds", "bounds.terms", "laws.fits", "workflow.certify")]
#: What a page may have after all: (measure, page): why.
KNOWN: dict[tuple[str, str], str] = {}


@needs_book
@needs_browser
@pytest.mark.parametrize("part", ["chapters", "library"])
def test_every_page_passes(part):
    """Both themes and both widths; counts of everything are left in build/checklist-*.json."""
    chapters = site.toc_pages(site.read_toc(ROOT / "build" / "site"))
    pages = [page for page in site.staged_pages(ROOT / "build" / "site") if (page in chapters) == (part == "chapters")]
    found = checklist.survey(HTML, pages, pages if part == "chapters" else OF_EACH_KIND)
    (ROOT / "build" / f"checklist-{part}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    wrong = [
        f"{name}: {measure}: {what}"
        for name, page in found.items()
        for measure in checklist.MEASURES
        if (measure, name) not in KNOWN and (part == "chapters" or measure not in checklist.OF_PROSE)
        for what in page[measure]
    ]
    assert not wrong, "\n".join([f"{len(wrong)} things:", *wrong[:60], checklist.table(found)])
    assert sum(page["n_drawn"] for page in found.values()) > 500 or part == "library"
    assert sum(page["n_tables"] for page in found.values()) > 30 or part == "library"
    for measure, name in KNOWN:
        assert name not in found or found[name][measure], f"{name} passes {measure}: it is no exception"


# --- the measures themselves ------------------------------------------------------------------------------------------

SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="400" height="100" viewBox="0 0 300 75"><style>%s</style>
<g id="text_1"><!-- words --><g style="fill: %s" transform="translate(5 40) scale(%s -0.12)"><path d="M0 0h9v9z"/></g></g></svg>"""
PAGE = """<!doctype html><html lang="en" data-theme="light"><head><title>Page</title><link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">
<style>html[data-theme=dark] body{background:#121212;color:#ced6dd;color-scheme:dark} pre,.table{overflow-x:auto}
table{border-collapse:collapse} %s</style></head><body><main><article><h1>Page</h1>%s</article></main></body></html>"""
TABLE = "<table><caption>Sizes</caption><thead><tr><th scope=col>n</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>"
WIDE = f">{300 * 'n'}<"
IMAGE = '<img src="picture.svg" alt="A picture" style="width:358px">'
GOOD = (
    f'<p>This is a sentence. So is this: 1, 2, 3, 4 and 5.</p><p id="a">Other words.</p>{TABLE}{IMAGE}<pre>code</pre>'
)


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """What `checklist.survey` says of a page with this style, these words and this picture."""
    folder = tmp_path_factory.mktemp("html")
    with serve(folder) as address, open_browser() as page:

        def look(words=GOOD, style="", scale=0.12, fill="#57606a", dark="#a4acb7"):
            rule = f"@media (prefers-color-scheme:dark){{g g{{fill:{dark}!important}}}}"
            (folder / "picture.svg").write_text(SVG % (rule, fill, scale))
            (folder / "page.html").write_text(PAGE % (style, words))
            return checklist.judge({"page": checklist.measure(page, f"{address}/page.html")})["page"]

        yield look


@needs_browser
def test_a_good_page_passes_every_measure(look):
    found = look()
    assert {measure: found[measure] for measure in checklist.MEASURES} == {
        measure: [] for measure in checklist.MEASURES
    }
    assert (found["n_drawn"], found["n_tables"], found["numbers"], found["words"]) == (1, 1, 5, 4)


@needs_browser
@pytest.mark.parametrize(
    ("measure", "changed"),
    [
        ("broken", {"words": GOOD + "<p class='math'>x</p>"}),
        ("broken", {"words": GOOD + "<img src='gone.svg' alt='Gone'>"}),
        ("broken", {"words": GOOD + "<script>gone()</script>"}),
        ("cut", {"words": GOOD + f"<pre tabindex=0>{'x' * 300}</pre>"}),
        ("cut", {"words": GOOD + f'<div class="table" tabindex=0>{TABLE.replace(">n<", WIDE)}</div>'}),
        ("wide", {"words": GOOD + "<p style='width:500px'>wide</p>"}),
        ("small", {"scale": 0.068}),
        ("faint", {"style": "p{color:#999}"}),
        ("faint", {"style": "html[data-theme=dark] p{color:#555}"}),
        ("faint", {"fill": "#999999"}),
        ("faint", {"dark": "#555555"}),
        ("tables", {"words": GOOD.replace("<caption>Sizes</caption>", "")}),
        ("tables", {"words": GOOD.replace(" scope=col", "")}),
        ("ids", {"words": GOOD + '<p id="a">More words.</p>'}),
        ("heavy", {"words": GOOD + f"<!-- {'x' * checklist.MAX_BYTES} -->"}),
        ("axe", {"words": GOOD.replace(' alt="A picture"', "")}),
        ("long", {"words": GOOD + f"<p>{19 * 'word '}.</p>" * 4}),
        ("crowded", {"words": GOOD.replace("and 5", "5 and 6")}),
    ],
)
def test_a_page_that_fails_a_measure_is_told(look, measure, changed):
    found = look(**changed)
    assert {name for name in checklist.MEASURES if found[name]} == {measure}


@needs_browser
def test_numbers_of_links_and_code_are_no_numbers_of_a_paragraph(look):
    words = "<p>As <a href='#a'>Figures 1.2 and 3.4</a> show, <code>f(1, 2, 3)</code> of gpt-2 is 1,000.5 or -3.</p>"
    assert look(GOOD.replace("1, 2, 3, 4 and 5", "x") + words)["numbers"] == 2
