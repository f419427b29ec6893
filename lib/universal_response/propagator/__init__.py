"""The propagator: the response at every position to a change made at every earlier one.

C(l' -> l, dj): the residual vector of token i is scaled at position l' of the stream instead of the
input, and that of token i + dj responds at position l. At l' = 0 it is the response function.
Where C at T0 - 1 falls along l', a change at a token no longer turns into one at the token before
its repeat: what does that lies below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
