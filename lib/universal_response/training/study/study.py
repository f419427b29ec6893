"""The whole study: every experiment trained, trained models looked at, in one Dataset."""

import json
from datetime import UTC, datetime
from pathlib import Path

import torch
import xarray as xr
from tqdm import tqdm

from universal_response.measurement import SCHEMA_VERSIONS, describe_machine, made_into
from universal_response.models import resolve_device
from universal_response.training.exemplars import features_sha256
from universal_response.training.learning import train
from universal_response.training.model import Model
from universal_response.training.study import looking, toys
from universal_response.training.study.experiments import EXPERIMENTS, grafting
from universal_response.training.study.joining import joined
from universal_response.training.study.settings import StudySettings
from universal_response.training.study.witness import witness
from universal_response.training.summaries import FULL, GRAFT, RESPONSES


def study_training(
    settings: StudySettings, progress: bool = False, folder: str | Path | None = None
) -> xr.Dataset:
    """Train a small model in every way of the source, and look at what it has learned.

    Args:
        settings: how many seeds, and how long.
        progress: show progress bars.
        folder: where checkpoints are kept; a study that was killed goes on there.

    Raises:
        ValueError: a checkpoint in the folder is damaged, or of other settings.
    """
    models: dict[str, Model] = {}
    curves: dict[str, xr.Dataset] = {}
    experiments = dict(EXPERIMENTS)
    with tqdm([*experiments, GRAFT], disable=not progress, unit="experiment") as bar:
        for name in bar:
            bar.set_description(name)
            if name == GRAFT:
                experiments[GRAFT] = grafting(models[FULL])
            where = Path(folder) / name if folder else None
            trained = train(experiments[name].settings(settings), where, progress)
            models[name], curves[name] = trained
    parts = [
        joined(curves, experiments),
        looking.trained(models[FULL], settings),
        looking.responding(models[RESPONSES], settings),
        toys.toy(settings),
        witness(settings),
    ]
    return xr.merge(parts, combine_attrs="drop").assign_attrs(_attributes(settings, models, curves))


def study_training_into(
    path: str | Path, settings: StudySettings, progress: bool = False
) -> xr.Dataset:
    """`study_training`, saved, with checkpoints beside the file until it is written.

    Raises:
        ValueError: the path is a folder, or as for `study_training`.
    """
    return made_into(path, lambda parts: study_training(settings, progress, parts), "training")


def _attributes(
    settings: StudySettings, models: dict[str, Model], curves: dict[str, xr.Dataset]
) -> dict[str, object]:
    seconds = {name: each.attrs["cpu_seconds"] for name, each in curves.items()}
    return {
        "kind": "training",
        "schema_version": SCHEMA_VERSIONS["training"],
        "model": "letters",
        "weights_sha256": models[FULL].sha256,
        "input": "letters and labels",
        "seeds": " ".join(map(str, settings.seeds)),
        "length": settings.length,
        "learning_rate": settings.learning_rate,
        "evaluated_on": settings.evaluated_on,
        "dtype": "float32",
        "features_sha256": features_sha256(),
        "cpu_seconds": json.dumps(seconds),
        # Of one thread.
        "wall_time_s": round(sum(seconds.values()), 1),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **describe_machine(torch.device(resolve_device(settings.device))),
    }
