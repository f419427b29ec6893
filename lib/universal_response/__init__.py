"""Universal response of language models to weak single-token perturbations (arXiv 2411.07071)."""

import warnings

with warnings.catch_warnings():
    # In a notebook without ipywidgets tqdm says so; this library shows no bars in notebooks.
    warnings.filterwarnings("ignore", message="IProgress not found")
    import tqdm.auto  # noqa: F401 (first import, before transformers does it)

from universal_response import (
    claims,
    figures,
    metrics,
    models,
    plan,
    provenance,
    response,
    subtraction,
)
from universal_response.measurement import (
    Settings,
    architecture_of,
    load_results,
    measure,
    measure_into,
    results_for,
    results_for_text,
    save_results,
    settings_of,
    verify,
)
from universal_response.models import (
    REGISTRY,
    load_model,
    load_tokenizer,
    reference_architecture,
)
from universal_response.propagation import (
    Direction,
    InnerProducts,
    Scaling,
    Swap,
    carry,
    inner_products,
    linear_inner_products,
)
from universal_response.sequences import (
    read_text,
    read_tokens,
    repeated_random_tokens,
    tokens_of_text,
)

__all__ = [
    "REGISTRY",
    "Direction",
    "InnerProducts",
    "Scaling",
    "Settings",
    "Swap",
    "architecture_of",
    "carry",
    "claims",
    "figures",
    "inner_products",
    "linear_inner_products",
    "load_model",
    "load_results",
    "load_tokenizer",
    "measure",
    "measure_into",
    "metrics",
    "models",
    "plan",
    "provenance",
    "read_text",
    "read_tokens",
    "reference_architecture",
    "repeated_random_tokens",
    "response",
    "results_for",
    "results_for_text",
    "save_results",
    "settings_of",
    "subtraction",
    "tokens_of_text",
    "verify",
]
