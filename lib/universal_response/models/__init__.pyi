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

__all__ = [
    "MODELS",
    "REGISTRY",
    "SHIPPED",
    "Provenance",
    "RegisteredModel",
    "WeightsUnavailable",
    "architecture",
    "bridge_config",
    "bridged",
    "cache_folder",
    "check_device",
    "check_model",
    "config_of",
    "fetch_weights",
    "first_line",
    "is_here",
    "load_model",
    "load_tokenizer",
    "reference_architecture",
    "reference_config",
    "resolve_device",
    "title",
    "weights_sha256",
    "without_weights",
]
