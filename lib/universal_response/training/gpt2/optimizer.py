"""The optimizers: Muon for the matrices inside the blocks, AdamW for everything else."""

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from universal_response.training.gpt2.settings import Gpt2Settings

Named = dict[str, nn.Parameter]


def grouped(model: nn.Module) -> tuple[Named, Named]:
    """Parameters by name: matrices inside the blocks, and all others. Tied ones count once."""
    matrices: Named = {}
    others: Named = {}
    for name, parameter in model.named_parameters():
        inside = name.startswith("transformer.h.") and parameter.ndim == 2
        (matrices if inside else others)[name] = parameter
    return matrices, others


def optimizers(model: nn.Module, settings: Gpt2Settings) -> tuple[Optimizer, Optimizer]:
    """Of both groups.

    GPT-2 stores a matrix as (input, output), and its queries, keys and values as one. Muon makes
    the singular values of a step equal, which no transposition changes; but it enlarges the step by
    the root of rows over columns where there are more rows, here those matrices that have more
    inputs than outputs.
    """
    matrices, others = (list(group.values()) for group in grouped(model))
    return (
        Muon(matrices, settings.matrix_rate, settings.weight_decay),
        AdamW(others, settings.rate, betas=(0.9, 0.95), weight_decay=settings.weight_decay),
    )


def part_of_rate(done: int, settings: Gpt2Settings) -> float:
    """By what the rates are multiplied after so many steps: they rise, stay, and fall to zero."""
    rise = (done + 1) / settings.warm_up
    fall = (settings.steps - done) / (settings.decay * settings.steps)
    return min(1.0, rise, fall)


def set_rates(both: tuple[Optimizer, Optimizer], done: int, settings: Gpt2Settings) -> None:
    """Of the step that comes after so many."""
    part = part_of_rate(done, settings)
    for optimizer, rate in zip(both, (settings.matrix_rate, settings.rate), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = part * rate
