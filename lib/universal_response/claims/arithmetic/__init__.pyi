from .statements import ARITHMETIC_CLAIMS

__all__ = ["ARITHMETIC_CLAIMS"]
