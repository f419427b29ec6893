"""Universal response of language models to weak single-token perturbations (arXiv 2411.07071)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
