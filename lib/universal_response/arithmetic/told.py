"""How a model was trained, as the file beside its weights tells it."""

import json
from pathlib import Path
from typing import Any

from universal_response.arithmetic.settings import AdderSettings
from universal_response.models import REGISTRY, SHIPPED, Provenance

PROVENANCE = "provenance.json"


def settings_of_training(model: Any) -> AdderSettings:
    """How a model was trained, as is written beside its weights.

    Args:
        model: a bridge, a registered name or a folder.

    Raises:
        ValueError: nothing is.
    """
    name = model if isinstance(model, str) else getattr(model, "provenance", Provenance()).model
    shipped = name in REGISTRY and REGISTRY[name].shipped
    return settings_in(SHIPPED / name if shipped else name)


def settings_in(folder: str | Path) -> AdderSettings:
    """The settings of a training, as provenance.json beside its weights tells them.

    Raises:
        ValueError: there is none, or it is of another task.
    """
    file = Path(folder) / PROVENANCE
    try:
        return AdderSettings(**json.loads(file.read_text())["settings"])
    except (OSError, KeyError, TypeError, ValueError):
        raise ValueError(
            f"model={folder}: {file.name} there does not tell of a training to add; give a folder "
            "that `universal-response train adder` has written, or a registered adder"
        ) from None
