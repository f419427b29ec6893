"""Parameters of stacked runs as one row of numbers each, as they are kept in a results file."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from universal_response.training.model import Model, initial


def flattened(model: Model) -> Float[Tensor, "run parameter"]:
    """All parameters of every run, in the order of `initial`."""
    return torch.cat([each.detach().flatten(1) for each in model.parameters.values()], 1)


def model_of(rows: Float[np.ndarray, "run parameter"], norm_epsilon: float = 1e-5) -> Model:
    """The model that `flattened` gave these rows of.

    Args:
        rows: of a task with five labels.
        norm_epsilon: added to the variance in every norm.

    Raises:
        ValueError: there are more or fewer numbers than a model has.
    """
    form = initial([0], norm_epsilon=norm_epsilon)
    sizes = [each[0].numel() for each in form.parameters.values()]
    if rows.shape[-1] != sum(sizes):
        raise ValueError(f"rows: of {rows.shape[-1]} numbers; a model has {sum(sizes)}")
    parts = torch.from_numpy(rows.copy()).split(sizes, 1)
    named = zip(form.parameters.items(), parts, strict=True)
    parameters = {name: part.unflatten(1, like.shape[1:]) for (name, like), part in named}
    return Model(parameters, form.exemplars, norm_epsilon)
