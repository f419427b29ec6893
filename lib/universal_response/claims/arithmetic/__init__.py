"""What the notes on induction circuits state of models that calculate, tested on adders.

A statement is tested in every seed of the training that it is about: it holds if its bound is kept
in all of them, does not hold if in none, and stays undecided where seeds differ.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
