"""Command line: plan, measure, verify, figures, student-notebooks, models."""

import functools
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge

from universal_response import measurement, models, notebooks, plan, sequences, subtraction
from universal_response.claims import FIGURE_EPSILON0

ROOT = Path(__file__).parents[2]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Response of language models to weak single-token perturbations (arXiv 2411.07071).",
)

Model = Annotated[str, typer.Option(help="registered name, local folder, or hub id owner/name")]
T0 = Annotated[int, typer.Option(help="length of the repeated block; a sequence has 2 T0 tokens")]
Batch = Annotated[int, typer.Option(help="number of random sequences averaged over")]
Epsilons = Annotated[
    str,
    typer.Option(
        help='perturbation strengths in (0, 1], by commas or spaces; "" for the limit only'
    ),
]
Epsilon0 = Annotated[float, typer.Option(help="reference strength; one of the epsilons")]
Seed = Annotated[int, typer.Option(help="of the random tokens")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps")]
Dtype = Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16")]
Chunk = Annotated[
    int | None,
    typer.Option(help="sequences measured at a time; chosen from their memory if absent"),
]
Distance = Annotated[
    int | None,
    typer.Option(help="where a peak is expected; T0 - 1 if absent, and nowhere for other input"),
]
Sources = Annotated[
    int | None, typer.Option(help="tokens perturbed in each sequence, drawn; all if absent")
]
Distinct = Annotated[bool, typer.Option("--distinct", help="no token twice in a random block")]
Products = Annotated[
    str, typer.Option(help="in which changes are multiplied: float32, tf32, bfloat16 or auto")
]

TextFile = Annotated[
    Path | None,
    typer.Option(help="measure this UTF-8 text; a blank line begins the next sequence"),
]
TokensFile = Annotated[
    Path | None,
    typer.Option(help="measure the token ids in this file, a sequence a line"),
]
Bos = Annotated[
    bool | None,
    typer.Option(
        "--bos/--no-bos",
        help="put the BOS token before a text, or not; if absent, as the tokenizer does by itself",
    ),
]
Repeat = Annotated[
    bool, typer.Option("--repeat/--no-repeat", help="write the text, or each sequence, twice")
]
Length = Annotated[
    int | None,
    typer.Option(help="tokens kept of each sequence; those of the shortest if absent"),
]

DEFAULT = measurement.Settings()
DEFAULT_EPSILONS = ",".join(f"{epsilon:g}" for epsilon in DEFAULT.epsilons)


@app.command("plan")
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
    settings = _settings(
        epsilons, t0=t0, batch=batch, epsilon0=epsilon0, seed=seed, device=device, dtype=dtype,
        sources=sources, sequences_per_chunk=sequences_per_chunk,
    )  # fmt: skip
    found = plan.plan(model, settings)
    typer.echo(f"{found.title} ({model}); licence: {found.licence}\n{found.access}")
    table = Table("", "", "how it is known", box=None, pad_edge=False)
    for row in plan.rows(found):
        table.add_row(*row)
    Console(highlight=False).print(table)
    if found.warning:
        typer.echo(f"warning: {found.warning}")


@app.command()
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
    distinct: Distinct = False,
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
    if out.is_dir():
        raise ValueError(f"out={out}: is a folder; give the name of a file in it")
    _check_writable(out.parent)
    _check_input_options(context)
    given = {}
    if text is not None:
        passages = sequences.read_text(text)
        tokenizer = models.load_tokenizer(model)
        given = _input(measurement.Settings.for_text(passages, tokenizer, bos, repeat, length))
    elif tokens is not None:
        rows = sequences.read_tokens(tokens, repeat, length)
        t0 = rows.shape[1] // 2 if repeat else 0
        given = _input(measurement.Settings.for_tokens(rows, t0))
    settings = _settings(
        epsilons, here=scheduler is None, epsilon0=epsilon0, device=device, dtype=dtype,
        distance=distance, sources=sources, distinct=distinct, products=products, seed=seed,
        sequences_per_chunk=sequences_per_chunk, **{"t0": t0, "batch": batch} | given,
    )  # fmt: skip
    with _executor(scheduler) as executor:
        dataset = measurement.measure_into(out, model, settings, progress=True, executor=executor)
    size = f"{settings.batch} sequences of {dataset.sizes['token']} tokens"
    typer.echo(f"{out}: {model}, {settings.input}, {size}, {dataset.attrs['wall_time_s']} s")


@app.command()
def verify(
    files: Annotated[
        list[Path] | None, typer.Argument(help="results files; all shipped ones if none is named")
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="only the reference strength, or the limit where there is none")
    ] = False,
) -> None:
    """Measure the witness sequence of results files again and compare.

    Exit code 1 if a number differs by more than 1e-3 relative (of a cosine, absolute). A file whose
    weights cannot be had is reported as skipped.
    """
    failed = [path for path in files or _shipped("results", "*.nc") if not _verify_one(path, quick)]
    if failed:
        typer.echo(f"verification FAILED: {', '.join(path.name for path in failed)}", err=True)
        raise typer.Exit(1)


@app.command()
def figures(
    out: Annotated[Path, typer.Option(help="folder for notebooks, PNG, SVG and NetCDF")],
    model: Model = "smollm2-135m",
    t0: T0 = DEFAULT.t0,
    batch: Batch = DEFAULT.batch,
    epsilons: Epsilons = DEFAULT_EPSILONS,
    epsilon0: Epsilon0 = DEFAULT.epsilon0,
    seed: Seed = DEFAULT.seed,
    device: Device = DEFAULT.device,
    dtype: Dtype = DEFAULT.dtype,
    sequences_per_chunk: Chunk = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="further notebook parameter, name=value"),
    ] = None,
) -> None:
    """Measure a model and draw every figure of the paper, Table 1, claims and limit with it.

    A results file in the folder with exactly these settings is used instead of a measurement.
    """
    settings = _settings(
        epsilons, t0=t0, batch=batch, epsilon0=epsilon0, seed=seed, device=device, dtype=dtype,
        sequences_per_chunk=sequences_per_chunk,
    )  # fmt: skip
    if not settings.epsilons:
        raise ValueError("epsilons=: the figures need strengths; give at least one in (0, 1]")
    out = out.resolve()
    _check_writable(out)
    folder = Path(model).expanduser()
    model = str(folder.resolve()) if folder.is_dir() else model
    extra = _extra_parameters(parameter or [])
    # Notebooks that draw one measurement of repeated random tokens; others make their own.
    all_known = {
        notebook: notebooks.parameters_of(notebook) for notebook in _shipped("notebooks", "*.ipynb")
    }
    known = {path: names for path, names in all_known.items() if {"t0", "dtype"} <= set(names)}
    unknown = [name for name in extra if not any(name in names for names in known.values())]
    if unknown:
        names = sorted({name for names in known.values() for name in names})
        raise ValueError(
            f"parameter={unknown[0]}: no notebook has it; choose from {', '.join(names)}"
        )
    values = {
        "model": model,
        "models": [model],
        "planned": [],
        "t0": t0,
        "batch": batch,
        "epsilons": list(settings.epsilons),
        "epsilon0": epsilon0,
        "reference": FIGURE_EPSILON0 if FIGURE_EPSILON0 in settings.epsilons else epsilon0,
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "results": str(out),
        "runs": str(out),
        "output": str(out),
    }
    taken = [name for name in extra if name in values]
    if taken:
        raise ValueError(
            f"parameter={taken[0]}: set by this command; use its own option, see --help"
        )
    path = out / measurement.results_name(model, settings)
    if path.exists():
        # A notebook may have failed after hours of measurement. Damaged files and those of other
        # weights do not count.
        before = path.stat().st_mtime_ns
        measurement.results_for(model, settings, out, progress=True)
        if path.stat().st_mtime_ns == before:
            typer.echo(f"{path}: not measured again; delete this file to do so")
    else:
        measurement.measure_into(path, model, settings, progress=True)
    values |= extra
    for notebook in tqdm(known, desc="notebooks"):
        wanted = {name: value for name, value in values.items() if name in known[notebook]}
        notebooks.run_notebook(notebook, out / notebook.name, wanted)
    typer.echo(f"figures, notebooks and data: {out}")


@app.command("student-notebooks")
def student_notebooks(
    out: Annotated[Path, typer.Option(help="folder for the notebooks")],
) -> None:
    """Write the course notebooks as students get them: without solutions and outputs."""
    _check_writable(out)
    paths = notebooks.write_student_notebooks(_shipped("notebooks/course", "*.ipynb"), out)
    typer.echo(f"{out}: {', '.join(path.name for path in paths)}")


@app.command("models")
def list_models() -> None:
    """List the models known by name: what they cost to get, what is here, what has results."""
    measured = Counter(
        measurement.load_results(path, kind=None).attrs["model"]
        for path in (ROOT / "results").glob("*.nc")
    )
    table = Table("name", "model", "here", "download", "results", "licence", "from", box=None)
    for model in models.REGISTRY.values():
        gate = " (gated)" if model.gated and not model.wheels else ""
        table.add_row(
            model.name,
            model.title,
            "yes" if models.is_here(model.name) else "no",
            f"{model.download_mb:,} MB",
            f"{measured[model.name]} file(s)" if measured[model.name] else "none",
            model.licence,
            f"package index{gate}" if model.wheels else f"hub: {model.hub_id}{gate}",
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)


def main() -> None:
    """Entry point: bad input gives one line on stderr and exit code 2, not a traceback.

    Set UNIVERSAL_RESPONSE_TRACEBACK=1 to see the traceback.
    """
    warnings.showwarning = _one_line
    try:
        code = app(standalone_mode=False)
    except (ValueError, OSError, typer.TyperException, torch.OutOfMemoryError) as error:
        if os.environ.get("UNIVERSAL_RESPONSE_TRACEBACK"):
            raise
        typer.echo(f"error: {_said(error)}", err=True)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("error: interrupted; nothing was written", err=True)
        sys.exit(130)
    sys.exit(code or 0)


def _shipped(folder: str, pattern: str) -> list[Path]:
    found = sorted((ROOT / folder).glob(pattern))
    if not found:
        raise ValueError(f"{folder}: none in {ROOT / folder}; run from a checkout of the project")
    return found


def _said(error: Exception) -> str:
    if isinstance(error, typer.TyperException):
        return " ".join(error.format_message().split())
    if isinstance(error, torch.OutOfMemoryError):
        return "memory: the device has too little; use --sequences-per-chunk 1 or fewer epsilons"
    return str(error)


def _one_line(message: Warning | str, *args: object, **kwargs: object) -> None:
    typer.echo(f"warning: {message}", err=True)


def _check_writable(folder: Path) -> None:
    """Find out before hours of measurement, and without making the folder yet."""
    there = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(f"out={folder}: {there} is no folder one can write to; choose another")


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


def _check_input_options(context: typer.Context) -> None:
    """Refuse options that contradict each other or would have no effect."""
    names = [
        name
        for name in ("text", "tokens", "bos", "repeat", "length", "t0", "batch", "seed")
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    given = [name for name in names if name in ("text", "tokens")]
    if len(given) == 2:
        raise ValueError("text, tokens: give one of the two")
    if given:
        why = f"only for random tokens, not with --{given[0]}"
        useless = [name for name in names if name in ("t0", "batch", "seed")]
        if given == ["tokens"] and "bos" in names:
            why, useless = "only with --text; write the BOS id into the file", ["bos"]
    else:
        why = "only with --text or --tokens"
        useless = [name for name in names if name in ("bos", "repeat", "length")]
    if useless:
        raise ValueError(f"{useless[0]}: {why}; leave it out")


def _input(settings: measurement.Settings) -> dict[str, Any]:
    """What of settings says that they are for a text or for tokens."""
    return {name: getattr(settings, name) for name in ("tokens", "t0", "text_sha256")}


def _settings(epsilons: str, here: bool = True, **others: Any) -> measurement.Settings:
    """Settings from options; the device must be on this machine if the model is to run `here`."""
    try:
        strengths = tuple(float(part) for part in epsilons.replace(",", " ").split())
    except ValueError:
        raise ValueError(
            f"epsilons={epsilons}: give numbers in (0, 1], by commas or spaces"
        ) from None
    if here:
        models.resolve_device(others["device"])
    return measurement.Settings(epsilons=strengths, **others)


def _extra_parameters(given: list[str]) -> dict[str, object]:
    pairs = [text.partition("=") for text in given]
    wrong = [name for name, equals, _ in pairs if not equals]
    if wrong:
        raise ValueError(f"parameter={wrong[0]}: write name=value")
    return {name: _number_or_text(value) for name, _, value in pairs}


def _number_or_text(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@functools.lru_cache(maxsize=2)
def _loaded(model: str, dtype: str) -> TransformerBridge:
    """A model, for the next file as well."""
    return models.load_model(model, dtype=dtype, tokenizer=False, progress=True)


def _verify_one(path: Path, quick: bool) -> bool:
    try:
        dataset = measurement.load_results(path, kind=None)
        if measurement.kind_of(dataset) == "subtraction":
            outcome = subtraction.verify_subtraction(dataset, quick)
        else:
            model = _loaded(dataset.attrs["model"], dataset.attrs["dtype"])
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
