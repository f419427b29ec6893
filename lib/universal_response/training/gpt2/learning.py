"""Settings -> a trained GPT-2: step by step through the curriculum, kept on a schedule."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm
from transformers import GPT2LMHeadModel

from universal_response.training import checkpoints
from universal_response.training.gpt2.blocks import Blocks, drawn, generator_of_step
from universal_response.training.gpt2.optimizer import set_rates
from universal_response.training.gpt2.settings import Gpt2Settings
from universal_response.training.gpt2.state import State, begun, gone_on

# Steps done, number of the phase they belong to, the model as it is then.
Observer = Callable[[int, int, GPT2LMHeadModel], object]


def train(
    settings: Gpt2Settings,
    folder: str | Path | None = None,
    progress: bool = False,
    observe: Observer | None = None,
) -> State:
    """Train a small GPT-2 to complete repeated blocks.

    Args:
        settings: of the training.
        folder: where a checkpoint is kept. A training that was killed goes on from it and ends with
            the same bits, on the same processor with as many threads.
        progress: show a progress bar, counted in steps.
        observe: called before the first step and after every one with the steps done, the number of
            the phase and the model, which it must leave as it is. What a checkpoint holds has been
            observed.

    Returns:
        The state after the last step, with the trained model.

    Raises:
        ValueError: the checkpoint in the folder is damaged, or of other settings.
    """
    path = Path(folder) / checkpoints.FILE if folder else None
    if path and path.exists():
        state = gone_on(settings, checkpoints.load(path, checkpoints.in_words(settings)))
    else:
        state = begun(settings)
        if observe:
            observe(0, 0, state.model)
    with tqdm(total=settings.steps, initial=state.done, disable=not progress, unit="step") as bar:
        while state.done < settings.steps:
            phase = settings.phase_of(state.done + 1)
            blocks = drawn(
                settings.phases[phase],
                settings.network.context,
                generator_of_step(settings.seed, state.done),
            )
            lost = step(state, settings, blocks)
            bar.set_postfix(phase=phase + 1, loss=f"{lost:.3f}", refresh=False)
            bar.update()
            if observe:
                observe(state.done, phase, state.model)
            if path and (state.done % settings.every == 0 or state.done == settings.steps):
                checkpoints.save(path, state.tensors(), checkpoints.in_words(settings))
    return state


def step(state: State, settings: Gpt2Settings, blocks: Blocks) -> float:
    """One step of both optimizers, and the loss before it."""
    wall, processor = time.perf_counter(), time.process_time()
    set_rates(state.optimizers, state.done, settings)
    lost = loss(state.model, blocks.to(state.model.device))
    state.model.zero_grad()
    lost.backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
    for optimizer in state.optimizers:
        optimizer.step()
    state.done += 1
    value = lost.item()  # waits for the device
    state.wall_time_s += time.perf_counter() - wall
    state.processor_time_s += time.process_time() - processor
    return value


def loss(model: GPT2LMHeadModel, blocks: Blocks) -> Tensor:
    """Mean of minus the log probability of the tokens that are scored."""
    logits = model(blocks.tokens, position_ids=blocks.positions).logits
    scored = blocks.scored[:, 1:]
    return F.cross_entropy(logits[:, :-1][scored], blocks.tokens[:, 1:][scored])
