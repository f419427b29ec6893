"""What trained models have learned: heads kept, dropped, ablated, and how layers are wired."""

from dataclasses import fields

import torch
import xarray as xr
from torch import Tensor

from universal_response.training import ablations, composition, previous_heads, progress, wiring
from universal_response.training.ablations import Score
from universal_response.training.evaluation import evaluation_sequences
from universal_response.training.model import HEADS, Model
from universal_response.training.parameters import flattened
from universal_response.training.passes import forward
from universal_response.training.responses import carried
from universal_response.training.study.experiments import EXPERIMENTS
from universal_response.training.study.settings import StudySettings
from universal_response.training.summaries import FULL
from universal_response.training.task import LABEL_TOKENS, Sequences, generator_of

# Of a previous-token head: labels attend to the token before by more.
MOSTLY = 0.5
STRENGTHS = tuple(step / 10 for step in range(-10, 11))

Variables = dict[str, tuple[tuple[str, ...], Tensor]]


def trained(model: Model, settings: StudySettings) -> xr.Dataset:
    """Measures of the trained models on sequences of the training split, and their parameters.

    Returns:
        Variables with the dimension `trained` of the seeds.
    """
    sequences = sequences_of(settings).to(model.device)
    found: Variables = {
        "strength": (("trained", "head"), _strength(model, sequences)),
        "parameters": (("trained", "parameter"), flattened(model)),
        **_scores(model, sequences),
        **_previous(model, sequences, settings),
        **_wired(model, sequences),
    }
    coordinates = {
        "trained": list(settings.seeds),
        "n_heads": range(1, HEADS + 1),
        "set_strength": list(STRENGTHS),
        "preserved": list(previous_heads.PRESERVING),
        "ablated": list(previous_heads.ABLATED),
        "input": list(composition.INPUTS),
    }
    return _dataset(found).assign_coords(coordinates)


def responding(model: Model, settings: StudySettings) -> xr.Dataset:
    """How much of a change of the first label has reached later tokens behind layer 1.

    Returns:
        `leak` (trained): the largest change of a later token over that of the source, in the limit,
        over all sequences.
    """
    sequences = sequences_of(settings).to(model.device)
    source = LABEL_TOKENS[0]
    _, change = carried(model, sequences, source, "x1")
    lengths = change.norm(dim=-1)
    leak = (lengths[:, :, source + 1 :] / lengths[:, :, source, None]).amax((1, 2))
    return _dataset({"leak": (("trained",), leak)})


def sequences_of(settings: StudySettings) -> Sequences:
    """Those of the training split on which trained models are looked at."""
    return evaluation_sequences(EXPERIMENTS[FULL].settings(settings))["training"]


def _strength(model: Model, sequences: Sequences) -> Tensor:
    return progress.induction_strength(forward(model, sequences)).detach()


def _scores(model: Model, sequences: Sequences) -> Variables:
    swept = ablations.swept_strength(model, sequences, STRENGTHS)
    return {
        **_numbers("whole", (), ablations.scored(model, sequences)),
        **_numbers("without_path", (), ablations.without_path(model, sequences)),
        **_numbers("keep_one", ("head",), ablations.keep_one(model, sequences)),
        **_numbers("drop_one", ("head",), ablations.drop_one(model, sequences)),
        **_numbers("added_back", ("n_heads",), ablations.added_back(model, sequences)),
        **_numbers("swept", ("set_strength",), swept),
    }


def _previous(model: Model, sequences: Sequences, settings: StudySettings) -> Variables:
    generator = generator_of(settings.seeds[0], "random heads")
    found = previous_heads.previous_heads_ablated(model, sequences, MOSTLY, generator)
    return {
        **_numbers("previous_ablated", ("preserved", "ablated"), found.score),
        "ablated_heads": (("trained", "ablated", "head"), found.heads),
    }


def _wired(model: Model, sequences: Sequences) -> Variables:
    """By input of layer 2, head of layer 1 and head of layer 2."""
    measures = {
        "lost_without": lambda name: wiring.lost_without(model, sequences, name),
        "gained_with": lambda name: wiring.gained_with(model, sequences, name),
        "paired_accuracy": lambda name: wiring.paired_accuracy(model, sequences, name),
        "composition": lambda name: composition.weight_composition(model, name),
    }
    dims = ("input", "trained", "first_head", "head")
    return {
        name: (dims, torch.stack([measure(each) for each in composition.INPUTS]))
        for name, measure in measures.items()
    }


def _numbers(name: str, dims: tuple[str, ...], score: Score) -> Variables:
    return {
        f"{name}_{each.name}": (("trained", *dims), getattr(score, each.name))
        for each in fields(Score)
    }


def _dataset(found: Variables) -> xr.Dataset:
    return xr.Dataset({name: (dims, each.cpu().numpy()) for name, (dims, each) in found.items()})
