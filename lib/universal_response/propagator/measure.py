"""C(l' -> l, dj): the response at l to a change that is made at l'."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge

from universal_response import metrics
from universal_response.measurement import (
    RANDOM,
    SCHEMA_VERSIONS,
    Parts,
    identity_of,
    made_into,
    opened,
)
from universal_response.propagation import linear_inner_products, positions
from universal_response.propagator.settings import PropagatorSettings
from universal_response.sequences import repeated_random_tokens, stratified_sources

# What decides the numbers of a part.
_CODE = ("propagation", "perturbation", "metrics", "propagator/measure")


def measure_propagator(
    model: TransformerBridge | str,
    settings: PropagatorSettings,
    progress: bool = False,
    folder: str | Path | None = None,
) -> xr.Dataset:
    """Scale tokens at every position of the residual stream but the last, and see who responds.

    Args:
        model: a bridge, or what `load_model` takes.
        settings: what is measured.
        progress: show a progress bar.
        folder: where every finished position is kept at once; a measurement that was killed goes
            on there.

    Returns:
        C_delta in the limit, its mean over the sources of a sequence (`response`) and that of its
        logarithm (`log_response`), both (perturbed_position, position, compared, sequence); nan
        where nothing responds.

    Raises:
        ValueError: sequences longer than the model's context, or states that are not finite.
    """
    model, subject, settings = opened(model, settings, progress)
    tokens, sources = drawn(settings, model.cfg.d_vocab)
    at, about = positions(model), subject.attributes
    parts = Parts(
        Path(folder) if folder else None, "propagator", identity_of(about, settings, _CODE)
    )
    found = [
        parts.made(f"{first:03d}", partial(from_position, model, tokens, sources, settings, first))
        for first in tqdm(range(len(at) - 1), disable=not progress, unit="position")
    ]
    along = xr.Variable("perturbed_position", range(len(found)))
    joined = xr.concat([part.drop_attrs() for part in found], along)
    return joined.assign(
        tokens=(("sequence", "token"), tokens.numpy()),
        sources=(("sequence", "draw"), sources.numpy().astype(np.int16)),
    ).assign_coords(
        layer=("position", [each.layer for each in at]),
        sublayer=("position", [each.sublayer for each in at]),
    ).assign_attrs(about | _attributes(settings, found))  # fmt: skip


def measure_propagator_into(
    path: str | Path,
    model: TransformerBridge | str,
    settings: PropagatorSettings,
    progress: bool = False,
) -> xr.Dataset:
    """`measure_propagator`, saved, with finished positions beside the file until it is written.

    Raises:
        ValueError: the path is a folder, or as for `measure_propagator`.
    """
    return made_into(
        path, lambda parts: measure_propagator(model, settings, progress, parts), "propagator"
    )


def drawn(settings: PropagatorSettings, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Tokens (sequence, token) and the perturbed ones of the first block (sequence, draw)."""
    generator = np.random.default_rng(settings.seed)
    tokens = repeated_random_tokens(settings.t0, settings.batch, vocabulary, generator)
    chosen = [
        stratified_sources(settings.t0, settings.sources, generator) for _ in range(settings.batch)
    ]
    return torch.from_numpy(tokens), torch.from_numpy(np.stack(chosen))


def from_position(
    model: TransformerBridge,
    tokens: Tensor,
    sources: Tensor,
    settings: PropagatorSettings,
    first: int,
) -> xr.Dataset:
    """The response everywhere to a change at one position; earlier layers are not run again."""
    plain, logs = [], []
    for row, chosen in zip(tokens, sources, strict=True):
        found = linear_inner_products(
            row[None], model, sources=chosen[None], perturbed_position=first
        )
        matrix = metrics.delta(found)[:, 0, 0].double().cpu()
        values = at_distances(matrix, chosen, settings.distances)
        plain.append(values.mean(-1))
        # Of what does not respond there is no logarithm.
        logs.append(values.where(values > 0, torch.nan).log().nanmean(-1))
    dims = ("position", "compared", "sequence")
    return xr.Dataset(
        {
            "response": (dims, torch.stack(plain, -1).numpy()),
            "log_response": (dims, torch.stack(logs, -1).numpy()),
        },
        {"compared": list(settings.distances), "position": range(len(plain[0]))},
    )


def at_distances(
    matrix: Float[Tensor, "position draw target"], sources: Tensor, distances: Iterable[int]
) -> Float[Tensor, "position distance draw"]:
    """C of each source at some dj, all of which are within the sequence."""
    rows = torch.arange(len(sources))
    return torch.stack([matrix[:, rows, sources + distance] for distance in distances], 1)


def _attributes(settings: PropagatorSettings, parts: list[xr.Dataset]) -> dict[str, object]:
    return {
        "kind": "propagator",
        "schema_version": SCHEMA_VERSIONS["propagator"],
        "input": RANDOM,
        **{name: value for name, value in vars(settings).items() if name != "device"},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        # Of all parts, whenever they were measured.
        "wall_time_s": round(sum(part.attrs["seconds"] for part in parts), 1),
    }
