from .memory import working_bytes
from .operations import flops, flops_per_token, keys_per_token, passes_with_clean, token_passes
from .plan import Plan, access, plan
from .prices import costs, prices
from .sample import ALIKE, SAMPLE, Sample, equivalent_sample
from .size import Size, size_of
from .speed import ASSUMED_FRACTION, MEASURED_FRACTION, matrix_product_rate
from .words import rows

__all__ = [
    "ALIKE",
    "ASSUMED_FRACTION",
    "MEASURED_FRACTION",
    "SAMPLE",
    "Plan",
    "Sample",
    "Size",
    "access",
    "costs",
    "equivalent_sample",
    "flops",
    "flops_per_token",
    "keys_per_token",
    "matrix_product_rate",
    "passes_with_clean",
    "plan",
    "prices",
    "rows",
    "size_of",
    "token_passes",
    "working_bytes",
]
