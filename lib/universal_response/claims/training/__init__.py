"""What the paper on the formation of induction heads states, tested on a study of training.

A statement is tested in every seed by itself: it holds if its bound is kept in all of them, does
not hold if in none, and stays undecided where seeds differ. Where times of two experiments are
compared, every seed of the one is compared with every seed of the other, so that two experiments
whose ranges overlap are not told apart.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
