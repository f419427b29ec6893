"""Universal response of language models to weak single-token perturbations (arXiv 2411.07071)."""

import warnings

with warnings.catch_warnings():
    # In a notebook without ipywidgets tqdm says so; this library shows no bars in notebooks.
    warnings.filterwarnings("ignore", message="IProgress not found")
    import tqdm.auto  # noqa: F401 (first import, before transformers does it)

from universal_response import figures, metrics, response
from universal_response.measurement import (
    Settings,
    architecture_of,
    load_results,
    measure,
    results_for,
    save_results,
    verify,
)
from universal_response.models import REGISTRY, load_model, reference_architecture
from universal_response.propagation import InnerProducts, inner_products
from universal_response.sequences import repeated_random_tokens

__all__ = [
    "REGISTRY",
    "InnerProducts",
    "Settings",
    "architecture_of",
    "figures",
    "inner_products",
    "load_model",
    "load_results",
    "measure",
    "metrics",
    "reference_architecture",
    "repeated_random_tokens",
    "response",
    "results_for",
    "save_results",
    "verify",
]
