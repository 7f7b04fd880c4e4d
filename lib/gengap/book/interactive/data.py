"""The staged data of interactive figures: what notebooks kept, and what is made from records and published tables."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gengap.book.interactive import area, explorer, frontier, supermartingale, tokens
from gengap.book.interactive.kept import Data
from gengap.errors import UserError

#: How the data of each figure are made: from all that notebooks kept, by name.
FIGURES: dict[str, Callable[[Mapping[str, Data]], Data]] = {
    "area": area.data,
    "bound-explorer": explorer.data,
    "frontier": frontier.data,
    "supermartingale": supermartingale.data,
    "token-viewer": tokens.data,
}
_DIRECTIVE = re.compile(r"^(?:`{3,}|:{3,})\{interactive\}[ \t]+([\w-]+)", re.MULTILINE)


def asked_for(texts: Iterable[str]) -> set[str]:
    """Names of the interactive figures that some texts show."""
    return {name for text in texts for name in _DIRECTIVE.findall(text)}


def make(names: set[str], kept: Mapping[str, Data]) -> dict[str, bytes]:
    """The staged files of these figures. `UserError` for one that there is not, or whose notebook kept nothing."""
    files = {}
    for name in sorted(names):
        if name not in FIGURES:
            raise UserError(f"there is no interactive figure {name!r}; there are {', '.join(FIGURES)}")
        try:
            content = json.dumps(_short(FIGURES[name](kept)), allow_nan=False, ensure_ascii=False)
        except KeyError as error:
            raise UserError(
                f"the figure {name!r} needs {error}, which no notebook kept: run them again (`make book`)"
            ) from error
        files[f"interactive/{name}.json"] = content.encode()
    return files


def _short(value: Any) -> Any:
    """Numbers with the twelve digits that a figure can use."""
    if isinstance(value, Mapping):
        return {name: _short(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.12g}")
    return value
