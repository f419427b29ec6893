"""Commands that study what is inside a model: heads."""

from pathlib import Path
from typing import Annotated

import typer

from universal_response import heads, models
from universal_response.cli.options import (
    T0,
    Device,
    Dtype,
    Model,
    Seed,
    check_output,
)
from universal_response.heads.study.settings import HeadSettings

_DEFAULT = HeadSettings()


def study_heads(
    out: Annotated[Path, typer.Option(help="NetCDF file to write")],
    model: Model = "smollm2-135m",
    t0: T0 = _DEFAULT.t0,
    chosen_on: Annotated[
        int, typer.Option(help="sequences on which heads are chosen")
    ] = _DEFAULT.chosen_on,
    means_of: Annotated[
        int, typer.Option(help="sequences over which the means are taken that replace heads")
    ] = _DEFAULT.means_of,
    evaluated_on: Annotated[
        int, typer.Option(help="sequences on which effects are measured")
    ] = _DEFAULT.evaluated_on,
    mapped_on: Annotated[
        int, typer.Option(help="of them for maps that need a run for each head")
    ] = _DEFAULT.mapped_on,
    patched_on: Annotated[
        int, typer.Option(help="of them for activation and path patching")
    ] = _DEFAULT.patched_on,
    perturbed_on: Annotated[
        int, typer.Option(help="of them for responses of the edited model")
    ] = _DEFAULT.perturbed_on,
    sources: Annotated[
        int, typer.Option(help="tokens perturbed in each sequence, in its first block")
    ] = _DEFAULT.sources,
    draws: Annotated[int, typer.Option(help="of random heads, as controls")] = _DEFAULT.draws,
    epsilon: Annotated[
        float, typer.Option(help="perturbation strength beside the limit")
    ] = _DEFAULT.epsilon,
    least_score: Annotated[
        float, typer.Option(help="attention along its stripe from which a head is called by it")
    ] = _DEFAULT.least_score,
    seed: Seed = _DEFAULT.seed,
    device: Device = _DEFAULT.device,
    dtype: Dtype = _DEFAULT.dtype,
) -> None:
    """Find the heads of induction in a model, and measure what they do and carry."""
    check_output(out)
    settings = HeadSettings(
        t0=t0, chosen_on=chosen_on, means_of=means_of, evaluated_on=evaluated_on,
        mapped_on=mapped_on, patched_on=patched_on, perturbed_on=perturbed_on, sources=sources,
        draws=draws, epsilon=epsilon, least_score=least_score, seed=seed, device=device,
        dtype=dtype,
    )  # fmt: skip
    models.check_model(model)
    models.check_device(device)
    found = heads.study_heads_into(out, model, settings, progress=True)
    named = ", ".join(
        f"{(found.head_class == name).sum().item()} {name.replace('_', '-')}"
        for name in heads.CLASSES
    )
    typer.echo(f"{out}: {model}, heads: {named}; {found.attrs['wall_time_s']} s")
