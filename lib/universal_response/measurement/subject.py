"""The model that is measured: what decides how, and what is recorded of it and of its machine."""

import functools
import json
import platform
import subprocess
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement.settings import AnySettings
from universal_response.models import Provenance, architecture, load_model
from universal_response.number_types import dtype_name
from universal_response.propagation import Position, positions

_PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "xarray", "universal-response")


@dataclass(frozen=True)
class Subject:
    """What of a model decides how it is measured and what is recorded of it.

    Attributes:
        positions: of the residual stream.
        dtype, device: of the weights; the latter by its type.
        memory: of the device, bytes.
        context: the most tokens a sequence may have.
        vocabulary: number of token ids.
        bos: id of the BOS token; None if there is none.
        attributes: of the results, as far as they belong to the model and its machine.
    """

    positions: list[Position]
    dtype: torch.dtype
    device: str
    memory: int
    context: int
    vocabulary: int
    bos: int | None
    attributes: dict[str, object]


def describe(model: TransformerBridge) -> Subject:
    """What there is to know of a loaded model."""
    weights = next(model.original_model.parameters())
    device = weights.device
    attributes = asdict(getattr(model, "provenance", Provenance())) | {
        "architecture": json.dumps(architecture(model)),
        **describe_machine(device),
    }
    return Subject(
        positions(model),
        weights.dtype,  # `cfg` does not know of a bridge's `double()`
        device.type,
        device_memory(device),
        model.cfg.n_ctx,
        model.cfg.d_vocab,
        bos_token(model),
        attributes,
    )


def opened(
    model: TransformerBridge | str, settings: AnySettings, progress: bool = False
) -> tuple[TransformerBridge, Subject, AnySettings]:
    """What a study begins with: the model, loaded if it is named, and what there is to know of it.

    Args:
        model: a bridge, measured as it is, or what `load_model` takes.
        settings: of a study, with `device` and `dtype`.
        progress: show a progress bar while loading.

    Returns:
        The settings with the number type that the model has.
    """
    if isinstance(model, str):
        asked: Any = settings
        model = load_model(model, asked.device, asked.dtype, tokenizer=False, progress=progress)
    subject = describe(model)
    return model, subject, replace(settings, dtype=dtype_name(subject.dtype))


def bos_token(model: TransformerBridge) -> int | None:
    """The BOS token that a model's configuration names, if it is in its vocabulary."""
    named = getattr(model.original_model.config, "bos_token_id", None)
    return named if named is not None and named < model.cfg.d_vocab else None


def describe_machine(device: torch.device) -> dict[str, object]:
    """What is recorded of the device, the packages and this library."""
    return {
        "device": _device_name(device),
        "versions": json.dumps(_versions()),
        "git_commit": git_commit(),
    }


def device_memory(device: torch.device) -> int:
    """Memory of a device, used or not, bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().total


def git_commit() -> str:
    """Commit of this library, with `-dirty` where it was changed since; `unknown` without git."""
    here = Path(__file__)
    git = functools.partial(subprocess.run, capture_output=True, text=True, check=True)
    command = ["git", "-C", str(here.parent)]
    try:
        # Not that of a repository which holds the installed library and does not track it.
        git([*command, "ls-files", "--error-unmatch", here.name])
        said = git([*command, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])
        return said.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}, {torch.get_num_threads()} threads"
