"""A study of a model, part after part, joined into one Dataset that tells what it is of."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from universal_response.measurement.parts import Parts
from universal_response.measurement.schema import SCHEMA_VERSIONS
from universal_response.measurement.subject import Subject


def numbers(tensor: torch.Tensor) -> np.ndarray:
    """As they are kept in a study, until it is saved."""
    return tensor.double().cpu().numpy()


def measure_parts(
    parts: Parts,
    measures: Mapping[str, Callable[[Any], xr.Dataset]],
    material: Any,
    progress: bool = False,
) -> None:
    """Measure one part after another, each kept as soon as it is finished.

    Args:
        parts: where they are kept.
        measures: makes each part of the material, by name, in the order in which they need each
            other.
        material: of the study; its `done` gets the finished parts.
        progress: show a progress bar.
    """
    with tqdm(measures.items(), disable=not progress, unit="part") as bar:
        for name, measure in bar:
            bar.set_description(name)
            material.done[name] = parts.made(name, partial(measure, material))


def joined_study(
    kind: str,
    parts: Mapping[str, xr.Dataset],
    subject: Subject,
    settings: Any,
    **about: object,
) -> xr.Dataset:
    """The parts of a study in one Dataset, with its attributes and the positions of the model.

    Args:
        kind: of results.
        parts: finished, each with its `seconds`.
        subject: the model.
        settings: a dataclass; its `device` is told by the subject.
        about: further attributes, such as the `input`.
    """
    attributes = subject.attributes | {
        "kind": kind,
        "schema_version": SCHEMA_VERSIONS[kind],
        **about,
        **{name: value for name, value in vars(settings).items() if name != "device"},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        # Of all parts, whenever they were measured.
        "wall_time_s": round(sum(part.attrs["seconds"] for part in parts.values()), 1),
    }
    positions = {
        "sublayer": ("position", [each.sublayer for each in subject.positions]),
        "position_layer": ("position", [each.layer for each in subject.positions]),
    }
    joined = xr.merge(parts.values(), combine_attrs="drop", compat="no_conflicts")
    return joined.assign_coords(positions).assign_attrs(attributes)
