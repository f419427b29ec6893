from .draws import redrawn
from .statements import HEAD_CLAIMS, MOSTLY

__all__ = ["HEAD_CLAIMS", "MOSTLY", "redrawn"]
