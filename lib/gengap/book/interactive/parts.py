"""What the data of several interactive figures share: colours of the book, and the table that stands for a figure without scripts."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.colors import to_hex

from gengap.book.figures import TERMS

OTHER = "#5f7d8c"  # of a term that only one figure has


def term_styles() -> dict[str, dict[str, str]]:
    """Label and colour of every term of a bound, as the book's figures have them."""
    with plt.style.context("gengap.book"):
        return {name: {"label": label, "colour": to_hex(colour)} for name, (label, colour) in TERMS.items()}


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> dict[str, Any]:
    """What stands in the figure's place where no script runs: in print, and in a browser without JavaScript."""
    return {"caption": caption, "head": list(head), "rows": [[str(cell) for cell in row] for row in rows]}
