"""Weights to codes, codes to a file with a length: what a hypothesis costs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
