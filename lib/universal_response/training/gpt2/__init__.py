"""How a small GPT-2 learns induction from repeated blocks, and the response on the way."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
