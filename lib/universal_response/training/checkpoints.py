"""Checkpoints: all of which the rest of a training depends on, in a file of safetensors."""

import hashlib
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FILE = "checkpoint.safetensors"

Tensors = dict[str, Tensor]


def in_words(settings: Any) -> dict[str, str]:
    """All settings of a training, a dataclass; two trainings of the same words are the same."""
    return {each.name: repr(getattr(settings, each.name)) for each in fields(settings)}


def save(path: Path, tensors: Tensors, settings: dict[str, str]) -> None:
    """Write a checkpoint complete or not at all; what a kill leaves has another suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    there = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
    about = {"settings": json.dumps(settings), "sha256": _digest(there)}
    partial = path.with_suffix(".partial")
    save_file(there, partial, about)
    os.replace(partial, path)


def load(path: Path, settings: dict[str, str]) -> Tensors:
    """Read a checkpoint.

    Args:
        path: the file.
        settings: of the training that is to go on, in words.

    Raises:
        ValueError: the file is damaged or no checkpoint, or of other settings.
    """
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        about, tensors = {}, {}
    if about.get("sha256") != _digest(tensors):
        raise ValueError(f"checkpoint={path}: damaged, or no checkpoint; delete it and train anew")
    theirs = json.loads(about["settings"])
    for name, ours in settings.items():
        if theirs.get(name) != ours:
            raise ValueError(
                f"checkpoint={path}: of {name}={_short(theirs.get(name))}, not {_short(ours)}; "
                "give its settings, or another folder"
            )
    return tensors


def _short(words: str | None, n: int = 60) -> str:
    """The beginning of a setting: that of many runs is long."""
    return "nothing" if words is None else words if len(words) <= n else f"{words[:n]}..."


def _digest(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} {tensors[name].dtype}".encode())
        digest.update(tensors[name].flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
