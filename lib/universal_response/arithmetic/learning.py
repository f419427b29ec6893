"""Settings -> a trained model, and how often it is right."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from tqdm import trange
from transformers import LlamaForCausalLM

from universal_response.arithmetic.network import initial
from universal_response.arithmetic.problems import Problems
from universal_response.arithmetic.settings import AdderSettings
from universal_response.arithmetic.splits import split
from universal_response.models import resolve_device


def train(settings: AdderSettings, progress: bool = False) -> LlamaForCausalLM:
    """Train a small model on the sums and differences that its split allows.

    Args:
        settings: of the training.
        progress: show a progress bar, counted in steps.

    Returns:
        The model, in evaluation mode.

    Raises:
        ValueError: no such device.
    """
    model: Any = initial(settings)
    model = model.to(resolve_device(settings.device))
    tokens = torch.from_numpy(
        split(settings.withheld, settings.seed, settings.digits).training.tokens()
    )
    generator = np.random.default_rng([settings.seed, 1])  # apart from that of the split
    optimizer = _optimizer(model, settings)
    schedule = LambdaLR(optimizer, lambda done: part_of_rate(done, settings))
    with trange(settings.steps, disable=not progress, unit="step") as bar:
        for _ in bar:
            drawn = torch.from_numpy(generator.integers(len(tokens), size=settings.batch))
            lost = loss(model, tokens[drawn].to(model.device), settings.digits)
            optimizer.zero_grad()
            lost.backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{lost.item():.4f}", refresh=False)
    return model.eval()


def part_of_rate(done: int, settings: AdderSettings) -> float:
    """By what the rate is multiplied after so many steps: it rises, then falls along a cosine."""
    rise = (done + 1) / settings.warm_up
    return min(1.0, rise) * (1 + math.cos(math.pi * done / settings.steps)) / 2


def loss(model: LlamaForCausalLM, tokens: Int[Tensor, "problem place"], digits: int) -> Tensor:
    """Mean of minus the log probability of what is asked and, for as much, of the result.

    What is asked is learned too, so that it has a likelihood under the model.
    """
    logits = model(tokens).logits[:, :-1]
    each = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    n = digits + 1
    return each[:, :-n].mean() + each[:, -n:].mean()


@torch.no_grad()
def is_right(model: LlamaForCausalLM, problems: Problems) -> np.ndarray:
    """Whether each digit of the result is the most likely one behind right ones.

    A model that writes a result by itself is right where all of them are.

    Returns:
        bool (problem, digit), the units first.
    """
    n = problems.digits + 1
    tokens = torch.from_numpy(problems.tokens()).to(model.device)
    found = model(tokens).logits[:, -n - 1 : -1].argmax(-1)
    return (found == tokens[:, -n:]).cpu().numpy()


def _optimizer(model: LlamaForCausalLM, settings: AdderSettings) -> AdamW:
    """Only matrices decay: a norm's weights belong at one."""
    matrices = [each for each in model.parameters() if each.ndim > 1]
    others = [each for each in model.parameters() if each.ndim == 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    return AdamW(groups, settings.rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay)
