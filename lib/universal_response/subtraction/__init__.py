"""What subtraction costs: the change as a difference of two runs, beside the carried change.

The plain way runs the model twice and subtracts. Both runs are rounded, so of a weak change few
digits are left or none, and the fewer the coarser the number type.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
