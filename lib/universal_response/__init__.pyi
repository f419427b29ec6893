from . import (
    claims,
    companion,
    figures,
    measurement,
    metrics,
    models,
    propagation,
    response,
    subtraction,
)
from .companion import exercises, explorer, notebooks, provenance
from .measurement import (
    DEFAULT,
    Settings,
    load_results,
    measure,
    measure_into,
    plan,
    results_for,
    results_for_text,
    save_results,
    settings_of,
    verify,
)
from .metrics import InnerProducts
from .models import REGISTRY, load_model, load_tokenizer, reference_architecture
from .perturbation import Direction, Scaling, Swap
from .propagation import carry, inner_products, linear_inner_products
from .response import architecture_of
from .sequences import read_text, read_tokens, repeated_random_tokens, tokens_of_text

__all__ = [
    "DEFAULT",
    "REGISTRY",
    "Direction",
    "InnerProducts",
    "Scaling",
    "Settings",
    "Swap",
    "architecture_of",
    "carry",
    "claims",
    "companion",
    "exercises",
    "explorer",
    "figures",
    "inner_products",
    "linear_inner_products",
    "load_model",
    "load_results",
    "load_tokenizer",
    "measure",
    "measure_into",
    "measurement",
    "metrics",
    "models",
    "notebooks",
    "plan",
    "propagation",
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
