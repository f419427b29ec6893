"""Tables of costs: of the ways to a figure, and of models on machines."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from universal_response.measurement.plan.memory import BASE_BYTES, weights_bytes, working_bytes
from universal_response.measurement.plan.operations import flops, flops_per_token, token_passes
from universal_response.measurement.plan.sample import ALIKE, equivalent_sample
from universal_response.measurement.plan.size import size_of
from universal_response.measurement.plan.speed import fraction_of_rate, seconds_for
from universal_response.measurement.settings import Settings
from universal_response.measurement.units import in_bytes, in_time
from universal_response.models import REGISTRY, title


def prices(model: str, settings: Settings, alike: float = ALIKE) -> pd.DataFrame:
    """What a figure costs at equal standard error, by the plain way and by this library.

    The plain way passes whole sequences, T tokens for every source and strength, and needs each
    strength to be finite. Its unembedding is left out.

    Args:
        model: what `load_model` takes.
        settings: what is measured, with all sources.
        alike: correlation of pairs of one sequence, as `equivalent_sample` takes it.

    Returns:
        A row a way: sequences, sources in each, token-passes, operations, and those as a part of
        what the plain way takes.
    """
    size, t = size_of(model), settings.t
    sample = equivalent_sample(settings, alike=alike)
    ways = {"carried along suffixes, all sources": settings}
    if sample:
        ways["carried along suffixes, a sample of sources"] = replace(
            settings, sources=sample.sources, batch=sample.batch
        )
    heads_width = size.heads * size.head_dim
    passed = settings.batch * t * t * (len(settings.epsilons) + settings.linear)
    each = flops_per_token(size.block_weights, size.layers, heads_width, t)
    rows = [("whole sequences, all sources", settings.batch, t, passed, passed * each)]
    for way, asked in ways.items():
        clean = asked.batch * t * each
        passed, operations = token_passes(asked), flops(size, asked) + clean
        rows.append((way, asked.batch, asked.sources or t, passed, operations))
    table = pd.DataFrame(rows, columns=["way", "sequences", "sources", "token-passes", "FLOPs"])
    return table.assign(part=table.FLOPs / table.FLOPs[0])


def costs(
    names: Sequence[str], settings: Settings, machines: Mapping[str, tuple[str, float]]
) -> pd.DataFrame:
    """Download, memory and time of models on machines that need not be at hand; a row a model.

    Args:
        names: registered models.
        settings: what to measure.
        machines: title -> type of device (`cpu`, `cuda`) and its matrix-product rate in FLOP/s.
    """
    rows = []
    for name in names:
        size, model = size_of(name), REGISTRY[name]
        weights, operations = weights_bytes(size, settings), flops(size, settings)
        row = {
            "model": title(name),
            "download": in_bytes(model.download_mb * 10**6),
            "licence": model.licence,
        }
        for machine, (device, rate) in machines.items():
            fraction, _ = fraction_of_rate(device, settings.dtype)
            shortest, longest = map(in_time, seconds_for(operations, rate, fraction))
            needed = weights + working_bytes(size, settings, device) + BASE_BYTES
            row[f"memory, {machine}"] = in_bytes(needed)
            row[f"time, {machine}"] = f"{shortest} to {longest}"
        rows.append(row)
    return pd.DataFrame(rows)
