"""Shipped results, read once for all tests of a process."""

import functools
from pathlib import Path

from universal_response import load_results

RESULTS = Path(__file__).parents[1] / "results"


@functools.cache
def shipped_results(name):
    """Results of any kind by the name of their file, whose numbers no test can change."""
    dataset = load_results(RESULTS / f"{name}.nc", kind=None)
    for array in dataset.data_vars.values():
        array.values.flags.writeable = False
    return dataset
