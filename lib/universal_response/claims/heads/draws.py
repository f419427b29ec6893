"""A study of heads as other sequences might have given it."""

import numpy as np
import xarray as xr

from universal_response import response

SEQUENCES = (
    "sequence",
    "evaluated_sequence",
    "mapped_sequence",
    "patched_sequence",
    "perturbed_sequence",
)


def redrawn(dataset: xr.Dataset, n_resamples: int, generator: np.random.Generator) -> xr.Dataset:
    """The numbers of a study drawn anew, along `resample`; entry 0 is what was measured.

    Args:
        dataset: of `heads.study_heads`.
        n_resamples: how many draws.
        generator: decides the draws.

    Returns:
        Of every variable by sequence its mean over sequences; every variable that has a standard
        error, scattered by it; and the weights of means over heads, over random sets of heads and
        over positions: `head_weight`, `set_weight` and `position_weight`.
    """

    def weights(dim: str, n: int) -> xr.DataArray:
        return response.bootstrap_weights(dim, n, n_resamples, generator)

    found = {}
    for dim in (each for each in SEQUENCES if each in dataset.sizes):
        of_sequences = weights(dim, dataset.sizes[dim])
        for name, values in dataset.items():
            if dim in values.dims and values.dtype.kind == "f":
                found[name] = xr.dot(values.astype(float), of_sequences, dim=dim)
    for name in dataset:
        if f"{name}_sem" in dataset:
            noise = generator.standard_normal((n_resamples + 1, *dataset[name].shape))
            noise[0] = 0
            scatter = xr.DataArray(noise, dims=("resample", *dataset[name].dims))
            found[name] = dataset[name].astype(float) + scatter * dataset[f"{name}_sem"]
    n_layers, n_heads = (dataset.sizes[dim] for dim in ("layer", "head"))
    of_heads = weights("any", n_layers * n_heads).values.reshape(-1, n_layers, n_heads)
    found["head_weight"] = xr.DataArray(of_heads, dims=("resample", "layer", "head"))
    is_random = dataset.head_set.str.startswith("random")
    of_sets = xr.zeros_like(is_random, dtype=float).expand_dims(resample=n_resamples + 1).copy()
    of_sets[:, is_random.values] = weights("head_set", int(is_random.sum())).values
    found["set_weight"] = of_sets
    found["position_weight"] = weights("position", dataset.sizes["position"])
    return xr.Dataset(found)
