"""Shape annotations of the library are checked while testing, and only then."""

import gc
import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook
from tiny_models import tiny_model

# Nothing may be fetched.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# For the whole session: modules of the library are imported when they are first used. Only those
# that write shapes: checking every call of every rule would make a small measurement four times
# slower.
LIBRARY = Path(__file__).parents[1] / "lib"
SHAPED = [
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts)
    for path in sorted(LIBRARY.rglob("*.py"))
    if "from jaxtyping import" in path.read_text()
]
install_import_hook(SHAPED, "beartype.beartype")

# The same examples in every run, and no folder of past ones.
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.load_profile("same")


# Files whose quick tests take longest.
LONG = {
    *("test_propagation.py", "test_kinds.py", "test_paper_models.py", "test_inputs.py"),
    *("test_figures.py", "test_perturbation.py", "test_rules.py", "test_find.py"),
}


def pytest_collection_modifyitems(items):
    """Long files and those with slow tests first, so that none of them is the last."""
    first = {
        item.path
        for item in items
        if item.get_closest_marker("slow")
        or item.get_closest_marker("weights")
        or item.path.name in LONG
    }
    items.sort(key=lambda item: item.path not in first)


def pytest_collection_finish():
    """What was imported stays, so no search for garbage looks through it again; few are made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.fixture(scope="session")
def gpt2():
    """A tiny GPT-2 in float64."""
    return tiny_model("gpt2", torch.float64)


@pytest.fixture(scope="session")
def llama():
    """A tiny Llama in float64."""
    return tiny_model("llama", torch.float64)
