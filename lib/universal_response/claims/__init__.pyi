from .quantities import FIGURE_EPSILON0, WEAK
from .statements import ATTENTION_PART, CLAIMS, LINEAR_REGIME, PEAK, SMALL, Claim
from .verdicts import (
    FAILS,
    HOLDS,
    N_RESAMPLES,
    REPORTED,
    UNDECIDED,
    UNTESTED,
    VERDICTS,
    Finding,
    evaluate_claims,
)
from .words import in_brief, table, value_and_error

__all__ = [
    "ATTENTION_PART",
    "CLAIMS",
    "FAILS",
    "FIGURE_EPSILON0",
    "HOLDS",
    "LINEAR_REGIME",
    "N_RESAMPLES",
    "PEAK",
    "REPORTED",
    "SMALL",
    "UNDECIDED",
    "UNTESTED",
    "VERDICTS",
    "WEAK",
    "Claim",
    "Finding",
    "evaluate_claims",
    "in_brief",
    "table",
    "value_and_error",
]
