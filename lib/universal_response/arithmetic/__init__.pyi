from . import summaries
from .folder import train_into
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
from .study import (
    ArithmeticSettings,
    arithmetic_for,
    study_arithmetic,
    study_arithmetic_into,
    verify_arithmetic,
)
from .told import settings_in, settings_of_training

__all__ = [
    "EQUALS",
    "MINUS",
    "PLUS",
    "VOCABULARY",
    "WITHHELD",
    "AdderSettings",
    "ArithmeticSettings",
    "Problems",
    "Split",
    "all_problems",
    "arithmetic_for",
    "carries",
    "configuration",
    "is_cascade",
    "is_right",
    "loss",
    "places",
    "problems_in",
    "settings_in",
    "settings_of_training",
    "split",
    "study_arithmetic",
    "study_arithmetic_into",
    "summaries",
    "train",
    "train_into",
    "verify_arithmetic",
]
