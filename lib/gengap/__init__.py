"""Generalization bounds for language models, computed and certified: tokens -> statistics -> bound -> record -> page.

Docstrings cite by number what is proved, as in "statement T8": `book/statements.md` lists the statements, what they
assume, where the book proves them and which module computes them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
