"""Settings -> trained models and their curves: step by step, evaluated and kept on a schedule."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from universal_response.training import checkpoints
from universal_response.training import progress as measures
from universal_response.training.clamping import Clamp, of_runs
from universal_response.training.evaluation import evaluate, evaluation_sequences
from universal_response.training.exemplars import features_sha256
from universal_response.training.model import Model
from universal_response.training.passes import forward
from universal_response.training.settings import TrainingSettings
from universal_response.training.state import State, begun, gone_on
from universal_response.training.task import SPLITS, Sequences, stacked

_DIMS = {
    "loss": ("run", "split"),
    "accuracy": ("run", "split"),
    "induction_strength": ("run", "head"),
    "previous_token": ("run", "head"),
    "response": ("run", "label"),
}


def train(
    settings: TrainingSettings, folder: str | Path | None = None, progress: bool = False
) -> tuple[Model, xr.Dataset]:
    """Train runs side by side.

    Args:
        settings: of the runs.
        folder: where a checkpoint is kept. A training that was killed goes on from it and ends with
            the same bits, on the same machine with as many threads.
        progress: show a progress bar, counted in sequences of a run.

    Returns:
        The trained runs, and measures of progress by the sequences that a run has seen.

    Raises:
        ValueError: the checkpoint in the folder is damaged, or of other settings.
    """
    path = Path(folder) / checkpoints.FILE if folder else None
    if path and path.exists():
        state = gone_on(settings, checkpoints.load(path, checkpoints.in_words(settings)))
    else:
        state = begun(settings)
    clamps = of_runs([run.clamps for run in settings.runs])
    evaluated = evaluation_sequences(settings)
    bar = tqdm(total=settings.sequences, initial=state.sequences, disable=not progress, unit="seq")
    with bar:
        while True:
            if state.noted != state.sequences:
                state.note(evaluate(state.model, evaluated, clamps, settings.responses))
                if path:
                    checkpoints.save(path, state.tensors(), checkpoints.in_words(settings))
            bar.set_postfix(loss=f"{float(state.curves['loss'][-1][:, 0].median()):.3f}")
            if state.sequences >= settings.sequences:
                return state.trained, curves(state, settings)
            _stretch(state, settings, clamps, bar)


def _stretch(state: State, settings: TrainingSettings, clamps: Sequence[Clamp], bar: tqdm) -> None:
    """Train up to the next evaluation, on data that are drawn at once."""
    drawn = [
        run.task.split("training").drawn(settings.every, generator)
        for run, generator in zip(settings.runs, state.generators, strict=True)
    ]
    data = stacked(drawn).to(state.model.device)
    began = time.process_time()
    for first in range(0, settings.every, settings.batch):
        step(state, data[:, first : first + settings.batch], clamps)
        state.sequences += settings.batch
        bar.update(settings.batch)
    state.seconds += time.process_time() - began


def step(state: State, sequences: Sequences, clamps: Sequence[Clamp] = ()) -> Tensor:
    """One step of Adam in every run, and the losses before it."""
    losses = measures.loss(forward(state.model, sequences, clamps))
    parameters = list(state.model.parameters.values())
    # Of what a clamp cuts off, zero.
    gradients = torch.autograd.grad(losses.sum(), parameters, materialize_grads=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    state.optimizer.step()
    return losses.detach()


def curves(state: State, settings: TrainingSettings) -> xr.Dataset:
    """What was measured, as a dataset."""
    found = {
        name: (("sequences", *dims), torch.stack(state.curves[name]).numpy())
        for name, dims in _DIMS.items()
        if name in state.curves
    }
    coordinates = {
        "sequences": torch.stack(state.curves["sequences"]).numpy(),
        "split": list(SPLITS),
        "label": ["correct", "wrong"],
        "seed": ("run", [run.seed for run in settings.runs]),
    }
    if "response" not in found:
        del coordinates["label"]
    about = {
        **checkpoints.in_words(settings),
        "features_sha256": features_sha256(),
        "cpu_seconds": round(state.seconds, 1),
    }
    return xr.Dataset(found, coordinates, about)
