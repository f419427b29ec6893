"""Dataset -> matplotlib Figure: a module a figure, panels that take an Axes; measures nothing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# At once, not when first asked for: nnsight gives every object, modules too, a method of this name,
# and a module that has an attribute is not asked for another.
from universal_response.figures.save import save as save  # noqa: E402
