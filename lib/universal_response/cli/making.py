"""Commands that make something of results: figures, student-notebooks, models."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from universal_response import claims, companion, measurement, models
from universal_response.cli.options import (
    DEFAULT,
    DEFAULT_EPSILONS,
    T0,
    Batch,
    Chunk,
    Device,
    Dtype,
    Epsilon0,
    Epsilons,
    Model,
    Seed,
    check_writable,
    settings_from,
)
from universal_response.cli.shipped import ROOT, shipped


def figures(
    out: Annotated[Path, typer.Option(help="folder for notebooks, PNG, SVG, PDF, CSV and NetCDF")],
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

    A results file in the folder that answers to these settings is used instead of a measurement.
    """
    folder = Path(model).expanduser()
    model = str(folder.resolve()) if folder.is_dir() else model
    settings = settings_from(
        model, epsilons, t0=t0, batch=batch, epsilon0=epsilon0, seed=seed, device=device,
        dtype=dtype, sequences_per_chunk=sequences_per_chunk,
    )  # fmt: skip
    if not settings.epsilons:
        raise ValueError("epsilons=: the figures need strengths; give at least one in (0, 1]")
    out = out.resolve()
    check_writable(out)
    extra = _extra_parameters(parameter or [])
    # Notebooks that draw one measurement of repeated random tokens; others make their own.
    all_known = {
        notebook: companion.notebooks.parameters_of(notebook)
        for notebook in shipped("notebooks", "*.ipynb")
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
        "distinct": [],
        "t0": t0,
        "batch": batch,
        "epsilons": list(settings.epsilons),
        "epsilon0": epsilon0,
        "reference": claims.FIGURE_EPSILON0
        if claims.FIGURE_EPSILON0 in settings.epsilons
        else epsilon0,
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
    # A notebook may have failed after hours of measurement.
    before = _written(out)
    measurement.results_for(model, settings, out, progress=True)
    if _written(out) == before:
        typer.echo(f"{out}: holds this measurement; not measured again, delete its .nc to do so")
    values |= extra
    wanted = {
        notebook: {name: value for name, value in values.items() if name in names}
        for notebook, names in known.items()
    }
    companion.notebooks.run_notebooks(wanted, out, progress=True)
    typer.echo(f"figures, notebooks and data: {out}")


def student_notebooks(
    out: Annotated[Path, typer.Option(help="folder for the notebooks")],
) -> None:
    """Write the course notebooks as students get them: without solutions and outputs."""
    check_writable(out)
    paths = companion.notebooks.write_student_notebooks(shipped("notebooks/course", "*.ipynb"), out)
    typer.echo(f"{out}: {', '.join(path.name for path in paths)}")


def list_models() -> None:
    """List the models known by name: what they cost to get, what is here, what has results."""
    measured = Counter(
        measurement.load_results(path, kind=None).attrs["model"]
        for path in (ROOT / "results").glob("*.nc")
    )
    table = Table("name", "model", "here", "download", "results", "licence", "from", box=None)
    for model in models.MODELS:
        table.add_row(
            model.name,
            model.title,
            "yes" if models.is_here(model.name) else "no",
            f"{model.download_mb:,} MB",
            f"{measured[model.name]} file(s)" if measured[model.name] else "none",
            model.licence,
            _source(model),
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)


def _source(model: models.RegisteredModel) -> str:
    if model.shipped:
        return "shipped"
    if model.wheels:
        return "package index"
    return f"hub: {model.hub_id}{' (gated)' * model.gated}"


def _written(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("*.nc")}


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
