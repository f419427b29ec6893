from .blocks import Position, positions, unbridged
from .carry import carry
from .change import Carried, NoRule
from .choice import Choice, choose_products
from .clean_pass import TOKENS_PER_PASS
from .observing import Seen
from .passes import chunked_inner_products, inner_products, linear_inner_products
from .products import PREPACKED_BYTES, products_of
from .rows import NUMBERS_AT_A_TIME

__all__ = [
    "NUMBERS_AT_A_TIME",
    "PREPACKED_BYTES",
    "TOKENS_PER_PASS",
    "Carried",
    "Choice",
    "NoRule",
    "Position",
    "Seen",
    "carry",
    "choose_products",
    "chunked_inner_products",
    "inner_products",
    "linear_inner_products",
    "positions",
    "products_of",
    "unbridged",
]
