"""Data for interactive figures that a notebook leaves in its outputs, where staging finds them."""

import json
from typing import Any

import nbformat
from IPython.display import display

MIME = "application/vnd.gengap.interactive+json"
Data = dict[str, Any]


def keep(name: str, data: Data) -> None:
    """Leave data for an interactive figure in the outputs of the notebook's cell; no page shows them."""
    json.dumps(data, allow_nan=False)  # what cannot be written fails here, not in the book
    display({MIME: {"name": name, "data": data}, "text/plain": f"(data of the figure {name})"}, raw=True)


def take(notebook: nbformat.NotebookNode) -> dict[str, Data]:
    """What the notebook kept, by name; taken out of its outputs."""
    kept = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if found := output.get("data", {}).get(MIME):
                kept[found["name"]] = found["data"]
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if MIME not in output.get("data", {})]
    return kept
