"""Dataset -> verdicts: what the abstract and the captions of the paper state, tested on results.
And what the notes on induction circuits state of heads (`heads`), tested on a study of heads.

Each claim is one quantity with its error over sequences (bootstrap, `response.resample`) and a
bound: a deviation called small must be below 10 %.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
