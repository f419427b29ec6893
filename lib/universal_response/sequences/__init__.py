"""Token sequences: repeated random blocks (caption of Fig. 1), texts, and given token ids."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
