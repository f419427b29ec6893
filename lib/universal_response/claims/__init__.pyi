from .arithmetic import ARITHMETIC_CLAIMS
from .beside_source import NUMBERS, Compared, beside_source
from .heads import HEAD_CLAIMS, MOSTLY
from .quantities import FIGURE_EPSILON0, WEAK
from .statements import CLAIMS, LINEAR_REGIME, PEAKS, SMALL, STEPS, Claim
from .training import FILM_CLAIMS, TRAINING_CLAIMS
from .verdicts import (
    FAILS,
    HOLDS,
    LEVEL,
    N_RESAMPLES,
    REPORTED,
    UNDECIDED,
    UNTESTED,
    VERDICTS,
    Finding,
    Range,
    evaluate_arithmetic_claims,
    evaluate_claims,
    evaluate_film_claims,
    evaluate_head_claims,
    evaluate_training_claims,
)
from .words import counts, in_brief, median_and_range, table, undecided, value_and_error

__all__ = [
    "ARITHMETIC_CLAIMS",
    "CLAIMS",
    "FAILS",
    "FIGURE_EPSILON0",
    "FILM_CLAIMS",
    "HEAD_CLAIMS",
    "HOLDS",
    "LEVEL",
    "LINEAR_REGIME",
    "MOSTLY",
    "NUMBERS",
    "N_RESAMPLES",
    "PEAKS",
    "REPORTED",
    "SMALL",
    "STEPS",
    "TRAINING_CLAIMS",
    "UNDECIDED",
    "UNTESTED",
    "VERDICTS",
    "WEAK",
    "Claim",
    "Compared",
    "Finding",
    "Range",
    "beside_source",
    "counts",
    "evaluate_arithmetic_claims",
    "evaluate_claims",
    "evaluate_film_claims",
    "evaluate_head_claims",
    "evaluate_training_claims",
    "in_brief",
    "median_and_range",
    "table",
    "undecided",
    "value_and_error",
]
