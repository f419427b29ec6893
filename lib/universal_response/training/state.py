"""Where a training stands: parameters, optimizer, random numbers to come, curves so far."""

from collections import defaultdict
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from universal_response.models import resolve_device
from universal_response.number_types import torch_dtype
from universal_response.training.model import Model, initial
from universal_response.training.settings import TrainingSettings
from universal_response.training.task import generator_of

# What Adam keeps of every parameter.
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class State:
    """Of a training.

    Attributes:
        model: its parameters are written into.
        optimizer: of all parameters of all runs.
        generators: of every run, that of its data.
        curves: what was measured, by name, (time, run, ...).
        sequences: of every run, so far.
        seconds: of processor time, of all runs, so far.
    """

    model: Model
    optimizer: torch.optim.Adam
    generators: list[torch.Generator]
    curves: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    sequences: int = 0
    seconds: float = 0.0

    @property
    def trained(self) -> Model:
        """The model as it is now, no longer learning."""
        parameters = {name: each.detach() for name, each in self.model.parameters.items()}
        return replace(self.model, parameters=parameters)

    @property
    def noted(self) -> int | None:
        """When it was measured last."""
        times = self.curves["sequences"]
        return int(times[-1]) if times else None

    def note(self, found: dict[str, Tensor]) -> None:
        """Enter what was measured now."""
        self.curves["sequences"].append(torch.tensor(self.sequences))
        for name, each in found.items():
            self.curves[name].append(each.detach().cpu())

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a checkpoint."""
        found = {f"parameters.{name}": each for name, each in self.model.parameters.items()}
        for name, parameter in self.model.parameters.items():
            kept = self.optimizer.state[parameter]
            found |= {f"{moment}.{name}": kept[moment] for moment in MOMENTS if moment in kept}
        for run, generator in enumerate(self.generators):
            found[f"generators.{run}"] = generator.get_state()
        found["spent.seconds"] = torch.tensor(self.seconds, dtype=torch.float64)
        return found | {f"curves.{name}": torch.stack(each) for name, each in self.curves.items()}


def begun(settings: TrainingSettings) -> State:
    """The state before the first step."""
    seeds = [run.seed for run in settings.runs]
    model = initial(seeds, settings.labels, settings.norm_epsilon)
    model = model.to(resolve_device(settings.device)).to(torch_dtype(settings.dtype))
    for each in model.parameters.values():
        each.requires_grad_()
    optimizer = torch.optim.Adam(model.parameters.values(), settings.learning_rate, fused=True)
    generators = [generator_of(run.seed, "data") for run in settings.runs]
    return State(model, optimizer, generators)


def gone_on(settings: TrainingSettings, tensors: dict[str, Tensor]) -> State:
    """The state that a checkpoint holds."""
    by_kind: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, each in tensors.items():
        kind, _, rest = name.partition(".")
        by_kind[kind][rest] = each
    state = begun(settings)
    steps = float(by_kind["curves"]["sequences"][-1]) / settings.batch
    for name, parameter in state.model.parameters.items():
        parameter.data.copy_(by_kind["parameters"][name])
        if steps:
            kept = {moment: by_kind[moment][name].to(parameter) for moment in MOMENTS}
            step = torch.tensor(steps, dtype=torch.float32, device=parameter.device)
            state.optimizer.state[parameter] = {"step": step, **kept}
    for run, generator in enumerate(state.generators):
        generator.set_state(by_kind["generators"][str(run)])
    for name, each in by_kind["curves"].items():
        state.curves[name] = list(each)
    state.sequences = int(by_kind["curves"]["sequences"][-1])
    state.seconds = float(by_kind["spent"]["seconds"])
    return state
