from .find import propagator_for
from .measure import measure_propagator, measure_propagator_into
from .settings import DEFAULT, PropagatorSettings
from .summaries import at_end, last_above, onset, ratio, response_by_distance
from .verify import verify_propagator

__all__ = [
    "DEFAULT",
    "PropagatorSettings",
    "at_end",
    "last_above",
    "measure_propagator",
    "measure_propagator_into",
    "onset",
    "propagator_for",
    "ratio",
    "response_by_distance",
    "verify_propagator",
]
