"""What a book needs to be found and followed: a search that knows chapters from reference, a map of the site, figures that lead to their code.

Nothing here fetches anything. The map of the site and addresses in the repository appear only where `_config.yml` names them.
"""

import os
import re
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

from docutils import nodes
from sphinx import addnodes
from sphinxext import opengraph

_NAME = re.compile(r'"name": "([\w-]+)"')


def description(doctree, length: int, titles=()) -> str:
    """The page in a sentence or two: its first paragraph of running text, without citations; a table of facts, a list is none."""
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, (nodes.section, nodes.document)) and not paragraph.next_node(addnodes.toctree):
            words = re.sub(r"\s+([.,;:])", r"\1", re.sub(r"\s*\[[^\]]*\]", "", " ".join(paragraph.astext().split())))
            return words if len(words) <= length else words[: words.rfind(" ", 0, length)] + " …"
    return ""


def _own_search(app, config):
    config.html_search_scorer = str(Path(__file__).with_name("searchscorer.js"))


@cache
def _lines(source: Path) -> dict[str, int]:
    """The line of each named figure in a notebook's `.py`."""
    lines = source.read_text(encoding="utf-8").splitlines() if source.is_file() else []
    return {name: number for number, line in enumerate(lines, start=1) for name in _NAME.findall(line)}


def source_address(app, docname: str, figure: str) -> str:
    """Where the code that draws a figure is read: its line in the repository, or the notebook that comes with the page."""
    options, template = app.config.html_theme_options, "/".join(docname.split("/")[:2])
    lines = _lines(Path(os.environ.get("GENGAP_ROOT", "."), f"{template}.py"))
    if options.get("use_repository_button") and figure in lines:
        return f"{options['repository_url']}/blob/{options.get('repository_branch') or 'main'}/{template}.py#L{lines[figure]}"
    up = "../" * docname.count("/")
    return f"{up}_sources/{docname}.ipynb"


def _name_sources(app, doctree, docname):
    """A link at the end of the caption of every figure that a notebook draws."""
    if app.builder.format != "html" or not docname.startswith("notebooks/"):
        return
    for figure in doctree.findall(nodes.figure):
        caption, names = figure.next_node(nodes.caption), figure["names"]
        if caption is not None and names:
            link = nodes.reference("", "source", refuri=source_address(app, docname, names[0]), internal=True)
            link["classes"].append("figure-source")
            caption += [nodes.Text(" "), link]


def _map_the_site(app, exception):
    """`sitemap.xml` with every page, if the site has an address."""
    base = app.config.html_baseurl
    if exception or app.builder.format != "html" or not base:
        return
    pages = sorted(app.env.found_docs - set(app.config.exclude_patterns))
    places = "\n".join(
        f"  <url><loc>{escape(base.rstrip('/') + '/' + app.builder.get_target_uri(page))}</loc></url>" for page in pages
    )
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{places}\n</urlset>\n'
    Path(app.outdir, "sitemap.xml").write_text(text, encoding="utf-8")
    Path(app.outdir, "robots.txt").write_text(f"Sitemap: {base.rstrip('/')}/sitemap.xml\n", encoding="utf-8")


def setup(app):
    opengraph.get_description = description  # its own takes the table of facts at the head of a chapter
    app.connect("config-inited", _own_search)
    app.connect("doctree-resolved", _name_sources)
    app.connect("build-finished", _map_the_site)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
