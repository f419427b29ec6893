"""The whole study: part after part, each kept as soon as it is finished."""

from collections.abc import Callable
from pathlib import Path

import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from universal_response.heads.study import carrying, causes, judging, looking, wiring, witness
from universal_response.heads.study.material import Material
from universal_response.heads.study.settings import HeadSettings
from universal_response.measurement import (
    RANDOM,
    Parts,
    identity_of,
    joined_study,
    made_into,
    measure_parts,
    opened,
)

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
    measure_parts(parts, PARTS, material, progress)
    return joined_study("heads", material.done, subject, settings, input=RANDOM)


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
