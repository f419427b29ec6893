"""Train into a folder: weights, architecture, how they came about, and a film if wanted."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement import describe, save_results
from universal_response.models import load_model, shipped_name, write_weights, write_whole
from universal_response.training import checkpoints
from universal_response.training.gpt2.behaviour import judged
from universal_response.training.gpt2.description import command, described
from universal_response.training.gpt2.film import Film
from universal_response.training.gpt2.frames import FilmSettings
from universal_response.training.gpt2.learning import train
from universal_response.training.gpt2.settings import Gpt2Settings
from universal_response.training.gpt2.state import State

PROVENANCE = "provenance.json"


def train_into(
    folder: str | Path,
    settings: Gpt2Settings,
    film: str | Path | None = None,
    film_settings: FilmSettings | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Train, and write what `load_model` reads, with the checkpoint beside it until it is written.

    The same call goes on after a kill.

    Args:
        folder: for config.json, model.safetensors (float32) and provenance.json.
        settings: of the training.
        film: results file for a film of it; none if None.
        film_settings: of the film; the defaults if None.
        progress: show a progress bar, counted in steps.

    Returns:
        What provenance.json says.

    Raises:
        ValueError: the checkpoint is damaged or of other settings, or has begun without a film.
    """
    folder = Path(folder)
    parts = folder.with_name(f"{folder.name}.parts")
    camera = Film(settings, film_settings or FilmSettings(), parts) if film else None
    if camera and (parts / checkpoints.FILE).exists():
        camera.check_begun()
    state = train(settings, parts, progress, camera.observe if camera else None)
    write_weights(folder, state.model)
    shipped = shipped_name(folder)
    model = load_model(shipped or str(folder.resolve()), settings.device, tokenizer=False)
    about = _provenance(model, settings, state)
    write_whole(folder / PROVENANCE, f"{json.dumps(about, indent=1)}\n".encode())
    if camera and film:
        save_results(_told(camera.joined(model), shipped or str(folder), model, about), film)
    shutil.rmtree(parts)
    return about


def _provenance(model: TransformerBridge, settings: Gpt2Settings, state: State) -> dict[str, Any]:
    """What is written beside the weights."""
    about = describe(model).attributes
    return {
        "command": command(settings),
        "weights_sha256": about["weights_sha256"],
        "accuracy": judged(model.original_model, settings.network),
        "settings": described(settings),
        "device": about["device"],
        "versions": json.loads(str(about["versions"])),
        "git_commit": about["git_commit"],
        "wall_time_s": round(state.wall_time_s, 1),
        "processor_time_s": round(state.processor_time_s, 1),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _told(
    film: xr.Dataset, name: str, model: TransformerBridge, about: dict[str, Any]
) -> xr.Dataset:
    """A film with the attributes of its last frame's model, which has this name."""
    told = {each: about[each] for each in ("created", "wall_time_s")} | {"model": name}
    return film.assign_attrs(describe(model).attributes | told)
