"""The film of a training: frames taken while it goes on, and joined at its end."""

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2LMHeadModel

from universal_response.measurement import RANDOM, SCHEMA_VERSIONS, load_results, save_results
from universal_response.models import bridged
from universal_response.training.gpt2.description import command, described, settings_from
from universal_response.training.gpt2.frames import (
    FilmSettings,
    behind_gap,
    frame,
    sequences_of,
)
from universal_response.training.gpt2.settings import Gpt2Settings


@dataclass(frozen=True)
class Film:
    """Takes the frames of a training: give its `observe` to `train`.

    Attributes:
        training: that is filmed.
        settings: of the film.
        folder: where every frame is kept at once, so that none is lost when a training is killed.
    """

    training: Gpt2Settings
    settings: FilmSettings
    folder: Path

    def observe(self, step: int, phase: int, model: GPT2LMHeadModel) -> None:
        """Take a frame, if it is time."""
        if step in self.settings.steps(self.training):
            # A bridge changes what it is made of.
            bridge = bridged(copy.deepcopy(model))
            found = frame(bridge, self.settings, self.training.phases[phase])
            save_results(found.assign_attrs(self._about), self._path(step))

    def check_begun(self) -> None:
        """Refuse to go on with a training of which the beginning was not filmed.

        Raises:
            ValueError: the first frame is missing, or of another training or film.
        """
        self._frame(0)

    def joined(self, trained: TransformerBridge) -> xr.Dataset:
        """All frames in order; nan at distances that the sequences of a phase do not have.

        Args:
            trained: the model at the end, which is looked at behind a gap, too.

        Raises:
            ValueError: a frame is missing, or of another training or film.
        """
        steps = self.settings.steps(self.training)
        frames = xr.concat([self._frame(step) for step in steps], "frame", join="outer")
        numbers = [self.training.phase_of(max(step, 1)) for step in steps]
        phases = [self.training.phases[number] for number in numbers]
        coordinates = {
            "step": ("frame", steps),
            "frame_phase": ("frame", numbers),
            "t0": ("frame", [phase.t0 for phase in phases]),
            "tokens_in_use": ("frame", [phase.tokens for phase in phases]),
        }
        tokens = xr.DataArray(perturbed(self.training, self.settings), dims=_TOKENS)
        film = frames.assign(tokens=tokens).assign_coords(coordinates)
        gap = behind_gap(trained, self.settings, self.training.phases[-1])
        return xr.merge([film, gap], join="outer", compat="no_conflicts").assign_attrs(self._about)

    @property
    def _about(self) -> dict[str, object]:
        return attributes_of(self.training, self.settings)

    def _path(self, step: int) -> Path:
        return self.folder / f"frame-{step:05d}.nc"

    def _frame(self, step: int) -> xr.Dataset:
        path = self._path(step)
        found = load_results(path, kind="film") if path.exists() else None
        if found is None or not self._about.items() <= found.attrs.items():
            raise ValueError(
                f"film={path}: no such frame of this training; delete its folder and train anew"
            )
        return found.drop_attrs()


_TOKENS = ("phase", "sequence", "token")


def perturbed(training: Gpt2Settings, film: FilmSettings) -> np.ndarray:
    """The sequences of every phase whose response is measured, -1 behind their ends."""
    drawn = [sequences_of(film, phase)[: film.perturbed_on] for phase in training.phases]
    found = np.full((len(drawn), film.perturbed_on, max(each.shape[1] for each in drawn)), -1)
    for number, tokens in enumerate(drawn):
        found[number, :, : tokens.shape[1]] = tokens
    return found.astype(np.int16)


def attributes_of(training: Gpt2Settings, film: FilmSettings) -> dict[str, object]:
    """What the attributes of a film say of the settings; `settings_of_film` reads it."""
    return {
        "kind": "film",
        "schema_version": SCHEMA_VERSIONS["film"],
        "training": json.dumps(described(training)),
        "film": json.dumps(asdict(film)),
        "command": command(training, film=True),
        "input": RANDOM,
        "distinct": 1,
        "epsilon": film.epsilon,
        "seed": training.seed,
        "dtype": "float32",
    }


def settings_of_film(dataset: xr.Dataset) -> tuple[Gpt2Settings, FilmSettings]:
    """The settings of the training that a film shows, and of the film."""
    training, film = (json.loads(dataset.attrs[name]) for name in ("training", "film"))
    return settings_from(training), FilmSettings(**film)
