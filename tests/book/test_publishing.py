"""What stands around the chapters: questions, record, glossary, references; the site as it is published; the PDF."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import bookweb
import nbformat
import pytest
import yaml
from bookext import _follow, _records
from bookvalues import BenchmarkRole, PublishedRole, RunRole
from browser import chromium
from bs4 import BeautifulSoup
from projects import bare_project
from pypdf import PdfReader

from gengap.book import pdf, site
from gengap.cli import app
from gengap.errors import UserError

ROOT = Path(__file__).parents[2]
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.py")]
}
LABELS = set(
    re.findall(
        r"^(?:# )?\(([\w-]+)\)=$|:label: ([\w-]+)|\$\$ \(([\w-]+)\)|\"name\": \"([\w-]+)\"",
        "\n".join(TEXTS.values()),
        re.M,
    )
)
LABELS = {name for found in LABELS for name in found if name}
ADDRESS = "https://someone.example/book/"


# --- pages --------------------------------------------------------------------------------------------------------


def links(text: str) -> list[tuple[str, str]]:
    """Role and target of every link inside the book."""
    found = re.findall(r"\{(doc|ref|eq|numref|prf:ref)\}`(?:[^`<]*<)?([^`<>]+)>?`", text)
    assert all(target.strip() == target for _, target in found)
    return found


def leads_somewhere(page: str, role: str, target: str) -> bool:
    if role != "doc":
        return target in LABELS
    place = os.path.normpath(os.path.join(os.path.dirname(page), target))
    return any((ROOT / f"{place}{suffix}").is_file() for suffix in (".md", ".ipynb"))


def questions() -> dict[str, str]:
    text = re.sub(r"^# %%(?! \[markdown\]).*?(?=^# %%|\Z)", "", TEXTS["notebooks/19_reviewers.py"], flags=re.M | re.S)
    parts = re.split(r"^# ### (.*)$", text, flags=re.M)[1:]
    return {
        question: re.split(r"^# ## ", answer, flags=re.M)[0]
        for question, answer in zip(parts[::2], parts[1::2], strict=True)
    }


def test_every_question_has_a_number_and_a_link():
    asked = questions()
    assert len(asked) >= 30
    for question, answer in asked.items():
        assert question.endswith("?"), question
        assert re.search(r"\{glue:text\}`[^`]+`", answer), question
        found = links(answer)
        assert found, question
        assert all(leads_somewhere("notebooks/19_reviewers", *link) for link in found), (question, found)
    assert not leads_somewhere("notebooks/19_reviewers", "doc", "99_nothing")
    assert not leads_somewhere("notebooks/19_reviewers", "prf:ref", "thm-nothing")


def rows(text: str, heading: str) -> list[list[str]]:
    """Cells of the table below a heading, its head and the line below that left out."""
    table = re.search(rf"^## {heading}\n(?:.*\n)*?((?:\|.*\n)+)", text, re.M)[1].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[2:]]


def test_the_record_has_eleven_rows_with_a_verdict_each():
    table = rows(TEXTS["book/record.md"], "Eleven things")
    assert len(table) == 11
    for asked, paper, here, verdict in table:
        assert asked.startswith("**")
        assert paper
        assert verdict
        assert "none are stated" in here or links(here) or "{py:mod}" in here, asked
        assert all(leads_somewhere("book/record", *link) for link in links(here)), asked


def test_numbers_of_the_record_come_from_records():
    text = TEXTS["book/record.md"]
    shown = re.findall(r"\{(record|run|published)\}`([^`]+)`", text)
    assert len(shown) > 35

    class Env:
        note_dependency = staticmethod(lambda path: None)

    class Run(RunRole):
        env = Env

    class Published(PublishedRole):
        env = Env

    records = _records()
    look_up = {"record": records.__getitem__, "run": Run().look_up, "published": Published().look_up}
    for role, content in shown:
        name, path, spec = (part.strip() for part in (content + ":").split(":")[:3])
        assert format(_follow(look_up[role](name), path), spec), content
    with pytest.raises(KeyError):
        look_up["published"]("kaplan1920")


def test_numbers_of_the_page_on_trust_come_from_benchmarks():
    class Benchmark(BenchmarkRole):
        env = type("Env", (), {"note_dependency": staticmethod(lambda path: None)})

    shown = re.findall(r"\{benchmark\}`([^`]+)`", TEXTS["book/trust.md"])
    assert len(shown) > 8
    for content in shown:
        name, path, spec = (part.strip() for part in (content + ":").split(":")[:3])
        assert format(_follow(Benchmark().look_up(name), path), spec), content
    with pytest.raises(KeyError):
        Benchmark().look_up("no such benchmark")


def terms() -> dict[str, str]:
    entries = re.search(r"```\{glossary\}\n(.*?)```", TEXTS["book/glossary.md"], re.S)[1].strip().split("\n\n")
    return {name: meaning.strip() for name, meaning in (entry.split("\n", 1) for entry in entries)}


def test_the_glossary_covers_what_the_pages_use():
    wanted = [
        "token-wise risk",
        "negative log-likelihood",
        "filtration",
        "predictable",
        "martingale",
        "supermartingale",
        "prefix-free code",
        "Kraft's inequality",
        "prequential code",
        "smoothing",
        "calibrated",
        "companion",
        "loss variation",
        "certificate",
        "nominal",
        "compute-optimal",
        "quantization gap",
        "held-out loss",
        "union bound",
        "requential code",
    ]
    defined = terms()
    assert set(wanted) <= set(defined)
    assert list(defined) == sorted(defined, key=str.lower)
    for name, meaning in defined.items():
        assert 1 <= len(re.findall(r"\.(?=\s|$)", meaning)) <= 3, name
    for page, text in TEXTS.items():
        for used in re.findall(r"\{term\}`(?:[^`<]*<)?([^`<>]+)>?`", text):
            assert used in defined, f"{page}: {used}"


def test_every_reference_has_an_address():
    entries = re.split(r"^@", TEXTS_BIB := (ROOT / "book" / "references.bib").read_text(encoding="utf-8"), flags=re.M)[
        1:
    ]
    without = [entry.split("{", 1)[1].split(",")[0] for entry in entries if "  doi = {10." not in entry]
    assert without == ["ville1939etude"]  # a thesis of 1939
    dois = re.findall(r"doi = \{([^}]+)\}", TEXTS_BIB)
    assert len(dois) == len(set(dois))


def test_it_is_cited_under_its_own_title():
    title = site.read_config(ROOT)["title"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["title"].startswith(f"{title}:")
    assert f"{{{cited['title']}}}" in TEXTS["book/cite.md"]
    assert f"{{{cited['version']}}}" in TEXTS["book/cite.md"]
    assert str(cited["date-released"]) in TEXTS["book/cite.md"]


def test_every_command_is_listed():
    found = re.findall(
        r"`(\w+)`",
        "\n".join(
            line.split("|")[1]
            for line in TEXTS["book/reproduce.md"].split("## All commands")[1].splitlines()
            if line.startswith("| `")
        ),
    )
    assert sorted(found) == sorted(command.name or command.callback.__name__ for command in app.registered_commands)


# --- the workflow -------------------------------------------------------------------------------------------------

WORKFLOW = ROOT / ".github" / "workflows" / "book.yml"


def lint(path: Path) -> list[int]:
    schema = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    zizmor = [str(Path(sys.executable).with_name("zizmor")), "--quiet", "--offline", "--pedantic", str(path)]
    return [subprocess.run(command, capture_output=True, check=False).returncode for command in (schema, zizmor)]


def test_the_workflow_passes_both_linters_and_they_notice(tmp_path):
    assert lint(WORKFLOW) == [0, 0]
    text = WORKFLOW.read_text(encoding="utf-8")
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    broken = tmp_path / ".github" / "workflows" / "book.yml"
    broken.write_text(text.replace("runs-on:", "run-on:", 1))
    assert lint(broken)[0] != 0
    broken.write_text(re.sub(r"checkout@\w{40}", "checkout@v4", text))
    assert lint(broken)[1] != 0


def test_the_workflow_asks_for_little_and_publishes_no_pull_request():
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    writes = {
        name: {what for what, how in job["permissions"].items() if how == "write"}
        for name, job in workflow["jobs"].items()
    }
    assert writes == {"book": set(), "release": {"contents"}, "deploy": {"pages", "id-token"}}
    assert "github.event_name != 'pull_request'" in workflow["jobs"]["deploy"]["if"]
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"]) for step in steps if "uses" in step)
    commands = "\n".join(step.get("run", "") for step in steps)
    assert "${{" not in commands
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert set(re.findall(r"^make ([a-z-]+)", commands, re.M)) <= set(targets)


def archive(path: Path, files: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


def lay_out(folder: Path, files: dict[str, str]) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / ".ci" / "versions"), str(folder / "public")]
    command += [str(archive(folder / "site.tar.gz", files)), str(folder / "versions")]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def test_versions_lie_beside_each_other_newest_first(tmp_path):
    for name in ("v1.9", "v1.10"):
        archive(tmp_path / "versions" / f"{name}.tar.gz", {"index.html": name})
    assert lay_out(tmp_path, {"index.html": "newest", "book/a.html": "a"}).returncode == 0
    public = tmp_path / "public"
    assert json.loads((public / "versions.json").read_text()) == ["newest", "v1.10", "v1.9"]
    assert [(public / f"{name}index.html").read_text() for name in ("", "v1.10/", "v1.9/")] == [
        "newest",
        "v1.10",
        "v1.9",
    ]
    listed = [a["href"] for a in BeautifulSoup((public / "versions.html").read_text(), "html.parser").find_all("a")]
    assert all((public / address).is_file() for address in listed)
    assert len(listed) == 3


def test_a_version_cannot_write_outside(tmp_path):
    assert lay_out(tmp_path, {"../evil.html": "x"}).returncode != 0
    assert not (tmp_path / "evil.html").exists()


# --- a small book, really built -----------------------------------------------------------------------------------

INDEX = """# A book

It is about the {term}`martingale`, and {doc}`cites <glossary>` nobody.

```{admonition} Folded
:class: dropdown

Unfolded on paper.
```
"""
GLOSSARY = '# Glossary\n\n```{glossary}\nmartingale\n  A fair game, "fair" & square.\n```\n'
CODE = (
    "import matplotlib.pyplot as plt\n\nplt.plot([1, 2])\nplt.show()  # a line so long that paper has to break it somewhere "
    + "x" * 150
)
PAGE = (
    "# A page\n\n| | |\n|---|---|\n| **Reads** | nothing |\n\nThe first sentence {cite:p}`finzi2025compute`. See {doc}`../book/index`.\n\n$$\n"
    + "+".join([f"a_{{{n}}}" for n in range(10, 40)])
    + "\n$$\n"
)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20"/></svg>'


def small_book(root: Path, **changes) -> Path:
    """A book of four pages in the real configuration, built; `changes` of its `_config.yml`."""
    bare_project(root)
    for name in ("book/_ext", "book/_static", "book/references.bib", "book/bibliography.md"):
        source, target = ROOT / name, root / name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target, dirs_exist_ok=True) if source.is_dir() else shutil.copy(source, target)
    cells = [nbformat.v4.new_markdown_cell(PAGE, id="text")]
    cells.append(nbformat.v4.new_code_cell('size: str = "small"  # which', id="p", metadata={"tags": ["parameters"]}))
    figure = {"figure": {"name": "fig-line", "caption": "A line."}, "image": {"alt": "A line"}}
    cells.append(nbformat.v4.new_code_cell(CODE, id="c", metadata={"mystnb": figure}))
    notebook = nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    (root / "book" / "index.md").write_text(INDEX)
    (root / "book" / "glossary.md").write_text(GLOSSARY)
    (root / "notebooks").mkdir(exist_ok=True)
    (root / "build" / "notebooks").mkdir(parents=True, exist_ok=True)
    (root / "notebooks" / "01_page.ipynb").write_text(nbformat.writes(notebook))
    (root / "notebooks" / "01_page.py").write_text('# %% mystnb={}\n\n# %% mystnb={"figure": {"name": "fig-line"}}\n')
    for cell in notebook.cells[1:]:
        cell.execution_count = 1
    data = {"image/svg+xml": SVG, "text/plain": "<Figure>"}
    notebook.cells[2].outputs = [nbformat.v4.new_output("display_data", data=data)]
    (root / "build" / "notebooks" / "01_page.ipynb").write_text(nbformat.writes(notebook))
    pages = ["notebooks/01_page", "book/glossary", "book/bibliography"]
    toc = {"format": "jb-book", "root": "book/index", "chapters": [{"file": page} for page in pages]}
    (root / "_toc.yml").write_text(yaml.safe_dump(toc))
    config = site.read_config(ROOT)
    for part, values in changes.items():
        config[part] |= values
    (root / "_config.yml").write_text(yaml.safe_dump(config))
    return site.build(site.stage()).parent


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """The small book twice: as it is, and with an address."""
    with pytest.MonkeyPatch.context() as patch:
        found = {}
        for name, changes in {"plain": {}, "addressed": {"html": {"baseurl": ADDRESS}}}.items():
            root = tmp_path_factory.mktemp(name)
            patch.setenv("GENGAP_ROOT", str(root))
            found[name] = small_book(root, **changes)
        yield found


def soup(html: Path, page: str) -> BeautifulSoup:
    return BeautifulSoup((html / f"{page}.html").read_text(encoding="utf-8"), "html.parser")


def meta(page: BeautifulSoup) -> dict[str, str]:
    return {tag.get("name") or tag.get("property"): tag["content"] for tag in page.find_all("meta", content=True)}


def test_a_term_carries_its_definition(books):
    link = soup(books["plain"], "book/index").select_one("article a.term")
    assert link["data-definition"] == "A fair game, “fair” & square."
    assert link["href"] == "glossary.html#term-martingale"
    css = (books["plain"] / "_static" / "around.css").read_text()
    assert "a.term:is(:hover, :focus-visible)::after" in css


def test_pages_describe_themselves_and_have_cards_at_an_address_only(books):
    plain, addressed = (meta(soup(books[name], "notebooks/01_page")) for name in ("plain", "addressed"))
    assert plain["description"] == addressed["description"] == "The first sentence. See A book."
    assert "og:image" not in plain
    card = addressed["og:image"]
    assert card.startswith(ADDRESS)
    assert (books["addressed"] / card.removeprefix(ADDRESS)).stat().st_size > 5_000
    assert addressed["og:url"] == f"{ADDRESS}notebooks/01_page.html"
    assert soup(books["addressed"], "notebooks/01_page").find("link", rel="canonical")["href"] == addressed["og:url"]


def test_a_map_of_the_site_at_an_address_only(books):
    assert not (books["plain"] / "sitemap.xml").exists()
    places = re.findall(r"<loc>(.*?)</loc>", (books["addressed"] / "sitemap.xml").read_text())
    assert f"{ADDRESS}notebooks/01_page.html" in places
    assert all((books["addressed"] / place.removeprefix(ADDRESS)).is_file() for place in places)


def test_figures_lead_to_their_source(books, monkeypatch):
    link = soup(books["plain"], "notebooks/01_page").select_one("figcaption a.figure-source")
    assert (books["plain"] / "notebooks" / link["href"]).resolve().is_file()
    options = {"use_repository_button": True, "repository_url": "https://host.example/o/n", "repository_branch": "v2"}
    app = SimpleNamespace(config=SimpleNamespace(html_theme_options=options))
    monkeypatch.setenv("GENGAP_ROOT", str(books["plain"].parents[1]))
    for docname in ("notebooks/01_page", "notebooks/01_page/ladder-50k"):
        address = bookweb.source_address(app, docname, "fig-line")
        assert address == "https://host.example/o/n/blob/v2/notebooks/01_page.py#L3"
    assert (
        bookweb.source_address(app, "notebooks/01_page/ladder-50k", "fig-no")
        == "../../_sources/notebooks/01_page/ladder-50k.ipynb"
    )


def test_licences_stand_on_every_page(books):
    for name in ("plain", "addressed"):
        page = soup(books[name], "book/index")
        assert [tag.get_text() for tag in page.select("footer a[rel=license]")] == ["CC BY 4.0", "MIT"]
        versions = [tag["href"] for tag in page.select("footer a") if tag.get_text() == "All versions"]
        assert versions == ([f"{ADDRESS}versions.html"] if name == "addressed" else [])


def test_the_search_puts_chapters_before_the_reference(books):
    assert 'docname.startsWith("book/library/")' in (books["plain"] / "_static" / "language_data.js").read_text()


needs_browser = pytest.mark.skipif(not chromium(), reason="no Chromium on this machine")


@needs_browser
def test_the_book_on_paper(books, monkeypatch):
    root = books["plain"].parents[1]
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    reader = PdfReader(pdf.make_pdf())
    texts = [" ".join(page.extract_text().split()) for page in reader.pages]
    assert len(texts) >= 5
    whole = " ".join(texts)
    assert "Unfolded on paper." in whole
    assert "The first sentence" in whole
    assert "All versions" not in whole
    contents = next(text for text in texts if "Contents" in text)
    start = next(k for k, text in enumerate(texts, 1) if "The first sentence" in text)
    assert re.search(rf"A page\s*{start}\b", contents)
    assert texts[start - 1].startswith(f"{start} ")  # the number at the foot
    assert {str(n) for n in range(10, 40)} <= set(re.findall(r"\d+", texts[start - 1]))  # the long equation, whole
    assert {"A page", "Glossary"} <= {item.title for item in reader.outline if not isinstance(item, list)} | {
        item.title for part in reader.outline if isinstance(part, list) for item in part
    }
    assert not list((root / "_build" / "print").iterdir())


def test_no_pdf_without_a_book_or_a_browser(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "BROWSERS", ("no-such-browser",))
    with pytest.raises(UserError, match="Chromium"):
        pdf.make_pdf()
    monkeypatch.setattr(pdf, "browser", lambda: "chromium")
    root = bare_project(tmp_path)
    (root / "build" / "site").mkdir(parents=True)
    for name, content in {"_toc.yml": {"root": "book/index"}, "_config.yml": {"title": "A"}}.items():
        (root / "build" / "site" / name).write_text(yaml.safe_dump(content))
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    with pytest.raises(UserError, match="make book"):
        pdf.make_pdf()
