"""The interactive figures of the book: what a page's script draws from, computed by the library and staged with the page.

A page asks for one with the directive of `book/_ext/interactive.py`. What needs no model is computed while the book is staged,
from records and published tables; what a notebook has computed it hands over with `keep`, inside its outputs. The scripts in
`book/_static/interactive` repeat a formula of the library here and there; `tests/book/test_interactive.py` holds them to it.
"""
