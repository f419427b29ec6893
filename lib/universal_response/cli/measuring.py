"""Commands that measure: plan, measure, verify."""

import functools
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from universal_response import (
    arithmetic,
    controls,
    heads,
    measurement,
    models,
    propagator,
    sequences,
    subtraction,
    training,
)
from universal_response.cli.options import (
    DEFAULT,
    DEFAULT_EPSILONS,
    T0,
    Batch,
    Bos,
    Chunk,
    Copies,
    Device,
    Distance,
    Distinct,
    Dtype,
    Epsilon0,
    Epsilons,
    Gap,
    Later,
    Length,
    Model,
    Perturb,
    Products,
    Repeat,
    Seed,
    Sources,
    TextFile,
    TokensFile,
    check_output,
    check_writable,
    perturbation_from,
    settings_from,
)
from universal_response.cli.shipped import shipped
from universal_response.measurement.settings import Settings
from universal_response.sequences import PAPER, Arrangement

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def show_plan(
    model: Model = "smollm2-135m",
    t0: T0 = DEFAULT.t0,
    batch: Batch = DEFAULT.batch,
    epsilons: Epsilons = DEFAULT_EPSILONS,
    epsilon0: Epsilon0 = DEFAULT.epsilon0,
    seed: Seed = DEFAULT.seed,
    device: Device = DEFAULT.device,
    dtype: Dtype = DEFAULT.dtype,
    sources: Sources = None,
    sequences_per_chunk: Chunk = None,
) -> None:
    """Say what measuring a model will cost: download, memory, time. Downloads no weights.

    The options are those of `measure` with random tokens.
    """
    settings = settings_from(
        model, epsilons, t0=t0, batch=batch, epsilon0=epsilon0, seed=seed, device=device,
        dtype=dtype, sources=sources, sequences_per_chunk=sequences_per_chunk,
    )  # fmt: skip
    found = measurement.plan.plan(model, settings)
    typer.echo(f"{found.title} ({model}); licence: {found.licence}\n{found.access}")
    table = Table("", "", "how it is known", box=None, pad_edge=False)
    for row in measurement.plan.rows(found):
        table.add_row(*row)
    Console(highlight=False).print(table)
    if found.warning:
        typer.echo(f"warning: {found.warning}")


def measure(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="NetCDF file to write")],
    model: Model = "smollm2-135m",
    t0: T0 = DEFAULT.t0,
    batch: Batch = DEFAULT.batch,
    epsilons: Epsilons = DEFAULT_EPSILONS,
    epsilon0: Epsilon0 = DEFAULT.epsilon0,
    seed: Seed = DEFAULT.seed,
    device: Device = DEFAULT.device,
    dtype: Dtype = DEFAULT.dtype,
    distance: Distance = None,
    sources: Sources = None,
    later: Later = PAPER.later,
    copies: Copies = PAPER.copies,
    gap: Gap = PAPER.gap,
    distinct: Distinct = False,
    perturb: Perturb = DEFAULT.perturbation.name,
    products: Products = DEFAULT.products,
    sequences_per_chunk: Chunk = None,
    text: TextFile = None,
    tokens: TokensFile = None,
    bos: Bos = None,
    repeat: Repeat = False,
    length: Length = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="address of a Dask scheduler, or a scheduler file; measure on its workers' devices"
        ),
    ] = None,
) -> None:
    """Measure a model and write the results to one file.

    The input is repeated random tokens, or what --text or --tokens gives.
    """
    check_output(out)
    _check_input_options(context)
    settings_of = functools.partial(
        settings_from, model, epsilons, here=scheduler is None, epsilon0=epsilon0, device=device,
        dtype=dtype, products=products, seed=seed, sequences_per_chunk=sequences_per_chunk,
        perturbation=perturbation_from(perturb),
    )  # fmt: skip
    given: dict[str, Any] = {}
    if text is not None:
        passages = sequences.read_text(text)
        settings_of()  # what is wrong in any case is said before a tokenizer is loaded
        tokenizer = models.load_tokenizer(model)
        given = _input(Settings.for_text(passages, tokenizer, bos, repeat, length))
    elif tokens is not None:
        rows = sequences.read_tokens(tokens, repeat, length)
        t0 = rows.shape[1] // 2 if repeat else 0
        given = _input(Settings.for_tokens(rows, t0))
    else:
        arrangement = Arrangement(later=later, copies=copies, gap=gap, bos=bool(bos))
        given |= {"arrangement": arrangement, "distinct": distinct}
    settings = settings_of(distance=distance, sources=sources, **{"t0": t0, "batch": batch} | given)
    with _executor(scheduler) as executor:
        dataset = measurement.measure_into(out, model, settings, progress=True, executor=executor)
    size = f"{settings.batch} sequences of {dataset.sizes['token']} tokens"
    typer.echo(f"{out}: {model}, {settings.input}, {size}, {dataset.attrs['wall_time_s']} s")


def measure_controls(
    out: Annotated[Path, typer.Option(help="folder for control-NAME-MODEL.nc")],
    model: Annotated[str, typer.Option(help="registered name")] = "smollm2-135m",
) -> None:
    """Measure every control of a model: other tokens, other arrangements, other perturbations.

    Those that are in the folder already are kept.
    """
    check_writable(out)
    models.check_model(model)
    paths = controls.measure_controls(model, out, progress=True)
    typer.echo(f"{out}: {len(paths)} controls of {model}")


def verify(
    files: Annotated[
        list[Path] | None, typer.Argument(help="results files; all shipped ones if none is named")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            help="only the reference strength, or the limit where there is none, and every fourth "
            "of the shipped controls"
        ),
    ] = False,
) -> None:
    """Measure the witness sequence of results files again and compare.

    Exit code 1 if a number differs by more than 1e-3 relative (of a cosine, absolute). A file whose
    weights cannot be had is reported as skipped.
    """
    if not files:
        files = shipped("results", "*.nc")
        files = controls.in_rotation(files) if quick else files
    failed = [path for path in files if not _verify_one(path, quick)]
    if failed:
        typer.echo(f"verification FAILED: {', '.join(path.name for path in failed)}", err=True)
        raise typer.Exit(1)


@contextmanager
def _executor(scheduler: str | None) -> Iterator[Executor | None]:
    """That of a Dask cluster, or none."""
    if scheduler is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(
            f"scheduler={scheduler}: Dask is not installed; pip install distributed"
        ) from None
    where = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        client = Client(**where, timeout=30)
    except (OSError, TimeoutError) as error:
        raise ValueError(
            f"scheduler={scheduler}: nothing answers there ({error}); start `dask scheduler`"
        ) from None
    with client, client.get_executor(pure=False) as executor:
        yield executor


_ARRANGED = ("later", "copies", "gap", "distinct")
_INPUT = (
    *("text", "tokens", "bos", "repeat", "length", "t0", "batch", "seed", "sources"), *_ARRANGED,
)  # fmt: skip


def _check_input_options(context: typer.Context) -> None:
    """Refuse options that contradict each other or would have no effect."""
    names = [
        name
        for name in _INPUT
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    given = [name for name in names if name in ("text", "tokens")]
    if len(given) == 2:
        raise ValueError("text, tokens: give one of the two")
    if given:
        why = f"only for random tokens, not with --{given[0]}"
        # The seed draws sources too.
        seed = () if "sources" in names else ("seed",)
        useless = [name for name in names if name in ("t0", "batch", *_ARRANGED, *seed)]
        if given == ["tokens"] and "bos" in names:
            why, useless = "only with --text; write the BOS id into the file", ["bos"]
    else:
        why = "only with --text or --tokens"
        useless = [name for name in names if name in ("repeat", "length")]
    if useless:
        raise ValueError(f"{useless[0]}: {why}; leave it out")


def _input(settings: Settings) -> dict[str, Any]:
    """What of settings says that they are for a text or for tokens."""
    return {name: getattr(settings, name) for name in ("tokens", "t0", "text_sha256")}


@functools.lru_cache(maxsize=1)
def _loaded(model: str, dtype: str) -> "TransformerBridge":
    """A model, for the next file as well."""
    return models.load_model(model, dtype=dtype, tokenizer=False, progress=True)


def _verify_one(path: Path, quick: bool) -> bool:
    try:
        dataset = measurement.load_results(path, kind=None)
        kind = measurement.kind_of(dataset)
        if kind == "subtraction":
            outcome = subtraction.verify_subtraction(dataset, quick)
        elif kind == "training":
            outcome = training.verify_training(dataset)
        elif kind == "film":
            outcome = training.gpt2.verify_film(dataset)
        elif kind == "arithmetic":
            outcome = arithmetic.verify_arithmetic(dataset)
        else:
            model = _loaded(dataset.attrs["model"], dataset.attrs["dtype"])
            if kind == "heads":
                outcome = heads.verify_heads(dataset, model)
            elif kind == "propagator":
                outcome = propagator.verify_propagator(dataset, model, quick)
            else:
                outcome = measurement.verify(dataset, model, progress=True, quick=quick)
    except models.WeightsUnavailable as error:
        typer.echo(f"{path.name}: verification skipped, {error}")
        return True
    except (ValueError, FileNotFoundError) as error:
        typer.echo(f"{path.name}: DIFFERS; {error}")
        return False
    where = ", ".join(f"{name} {value}" for name, value in outcome.where.items())
    typer.echo(
        f"{path.name}: {'agrees' if outcome.agrees else 'DIFFERS'}; {outcome.compared} numbers, "
        f"largest difference {outcome.worst:.3g} of what is allowed (at {where}), "
        f"median {outcome.median_relative:.1e} relative"
    )
    return outcome.agrees
