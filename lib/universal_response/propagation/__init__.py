"""How a change of one token's vector travels through a model."""

# Each of these enters its rules into the table.
from universal_response.propagation import algebra, linear_functions, nonlinear, norms  # noqa: F401
from universal_response.propagation.blocks import Position, positions
from universal_response.propagation.change import Carried, NoRule, carry
from universal_response.propagation.choice import Choice, choose_products
from universal_response.propagation.observing import Seen
from universal_response.propagation.passes import (
    TOKENS_PER_PASS,
    chunked_inner_products,
    inner_products,
    linear_inner_products,
)
from universal_response.propagation.perturbation import Direction, Perturbation, Scaling, Swap
from universal_response.propagation.products import PRODUCTS
from universal_response.propagation.reduction import InnerProducts

__all__ = [
    "PRODUCTS",
    "TOKENS_PER_PASS",
    "Carried",
    "Choice",
    "Direction",
    "InnerProducts",
    "NoRule",
    "Perturbation",
    "Position",
    "Scaling",
    "Seen",
    "Swap",
    "carry",
    "choose_products",
    "chunked_inner_products",
    "inner_products",
    "linear_inner_products",
    "positions",
]
