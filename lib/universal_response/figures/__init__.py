"""Dataset -> matplotlib Figure: a module a figure, panels that take an Axes; measures nothing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
