"""Train into a folder: weights, architecture, and how they came about."""

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from universal_response.arithmetic.learning import is_right, train
from universal_response.arithmetic.settings import AdderSettings
from universal_response.arithmetic.splits import split
from universal_response.arithmetic.told import PROVENANCE
from universal_response.measurement import describe_machine
from universal_response.models import weights_sha256, write_weights, write_whole


def train_into(
    folder: str | Path, settings: AdderSettings, progress: bool = False
) -> dict[str, Any]:
    """Train, and write what `load_model` reads.

    Args:
        folder: for config.json, model.safetensors (float32) and provenance.json.
        settings: of the training.
        progress: show a progress bar, counted in steps.

    Returns:
        What provenance.json says.
    """
    folder, wall, processor = Path(folder), time.monotonic(), time.process_time()
    model = train(settings, progress)
    seconds = {
        "wall_time_s": round(time.monotonic() - wall, 1),
        "processor_time_s": round(time.process_time() - processor, 1),
    }
    write_weights(folder, model)
    about = {
        "command": command(settings),
        "weights_sha256": weights_sha256(str(folder.resolve())),
        "accuracy": accuracy(model, settings),
        "settings": asdict(settings),
        **_machine(model),
        **seconds,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_whole(folder / PROVENANCE, f"{json.dumps(about, indent=1)}\n".encode())
    return about


def accuracy(model: LlamaForCausalLM, settings: AdderSettings) -> dict[str, float]:
    """Share of problems whose whole result is right, of each part of the split that has some."""
    parts = vars(split(settings.withheld, settings.seed, settings.digits))
    return {
        name: float(is_right(model, part).all(1).mean())
        for name, part in parts.items()
        if len(part)
    }


def command(settings: AdderSettings) -> str:
    """What trains so again: on the command line, or in Python where that has no option for it."""
    given = {name: getattr(settings, name) for name in ("seed", "withheld", "steps")}
    default = AdderSettings(device=settings.device)
    if AdderSettings(device=settings.device, **given) != settings:
        return "ur.arithmetic.train_into(FOLDER, settings)"
    options = [
        f" --{name} {value}" for name, value in given.items() if value != getattr(default, name)
    ]
    return f"universal-response train adder --out FOLDER{''.join(options)}"


def _machine(model: LlamaForCausalLM) -> dict[str, Any]:
    about = describe_machine(torch.device(model.device))
    return about | {"versions": json.loads(str(about["versions"]))}
