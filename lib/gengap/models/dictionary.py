"""The ladder's architecture on a text of another kind: a dictionary of English, so that one can tell what a finding owes to source code.

Rungs of the shapes of the ladder; their tokens are of a vocabulary as large, made from this text (`gengap.tokens.dictionary`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gengap.models.ladder import LadderSpec

if TYPE_CHECKING:
    from gengap.tokens.corpus import Text


@dataclass(frozen=True)
class DictionarySpec(LadderSpec):
    """A rung trained on the dictionary."""

    @property
    def text(self) -> "Text":
        from gengap.tokens.dictionary import DICTIONARY

        return DICTIONARY


MODELS = (
    #              family        size  width layers heads batch  learning rate
    DictionarySpec("dictionary", "50k", 12, 2, 1, 8, 3.8e-2),
    DictionarySpec("dictionary", "100k", 20, 3, 2, 8, 2.9e-2),
    DictionarySpec("dictionary", "200k", 36, 3, 3, 8, 2.1e-2),
    DictionarySpec("dictionary", "300k", 48, 3, 4, 8, 1.8e-2),
    DictionarySpec("dictionary", "400k", 64, 3, 4, 16, 1.6e-2),
)
