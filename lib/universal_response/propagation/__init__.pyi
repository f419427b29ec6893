from .blocks import Position, positions, unbridged
from .carry import carry
from .change import Carried, NoRule
from .choice import Choice, choose_products
from .clean_pass import TOKENS_PER_PASS
from .edits import (
    Edit,
    FreezeHeads,
    PatchEdge,
    ReplaceHeads,
    ReplaceNeurons,
    ReplaceOutput,
    Through,
    first_layer,
)
from .observing import Seen
from .passes import chunked_inner_products, inner_products, linear_inner_products
from .products import products_of
from .reading import read
from .recognition import Norm, recognised
from .rows import NUMBERS_AT_A_TIME
from .suffixes import Index, Segment
from .values_pass import Start, forward

__all__ = [
    "NUMBERS_AT_A_TIME",
    "TOKENS_PER_PASS",
    "Carried",
    "Choice",
    "Edit",
    "FreezeHeads",
    "Index",
    "NoRule",
    "Norm",
    "PatchEdge",
    "Position",
    "ReplaceHeads",
    "ReplaceNeurons",
    "ReplaceOutput",
    "Seen",
    "Segment",
    "Start",
    "Through",
    "carry",
    "choose_products",
    "chunked_inner_products",
    "first_layer",
    "forward",
    "inner_products",
    "linear_inner_products",
    "positions",
    "products_of",
    "read",
    "recognised",
    "unbridged",
]
