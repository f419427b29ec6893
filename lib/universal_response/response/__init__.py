"""Response functions and what is read off them: pure functions of C(i, j) and of its averages."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
