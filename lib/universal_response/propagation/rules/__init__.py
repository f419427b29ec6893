"""Changes of the functions that a transformer is made of, exact at any strength.

Each rule takes clean values v and their changes d and returns f(v + d) - f(v) without ever
subtracting two nearly equal numbers, so that a change keeps its relative precision however weak
it is. With `limit` the products of changes are left out: the same rule is then the derivative of f
applied to d. (The equations are derived in the book's page on the method.)

Where a change is so strong that the form for weak ones would overflow or lose digits, single
elements are computed anew in float64, in which plain forms suffice.
"""

from universal_response.propagation.rules.activations import (
    GELU_TANH,
    QUICK_GELU,
    SILU,
    SelfGated,
    gelu,
    sigmoid,
    tanh,
)
from universal_response.propagation.rules.arithmetic import (
    clamp,
    cube,
    product,
    quotient,
    relu,
    square,
)
from universal_response.propagation.rules.attention import is_strong, mixed, softmax
from universal_response.propagation.rules.double import Number
from universal_response.propagation.rules.norms import norm_factors, normalised, secant

__all__ = [
    "GELU_TANH",
    "QUICK_GELU",
    "SILU",
    "Number",
    "SelfGated",
    "clamp",
    "cube",
    "gelu",
    "is_strong",
    "mixed",
    "norm_factors",
    "normalised",
    "product",
    "quotient",
    "relu",
    "secant",
    "sigmoid",
    "softmax",
    "square",
    "tanh",
]
