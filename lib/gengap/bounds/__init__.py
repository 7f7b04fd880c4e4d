"""The mathematics: concentration, smoothing, samples, and the bounds with their terms. numpy only; no torch, no files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
