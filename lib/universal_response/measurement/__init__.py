"""Settings -> xarray.Dataset: measure, resume, save, load, verify, with provenance."""

from universal_response.measurement.assemble import SCHEMA_VERSION
from universal_response.measurement.measure import measure
from universal_response.measurement.results import (
    SCHEMA_VERSIONS,
    architecture_of,
    kind_of,
    load_results,
    measure_into,
    results_for,
    results_for_text,
    results_name,
    save_results,
    settings_of,
    stored_bits,
)
from universal_response.measurement.settings import DEFAULT_EPSILONS, Settings
from universal_response.measurement.shards import (
    SEQUENCES_PER_SHARD,
    bytes_of_strength,
    strengths_at_a_time,
)
from universal_response.measurement.subject import git_commit
from universal_response.measurement.verify import Verification, verify

__all__ = [
    "DEFAULT_EPSILONS",
    "SCHEMA_VERSION",
    "SCHEMA_VERSIONS",
    "SEQUENCES_PER_SHARD",
    "Settings",
    "Verification",
    "architecture_of",
    "bytes_of_strength",
    "git_commit",
    "kind_of",
    "load_results",
    "measure",
    "measure_into",
    "results_for",
    "results_for_text",
    "results_name",
    "save_results",
    "settings_of",
    "stored_bits",
    "strengths_at_a_time",
    "verify",
]
