from .errors import regimes, relative_error, typical_error, weakest_strength
from .find import subtraction_for
from .measure import EPSILONS, NUMBER_TYPES, carried, measure_subtraction, subtracted
from .rounding import Float32Products
from .verify import verify_subtraction

__all__ = [
    "EPSILONS",
    "NUMBER_TYPES",
    "Float32Products",
    "carried",
    "measure_subtraction",
    "regimes",
    "relative_error",
    "subtracted",
    "subtraction_for",
    "typical_error",
    "verify_subtraction",
    "weakest_strength",
]
