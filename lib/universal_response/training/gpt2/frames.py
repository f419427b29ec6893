"""A frame of the film: how a model responds, and what it does, at one time of its training."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement import Settings, measure
from universal_response.sequences import repeated_random_tokens, separated_random_tokens
from universal_response.training.gpt2.behaviour import accuracy, loss
from universal_response.training.gpt2.curriculum import Phase
from universal_response.training.gpt2.settings import Gpt2Settings

# Kept of C_delta: means over pairs and sequences with their errors, and the first sequence alone,
# at finite strength and in the limit.
RESPONSES = ("response", "response_sem", "witness", "linear", "linear_sem", "linear_witness")


@dataclass(frozen=True, kw_only=True)
class FilmSettings:
    """When frames are taken, and what is measured of them.

    Attributes:
        every: steps between frames of the first phase, the one in which induction forms; of the
            others only the end is looked at.
        evaluated_on: sequences of accuracy and loss.
        perturbed_on: as many of them for the response.
        epsilon: strength of the perturbation beside the limit.
        gap: unseen tokens between the blocks on which the trained model is looked at once more.
        seed: of the sequences, which are the same in all frames of a phase.

    Raises:
        ValueError: a setting is out of range.
    """

    every: int = 5
    evaluated_on: int = 128
    perturbed_on: int = 16
    epsilon: float = 0.05
    gap: int = 16
    seed: int = 0

    def steps(self, training: Gpt2Settings) -> list[int]:
        """Steps done when a frame is taken, from 0 on: that of the random weights."""
        first, *others = training.ends
        return [*range(0, first, self.every), first, *others]

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every={self.every}: use at least 1")
        if not 2 <= self.perturbed_on <= self.evaluated_on:
            raise ValueError(
                f"perturbed_on={self.perturbed_on}: use 2 to evaluated_on = {self.evaluated_on}"
            )
        if not 0 < self.epsilon <= 1:
            raise ValueError(f"epsilon={self.epsilon:g}: use 0 < epsilon <= 1")
        for name in ("gap", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: use a {name} >= 0")


def sequences_of(film: FilmSettings, phase: Phase) -> np.ndarray:
    """On which a phase is looked at (sequence, token): blocks of distinct tokens in use."""
    generator = np.random.default_rng(film.seed)
    return repeated_random_tokens(phase.t0, film.evaluated_on, phase.tokens, generator, True)


def gap_sequences_of(film: FilmSettings, phase: Phase) -> np.ndarray:
    """The same (sequence, token) with unseen tokens between the blocks."""
    generator = np.random.default_rng(film.seed)
    return separated_random_tokens(phase.t0, film.gap, film.evaluated_on, phase.tokens, generator)


def frame(model: TransformerBridge, film: FilmSettings, phase: Phase) -> xr.Dataset:
    """One frame: C_delta (position, delta_j), accuracy and loss."""
    tokens = sequences_of(film, phase)
    found = responses(model, tokens[: film.perturbed_on], phase.t0, film.epsilon)
    base = model.original_model
    for name, measured in (("accuracy", accuracy), ("loss", loss)):
        found[name] = measured(base, tokens, phase.t0).mean().numpy()
    return found


def behind_gap(model: TransformerBridge, film: FilmSettings, phase: Phase) -> xr.Dataset:
    """The limit of C_delta (position, delta_j), and accuracy, behind a gap.

    Induction moves with the gap; what looks back by a fixed distance does not.
    """
    tokens = gap_sequences_of(film, phase)
    found = responses(model, tokens[: film.perturbed_on], 0, film.epsilon)
    found = found[[name for name in RESPONSES if name.startswith("linear")]]
    found["accuracy"] = accuracy(model.original_model, tokens, phase.t0).mean().numpy()
    return found.rename({name: f"gap_{name}" for name in found})


def responses(model: TransformerBridge, tokens: np.ndarray, t0: int, epsilon: float) -> xr.Dataset:
    """C_delta of these sequences, all of `RESPONSES`; t0 = 0 where no block follows itself."""
    asked = Settings.for_tokens(tokens, t0, epsilons=(epsilon,), epsilon0=epsilon)
    found = measure(model, asked)[list(RESPONSES)]
    found = found.sel(metric="delta", drop=True).isel(epsilon=0, drop=True)
    return found.drop_vars(["window", "pair_distance"], errors="ignore")
