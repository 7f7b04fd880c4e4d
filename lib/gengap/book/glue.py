"""Numbers for the sentences of a page: `{glue:text}` finds them under their names, and no cell shows them.

A statement that calls one of these functions and does nothing else is left out of the page, and numpy's numbers take formats
there as Python's do (`gengap.book.pages`).
"""

import numpy as np
from myst_nb import glue
from numpy.typing import ArrayLike


def glue_all(**values: object) -> None:
    """Each value under its name."""
    for name, value in values.items():
        glue(name, value, display=False)


def glue_range(name: str, values: ArrayLike) -> None:
    """The least and the greatest of some values, as `<name>_least` and `<name>_most`."""
    glue_all(**{f"{name}_least": np.min(values), f"{name}_most": np.max(values)})


def glue_interval(name: str, value: float, low: float, high: float) -> None:
    """A value and the ends of its interval, as `name`, `<name>_low` and `<name>_high`."""
    glue_all(**{name: value, f"{name}_low": low, f"{name}_high": high})
