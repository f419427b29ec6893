from .averages import (
    error_over_pairs,
    geometric_mean,
    geometric_over_pairs,
    mean_over_pairs,
    pairs_at,
)
from .bootstrap import Estimate, estimate, resample
from .increments import increments, increments_error, sublayer_totals
from .linear_limit import higher_orders, largest_epsilon, linear_deviation, linear_ratio
from .onset import InductionOnset, induction_onset, onset_position, same_token_position
from .pairs import by_distance, log_sums, number_of_pairs, response_function
from .scaling import POWER, ratios, relative_deviation, scaling_function, theory
from .selecting import at_epsilon, last, measured_linear, peak_distance, second_attention_on, window

__all__ = [
    "POWER",
    "Estimate",
    "InductionOnset",
    "at_epsilon",
    "by_distance",
    "error_over_pairs",
    "estimate",
    "geometric_mean",
    "geometric_over_pairs",
    "higher_orders",
    "increments",
    "increments_error",
    "induction_onset",
    "largest_epsilon",
    "last",
    "linear_deviation",
    "linear_ratio",
    "log_sums",
    "mean_over_pairs",
    "measured_linear",
    "number_of_pairs",
    "onset_position",
    "pairs_at",
    "peak_distance",
    "ratios",
    "relative_deviation",
    "resample",
    "response_function",
    "same_token_position",
    "scaling_function",
    "second_attention_on",
    "sublayer_totals",
    "theory",
    "window",
]
