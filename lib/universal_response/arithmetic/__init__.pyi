from .folder import settings_in, train_into
from .learning import is_right, loss, train
from .network import configuration
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
from .settings import AdderSettings
from .splits import WITHHELD, Split, split

__all__ = [
    "EQUALS",
    "MINUS",
    "PLUS",
    "VOCABULARY",
    "WITHHELD",
    "AdderSettings",
    "Problems",
    "Split",
    "all_problems",
    "carries",
    "configuration",
    "is_cascade",
    "is_right",
    "loss",
    "places",
    "problems_in",
    "settings_in",
    "split",
    "train",
    "train_into",
]
