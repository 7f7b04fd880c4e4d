"""What is stored: one JSON file per record, from which every page and figure is made."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
