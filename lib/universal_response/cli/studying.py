"""Commands that study what is inside a model: heads, propagator, arithmetic."""

from pathlib import Path
from typing import Annotated

import typer

from universal_response import arithmetic, heads, measurement, models, propagator
from universal_response.arithmetic.study.settings import ArithmeticSettings
from universal_response.cli.options import (
    T0,
    Batch,
    Device,
    Dtype,
    Model,
    Seed,
    check_output,
    check_writable,
)
from universal_response.heads.study.settings import HeadSettings
from universal_response.propagator.settings import DEFAULT as _PROPAGATOR
from universal_response.propagator.settings import PropagatorSettings

_DEFAULT = HeadSettings()
_ARITHMETIC = ArithmeticSettings()
_ADDERS = " ".join(model.name for model in models.MODELS if model.task == "addition")


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


def measure_propagator(
    out: Annotated[Path, typer.Option(help="NetCDF file to write")],
    model: Model = "smollm2-135m",
    t0: T0 = _PROPAGATOR.t0,
    batch: Batch = _PROPAGATOR.batch,
    sources: Annotated[
        int, typer.Option(help="tokens perturbed in each sequence, in its first block")
    ] = _PROPAGATOR.sources,
    seed: Seed = _PROPAGATOR.seed,
    device: Device = _PROPAGATOR.device,
    dtype: Dtype = _PROPAGATOR.dtype,
) -> None:
    """Perturb every position of the residual stream, and measure the response at all later ones.

    Killed, the same command goes on from the last finished position.
    """
    check_output(out)
    settings = PropagatorSettings(
        t0=t0, batch=batch, sources=sources, seed=seed, device=device, dtype=dtype
    )
    models.check_model(model)
    models.check_device(device)
    found = propagator.measure_propagator_into(out, model, settings, progress=True)
    sizes = found.sizes
    typer.echo(
        f"{out}: {model}, from {sizes['perturbed_position']} positions to {sizes['position']}; "
        f"{found.attrs['wall_time_s']} s"
    )


def study_arithmetic(
    out: Annotated[Path, typer.Option(help="folder for arithmetic-MODEL.nc, one for each model")],
    model: Annotated[
        str,
        typer.Option(help="registered adders, or folders of `train adder`, with spaces between"),
    ] = _ADDERS,
    chosen_on: Annotated[
        int, typer.Option(help="problems on which nodes, neurons and the circuit are chosen")
    ] = _ARITHMETIC.chosen_on,
    means_of: Annotated[
        int, typer.Option(help="problems over which the means are taken that replace nodes")
    ] = _ARITHMETIC.means_of,
    evaluated_on: Annotated[
        int, typer.Option(help="problems on which effects are measured")
    ] = _ARITHMETIC.evaluated_on,
    probed_on: Annotated[
        int, typer.Option(help="problems for linear probes")
    ] = _ARITHMETIC.probed_on,
    perturbed_on: Annotated[
        int, typer.Option(help="problems for each sum of both units, for response functions")
    ] = _ARITHMETIC.perturbed_on,
    likely_of: Annotated[
        int, typer.Option(help="most problems of each kind whose likelihood is kept")
    ] = _ARITHMETIC.likely_of,
    draws: Annotated[int, typer.Option(help="of random circuits, as controls")] = _ARITHMETIC.draws,
    faithful: Annotated[
        float, typer.Option(help="part of the model's accuracy from which a circuit suffices")
    ] = _ARITHMETIC.faithful,
    seed: Annotated[int, typer.Option(help="of problems, donors and draws")] = _ARITHMETIC.seed,
    device: Device = _ARITHMETIC.device,
    dtype: Dtype = _ARITHMETIC.dtype,
) -> None:
    """Find the circuits by which small models add, and how they fare outside their training.

    Half a minute of one core for each model. Killed, the same command goes on.
    """
    check_writable(out)
    settings = ArithmeticSettings(
        chosen_on=chosen_on, means_of=means_of, evaluated_on=evaluated_on, probed_on=probed_on,
        perturbed_on=perturbed_on, likely_of=likely_of, draws=draws, faithful=faithful, seed=seed,
        device=device, dtype=dtype,
    )  # fmt: skip
    names = model.split()
    if not names:
        raise ValueError(f"model={model}: give at least one; registered are {_ADDERS}")
    for name in names:
        models.check_model(name)
        arithmetic.settings_of_training(name)
    models.check_device(device)
    for name in names:
        path = out / f"arithmetic-{measurement.file_stem(name)}.nc"
        found = arithmetic.study_arithmetic_into(path, name, settings, progress=True)
        sizes = ", ".join(str(int(n)) for n in found.circuit_nodes)
        typer.echo(f"{path}: circuits of {sizes} nodes; {found.attrs['wall_time_s']} s")
