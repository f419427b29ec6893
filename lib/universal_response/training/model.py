"""The model: two layers of attention, nothing else, of several runs at once.

Every parameter has the run as its first axis. Parameters are a plain dictionary, so that what a
model computes is a function of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from universal_response.training.exemplars import N_FEATURES, features
from universal_response.training.task import generator_of

WIDTH = 64
HEADS = 8
D_HEAD = WIDTH // HEADS
LAYERS = (1, 2)
# Standard deviation of a normal distribution cut off at two of its own.
CUT = 0.87962566103423978
LABEL_SCALE = 0.02

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Model:
    """Several runs of the model.

    Attributes:
        parameters: by name, each with the run as first axis.
        exemplars: features of every class.
        norm_epsilon: added to the variance in every norm.
    """

    parameters: Parameters
    exemplars: Float[Tensor, "class feature"]
    norm_epsilon: float = 1e-5

    @property
    def n_runs(self) -> int:
        return len(self.parameters["unembed"])

    @property
    def n_labels(self) -> int:
        return self.parameters["unembed"].shape[-1]

    @property
    def device(self) -> torch.device:
        return self.parameters["unembed"].device

    @property
    def sha256(self) -> str:
        """Digest of the parameters."""
        parts = [each.detach().cpu().numpy().tobytes() for each in self.parameters.values()]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def to(self, to: torch.device | torch.dtype | str) -> "Model":
        """The same on another device, or in another number type."""
        parameters = {name: each.to(to) for name, each in self.parameters.items()}
        return replace(self, parameters=parameters, exemplars=self.exemplars.to(to))

    def of(self, runs: Sequence[int]) -> "Model":
        """Some of the runs."""
        parameters = {name: each[list(runs)] for name, each in self.parameters.items()}
        return replace(self, parameters=parameters)


def initial(seeds: Sequence[int], labels: int = 5, norm_epsilon: float = 1e-5) -> Model:
    """Random weights, one run for every seed."""
    runs = [_initial(generator_of(seed, "weights"), labels) for seed in seeds]
    parameters = {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
    return Model(parameters, torch.from_numpy(features()), norm_epsilon)


def _initial(generator: torch.Generator, labels: int) -> Parameters:
    """Of one run; head h has columns 8 h .. 8 h + 7 of w_q, w_k and w_v, and rows of w_o."""
    found = {
        "exemplar_map": _normal((N_FEATURES, WIDTH), N_FEATURES**-0.5 / CUT, generator),
        "exemplar_bias": torch.zeros(WIDTH),
        "label_map": _normal((labels, WIDTH), LABEL_SCALE, generator),
    }
    for layer in LAYERS:
        found |= {f"gain{layer}": torch.ones(WIDTH), f"shift{layer}": torch.zeros(WIDTH)}
        for name in ("w_q", "w_k", "w_v", "w_o"):
            found[f"{name}{layer}"] = _normal((WIDTH, WIDTH), WIDTH**-0.5 / CUT, generator)
    return found | {
        "gain": torch.ones(WIDTH),
        "shift": torch.zeros(WIDTH),
        "unembed": _normal((WIDTH, labels), WIDTH**-0.5 / CUT, generator),
        "unembed_bias": torch.zeros(labels),
    }


def _normal(shape: tuple[int, int], scale: float, generator: torch.Generator) -> Tensor:
    """A normal distribution of this scale, cut off at twice the scale."""
    drawn = torch.empty(shape, dtype=torch.float64)
    torch.nn.init.trunc_normal_(drawn, 0.0, scale, -2 * scale, 2 * scale, generator)
    return drawn.float()
