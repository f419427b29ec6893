"""How induction is learned: a small task, a small model, and clamps on its activations."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
