"""Which measurement this is: the one description that all names and comparisons are made of.

File names (`results_name`), shards (`shards.identity`), requests (`answer`) and the attributes of
a file (`attributes_of`, and back: `settings_of`) tell measurements apart by `description`.
"""

import hashlib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from universal_response import models
from universal_response.measurement.settings import RANDOM, UNREPEATED, Settings
from universal_response.perturbation import Direction, RandomDirection, Scaling, Swap
from universal_response.sequences import PAPER, Arrangement, token_rows

# Settings that change no more than rounding, and what the tokens say already.
UNDECIDED = ("device", "sequences_per_chunk", "text_sha256")


def description(settings: Settings) -> dict[str, object]:
    """All settings that decide the numbers of a measurement, but for rounding."""
    found = {one.name: getattr(settings, one.name) for one in fields(settings)}
    return {name: value for name, value in found.items() if name not in UNDECIDED} | {
        "epsilon0": settings.epsilon0 if settings.epsilons else None,
        "distance": settings.peak,
        "perturbation": [
            settings.perturbation.name,
            *(_content(value) for value in vars(settings.perturbation).values()),
        ],
    }


def results_name(model: str, settings: Settings) -> str:
    """File name of a measurement: model, T0, batch, seed and a digest of its description."""
    digest = _digest(repr(description(settings)).encode())
    drawn = f"s{settings.seed}" if settings.tokens is None else settings.input
    return f"{file_stem(model)}-t{settings.t0}-b{settings.batch}-{drawn}-{digest}.nc"


def file_stem(model: str) -> str:
    """A model in a file name: its registered name, or owner--name.

    Of a folder its name and a digest of where it is, since others may have the same name.
    """
    if not Path(model).is_dir():
        return model.replace("/", "--")
    folder = Path(model).resolve()
    return f"{folder.name}-{_digest(str(folder).encode())}"


def recorded_name(model: str) -> str:
    """A model as the attributes of its results name it."""
    return str(Path(model)) if Path(model).is_dir() else model


def attributes_of(settings: Settings) -> dict[str, object]:
    """What the attributes of a results file say of the settings; `settings_of` reads it."""
    perturbation = settings.perturbation
    found: dict[str, object] = {
        "input": settings.input,
        "t0": settings.t0,
        "batch": settings.batch,
        "distance": "none" if settings.peak is None else settings.peak,
        "epsilon0": settings.epsilon0 if settings.epsilons else "none",
        "seed": settings.seed if settings.drawn else "none",
        "distinct": int(settings.distinct),
        **_arranged(settings.arrangement),
        "sources": settings.sources or "all",
        "perturbation": perturbation.name,
        "perturbed_position": settings.perturbed_position,
        "products": settings.products,
        "dtype": settings.dtype,
    }
    if settings.input == "text":
        found["text_sha256"] = settings.text_sha256
    for name in ("token", "seed"):
        if hasattr(perturbation, name):
            found[f"perturbation_{name}"] = getattr(perturbation, name)
    return found


def settings_of(dataset: xr.Dataset) -> Settings:
    """The settings a Dataset was measured with, for measuring it again.

    Args:
        dataset: results, measured just now or read from a file.

    Returns:
        Settings that hold the tokens, if they were given. `device` and `sequences_per_chunk` are
        the defaults, since they change no more than rounding; `products` is what was taken.

    Raises:
        ValueError: the perturbation is one of the user's own, which no file describes.
    """
    attrs = dataset.attrs
    t0, distance, epsilon0 = int(attrs["t0"]), attrs["distance"], attrs["epsilon0"]
    arrangement = _arrangement_of(attrs)
    expected = ("none", arrangement.distance(t0))
    return Settings(
        tokens=None
        if attrs["input"] in (RANDOM, UNREPEATED)
        else token_rows(dataset.tokens.values),
        text_sha256=str(attrs.get("text_sha256", "")),
        t0=t0,
        batch=int(attrs["batch"]),
        epsilons=tuple(dataset.epsilon.values.tolist()),
        epsilon0=Settings.epsilon0 if epsilon0 == "none" else float(epsilon0),
        distance=None if distance in expected else int(distance),
        sources=None if attrs["sources"] == "all" else int(attrs["sources"]),
        perturbation=_perturbation_of(dataset),
        perturbed_position=int(attrs["perturbed_position"]),
        seed=0 if attrs["seed"] == "none" else int(attrs["seed"]),
        arrangement=arrangement,
        distinct=bool(attrs["distinct"]),
        linear="linear" in dataset,
        products=str(attrs["products"]),
        dtype=str(attrs["dtype"]),
    )


def answer(dataset: xr.Dataset, model: str, settings: Settings) -> xr.Dataset | None:
    """What measuring a model with these settings would give, taken from a Dataset; None if not.

    The Dataset may hold the linear limit and further strengths unasked; those strengths are left
    out. `auto` takes any number type of products.
    """
    named = dataset.attrs["model"], dataset.attrs["perturbation"]
    if named != (recorded_name(model), settings.perturbation.name):
        return None
    if not isinstance(settings.perturbation, (Scaling, Direction, RandomDirection, Swap)):
        return None  # of a perturbation of one's own a file holds the name only
    has, strengths = settings_of(dataset), settings.epsilons
    if has.epsilon0 in strengths and set(strengths) <= set(has.epsilons):
        dataset = dataset.sel(epsilon=list(strengths))
        has = replace(has, epsilons=strengths)
    asked = replace(
        settings,
        linear=settings.linear or has.linear,
        products=has.products if settings.products == "auto" else settings.products,
    )
    if description(has) != description(asked):
        return None
    return dataset if same_weights(dataset, model) else None


def same_weights(dataset: xr.Dataset, model: str) -> bool:
    """Whether results are of the weights that a model has here, or one of the two is not known."""
    hashes = {dataset.attrs["weights_sha256"], models.weights_sha256(model)} - {"unknown"}
    return len(hashes) <= 1


def _arranged(arrangement: Arrangement) -> dict[str, object]:
    """Attributes of an arrangement, where it is not the paper's."""
    return {
        name: int(value) if isinstance(value, bool) else value
        for name, value in asdict(arrangement).items()
        if value != getattr(PAPER, name)
    }


def _arrangement_of(attrs: dict[Any, Any]) -> Arrangement:
    usual = asdict(PAPER)
    return Arrangement(**{name: type(of)(attrs.get(name, of)) for name, of in usual.items()})


def _perturbation_of(dataset: xr.Dataset) -> Any:
    name = str(dataset.attrs["perturbation"])
    if "direction" in dataset:
        return Direction(dataset.direction.values, name)
    if "perturbation_token" in dataset.attrs:
        return Swap(int(dataset.attrs["perturbation_token"]), name)
    if "perturbation_seed" in dataset.attrs:
        return RandomDirection(int(dataset.attrs["perturbation_seed"]), name)
    if name != Scaling.name:
        raise ValueError(f"perturbation={name}: one of your own; measure it with that object")
    return Scaling()


def _content(value: Any) -> object:
    """A number or a word as it is, of a vector the digest."""
    if not hasattr(value, "tolist"):
        return value
    return hashlib.sha256(np.asarray(value.tolist(), dtype=float).tobytes()).hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
