"""The whole study: part after part, each kept as soon as it is finished."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import xarray as xr
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge

from universal_response.heads.study import carrying, causes, judging, looking, wiring, witness
from universal_response.heads.study.material import Material
from universal_response.heads.study.settings import HeadSettings
from universal_response.measurement import (
    RANDOM,
    SCHEMA_VERSIONS,
    Parts,
    identity_of,
    made_into,
    opened,
)
from universal_response.propagation import positions

PARTS: dict[str, Callable[[Material], xr.Dataset]] = {
    "scores": looking.scores,
    "profiles": looking.profiles,
    "behaviour": looking.behaviour,
    "lens": looking.lens,
    "circuits": wiring.circuits,
    "composition": wiring.composition,
    "edges": wiring.edges,
    "attribution": causes.attribution,
    "ablation": causes.ablation,
    "patching": causes.patching,
    "class_ablation": causes.class_ablation,
    "backup": causes.backup,
    "split": carrying.split,
    "interventions": carrying.interventions,
    "circuit": judging.circuit,
    "probes": judging.probes,
    "spaces": judging.spaces,
    "neurons": judging.neurons,
    "witness": witness.witness,
}

# What decides the numbers of a part.
_CODE = ("propagation", "perturbation", "metrics", "activations", "heads")


def study_heads(
    model: TransformerBridge | str,
    settings: HeadSettings,
    progress: bool = False,
    folder: str | Path | None = None,
) -> xr.Dataset:
    """Find the heads of induction in a model, and measure what they do and carry.

    Args:
        model: a bridge whose attention can be opened, or what `load_model` takes.
        settings: what is measured.
        progress: show a progress bar.
        folder: where every finished part is kept at once; a study that was killed goes on there.

    Raises:
        ValueError: the model's attention is code of its own, its norms are not known, or its
            blocks add to the residual stream otherwise than by heads and MLPs.
    """
    model, subject, settings = opened(model, settings, progress)
    material = Material(model, settings)
    known = identity_of(subject.attributes, settings, _CODE)
    parts = Parts(Path(folder) if folder else None, "heads", known)
    with tqdm(PARTS.items(), disable=not progress, unit="part") as bar:
        for name, measure in bar:
            bar.set_description(name)
            material.done[name] = parts.made(name, partial(measure, material))
    at = positions(model)
    attributes = subject.attributes | {
        "kind": "heads",
        "schema_version": SCHEMA_VERSIONS["heads"],
        "input": RANDOM,
        **{name: getattr(settings, name) for name in vars(settings) if name != "device"},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        # Of all parts, whenever they were measured.
        "wall_time_s": round(sum(part.attrs["seconds"] for part in material.done.values()), 1),
    }
    joined = xr.merge(material.done.values(), combine_attrs="drop", compat="no_conflicts")
    about = {
        "sublayer": ("position", [each.sublayer for each in at]),
        "position_layer": ("position", [each.layer for each in at]),
    }
    return joined.assign_coords(about).assign_attrs(attributes)


def study_heads_into(
    path: str | Path,
    model: TransformerBridge | str,
    settings: HeadSettings,
    progress: bool = False,
) -> xr.Dataset:
    """`study_heads`, saved, with finished parts beside the file until it is written.

    Raises:
        ValueError: the path is a folder, or as for `study_heads`.
    """
    return made_into(path, lambda parts: study_heads(model, settings, progress, parts), "heads")
