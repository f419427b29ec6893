"""How far runs have come: measures of progress on sequences of every split."""

from collections.abc import Sequence

import torch
from torch import Tensor

from universal_response.training import progress as measures
from universal_response.training.clamping import Clamp
from universal_response.training.model import Model
from universal_response.training.passes import forward
from universal_response.training.responses import label_response
from universal_response.training.settings import TrainingSettings
from universal_response.training.task import SPLITS, Sequences, generator_of, stacked


def evaluation_sequences(settings: TrainingSettings) -> dict[str, Sequences]:
    """Of every split, for every run those of its task, whatever its seed."""
    return {
        name: stacked(
            [
                run.task.split(name).drawn(
                    settings.evaluated_on, generator_of(run.task.seed, f"evaluated {name}")
                )
                for run in settings.runs
            ]
        )
        for name in SPLITS
    }


@torch.no_grad()
def evaluate(
    model: Model,
    sequences: dict[str, Sequences],
    clamps: Sequence[Clamp] = (),
    responses: bool = False,
) -> dict[str, Tensor]:
    """Measures of progress, each with the run as first axis.

    Args:
        model: several runs.
        sequences: of every split those it is evaluated on.
        clamps: of the runs.
        responses: also the response to the right and to the wrong label, in the limit.
    """
    there = {name: each.to(model.device) for name, each in sequences.items()}
    passes = {name: forward(model, each, clamps) for name, each in there.items()}
    found = {
        name: torch.stack([measure(each) for each in passes.values()], 1)
        for name, measure in measures.OF_SPLITS.items()
    }
    for name, measure in measures.OF_HEADS.items():
        found[name] = measure(passes["training"])
    if responses:
        response = label_response(model, there["training"], clamps=clamps)
        found["response"] = torch.stack([response.correct.mean(1), response.wrong.mean(1)], -1)
    return found
