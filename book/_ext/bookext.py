"""Local Sphinx extension of the book: numbers from records, narrow drawings, heads of tables, launch links of per-size pages, fields in the reference."""

import hashlib
import inspect
import posixpath
import re
from functools import cache, partial
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxRole

_FIELD = re.compile(r"^\s+(\w+): [^#]*#:?\s*(.+)$", re.MULTILINE)


@cache
def _records():
    """The merged records of this checkout by model size: the paper's quantization (GPTQ, 4 bits) where there is one. Read once a build."""
    from gengap.records import load_records

    preferred = "main-gptq-4bit.json"
    return {r.identity.model_size: r for r in sorted(load_records(), key=lambda record: record.place.name == preferred)}


def _digest() -> str:
    return hashlib.sha256(
        repr(sorted((size, r.model_dump_json()) for size, r in _records().items())).encode()
    ).hexdigest()


def _follow(value, path: str):
    """The attribute or entry at the dotted `path`."""
    for name in path.split("."):
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


class RecordRole(SphinxRole):
    """`` {record}`ladder-100k: bounds.nominal.paper.value: .3f` `` prints that number of the model's record."""

    def look_up(self, name: str):
        """What the path starts from."""
        return _records()[name]

    def run(self):
        size, path, spec = (part.strip() for part in (self.text + ":").split(":")[:3])
        pages = self.env.__dict__.setdefault("record_pages", set())
        pages.add(self.env.docname)
        try:
            text = format(_follow(self.look_up(size), path), spec)
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            message = self.inliner.reporter.error(f"no {path!r} in a record of {size!r}: {error!r}", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        return [nodes.inline(self.rawtext, text.replace("-", "−"), classes=["record"])], []


def _outdated_by_records(app, env, added, changed, removed):
    """Pages that print a number of a record are read again when any record is new, changed or gone."""
    pages = set(env.__dict__.get("record_pages", ())) & env.found_docs
    if not pages:
        return []
    before, env.record_digest = env.__dict__.get("record_digest"), _digest()
    return [] if before == env.record_digest else sorted(pages)


def _remember_records(app, env):
    if env.__dict__.get("record_pages"):
        env.record_digest = _digest()


def _launch_the_template(app, pagename, templatename, context, doctree):
    """A page for one model size is a run of its template notebook: that is the file the repository has."""
    template = pagename.rsplit("/", 1)[0]
    if not (Path(app.srcdir) / f"{template}.ipynb").is_file():
        return
    for group in context.get("header_buttons", []):
        if group.get("label") == "launch-buttons":
            for button in group["buttons"]:
                button["url"] = button["url"].replace(f"{pagename}.ipynb", f"{template}.ipynb")


def _outside_of_the_path(app, pagename, templatename, context, doctree):
    """A page of the appendix has no previous and no next one, and none leads to it: the path ends before it."""

    def in_appendix(docname):
        return docname == "book/sizes" or (Path(app.srcdir) / f"{docname.rsplit('/', 1)[0]}.ipynb").is_file()

    _, before, after = app.builder.relations.get(pagename, (None, None, None))
    for side, neighbour in (("prev", before), ("next", after)):
        if in_appendix(pagename) or (neighbour and in_appendix(neighbour)):
            context[side] = None


def _name_toggles(app, pagename, templatename, context, doctree):
    """What opens and closes a branch of the table of contents has a name, for those who hear the page."""
    if make := context.get("generate_toctree_html"):
        named = '<summary aria-label="Pages below this one">'
        context["generate_toctree_html"] = lambda *args, **options: str(make(*args, **options) or "").replace(
            "<summary>", named
        )


def _without_thebe(app, pagename, templatename, context, doctree):
    """Live code is not offered, so its script, which declares one constant twice, is left out of every page."""
    files = context.get("script_files", [])
    context["script_files"] = [script for script in files if "thebe" not in (str(script) + repr(script)).lower()]


def _ancestors(node):
    while node := node.parent:
        yield node


def _narrow_drawings(app, doctree):
    """A figure that was drawn for a phone too (`gengap.book.drawings`) remembers that drawing."""
    for image in doctree.findall(nodes.image):
        figure = next((node for node in _ancestors(image) if isinstance(node, nodes.figure)), nodes.figure())
        for name in (*figure["ids"], Path(image["uri"]).stem):
            path = f"figures/{name}.narrow.svg"
            if (Path(app.srcdir) / path).is_file():
                image["narrow"] = path
                app.env.images.add_file(app.env.docname, path)
                app.env.note_dependency(path)


def _visit_image(self, node):
    """The page shows the narrow drawing, if there is one, on a phone."""
    if path := node.get("narrow"):
        self.builder.images[path] = self.builder.env.images[path][1]
        source = posixpath.join(self.builder.imgpath, self.builder.images[path])
        self.body.append(f'<picture><source media="(max-width: 600px)" srcset="{source}">')
    type(self).visit_image(self, node)


def _depart_image(self, node):
    type(self).depart_image(self, node)
    self.body.append("</picture>" if "narrow" in node else "")


def _mend(app, pagename, templatename, context, doctree):
    """Head cells say what they head: those of a table's head its columns, others their row. An id is given once, whoever gives it again.

    Parameters that stand one below the other are a list, for which Sphinx takes one of definitions that define nothing.
    """
    seen = set()

    def listed(parameters):
        lines = re.sub(r"<(/?)dd>", r"<\1li>", parameters[2])
        return f'{parameters[1]}<ul class="sig-params">{lines}</ul>'

    def scoped(table):
        scope = "col" if table[1] == "head" else "row"
        filled = re.sub(r"<th\b([^>]*)>((?:\s|&nbsp;|</?p>)*)</th>", r"<td\1></td>", table[0])
        return re.sub(r"<th\b(?![^>]*\bscope=)", f'<th scope="{scope}"', filled)

    def once(tag):
        first = tag[2] not in seen
        seen.add(tag[2])
        return tag[0] if first else tag[1]

    if body := context.get("body"):
        body = re.sub(r"<t(head|body)\b.*?</t\1>", scoped, body, flags=re.DOTALL)
        body = re.sub(r'(<span class="sig-paren">.</span>\s*)<dl>(.*?)</dl>', listed, body, flags=re.DOTALL)
        body = body.replace(' role="doc-biblioentry"', ' role="listitem"')  # which its list, role="list", asks for
        context["body"] = re.sub(r'(<[a-z][^<>]*?) id="([^"]*)"', once, body)


_CHAPTERS = re.compile(r"\bchapters? (\d\d(?:(?:, | and )\d\d)*)")


def _titled(app, number):
    """A chapter is known by the number of its file to those who write code, and by its title to those who read."""
    page = next(Path(app.srcdir, "notebooks").glob(f"{number[0]}_*.ipynb"), None)
    return f":doc:`/notebooks/{page.stem}`" if page else f"chapter {number[0]}"


def _displays(app, what, name, obj, options, lines):
    """In a docstring an indented block is a display, a bar an absolute value, |K|, and no substitution, a statement or a chapter a link."""
    shown = []
    for before, line in zip(["", *lines], list(lines), strict=False):
        if line.startswith("    ") and not before and not "".join(shown).endswith("::"):
            shown += ["::", ""]
        if not line.startswith(("    ", ">>> ", "... ")):
            line = re.sub(r"(``.*?``|`.*?`)|\|", lambda match: match[1] or r"\|", line)
            line = re.sub(r"\bstatement T(\d+)", r":ref:`statement T\1 <statement-t\1>`", line)
            line = _CHAPTERS.sub(lambda match: re.sub(r"\d\d", partial(_titled, app), match[1]), line)
        shown.append(line)
    lines[:] = shown


def _field_comments(app, what, name, obj, options, lines):
    """The trailing comment of a field of a record (symbol, meaning, unit) is its description."""
    if what != "class":
        return
    fields = inspect.get_annotations(obj)
    lines.append("")
    for field, comment in _FIELD.findall(inspect.getsource(obj)):
        if field in fields:
            lines.append(f":param {field}: " + re.sub(r"([*|`_\\])", r"\\\1", comment))
    lines.append("")


def _without_aliases(app, what, name, obj, skip, options):
    """Fields of a named tuple are described once, by `_field_comments`."""
    return True if (getattr(obj, "__doc__", "") or "").startswith("Alias for field number") else None


def setup(app):
    if "sphinx.ext.autodoc" not in app.extensions:
        raise ExtensionError("bookext needs sphinx.ext.autodoc before it")
    _records.cache_clear()
    app.add_role("record", RecordRole())
    app.add_node(nodes.image, override=True, html=(_visit_image, _depart_image))
    app.connect("doctree-read", _narrow_drawings)
    app.connect("html-page-context", _mend)
    app.connect("env-get-outdated", _outdated_by_records)
    app.connect("env-updated", _remember_records)
    app.connect("html-page-context", _launch_the_template, priority=900)
    app.connect("html-page-context", _outside_of_the_path, priority=100)
    app.connect("html-page-context", _without_thebe, priority=950)
    app.connect("html-page-context", _name_toggles, priority=950)
    app.connect("autodoc-process-docstring", _displays)
    app.connect("autodoc-process-docstring", _field_comments)
    app.connect("autodoc-skip-member", _without_aliases)
    # All is read again if this file changes.
    own_version = int(hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8], 16)
    return {"version": "1", "env_version": own_version, "parallel_read_safe": False, "parallel_write_safe": True}
