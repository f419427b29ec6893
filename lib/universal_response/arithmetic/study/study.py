"""The whole study of a model that adds, in one Dataset."""

from pathlib import Path

import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from universal_response.arithmetic.answers import check_task
from universal_response.arithmetic.problems import places
from universal_response.arithmetic.settings import AdderSettings
from universal_response.arithmetic.study import causes, outside, reading, responding, solving
from universal_response.arithmetic.study.material import Material
from universal_response.arithmetic.study.settings import ArithmeticSettings
from universal_response.arithmetic.study.witness import witness
from universal_response.arithmetic.told import settings_of_training
from universal_response.measurement import (
    Parts,
    identity_of,
    joined_study,
    made_into,
    measure_parts,
    opened,
)

# In the order in which they need each other.
PARTS = {
    "accuracy": solving.accuracy,
    "likelihood": solving.likelihood,
    "indirect_effects": causes.indirect_effects,
    "circuit": causes.circuit,
    "direct_effects": causes.direct_effects,
    "probes": reading.probes,
    "neurons": reading.neurons,
    "rescue": outside.rescue,
    "responses": responding.responses,
    "witness": witness,
}

_CODE = ("propagation", "perturbation", "metrics", "activations", "arithmetic")


def study_arithmetic(
    model: TransformerBridge | str,
    settings: ArithmeticSettings,
    trained: AdderSettings | None = None,
    progress: bool = False,
    folder: str | Path | None = None,
) -> xr.Dataset:
    """Find the circuit by which a small model adds, and how it fares with what it has never seen.

    Args:
        model: a bridge, or a registered adder, or a folder that `train_into` has written.
        settings: what is measured.
        trained: how the model was trained; as is written beside its weights if None.
        progress: show a progress bar.
        folder: where every finished part is kept at once; a study that was killed goes on there.

    Raises:
        ValueError: the model is of another task, or nothing tells how it was trained.
    """
    if trained is None:
        trained = settings_of_training(model)
    model, subject, settings = opened(model, settings, progress)
    check_task(subject.vocabulary, subject.context, len(places(trained.digits)))
    material = Material(model, trained, settings)
    identity = identity_of(subject.attributes, (settings, trained), _CODE)
    parts = Parts(Path(folder) if folder else None, "arithmetic", identity)
    measure_parts(parts, PARTS, material, progress)
    return joined_study(
        "arithmetic",
        material.done,
        subject,
        settings,
        input=f"sums and differences of {trained.digits} digits",
        withheld=trained.withheld,
        training_seed=trained.seed,
        digits=trained.digits,
    )


def study_arithmetic_into(
    path: str | Path,
    model: TransformerBridge | str,
    settings: ArithmeticSettings,
    progress: bool = False,
) -> xr.Dataset:
    """`study_arithmetic`, saved, with finished parts beside the file until it is written.

    Raises:
        ValueError: the path is a folder, or as for `study_arithmetic`.
    """
    return made_into(
        path,
        lambda parts: study_arithmetic(model, settings, None, progress, parts),
        "arithmetic",
    )
