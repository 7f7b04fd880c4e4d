"""Tooltips of `{term}` links: the definition stands in an attribute of the link, and the style sheet shows it, under the mouse or the keyboard.

No script, nothing from the network; on a touch screen the link leads to the glossary.
"""

from docutils import nodes
from sphinx import addnodes

GLOSSARY = "book/glossary"


class term_link(nodes.reference):
    """A link into the glossary, with the words of the definition in `definition`."""


def _visit(translator, node):
    translator.visit_reference(node)
    words = translator.attval(node["definition"])
    translator.body[-1] = translator.body[-1].replace("<a ", f'<a data-definition="{words}" ', 1)


def definitions(doctree) -> dict[str, str]:
    """The words of each definition by the id of its term."""
    return {
        anchor: " ".join(item.next_node(nodes.definition).astext().split())
        for item in doctree.findall(nodes.definition_list_item)
        for term in item.findall(nodes.term)
        for anchor in term["ids"]
    }


def _anchor(node) -> str:
    """What stands behind the # of an internal link."""
    return f"{node.get('refid', '')}{node.get('refuri', '')}".rpartition("#")[2] if node.get("internal") else ""


def _read_again_with_the_glossary(app, doctree):
    if any(node.get("reftype") == "term" for node in doctree.findall(addnodes.pending_xref)):
        app.env.note_dependency(str(app.env.doc2path(GLOSSARY)))


def _with_definitions(app, doctree, docname):
    links = {node: _anchor(node) for node in doctree.findall(nodes.reference) if _anchor(node).startswith("term-")}
    words = definitions(app.env.get_doctree(GLOSSARY)) if links and GLOSSARY in app.env.found_docs else {}
    for node, anchor in links.items():
        if anchor in words:
            link = term_link("", "", *node.children, definition=words[anchor], **node.attributes)
            link["classes"].append("term")
            node.replace_self(link)


def setup(app):
    app.add_node(term_link, html=(_visit, lambda translator, node: translator.depart_reference(node)))
    app.connect("doctree-read", _read_again_with_the_glossary)
    app.connect("doctree-resolved", _with_definitions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
