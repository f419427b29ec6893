"""What only the book needs: explorer, course, provenance in words, running notebooks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
