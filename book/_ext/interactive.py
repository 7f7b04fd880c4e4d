"""The directive for interactive figures.

    ```{interactive} bound-explorer
    A caption, which may hold markup.
    ```

stands for a figure that a script of `book/_static/interactive` draws, from the data that staging wrote
(`gengap.book.interactive`). Where no script runs, in print too, a table stands in its place.
"""

import html
import json
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

FOLDER = "interactive"


class interactive_figure(nodes.General, nodes.Element):
    """One figure: its twin, then its caption."""


class interactive_twin(nodes.General, nodes.Element):
    """The table that stands in its place."""


class Interactive(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self):
        name = self.arguments[0]
        path = Path(self.env.srcdir) / FOLDER / f"{name}.json"
        self.env.note_dependency(str(path))
        if not path.is_file():
            return [self.state.document.reporter.error(f"no data of a figure {name!r} were staged", line=self.lineno)]
        data = json.loads(path.read_text(encoding="utf-8"))
        twin = data.pop("twin")
        figure = interactive_figure(figure=name, data=data, ids=[f"interactive-{name}"])
        figure += interactive_twin("", _table(twin), twin=twin)
        caption = nodes.container(classes=["interactive-caption"])
        self.state.nested_parse(self.content, self.content_offset, caption)
        figure += caption
        return [figure]


def _table(twin) -> nodes.table:
    width = len(twin["head"])
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in range(width)), cols=width)
    group += nodes.thead("", _row(twin["head"]))
    group += nodes.tbody("", *map(_row, twin["rows"]))
    return nodes.table("", group)


def _row(cells) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph(text=cell)) for cell in cells))


def _visit_figure(self, node):
    title = html.escape(node["data"]["title"])
    self.body.append(
        f'<figure class="interactive-figure" id="{node["ids"][0]}" data-figure="{html.escape(node["figure"])}" '
        f'role="group" aria-label="Interactive figure: {title}">\n'
    )


def _depart_figure(self, node):
    content = json.dumps(node["data"], ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    self.body.append(f'<script type="application/json" class="interactive-data">{content}</script>\n</figure>\n')


def _visit_twin(self, node):
    twin = node["twin"]
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in twin["head"])
    rows = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in twin["rows"]
    )
    self.body.append(
        f'<div class="interactive-static"><table class="table"><caption>{html.escape(twin["caption"])}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>\n"
    )
    raise nodes.SkipNode


def _plain(self, node):
    pass


def _scripts(app, pagename, templatename, context, doctree):
    """The page's own scripts: what its figures share, and one file for each."""
    if names := {node["figure"] for node in doctree.findall(interactive_figure)} if doctree else ():
        for name in ("kit", *sorted(names)):
            app.add_js_file(f"{FOLDER}/{name}.js", loading_method="defer")
        app.add_css_file(f"{FOLDER}/figures.css")


def setup(app):
    ways = {other: (_plain, _plain) for other in ("latex", "text", "man", "texinfo")}
    app.add_node(interactive_figure, html=(_visit_figure, _depart_figure), **ways)
    app.add_node(interactive_twin, html=(_visit_twin, _plain), **ways)
    app.add_directive("interactive", Interactive)
    app.connect("html-page-context", _scripts)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
