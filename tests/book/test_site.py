"""The book: pairs, staging, build, checks of the HTML, and the pages in a browser."""

import re
import shutil
from pathlib import Path

import bookext
import htmlcheck
import nbformat
import pytest
import yaml
from browser import chromium, open_browser, serve
from bs4 import BeautifulSoup
from projects import bare_project

from gengap.book import drawings, pages, site
from gengap.errors import UserError

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
ADDRESS = "https://github.com/someone/something"


# --- the repository's own book ------------------------------------------------------------------------------------


def test_every_page_of_the_toc_exists_and_every_notebook_is_in_it():
    docnames = site.toc_pages(site.read_toc(ROOT))
    assert len(docnames) == len(set(docnames))
    for docname in docnames:
        assert any((ROOT / f"{docname}{suffix}").is_file() for suffix in (".md", ".ipynb")), docname
    sources = {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.py")}
    assert sources <= set(docnames)


def test_every_name_that_a_prose_page_imports_exists():
    for page in [*(ROOT / "book").glob("*.md"), ROOT / "README.md"]:
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            for line in re.findall(r"^(?:from gengap|import gengap).*$", block, re.M):
                exec(line, {})


def test_every_citation_has_an_entry():
    entries = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE))
    for page in [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.py")]:
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", page.read_text()):
            assert {key.strip() for key in keys.split(",")} <= entries, page.name


def test_every_module_is_in_the_reference():
    files = (ROOT / "lib" / "gengap").rglob("*.py")
    modules = {
        ".".join(path.relative_to(ROOT / "lib").with_suffix("").parts).removesuffix(".__init__") for path in files
    }
    modules = {name for name in modules - {"gengap"} if not name.startswith("gengap.cli")}
    assert set(site.reference_pages()) == {f"book/library/{name}.md" for name in modules}
    listed = re.findall(r"^   (gengap\.\w+)$", (ROOT / "book" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(name for name in modules if name.count(".") == 1)


def test_every_statement_that_the_library_cites_is_stated():
    stated = set(re.findall(r"^\(statement-(t\d+)\)=$", (ROOT / "book" / "statements.md").read_text(), re.MULTILINE))
    assert stated == {f"t{k}" for k in range(1, 16)}
    for path in (ROOT / "lib").rglob("*.py"):
        for before, name in re.findall(r"(\w+ |\()(T\d+)\b", path.read_text(encoding="utf-8")):
            assert (before, name.lower() in stated) == ("statement ", True), f"{path.name}: {before}{name}"


# --- staging ------------------------------------------------------------------------------------------------------

CODE = ['size: str = "small"  # which', "print(1 + 1)"]
TEXT = """# A page

See {eq}`eq-one` and {prf:ref}`thm-one`.

| *Reads*: nothing
| *Writes*: nothing

| a | table |
|---|---|
| 1 | 2 |

$$
1 + 1 = 2
$$ (eq-one)

:::{prf:theorem} One
:label: thm-one

Text.
:::

:::{prf:lemma} Without a label

Text.
:::
"""


def notebook(codes=CODE, text=TEXT, ran=False, cell_tags=(["parameters"], [])):
    """A notebook of one text and some code cells, executed or not."""
    cells = [nbformat.v4.new_markdown_cell(text, id="text")]
    for k, (code, tags) in enumerate(zip(codes, cell_tags, strict=True)):
        cell = nbformat.v4.new_code_cell(code, id=f"code-{k}", metadata={"tags": list(tags)} if tags else {})
        if ran:
            cell.execution_count = k + 1
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="2\n")] if k else []
        cells.append(cell)
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    if ran:
        metadata["papermill"] = {"duration": 1.0}
    metadata["jupytext"] = {"formats": "ipynb,py:percent"}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def write(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(content) if isinstance(content, dict) else content)
    return path


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one prose page and one executed notebook."""
    root = bare_project(tmp_path / "project")
    write(root / "book" / "index.md", "# A book\n\nWords.\n")
    write(root / "_toc.yml", "format: jb-book\nroot: book/index\nchapters:\n  - file: notebooks/01_page\n")
    write(root / "_config.yml", yaml.safe_dump({"title": "A book", "repository": {"url": ""}}))
    write(root / "notebooks" / "01_page.ipynb", notebook())
    write(root / "build" / "notebooks" / "01_page.ipynb", notebook(ran=True))
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    return root


def staged(project, docname="notebooks/01_page"):
    return nbformat.read(site.stage() / f"{docname}.ipynb", as_version=4)


def test_staging_joins_words_of_the_pair_and_outputs_of_the_run(project):
    write(project / "notebooks" / "01_page.ipynb", notebook(text="# A page\n\nA better sentence.\n"))
    page = staged(project)
    assert "A better sentence" in page.cells[0].source
    assert page.cells[2].outputs[0].text == "2\n"
    assert not {"jupytext", "papermill"} & set(page.metadata)
    nbformat.validate(page)


def test_staging_sets_facts_and_labels_but_leaves_tables_alone(project):
    text = staged(project).cells[0].source
    assert "::::{div} page-facts\n*Reads*: nothing\\\n*Writes*: nothing\n::::" in text
    assert "| a | table |\n|---|---|\n| 1 | 2 |" in text
    assert ":label: thm-one" in text
    assert ":::{prf:lemma} Without a label\n:label: 01_page-block-1\n" in text


@pytest.mark.parametrize(
    ("code", "figure", "shown", "tags"),
    [
        ("glue('a', 1, display=False)", False, None, ["remove-cell"]),
        ("for k, v in values.items():\n    glue(k, v)", False, None, ["remove-cell"]),
        ("# for the text\nglue('a', 1)", False, None, ["remove-cell"]),
        ("glue_all(a=1, b=2)\nglue_range('a', c)", False, None, ["remove-cell"]),
        ("for k in ks:\n    glue_interval(k, *of[k])\nassert a", False, "assert a", []),
        ("unglue(a)\npot.glue(a)\npots[0](a)", False, None, []),
        ("# a comment alone", False, None, []),
        ("a = 1\nglue('a', a)\nglue(\n    'b',\n    2,\n)\nassert a", False, "a = 1\nassert a", []),
        ("for k in found:\n    total += k\n    glue(k, total)", False, None, []),
        ("print(1 + 1)", False, None, []),
        ("", False, None, []),
        ("%pip install x", False, None, []),
        ("plt.show()\nglue('a', 1)", True, None, ["hide-input"]),
    ],
)
def test_code_that_names_numbers_is_left_out_and_that_of_figures_folded(code, figure, shown, tags):
    cell = nbformat.v4.new_code_cell(code, metadata={"mystnb": {"figure": {"name": "fig"}}} if figure else {})
    for _ in range(2):
        pages._fold(cell)
        assert cell.source == (code if shown is None else shown)
        assert cell.metadata.get("tags", []) == tags


def test_staging_touches_only_what_changed_and_drops_what_is_gone(project):
    stage_dir = site.stage()
    stray = write(stage_dir / "book" / "stray.md", "# Stray\n")
    before = {path: path.stat().st_mtime_ns for path in stage_dir.rglob("*.ipynb")}
    write(project / "book" / "index.md", "# A book\n\nOther words.\n")
    site.stage()
    assert {path: path.stat().st_mtime_ns for path in stage_dir.rglob("*.ipynb")} == before
    assert "Other words" in (stage_dir / "book" / "index.md").read_text()
    assert not stray.exists()


def unexecuted(page):
    page.cells[2].execution_count = None


def raised(page):
    page.cells[2].outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="too small", traceback=[])]


def edited(page):
    page.cells[2].source = "print(1 + 2)"


def shortened(page):
    del page.cells[2]


def warned(page):
    text = "lib.py:3: RuntimeWarning: overflow encountered\n"
    page.cells[2].outputs.append(nbformat.v4.new_output("stream", name="stderr", text=text))


def silent(page):
    page.cells[2].outputs = []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (unexecuted, "code cell 2 did not run"),
        (raised, "ValueError: too small"),
        (edited, "code cell 2 is not the one"),
        (shortened, "code cell 2 is not the one"),
        (warned, "RuntimeWarning: overflow"),
        (silent, "no output at all"),
    ],
)
def test_staging_refuses(project, fault, message):
    page = notebook(ran=True)
    fault(page)
    write(project / "build" / "notebooks" / "01_page.ipynb", page)
    with pytest.raises(UserError, match=message):
        site.stage()


def test_staging_refuses_a_notebook_that_was_not_run(project):
    (project / "build" / "notebooks" / "01_page.ipynb").unlink()
    with pytest.raises(UserError, match="missing: run the notebook first"):
        site.stage()


def test_staging_refuses_a_page_of_the_toc_that_does_not_exist(project):
    with (project / "_toc.yml").open("a") as toc:
        toc.write("  - file: book/absent\n")
    with pytest.raises(UserError, match="neither book/absent"):
        site.stage()


def test_injected_parameters_stay_and_progress_bars_pass(project):
    page = notebook(ran=True)
    injected = nbformat.v4.new_code_cell(
        'size = "large"', metadata={"tags": ["injected-parameters"]}, execution_count=2
    )
    page.cells.insert(2, injected)
    text = "train: 100%|#####| 10/10\n"
    page.cells[3].outputs.append(nbformat.v4.new_output("stream", name="stderr", text=text))
    write(project / "build" / "notebooks" / "01_page.ipynb", page)
    assert [cell.source for cell in staged(project).cells[1:]] == [CODE[0], 'size = "large"', CODE[1]]


def per_size(project, *sizes, text=TEXT):
    codes = ['model_size: str = "ladder-100k"  # which', CODE[1]]
    write(project / "notebooks" / "01_page.ipynb", notebook(codes, text))
    for size in sizes:
        write(project / "build" / "notebooks" / "01_page" / f"{size}.ipynb", notebook(codes, ran=True))


def test_one_page_per_model_size_with_labels_of_its_own(project):
    links = "\n{doc}`../book/index`, {doc}`it <02_other>`, [this](02_other.md), [that](https://arxiv.org/)\n"
    per_size(project, "ladder-100k", "ladder-800k", "ladder-50k", text=TEXT + links)
    write(project / "build" / "notebooks" / "01_page" / "ladder-3m.failed.ipynb", notebook())
    stage_dir = site.stage()
    *chapters, appendix = site.read_toc(stage_dir)["chapters"]
    assert not any("sections" in entry for entry in chapters)
    assert appendix["file"] == "book/sizes"
    pages = [f"notebooks/01_page/ladder-{size}" for size in ("50k", "800k")]
    assert [page["file"] for page in appendix["sections"]] == pages
    main, other = staged(project), staged(project, "notebooks/01_page/ladder-50k")
    assert main.cells[0].source.startswith("# A page\n")
    assert "{doc}`ladder-50k <01_page/ladder-50k>`, {doc}`ladder-800k <01_page/ladder-800k>`" in main.cells[0].source
    assert other.cells[0].source.startswith("# A page: ladder-50k\n")
    text = other.cells[0].source
    assert "{eq}`eq-one-ladder-50k`" in text
    assert (
        "{doc}`../../book/index`, {doc}`it <../02_other>`, [this](../02_other.md), [that](https://arxiv.org/)" in text
    )
    labels = [
        set(re.findall(r"^\$\$ \((.*)\)|^:label: (.*)", page.cells[0].source, re.MULTILINE)) for page in (main, other)
    ]
    assert len(labels[0]) == len(labels[1]) == 3
    assert not labels[0] & labels[1]


def test_exercises_of_another_size_lead_to_their_own_answers(project):
    exercise = "\n```{exercise} One\n:label: ex-1\n\nWhy?\n```\n\nSee {ref}`it <ex-1>`.\n"
    answer = "\n```{solution} ex-1\n:class: dropdown\n\nSo.\n```\n\n```{solution-start} ex-1\n```\n"
    per_size(project, "ladder-100k", "ladder-50k", text=TEXT + exercise + answer)
    text = staged(project, "notebooks/01_page/ladder-50k").cells[0].source
    assert ":label: ex-1-ladder-50k\n" in text
    assert "{solution} ex-1-ladder-50k\n" in text
    assert "{solution-start} ex-1-ladder-50k\n" in text
    assert "{ref}`it <ex-1-ladder-50k>`" in text


def test_named_figures_are_there_for_prose_pages_and_once_under_each_name(project):
    per_size(project, "ladder-100k", "ladder-50k")
    pair = project / "notebooks" / "01_page.ipynb"
    page = nbformat.read(pair, as_version=4)
    page.cells[2].metadata["mystnb"] = {"figure": {"name": "fig-one", "caption": "One"}}
    write(pair, page)
    for size, svg in (("ladder-100k", "<svg>main</svg>"), ("ladder-50k", "<svg>other</svg>")):
        run = project / "build" / "notebooks" / "01_page" / f"{size}.ipynb"
        page = nbformat.read(run, as_version=4)
        page.cells[2].outputs = [nbformat.v4.new_output("display_data", data={"image/svg+xml": svg})]
        write(run, page)
    names = [
        staged(project, name).cells[2].metadata["mystnb"]["figure"]["name"]
        for name in ("notebooks/01_page", "notebooks/01_page/ladder-50k")
    ]
    assert names == ["fig-one", "fig-one-ladder-50k"]
    figures = site.stage() / "figures"
    assert (figures / "fig-one.svg").read_text().endswith("main</svg>")
    assert (figures / "fig-one-ladder-50k.svg").read_text().endswith("other</svg>")


def test_tables_have_the_captions_of_their_cells():
    tables = [
        nbformat.v4.new_output("display_data", data={"text/html": f"<style></style><table id='{k}'><tr></tr></table>"})
        for k in range(3)
    ]
    tables[1].data = {f"application/papermill.record/{mime}": html for mime, html in tables[1].data.items()}  # glued
    cell = nbformat.v4.new_code_cell("", outputs=tables, metadata={"caption": ["a < b", "c"]})
    pages._set_caption(cell)
    found = [re.findall("<caption>(.*)</caption>", next(iter(output.data.values()))) for output in cell.outputs]
    assert found == [["a &lt; b"], ["c"], []]
    cell = nbformat.v4.new_code_cell("", outputs=tables[2:], metadata={"caption": "d"})
    pages._set_caption(cell)
    assert "<table id='2'><caption>d</caption><tr>" in cell.outputs[0].data["text/html"]


def test_head_cells_say_what_they_head_and_ids_are_given_once():
    body = (
        '<p id="a"></p><p class="b" id="a">in <code>&lt;p id="a"&gt;</code></p><table><thead><tr><th>&nbsp;</th><th>x</th></tr></thead>'
        '<tbody><tr><th class="c">y</th><th scope="row">z</th><td>1</td></tr></tbody></table>'
    )
    context = {"body": body}
    bookext._mend(None, "page", "page.html", context, None)
    assert context["body"] == (
        '<p id="a"></p><p class="b">in <code>&lt;p id="a"&gt;</code></p><table><thead><tr><td></td><th scope="col">x</th></tr></thead>'
        '<tbody><tr><th scope="row" class="c">y</th><th scope="row">z</th><td>1</td></tr></tbody></table>'
    )


def test_what_opens_a_part_of_the_contents_has_a_name():
    context = {"generate_toctree_html": lambda kind, depth: f"<details><summary></summary>{kind} {depth}</details>"}
    bookext._name_toggles(None, "page", "page.html", context, None)
    drawn = context["generate_toctree_html"]("sidebar", depth=1)
    assert drawn == '<details><summary aria-label="Pages below this one"></summary>sidebar 1</details>'


def test_a_page_shows_the_narrow_drawing_on_a_phone(project):
    """Really built, with the book's own configuration: a figure of a notebook, and the same one on a prose page."""
    for name in ("book/_ext", "book/_static", "book/references.bib"):
        source, target = ROOT / name, project / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"/>'
    page, ran = notebook(), notebook(ran=True)
    for copy in (page, ran):
        copy.cells[2].metadata["mystnb"] = {"figure": {"name": "fig-one", "caption": "One"}, "image": {"alt": "One"}}
    data = {drawings.SVG: svg, drawings.NARROW: svg}
    ran.cells[2].outputs = [nbformat.v4.new_output("display_data", data=data)]
    write(project / "notebooks" / "01_page.ipynb", page)
    write(project / "build" / "notebooks" / "01_page.ipynb", ran)
    write(project / "book" / "index.md", "# A book\n\n```{image} ../figures/fig-one.svg\n:alt: One\n```\n")
    html = site.build(site.stage(config=site.read_config(ROOT))).parent
    for name in ("book/index", "notebooks/01_page"):
        picture = BeautifulSoup((html / f"{name}.html").read_text(encoding="utf-8"), "html.parser").find("picture")
        narrow = (html / name).parent / picture.source["srcset"]
        assert narrow.name == "fig-one.narrow.svg"
        assert narrow.is_file()
        assert picture.source["media"] == "(max-width: 600px)"
        assert picture.img["alt"] == "One"


# --- the address of the repository ------------------------------------------------------------------------------


def test_install_cell_follows_the_address():
    source = '# %% [markdown]\n# # A page\n\n# %% tags=["parameters"]\nseed: int = 0  # of it\n\n# %%\nprint(seed)\n'
    cell = pages.install_cell({"repository": {"url": ADDRESS, "branch": "v1"}})
    compile(cell, "install", "exec")
    with_cell = pages.with_install_cell(source, cell)
    assert with_cell.index('tags=["parameters"]') < with_cell.index(ADDRESS) < with_cell.index("print(seed)")
    assert pages.with_install_cell(with_cell, cell) == with_cell
    assert pages.with_install_cell(with_cell, None) == source
    assert pages.install_cell({"repository": {"url": ""}}) is None


def test_staging_refuses_an_install_cell_that_does_not_fit(project):
    config = {"title": "A book", "repository": {"url": ADDRESS}}
    with pytest.raises(UserError, match="make sync"):
        site.stage(config=config)


def test_launch_buttons_and_links_appear_with_the_address_alone(project):
    """Both books are really built, with the book's own configuration."""
    config = site.read_config(ROOT)
    for name in ("book/_ext", "book/_static", "book/references.bib"):
        source, target = ROOT / name, project / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    per_size(project, "ladder-100k", "ladder-50k")
    html = site.build(site.stage(config=config)).parent
    names = ["notebooks/01_page", "notebooks/01_page/ladder-50k"]
    assert htmlcheck.check() == 4  # with that of the appendix
    for name, has_neighbours in {"book/index": True, names[0]: True, names[1]: False}.items():
        soup = BeautifulSoup((html / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        assert bool(soup.select(".prev-next-area a")) == has_neighbours
    assert not soup.find("link", rel=["next", "prev"])
    for name in ["book/index", *names]:
        text = (html / f"{name}.html").read_text()
        assert not re.search("colab|mybinder|github", text)
        assert "Commit" in text
        assert "torch" in text
    config["repository"] = {"url": ADDRESS, "branch": "v1"}
    cell = pages.install_cell(config)
    codes, tags = (
        ['model_size: str = "ladder-100k"  # which', cell, CODE[1]],
        (["parameters"], ["install", "remove-cell"], []),
    )
    write(project / "notebooks" / "01_page.ipynb", notebook(codes, cell_tags=tags))
    for size in ("ladder-100k", "ladder-50k"):
        write(project / "build" / "notebooks" / "01_page" / f"{size}.ipynb", notebook(codes, ran=True, cell_tags=tags))
    site.build(site.stage(config=config))
    for name in names:
        text = (html / f"{name}.html").read_text()
        assert "https://colab.research.google.com/github/someone/something/blob/v1/notebooks/01_page.ipynb" in text
        assert "https://mybinder.org/v2/gh/someone/something/v1?urlpath=lab/tree/notebooks/01_page.ipynb" in text
        assert f'href="{ADDRESS}' in text


def test_the_reference_shows_what_the_docstrings_say(project, monkeypatch):
    """Two packages of it are really built, with the book's own configuration."""
    for name in ("book/_ext", "book/_static", "book/references.bib"):
        source, target = ROOT / name, project / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    write(project / "book" / "api.md", "# The library\n\n{py:mod}`gengap.laws`\n")
    write(project / "book" / "statements.md", "# Statements\n\n(statement-t10)=\n## T10\n\nInformation.\n")
    with (project / "_toc.yml").open("a") as toc:
        toc.write("  - file: book/api\n  - file: book/statements\n")
    shown = {name: text for name, text in site.reference_pages().items() if "gengap.laws" in name or "units" in name}
    monkeypatch.setattr(site, "reference_pages", lambda: shown)
    html = site.build(site.stage(config=site.read_config(ROOT))).parent / "book" / "library"
    assert htmlcheck.check() == 4 + len(shown)
    assert "fits.html" in (html / "gengap.laws.html").read_text(encoding="utf-8")
    page = BeautifulSoup((html / "gengap.laws.fits.html").read_text(encoding="utf-8"), "html.parser")
    text = page.find("article").get_text()
    assert "bend – above zero the law falls ever more steeply" in text  # the comment of a field
    assert "Raises ValueError" in text
    assert "Alias for field" not in text
    assert page.find(id="gengap.laws.fits.fit_power_law")
    assert not page.find(id="gengap.laws.fits._descend")
    assert page.select("dt.sig > ul.sig-params > li")
    assert not page.select("dt.sig dl")
    text = (html / "gengap.laws.information.html").read_text(encoding="utf-8")
    assert "K(h) = sum_k NLL_k(online) - D * Rhat_h." in text
    assert "statements.html#statement-t10" in text


def test_a_warning_fails_the_build_twice(project):
    """An incremental build that does not read the page again must not forget the warning."""
    write(project / "_config.yml", yaml.safe_dump({"title": "A book", "execute": {"execute_notebooks": "off"}}))
    write(project / "notebooks" / "01_page.ipynb", notebook(text="# A page\n"))
    write(project / "book" / "index.md", "# A book\n\n{doc}`nowhere`\n")
    for _ in range(2):
        with pytest.raises(UserError, match="unknown document"):
            site.build(site.stage())


# --- checks of the HTML -------------------------------------------------------------------------------------------

GOOD = '<article><h1 id="top">Page</h1><div class="cell"><div class="cell_output">2</div></div>{}</article>'


def html_problems(tmp_path, body="", name="page", make_notebook=True):
    write(tmp_path / "index.html", '<a href="page.html#top">in</a>')
    write(tmp_path / "picture.svg", "<svg/>")
    write(tmp_path / f"{name}.html", GOOD.format(body))
    return htmlcheck.problems(tmp_path, ["page"], {"page"} if make_notebook else set())


@pytest.mark.parametrize(
    "body",
    [
        '<a href="#top">up</a> <a href="index.html">home</a> <a href="https://arxiv.org/abs/2504.15208">paper</a>',
        '<img src="picture.svg" alt="Loss falls with size">',
        "<pre>a \\label{x} in code</pre>",
    ],
)
def test_a_good_page_has_no_problems(tmp_path, body):
    assert html_problems(tmp_path, body) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('<a href="gone.html">x</a>', "leads nowhere"),
        ('<a href="index.html#gone">x</a>', "no target"),
        ('<a href="#gone">x</a>', "no target"),
        ('<img src="gone.svg" alt="Loss falls">', "gone.svg does not exist"),
        ('<img src="picture.svg" alt="">', "no description"),
        ('<img src="picture.svg">', "no description"),
        ('<img src="picture.svg" alt="_images/3f2.svg">', "no description"),
        ('<script src="https://cdn.example.org/x.js"></script>', "from the network"),
        ('<div class="math">\\[1 \\label{x}\\]</div>', "cannot be referred to"),
    ],
)
def test_a_bad_page_is_named(tmp_path, body, message):
    found = html_problems(tmp_path, body)
    assert len(found) == 1
    assert "page.html" in found[0]
    assert message in found[0]


def test_missing_extra_and_empty_pages_are_named(tmp_path):
    assert htmlcheck.problems(tmp_path, ["page"], set()) == [
        f"{tmp_path}/index.html does not exist: the book was not built"
    ]
    found = html_problems(tmp_path, name="other", make_notebook=False)
    assert any("page.html was staged, but not built" in line for line in found)
    assert any("other.html was built, but not staged" in line for line in found)
    html_problems(tmp_path)
    write(tmp_path / "page.html", "<article><h1 id='top'>Page</h1></article>")
    assert any("without outputs" in line for line in htmlcheck.problems(tmp_path, ["page"], {"page"}))


# --- the built book in a browser --------------------------------------------------------------------------------


needs_book = pytest.mark.skipif(
    not (HTML / "index.html").is_file() or not (ROOT / "build" / "site" / "_toc.yml").is_file(),
    reason="the book is not built: `make book` builds it",
)
needs_browser = pytest.mark.skipif(
    chromium() is None, reason="there is no Chromium: install it, on Debian with `apt install chromium`"
)


@needs_book
@needs_browser
def test_search_and_the_way_in():
    """What no page of the checklist has."""
    with serve(HTML) as address, open_browser() as page:
        page.view(1280, 900)
        page.open(f"{address}/search.html?q=Freedman")
        page.wait("document.querySelectorAll('#search-results li a').length > 0")
        assert page.errors == []
        page.open(f"{address}/index.html")
        page.wait("location.pathname === '/book/index.html'")
        page.wait("document.readyState === 'complete'")
        assert page.evaluate("document.querySelectorAll('article figure img').length") >= 1


def test_glued_numpy_numbers_take_formats():
    data = {"application/papermill.record/text/plain": "np.float64(1.25)"}
    glued = nbformat.v4.new_output("display_data", data=data, metadata={"scrapbook": {"name": "x"}})
    shown = nbformat.v4.new_output("execute_result", data={"text/plain": "np.float64(1.25)"})
    cell = nbformat.v4.new_code_cell("", outputs=[glued, shown])
    pages._unwrap_glued_scalars(cell)
    assert list(cell.outputs[0].data.values()) == ["1.25"]
    assert list(cell.outputs[1].data.values()) == ["np.float64(1.25)"]  # what a cell shows stays as it is
