"""Where a training stands: parameters, what the optimizers keep, steps done."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import GPT2LMHeadModel

from universal_response.models import resolve_device
from universal_response.training.gpt2.network import initial
from universal_response.training.gpt2.optimizer import optimizers
from universal_response.training.gpt2.settings import Gpt2Settings


@dataclass
class State:
    """Of a training.

    Attributes:
        model: its parameters are written into.
        optimizers: each of its part of the parameters.
        done: steps so far.
        wall_time_s: that they took, of all runs of a training that was killed.
        processor_time_s: the same, of all threads together.
    """

    model: GPT2LMHeadModel
    optimizers: tuple[Optimizer, Optimizer]
    done: int = 0
    wall_time_s: float = 0.0
    processor_time_s: float = 0.0

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a checkpoint. What comes of random numbers follows from seed and step."""
        times = torch.tensor([self.wall_time_s, self.processor_time_s], dtype=torch.float64)
        found = {"done": torch.tensor(self.done), "times": times}
        for name, parameter in self.model.named_parameters():
            found[f"parameters.{name}"] = parameter
            # Only one of them has the parameter.
            for optimizer in self.optimizers:
                for kind, each in optimizer.state.get(parameter, {}).items():
                    found[f"{kind}.{name}"] = each
        return found


def begun(settings: Gpt2Settings) -> State:
    """The state before the first step."""
    model: Any = initial(settings.network, settings.seed)
    model = model.to(resolve_device(settings.device))
    return State(model, optimizers(model, settings))


def gone_on(settings: Gpt2Settings, tensors: dict[str, Tensor]) -> State:
    """The state that a checkpoint holds."""
    state = begun(settings)
    state.done = int(tensors["done"])
    state.wall_time_s, state.processor_time_s = tensors["times"].tolist()
    for name, parameter in state.model.named_parameters():
        parameter.data.copy_(tensors[f"parameters.{name}"])
    for optimizer in state.optimizers:
        owned = {id(each) for group in optimizer.param_groups for each in group["params"]}
        for name, parameter in state.model.named_parameters():
            if id(parameter) in owned and state.done:
                optimizer.state[parameter] = _kept(tensors, name, parameter)
    return state


def _kept(tensors: dict[str, Tensor], name: str, parameter: Tensor) -> dict[str, Tensor]:
    """What an optimizer keeps of a parameter; the number of its steps stays on the processor."""
    kept = {each.partition(".")[0] for each in tensors if each.partition(".")[2] == name}
    found = {kind: tensors[f"{kind}.{name}"] for kind in kept - {"parameters"}}
    return {kind: each.to(parameter) if each.ndim else each for kind, each in found.items()}
