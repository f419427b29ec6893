from .find import arithmetic_for
from .settings import ArithmeticSettings
from .study import study_arithmetic, study_arithmetic_into
from .verify import verify_arithmetic

__all__ = [
    "ArithmeticSettings",
    "arithmetic_for",
    "study_arithmetic",
    "study_arithmetic_into",
    "verify_arithmetic",
]
