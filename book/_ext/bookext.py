"""Local Sphinx extension of the book: numbers from records, launch links of per-size pages, fields in the reference."""

import dataclasses
import hashlib
import inspect
import re
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxRole

_FIELD = re.compile(r"^\s+(\w+): [^#]*#:?\s*(.+)$", re.MULTILINE)


def _records():
    """The merged records of this checkout by model size: the paper's quantization (GPTQ, 4 bits) where there is one."""
    from gengap.records import load_records

    preferred = "main-gptq-4bit.json"
    return {
        r.identity.model_size: r for r in sorted(load_records(), key=lambda record: record.name == preferred)
    }


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

    def run(self):
        size, path, spec = (part.strip() for part in (self.text + ":").split(":")[:3])
        pages = self.env.__dict__.setdefault("record_pages", set())
        pages.add(self.env.docname)
        try:
            text = format(_follow(_records()[size], path), spec)
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            message = self.inliner.reporter.error(
                f"no {path!r} in a record of {size!r}: {error!r}", line=self.lineno
            )
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


def _without_thebe(app, pagename, templatename, context, doctree):
    """Live code is not offered, so its script, which declares one constant twice, is left out of every page."""
    files = context.get("script_files", [])
    context["script_files"] = [
        script for script in files if "thebe" not in (str(script) + repr(script)).lower()
    ]


def _plain_bars(app, what, name, obj, options, lines):
    """A bar in a docstring is a size or an absolute value, |K|, not a substitution."""
    literal = False
    for k, line in enumerate(lines):
        literal = line.startswith(" ") if literal and line.strip() else literal
        if not literal:
            lines[k] = re.sub(r"(``.*?``|`.*?`)|\|", lambda match: match[1] or r"\|", line)
        literal = literal or line.rstrip().endswith("::")


def _field_comments(app, what, name, obj, options, lines):
    """The trailing comment of a dataclass field (symbol, meaning, unit) is its description."""
    if what != "class" or not dataclasses.is_dataclass(obj):
        return
    known = {field.name for field in dataclasses.fields(obj)}
    lines.append("")
    for field, comment in _FIELD.findall(inspect.getsource(obj)):
        if field in known:
            lines.append(f":param {field}: " + re.sub(r"([*|`_\\])", r"\\\1", comment))
    lines.append("")


def setup(app):
    if "sphinx.ext.autodoc" not in app.extensions:
        raise ExtensionError("bookext needs sphinx.ext.autodoc before it")
    app.add_role("record", RecordRole())
    app.connect("env-get-outdated", _outdated_by_records)
    app.connect("env-updated", _remember_records)
    app.connect("html-page-context", _launch_the_template, priority=900)
    app.connect("html-page-context", _without_thebe, priority=950)
    app.connect("autodoc-process-docstring", _plain_bars)
    app.connect("autodoc-process-docstring", _field_comments)
    own_version = int(
        hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8], 16
    )  # all is read again if it changes
    return {
        "version": "1",
        "env_version": own_version,
        "parallel_read_safe": False,
        "parallel_write_safe": True,
    }
