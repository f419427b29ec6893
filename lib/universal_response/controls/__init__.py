"""Controls: what the signature of induction must not depend on, and where it must be absent.

Each is measured as the paper's input is, in the exact limit, with one thing changed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
