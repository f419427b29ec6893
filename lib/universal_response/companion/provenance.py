"""How a results file came about, in words: what its attributes record."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from universal_response.arithmetic.study.settings import ArithmeticSettings
from universal_response.controls import control_and_model
from universal_response.heads import HeadSettings
from universal_response.measurement import (
    DEFAULT_EPSILONS,
    Settings,
    description,
    in_time,
    kind_of,
    recorded,
    settings_of,
)
from universal_response.propagator import PropagatorSettings
from universal_response.training import StudySettings, study_settings_of


def how_made(dataset: xr.Dataset) -> str:
    """Three lines: when, and for how long; on what; the command that measures it again.

    Args:
        dataset: results of one model.
    """
    attrs = dataset.attrs
    return (
        f"{attrs['model']}: measured {attrs['created'][:10]} in {in_time(attrs['wall_time_s'])}, "
        f"commit {short_commit(attrs['git_commit'])}\n"
        f"  on {attrs['device']}, {attrs['dtype']}\n"
        f"  again: {command(dataset)}"
    )


def command(dataset: xr.Dataset) -> str:
    """The command that measures a Dataset again; options at their defaults are left out.

    The Python call for what the command line has no option for, such as given tokens.
    """
    if kind_of(dataset) == "heads":
        said = f"universal-response heads --out FILE --model {dataset.attrs['model']}"
        return said + _options(recorded(HeadSettings, dataset.attrs), HeadSettings())
    if kind_of(dataset) == "propagator":
        said = f"universal-response propagator --out FILE --model {dataset.attrs['model']}"
        return said + _options(recorded(PropagatorSettings, dataset.attrs), PropagatorSettings())
    if kind_of(dataset) == "arithmetic":
        said = f"universal-response arithmetic --out FOLDER --model {dataset.attrs['model']}"
        return said + _options(recorded(ArithmeticSettings, dataset.attrs), ArithmeticSettings())
    if kind_of(dataset) == "training":
        said = "universal-response train letters --out FILE"
        return said + _options(study_settings_of(dataset), StudySettings())
    if kind_of(dataset) != "response":
        return str(dataset.attrs["command"])
    settings, default = settings_of(dataset), Settings()
    model = dataset.attrs["model"]
    named = ("t0", "batch", "epsilons", "epsilon0", "seed", "dtype")
    usual = {name: getattr(default, name) for name in named}
    if settings.tokens or description(replace(settings, **usual)) != description(default):
        return f'ur.measure("{model}", ur.settings_of(dataset))'
    parts = {
        "T0": (settings.t0, default.t0),
        "BATCH": (settings.batch, default.batch),
        "EPSILONS": (settings.epsilons, DEFAULT_EPSILONS),
        "EPSILON0": (settings.epsilon0, default.epsilon0),
        "SEED": (settings.seed, default.seed),
        "DTYPE": (settings.dtype, default.dtype),
    }
    chosen = "".join(
        f" {name}={_value(value)}" for name, (value, usual) in parts.items() if value != usual
    )
    return f"make figures MODEL={model}{chosen}"


def _options(settings: Any, default: Any) -> str:
    """Options of a command for settings that are not the default ones."""
    return "".join(
        f" --{name.replace('_', '-')} {_value(value)}"
        for name, value in vars(settings).items()
        if value != getattr(default, name)
    )


def summary(datasets: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """A row for each results file: what was measured, on what, for how long, with which code.

    Args:
        datasets: by file name.
    """
    return pd.DataFrame(
        [
            {
                "file": name,
                "input": f"{a['input']}, {_size(dataset)}",
                "seed": a.get("seed", a.get("seeds")),
                # A study of heads has one, beside the limit.
                "strengths": dataset.sizes.get("epsilon", 1),
                "dtype": a["dtype"],
                "device": a["device"],
                "time": in_time(a["wall_time_s"]),
                "measured": a["created"][:10],
                "commit": short_commit(a["git_commit"]),
                "weights": a["weights_sha256"][:12],
                "content": a["content_sha256"][:12],
            }
            for name, dataset in datasets.items()
            for a in [dataset.attrs]
        ]
    )


def controls_apart(
    datasets: Mapping[str, xr.Dataset],
) -> tuple[dict[str, xr.Dataset], dict[str, xr.Dataset]]:
    """Results files of controls, and all others.

    Args:
        datasets: by file name.
    """
    parts: tuple[dict[str, xr.Dataset], dict[str, xr.Dataset]] = ({}, {})
    for name, dataset in datasets.items():
        parts[control_and_model(Path(name)) is None][name] = dataset
    return parts


def by_model(datasets: Iterable[xr.Dataset]) -> pd.DataFrame:
    """A row for each model: how many files, on what, for how long in all, with which code.

    Args:
        datasets: results, several of a model.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for dataset in datasets:
        found.setdefault(dataset.attrs["model"], []).append(dataset.attrs)
    return pd.DataFrame(
        [
            {
                "model": model,
                "files": len(files),
                "dtype": _listed(a["dtype"] for a in files),
                "device": _listed(a["device"] for a in files),
                "time": in_time(sum(a["wall_time_s"] for a in files)),
                "measured": _listed(a["created"][:10] for a in files),
                "commit": _listed(short_commit(a["git_commit"]) for a in files),
                "weights": _listed(a["weights_sha256"][:12] for a in files),
            }
            for model, files in found.items()
        ]
    )


def _listed(values: Iterable[str]) -> str:
    """Each of them once."""
    return "; ".join(sorted(set(values)))


def _size(dataset: xr.Dataset) -> str:
    """Of the input of a measurement, or of a study of training or of models that add."""
    sizes = dataset.sizes
    if "run" in sizes:
        return f"{sizes['run']} runs"
    if kind_of(dataset) == "arithmetic":
        return f"{dataset.attrs['evaluated_on']} problems"
    return f"{sizes['sequence']} x {sizes['token']}"


def versions(dataset: xr.Dataset) -> dict[str, str]:
    """Packages a Dataset was measured with, and Python."""
    return json.loads(dataset.attrs["versions"])


def versions_of(datasets: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """A row for each set of versions: how many files were measured with it.

    Files that were not measured with the usual ones are named.

    Args:
        datasets: by file name.
    """
    found: dict[str, list[str]] = {}
    for name, dataset in datasets.items():
        found.setdefault(dataset.attrs["versions"], []).append(name)
    sets = sorted(found.items(), key=lambda one: len(one[1]), reverse=True)
    rows = [
        {"files": ", ".join(names) if place else str(len(names)), **json.loads(packages)}
        for place, (packages, names) in enumerate(sets)
    ]
    return pd.DataFrame(rows)


def short_commit(commit: str) -> str:
    """A commit as it is said, with `-dirty` where files had been changed."""
    return commit[:7] + "-dirty" * commit.endswith("-dirty")


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{number:g}" for number in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
