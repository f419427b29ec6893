from . import plan
from .description import (
    description,
    file_stem,
    recorded_name,
    results_name,
    same_weights,
    settings_of,
)
from .find import already_there, found_or_made, results_for, results_for_text
from .job import SEQUENCES_PER_SHARD
from .maps import check_mapped, longest_mapped
from .measure import measure, measure_into
from .memory import bytes_of_strength, strengths_at_a_time
from .parts import Parts, identity_of
from .results import load_results, made_into, save_results
from .schema import SCHEMA_VERSIONS, kind_of, leading_bits, stored_bits
from .settings import DEFAULT, DEFAULT_EPSILONS, RANDOM, Settings, recorded
from .shards import code
from .studies import joined_study, measure_parts, numbers
from .subject import describe, describe_machine, device_memory, git_commit, opened
from .units import in_time
from .verify import (
    Verification,
    check_weights,
    check_weights_of,
    verification,
    verify,
)

__all__ = [
    "DEFAULT",
    "DEFAULT_EPSILONS",
    "RANDOM",
    "SCHEMA_VERSIONS",
    "SEQUENCES_PER_SHARD",
    "Parts",
    "Settings",
    "Verification",
    "already_there",
    "bytes_of_strength",
    "check_mapped",
    "check_weights",
    "check_weights_of",
    "code",
    "describe",
    "describe_machine",
    "description",
    "device_memory",
    "file_stem",
    "found_or_made",
    "git_commit",
    "identity_of",
    "in_time",
    "joined_study",
    "kind_of",
    "leading_bits",
    "load_results",
    "longest_mapped",
    "made_into",
    "measure",
    "measure_into",
    "measure_parts",
    "numbers",
    "opened",
    "plan",
    "recorded",
    "recorded_name",
    "results_for",
    "results_for_text",
    "results_name",
    "same_weights",
    "save_results",
    "settings_of",
    "stored_bits",
    "strengths_at_a_time",
    "verification",
    "verify",
]
