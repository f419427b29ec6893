"""What the notes on induction circuits state of heads, tested on a study of a model's heads.

Errors are standard errors over sequences unless the quantity says otherwise: what is kept by
sequence is drawn anew with replacement; maps over heads, of which mean and standard error are kept,
are drawn from normal distributions, every head by itself. So a ratio of two effects that scatter
together has an error that is too large rather than too small.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
