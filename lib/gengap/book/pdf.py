"""The whole book as one PDF: the built pages in one document, which Chromium prints, with contents and page numbers. No TeX.

The pages are those of the table of contents, in its order; the reference of the library stays on the screen. Links between pages
become links inside the PDF. The contents need page numbers that exist only once the book is printed, so it is printed twice.
"""

import html
import re
import shutil
import subprocess
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urldefrag, urlsplit

from bs4 import BeautifulSoup, Tag
from pypdf import PdfReader

from gengap.book.site import read_config, read_toc, toc_pages
from gengap.errors import UserError
from gengap.paths import atomic_path, build_dir, project_root

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MINUTES = 20  # that the browser may take
_NOT_PRINTED = ".headerlink, .copybtn, script, button, .toggle-button, nav, .figure-source, iframe"
_SHRINK = """
// A little room is left: on paper text comes out some hundredths wider than on the screen.
const width = (element) => element.getBoundingClientRect().width;
const fit = () => {
  const boxes = [...document.querySelectorAll("mjx-container[display=true]")].map((box) => [box, box, box.firstElementChild]);
  for (const table of document.querySelectorAll("table")) if (width(table) > width(table.parentElement)) boxes.push([table, table.parentElement, table]);
  for (const [box, room, inner] of boxes)
    for (let zoom = 1; zoom > 0.3 && width(inner) > 0.95 * width(room); box.style.zoom = zoom) zoom *= Math.max(0.6, (0.93 * width(room)) / width(inner));
};
addEventListener("load", () => window.MathJax?.startup?.promise.then(fit) ?? fit());
"""


def browser() -> str:
    """The Chromium of this machine. Raises `UserError` without one."""
    if found := next(filter(None, map(shutil.which, BROWSERS)), None):
        return found
    raise UserError(
        "the PDF is printed by Chromium, and there is none here: install it (Debian: apt-get install chromium)"
    )


def _slug(docname: str) -> str:
    return docname.replace("/", "-")


class _Printed:
    """The articles of the built pages, made to live in one document: ids, links, images."""

    def __init__(self, html_dir: Path, pages: list[str], address: str):
        self.html_dir, self.pages, self.address = html_dir, pages, address
        self.soups = {page: self._soup(page) for page in pages}

    def _soup(self, page: str) -> BeautifulSoup:
        path = self.html_dir / f"{page}.html"
        if not path.is_file():
            raise UserError(f"{path} is missing: run `make book` first")
        return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")

    def title(self, page: str) -> str:
        heading = self.soups[page].select_one("article h1")
        return " ".join(heading.get_text().replace("#", "").split()) if heading else page

    def head(self) -> str:
        """Style sheets and the set-up of the equations, as the first page has them."""
        soup = self.soups[self.pages[0]]
        kept = [tag for tag in soup.find_all("link", rel="stylesheet")]
        kept += [
            tag for tag in soup.find_all("script") if "mathjax" in (tag.get("src") or "") or "MathJax =" in tag.text
        ]
        for tag in kept:
            for name in {"href", "src"} & set(tag.attrs):
                tag[name] = self._file(self.pages[0], tag[name])
            tag.attrs.pop("defer", None)
        return "\n".join(map(str, kept))

    def article(self, page: str) -> str:
        article = self.soups[page].select_one("article") or self.soups[page]
        for tag in article.select(_NOT_PRINTED):
            tag.decompose()
        for tag in article.find_all("details"):
            tag["open"] = ""
        for tag in article.find_all(id=True):
            tag["id"] = f"{_slug(page)}--{tag['id']}"
        for name in ("src", "data", "srcset"):
            for tag in article.find_all(attrs={name: True}):
                tag[name] = self._file(page, tag[name])
        for tag in article.find_all("a", href=True):
            self._link(page, tag)
        return f'<article class="bd-article" id="{_slug(page)}">{article.decode_contents()}</article>'

    def _place(self, page: str, address: str) -> PurePosixPath:
        """The path in the built book that a relative address of a page means."""
        parts: list[str] = []
        for part in (PurePosixPath(page).parent / unquote(urlsplit(address).path)).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        return PurePosixPath(*parts)

    def _file(self, page: str, address: str) -> str:
        if urlsplit(address).scheme:
            return address
        return (self.html_dir / self._place(page, address)).as_uri()

    def _link(self, page: str, tag: Tag) -> None:
        address, fragment = urldefrag(tag["href"])
        if urlsplit(address).scheme:
            return
        place = str(self._place(page, address).with_suffix("")) if address else page
        if place in self.soups:
            tag["href"] = "#" + (f"{_slug(place)}--{fragment}" if fragment else _slug(place))
        elif self.address:
            tag["href"] = f"{self.address.rstrip('/')}/{self._place(page, address)}#{fragment}".rstrip("#")
        else:
            tag.unwrap()


def _contents(printed: _Printed, toc: dict, numbers: dict[str, int]) -> str:
    """The list of pages with the numbers where they begin (0: not known yet)."""
    lines = []
    for part in toc.get("parts", [toc]):
        if "caption" in part:
            lines.append(f"<h3>{html.escape(part['caption'])}</h3>")
        for page in toc_pages({"chapters": part.get("chapters", [])}):
            number = numbers.get(_slug(page), 0)
            title = html.escape(printed.title(page))
            lines.append(f'<p><a href="#{_slug(page)}"><span>{title}</span><span>{number}</span></a></p>')
    return '<section class="contents"><h2>Contents</h2>' + "\n".join(lines) + "</section>"


def _print(source: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            browser(),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]
        command += [f"--user-data-dir={profile}", "--allow-file-access-from-files", "--virtual-time-budget=600000"]
        command += [
            "--no-pdf-header-footer",
            "--generate-pdf-document-outline",
            f"--print-to-pdf={target}",
            source.as_uri(),
        ]
        try:
            done = subprocess.run(command, capture_output=True, timeout=60 * MINUTES, check=False)
        except subprocess.TimeoutExpired as error:
            raise UserError(f"Chromium did not print the book within {MINUTES} minutes") from error
    if not target.is_file():
        raise UserError(f"Chromium did not print the book: {done.stderr.decode(errors='replace').strip()[-500:]}")


def page_numbers(path: Path) -> dict[str, int]:
    """The page, counted from 1, of each place in a PDF that something links to."""
    reader = PdfReader(path)
    return {
        name.lstrip("/"): reader.get_destination_page_number(d) + 1 for name, d in reader.named_destinations.items()
    }


def make_pdf() -> Path:
    """Print the built book, `_build/html`, into `_build/book.pdf`, and return its path.

    Raises `UserError` without a built book or without Chromium.
    """
    browser()
    root, stage_dir = project_root(), build_dir() / "site"
    config, toc = read_config(stage_dir), read_toc(stage_dir)
    printed = _Printed(root / "_build" / "html", toc_pages(toc), config.get("html", {}).get("baseurl", ""))
    folder, target = root / "_build" / "print", root / "_build" / "book.pdf"
    folder.mkdir(parents=True, exist_ok=True)
    head, style = printed.head(), (root / "book" / "_static" / "print.css").read_text(encoding="utf-8")
    titles = _contents(printed, toc, {})  # before articles lose what the screen needs
    first, *others = [printed.article(page) for page in printed.pages]
    foot = re.sub(r"\s+", " ", config.get("html", {}).get("extra_footer", ""))
    numbers: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        source, draft = Path(scratch) / "book.html", Path(scratch) / "book.pdf"
        for _ in range(2):
            contents = _contents(printed, toc, numbers) if numbers else titles
            page = (
                f'<!DOCTYPE html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
                f"<title>{html.escape(config.get('title', ''))}</title>{head}<style>{style}</style><script>{_SHRINK}</script></head>"
                f'<body><main class="bd-main"><div class="bd-content"><div class="bd-article-container">{first}'
                f'<div class="imprint">{foot}</div>{contents}{"".join(others)}</div></div></main></body></html>'
            )
            source.write_text(page, encoding="utf-8")
            _print(source, draft)
            numbers = page_numbers(draft)
        with atomic_path(target) as part:
            shutil.copyfile(draft, part)
    return target
