from .problems import (
    EQUALS,
    MINUS,
    PLUS,
    VOCABULARY,
    Problems,
    all_problems,
    carries,
    is_cascade,
    places,
    problems_in,
)
from .splits import WITHHELD, Split, split

__all__ = [
    "EQUALS",
    "MINUS",
    "PLUS",
    "VOCABULARY",
    "WITHHELD",
    "Problems",
    "Split",
    "all_problems",
    "carries",
    "is_cascade",
    "places",
    "problems_in",
    "split",
]
