from .heads import HEAD_CLAIMS, MOSTLY
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
    evaluate_head_claims,
)
from .words import in_brief, table, value_and_error

__all__ = [
    "ATTENTION_PART",
    "CLAIMS",
    "FAILS",
    "FIGURE_EPSILON0",
    "HEAD_CLAIMS",
    "HOLDS",
    "LINEAR_REGIME",
    "MOSTLY",
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
    "evaluate_head_claims",
    "in_brief",
    "table",
    "value_and_error",
]
