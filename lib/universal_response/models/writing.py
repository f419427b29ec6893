"""A trained model -> a folder that `load_model` reads."""

import os
from pathlib import Path
from typing import Any

from safetensors.torch import save

from universal_response.models.registry import MODELS
from universal_response.models.weights import weights_sha256

WEIGHTS = "model.safetensors"


def write_weights(folder: Path, model: Any) -> None:
    """Write config.json and model.safetensors; tied weights are written once."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    weights = {name: each.detach().cpu().contiguous() for name, each in model.named_parameters()}
    write_whole(folder / WEIGHTS, save(weights, {"format": "pt"}))


def write_whole(path: Path, content: bytes) -> None:
    """Complete or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def shipped_name(folder: Path) -> str | None:
    """Name of the shipped model that the one in a folder is, bit for bit."""
    digest = weights_sha256(str(folder))
    return next((each.name for each in MODELS if each.shipped and each.sha256 == digest), None)
