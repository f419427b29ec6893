"""Which heads carry the response, and whether they are the circuit of induction."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
