"""A code for a model, from its training: requential coding (Qiu et al. 2026)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
