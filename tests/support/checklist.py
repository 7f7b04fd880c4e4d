"""The craft of a built book: every page measured in a browser, in both themes and at both widths.

python tests/support/checklist.py [HTML [PAGE ...]]    # prints what is wrong on which page, and the measures of the prose
"""

import json
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from browser import Page, open_browser, serve

WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
THEMES = ("light", "dark")
MIN_CONTRAST = 4.5
MIN_FIGURE_TEXT = 11  # px, on the phone
MAX_BYTES = 1_500_000  # of a page, beside what all pages share
MAX_WORDS = 18  # of a sentence, the median of a page
MAX_NUMBERS = 5  # of a paragraph

_SCRIPT = (Path(__file__).parent / "checklist.js").read_text(encoding="utf-8")
_AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RULES = {
    "color-contrast": {"enabled": False}
}  # all but one, which takes a second a page: `faint` asks for more, of more words


def measure(page: Page, address: str, *, axe: bool = True) -> dict:
    """What is wrong with one page, {measure: what}, its sizes and its prose; without axe-core's rules in half the time."""
    page.view(*WIDTHS["phone"])  # first: the theme sees to it that what is cut off there can be scrolled to by keyboard
    page.open(address)
    page.evaluate(f"{_SCRIPT};0")
    found: dict = {name: [] for name in ("wide", "faint", "small", "axe")}

    page.evaluate("checklist.prepare()")

    def ask(what: str, *arguments: object):
        return page.evaluate(f"checklist.{what}({', '.join(map(json.dumps, arguments))})")

    def look(width: str) -> None:
        for theme in THEMES:
            ask("theme", theme)
            drawn = ask("drawn", theme)
            faint = ask("faint") + [
                f"{file} {label!r} {ratio:.2f}" for file, label, _, ratio in drawn if ratio < MIN_CONTRAST
            ]
            found["faint"] += [f"{theme}, {width}: {what}" for what in faint]
        if width == "phone":
            small = [(file, label, px) for file, label, px, _ in drawn if px < MIN_FIGURE_TEXT - 0.05]
            found["small"] += [f"{file} {label!r} {px:.1f} px" for file, label, px in small]
            found["n_drawn"] = len(drawn)

    found["broken"] = page.errors + ask("broken")
    look("phone")
    if (width := ask("width")) > WIDTHS["phone"][0]:
        found["wide"].append(f"{width} px")
    page.view(*WIDTHS["desktop"])
    ask("images")
    look("desktop")
    for what in ("cut", "tables", "n_tables", "ids", "prose", "loaded"):
        found[what] = ask(what)
    found["screens"] = ask("height") / WIDTHS["desktop"][1]
    if not axe:
        return found
    page.evaluate(f"{_AXE};0")
    found["axe"] += [f"desktop: {what}" for what in ask("axe", RULES)]
    page.view(*WIDTHS["phone"])
    found["axe"] += [f"phone: {what}" for what in ask("axe", RULES)]
    return found


def survey(html: Path, docnames: Sequence[str], with_axe: Sequence[str]) -> dict[str, dict]:
    """{docname: what is wrong, and its measures} of pages of a built book; axe-core's rules are asked of those in `with_axe`."""
    with serve(html) as address, open_browser() as page:
        return judge({name: measure(page, f"{address}/{name}.html", axe=name in with_axe) for name in docnames})


def judge(found: dict[str, dict]) -> dict[str, dict]:
    """Of measured pages, {name: `measure`}: the bytes that each has for itself, and how its prose reads."""
    uses = Counter(url for page in found.values() for url in page["loaded"])

    def own(url: str) -> bool:
        """Whether a wide screen loads it for this page alone."""
        return not url.endswith((".narrow.svg", "/searchindex.js")) and ("/_static/" not in url or uses[url] == 1)

    for page in found.values():
        loaded, prose = page.pop("loaded"), page.pop("prose")
        page["bytes"] = sum(size for url, size in loaded.items() if own(url))
        page["heavy"] = [f"{page['bytes']:,} bytes"] if page["bytes"] > MAX_BYTES else []
        counts = [words for words, _ in prose["sentences"]] or [0]
        page["words"], page["longest"] = statistics.median(counts), max(counts)
        page["long"] = [f"{page['words']} words"] if page["words"] > MAX_WORDS else []
        page["numbers"] = max([n for n, _ in prose["numbers"]] or [0])
        page["crowded"] = [f"{n}: {text}" for n, text in prose["numbers"] if n > MAX_NUMBERS]
    return found


#: What may be wrong with a page: name, what it means.
MEASURES = {
    "broken": "errors in the console, equations not set, images not there",
    "cut": "wider than its place at 1280 px",
    "wide": "wider than the phone",
    "small": f"figure text of less than {MIN_FIGURE_TEXT} px on the phone",
    "faint": "ink of less than 4.5:1",
    "tables": "tables without caption or scope",
    "ids": "ids that are there twice",
    "heavy": "more than 1.5 MB",
    "axe": "violations of axe-core's rules",
    "long": "a median of more than 18 words a sentence",
    "crowded": "paragraphs of more than 5 numbers",
}
OF_PROSE = ("tables", "long", "crowded")  # asked of chapters alone: the library's pages are made of docstrings


def table(found: dict[str, dict]) -> str:
    """Counts of all measures, a line for each page and their sum."""
    head = f"{'page':36}" + "".join(f"{name:>8}" for name in MEASURES) + "   words numbers screens   bytes"
    lines = [
        f"{name:36}"
        + "".join(f"{len(page[measure]):8}" for measure in MEASURES)
        + f"{page['words']:8}{page['numbers']:8}{page['screens']:8.1f}{page['bytes']:9,}"
        for name, page in found.items()
    ]
    sums = f"{'all':36}" + "".join(f"{sum(len(p[m]) for p in found.values()):8}" for m in MEASURES)
    return "\n".join([head, *lines, sums])


if __name__ == "__main__":
    html = Path(sys.argv[1] if sys.argv[1:] else "_build/html")
    shown = sys.argv[2:] or sorted(
        path.relative_to(html).with_suffix("").as_posix()
        for folder in ("book", "notebooks")
        for path in (html / folder).rglob("*.html")
        if "library" not in path.parts
    )
    result = survey(html, shown, shown)
    for name, page in result.items():
        for what in MEASURES:
            for line in page[what][:8]:
                sys.stdout.write(f"{name}  {what}  {line}\n")
    sys.stdout.write(table(result) + "\n")
