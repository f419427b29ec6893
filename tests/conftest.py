"""Shape annotations of the library are checked while testing, and only then."""

import os

import pytest
from jaxtyping import install_import_hook

# Nothing may be fetched.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

with install_import_hook("universal_response", "beartype.beartype"):
    import universal_response  # noqa: F401

import torch
from hypothesis import settings
from tiny_models import tiny_model

# The same examples in every run, and no folder of past ones.
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.load_profile("same")


@pytest.fixture(scope="session")
def gpt2():
    """A tiny GPT-2 in float64."""
    return tiny_model("gpt2", torch.float64)


@pytest.fixture(scope="session")
def llama():
    """A tiny Llama in float64."""
    return tiny_model("llama", torch.float64)
