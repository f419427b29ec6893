from .architecture import (
    architecture,
    bridge_config,
    config_of,
    reference_config,
    without_weights,
)
from .device import check_device, resolve_device
from .loading import bridged, load_model, load_tokenizer
from .messages import first_line
from .random_weights import SUFFIX, base_of, is_random, random_digest
from .registry import MODELS, REGISTRY, RegisteredModel, reference_architecture, title
from .weights import (
    SHIPPED,
    Provenance,
    WeightsUnavailable,
    cache_folder,
    check_model,
    fetch_weights,
    is_here,
    weights_sha256,
)
from .writing import shipped_name, write_weights, write_whole

__all__ = [
    "MODELS",
    "REGISTRY",
    "SHIPPED",
    "SUFFIX",
    "Provenance",
    "RegisteredModel",
    "WeightsUnavailable",
    "architecture",
    "base_of",
    "bridge_config",
    "bridged",
    "cache_folder",
    "check_device",
    "check_model",
    "config_of",
    "fetch_weights",
    "first_line",
    "is_here",
    "is_random",
    "load_model",
    "load_tokenizer",
    "random_digest",
    "reference_architecture",
    "reference_config",
    "resolve_device",
    "shipped_name",
    "title",
    "weights_sha256",
    "without_weights",
    "write_weights",
    "write_whole",
]
