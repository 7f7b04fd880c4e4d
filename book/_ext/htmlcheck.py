"""What a built book must satisfy before anybody looks at it: every check on the HTML, offline, in one pass.

Jupyter Book ends without a warning when a page is missing, an image is broken, or a notebook has no outputs. It writes
index.html after Sphinx has ended, so this is no hook of Sphinx but a script, which the graph runs after the build.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from bs4 import BeautifulSoup

from gengap.book.site import staged_pages
from gengap.errors import UserError
from gengap.paths import build_dir, project_root

_PATH_LIKE = re.compile(r"[/\\]|\.(png|svg|jpe?g|gif)$|^\d+$|^_images")
_GENERATED = {"index.html", "search.html", "genindex.html", "py-modindex.html", "prf-prf.html"}


@dataclass
class Page:
    """What the checks need of one HTML file."""

    links: list[str]  # href of <a>
    assets: list[str]  # src and href of images, scripts and style sheets
    anchors: set[str]  # fragments that exist
    images: list[tuple[str, str]] = field(default_factory=list)  # (src, alt) in the article
    raw_label: bool = False  # a \label{ that {eq} cannot see
    is_notebook: bool = False
    has_outputs: bool = False


def _read(path: Path) -> Page:
    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    article = soup.find("article") or soup
    sheets = [tag for tag in soup.find_all("link", href=True) if "stylesheet" in tag.get("rel", [])]
    return Page(
        links=[tag["href"] for tag in soup.find_all("a", href=True)],
        assets=[tag["src"] for tag in soup.find_all(["img", "script", "source", "iframe"], src=True)]
        + [tag["href"] for tag in sheets]
        + [tag["data"] for tag in soup.find_all("object", data=True)],
        anchors={tag["id"] for tag in soup.find_all(id=True)}
        | {tag["name"] for tag in soup.find_all("a", attrs={"name": True})},
        images=[(tag.get("src", ""), tag.get("alt", "").strip()) for tag in article.find_all("img")],
        raw_label=any("\\label{" in tag.get_text() for tag in article.select(".math")),
        is_notebook=bool(article.select_one(".cell")),
        has_outputs=bool(article.select_one(".cell_output")),
    )


def problems(html_dir: Path, pages: list[str], notebooks: set[str]) -> list[str]:
    """Everything wrong with the book in `html_dir`, one line each; empty if nothing is.

    `pages` are the docnames that it must consist of, `notebooks` those that must show computed outputs.
    """
    found = []
    if not (html_dir / "index.html").is_file():
        return [f"{html_dir}/index.html does not exist: the book was not built"]
    files = {path.relative_to(html_dir).as_posix() for path in html_dir.rglob("*.html")}
    files = {name for name in files if not name.startswith(("_static/", "_sources/"))}
    expected = {f"{page}.html" for page in pages}
    found += [f"{name} was staged, but not built" for name in sorted(expected - files)]
    found += [f"{name} was built, but not staged" for name in sorted(files - expected - _GENERATED)]
    read = {name: _read(html_dir / name) for name in sorted(files)}
    for name, page in read.items():
        for address in page.assets:
            parts = urlsplit(address)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                found.append(f"{name}: {address} is fetched from the network")
            elif not (html_dir / name).parent.joinpath(unquote(parts.path)).is_file():
                found.append(f"{name}: {address} does not exist")
        for address in page.links:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or address == "#":
                continue
            target = (html_dir / name).parent.joinpath(unquote(parts.path)).resolve() if parts.path else None
            target_name = name if target is None else target.relative_to(html_dir.resolve()).as_posix()
            fragment = unquote(urldefrag(address).fragment)
            if target is not None and not target.is_file():
                found.append(f"{name}: the link {address} leads nowhere")
            elif fragment and target_name in read and fragment not in read[target_name].anchors:
                found.append(f"{name}: the link {address} has no target on its page")
        for source, alt in page.images:
            if not alt or _PATH_LIKE.search(alt):
                found.append(f"{name}: the image {source} has no description (alt text {alt!r})")
        if page.raw_label:
            found.append(f"{name}: \\label{{ in an equation cannot be referred to: use $$ ... $$ (eq-name)")
    for docname in sorted(notebooks):
        page = read.get(f"{docname}.html")
        if page and not (page.is_notebook and page.has_outputs):
            found.append(f"{docname}.html: a notebook page without outputs")
    return found


def check() -> int:
    """Check the built book, `_build/html`, against the staged one; the number of its pages.

    Raises `UserError` with one line per problem.
    """
    html_dir, stage_dir = project_root() / "_build" / "html", build_dir() / "site"
    if not (stage_dir / "_toc.yml").is_file():
        raise UserError(f"{stage_dir} holds no staged book: run `make book`")
    pages = staged_pages(stage_dir)
    notebooks = {page for page in pages if (stage_dir / f"{page}.ipynb").is_file()}
    if found := problems(html_dir, pages, notebooks):
        raise UserError(f"the built book has {len(found)} problems:\n  " + "\n  ".join(found))
    return len(pages)


if __name__ == "__main__":
    try:
        print(f"checked {check()} pages")
    except UserError as error:
        sys.exit(f"error: {error}")
