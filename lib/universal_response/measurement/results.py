"""Results files: save, load, seal, and find those that are there already."""

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement import _version2
from universal_response.measurement.assemble import SCHEMA_VERSION
from universal_response.measurement.measure import measure
from universal_response.measurement.settings import (
    RANDOM,
    Settings,
    description,
    text_digest,
    token_rows,
)
from universal_response.models import load_tokenizer, weights_sha256
from universal_response.propagation import Direction, Scaling, Swap
from universal_response.response import pairs_at

# Of every kind of results file. Each is written by the module of its name.
SCHEMA_VERSIONS = {"response": SCHEMA_VERSION, "subtraction": 1}

# Leading bits kept of stored float32 numbers, so that they compress: averages to 2e-5, the witness
# to 5e-4, what is averaged again to 1e-3, errors to 2 %. Cosines and logarithms are rounded to
# that part of 1 instead; their sums to that part of the number of pairs.
STORED_BITS = (
    dict.fromkeys(("response", "state_length"), 15)
    | dict.fromkeys(("witness", "matrix", "pairs", "map"), 10)
    | dict.fromkeys(("geometric", "last_sum", "peak_sum", "window_sum"), 9)
    | dict.fromkeys(("last_log_sum", "peak_log_sum", "window_log_sum"), 8)
    | dict.fromkeys(("response_sem", "geometric_sem"), 5)
)


def stored_bits(name: str) -> int | None:
    """Bits kept of a variable, of the limit as many as of finite strengths; all if None."""
    of_limit = {"linear": "response", "linear_sem": "response_sem"}
    return STORED_BITS.get(of_limit.get(name, name.removeprefix("linear_")))


def save_results(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write a Dataset as NetCDF, complete or not at all, with a digest of its numbers.

    float32 numbers are rounded to the bits that carry information (`STORED_BITS`).

    Returns:
        The path written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = dataset.assign(
        {
            name: array.copy(data=_rounded(dataset, str(name), bits))
            for name, array in dataset.items()
            if array.dtype == np.float32 and (bits := stored_bits(str(name)))
        }
    )
    sealed = stored.assign_attrs(content_sha256=content_digest(stored))
    packed = {"zlib": True, "complevel": 9, "shuffle": True}
    # Strings of any length cannot be packed. In one piece: each has an overhead.
    encoding = {
        name: packed | {"chunksizes": values.shape}
        for name, values in dataset.items()
        if values.dtype.kind not in "OUT"
    }
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        partial = Path(folder) / path.name
        sealed.to_netcdf(partial, engine="h5netcdf", encoding=encoding)
        os.replace(partial, path)
    return path


def load_results(path: str | Path, kind: str | None = "response") -> xr.Dataset:
    """Read a results file and check that it is whole.

    Args:
        path: a NetCDF file that `save_results` wrote.
        kind: what it must hold, one of `SCHEMA_VERSIONS`; any of them if None.

    Returns:
        Dataset in the schema of the book's page on data.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a results file, damaged, changed since it was written, or of another kind
            or schema version.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"results={path}: no such file; measure it first")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            dataset = opened.load()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"results={path}: not a readable NetCDF file; measure it again") from error
    found, held = dataset.attrs.get("schema_version", "none"), kind_of(dataset)
    if kind not in (held, None):
        raise ValueError(f"results={path}: holds {held}, not {kind}; give a file of that kind")
    old = held == "response" and found == _version2.SCHEMA_VERSION
    if found != SCHEMA_VERSIONS.get(held) and not old:
        raise ValueError(
            f"results={path}: schema version {found}, this library reads "
            f"{SCHEMA_VERSIONS.get(held)}; measure it again"
        )
    if dataset.attrs.get("content_sha256") != content_digest(dataset):
        raise ValueError(
            f"results={path}: the numbers do not match the file's digest, they were changed after "
            "the measurement; restore the file or measure it again"
        )
    return _version2.upgraded(dataset) if old else dataset


def kind_of(dataset: xr.Dataset) -> str:
    """What a results file holds, one of `SCHEMA_VERSIONS`."""
    return str(dataset.attrs.get("kind", "response"))


def results_for(
    model: str,
    settings: Settings,
    folder: str | Path = "runs",
    also: Sequence[str | Path] = (),
    progress: bool = False,
) -> xr.Dataset:
    """Results with exactly these settings: read from a file, or else measured and saved.

    Any file counts whose model, weights and `description` are those asked for; it may hold the
    linear limit unasked. The device may differ. A new measurement is that of `measure_into`.

    Args:
        model: what `load_model` takes, or a results file (.nc), which is taken as it is.
        settings: what to measure.
        folder: where files are looked for, and where a new measurement is saved.
        also: further folders to look in, such as that of the shipped results.
        progress: show progress bars while measuring.
    """
    if model.endswith(".nc"):
        return load_results(model)
    folder = Path(folder)
    for dataset in _files_in(*also, folder):
        if _answers(dataset, model, settings):
            return dataset
    return measure_into(folder / results_name(model, settings), model, settings, progress)


def results_for_text(
    model: str,
    text: str,
    folder: str | Path = "runs",
    also: Sequence[str | Path] = (),
    progress: bool = False,
    bos: bool | None = None,
    repeat: bool = False,
    length: int | None = None,
    **others: Any,
) -> xr.Dataset:
    """`results_for` a text: found again by a digest of it, so that no tokenizer is needed for that.

    Args:
        model: what `load_model` takes.
        text: passages separated by blank lines.
        folder: as for `results_for`.
        also: as for `results_for`.
        progress: as for `results_for`.
        bos: as for `tokens_of_text`, and so `repeat` and `length`.
        repeat: write every passage twice.
        length: tokens kept of each passage.
        others: further `Settings`.

    Raises:
        ValueError: the model has no tokenizer, or the text is too short.
    """
    digest = text_digest(text, bos, repeat, length)
    for dataset in _files_in(*also, folder):
        if dataset.attrs.get("text_sha256") == digest:
            found = settings_of(dataset)
            asked = Settings(
                tokens=found.tokens, t0=found.t0, text_sha256=found.text_sha256, **others
            )
            if _answers(dataset, model, asked):
                return dataset
    tokenizer = load_tokenizer(model)
    settings = Settings.for_text(text, tokenizer, bos, repeat, length, **others)
    return results_for(model, settings, folder, also, progress)


def measure_into(
    path: str | Path,
    model: TransformerBridge | str,
    settings: Settings,
    progress: bool = False,
    executor: Executor | None = None,
) -> xr.Dataset:
    """Measure and save, with the finished shards beside the file until it is written.

    The same call goes on after a kill. Arguments are those of `measure`.

    Returns:
        What `load_results` reads from the file.

    Raises:
        ValueError: the path is a folder, or as for `measure`.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"out={path}: is a folder; give the name of a file in it")
    shards = path.with_suffix(".shards")
    save_results(measure(model, settings, progress, shards, executor), path)
    shutil.rmtree(shards, ignore_errors=True)
    return load_results(path)


def results_name(model: str, settings: Settings) -> str:
    """File name of a measurement: model, T0, batch, seed and a digest of its description."""
    digest = hashlib.sha256(repr(description(settings)).encode()).hexdigest()[:8]
    drawn = f"s{settings.seed}" if settings.tokens is None else settings.input
    return f"{file_stem(model)}-t{settings.t0}-b{settings.batch}-{drawn}-{digest}.nc"


def file_stem(model: str) -> str:
    """A model in a file name: its registered name, the name of its folder, or owner--name."""
    return Path(model).name if Path(model).is_dir() else model.replace("/", "--")


def settings_of(dataset: xr.Dataset) -> Settings:
    """The settings a Dataset was measured with, for measuring it again.

    Args:
        dataset: results, measured just now or read from a file.

    Returns:
        Settings that hold the tokens, if they were given. `device` and `sequences_per_chunk` are
        the defaults, since they change no more than rounding; `products` is what was taken.
    """
    attrs = dataset.attrs
    perturbations: dict[str, Callable[[], object]] = {
        "scaling": Scaling,
        "swap": lambda: Swap(int(attrs["perturbation_token"])),
        "direction": lambda: Direction(torch.from_numpy(dataset.direction.values)),
    }
    t0, distance, epsilon0 = int(attrs["t0"]), attrs["distance"], attrs["epsilon0"]
    return Settings(
        tokens=None if attrs["input"] == RANDOM else token_rows(dataset.tokens.values),
        text_sha256=str(attrs.get("text_sha256", "")),
        t0=t0,
        batch=int(attrs["batch"]),
        epsilons=tuple(dataset.epsilon.values.tolist()),
        epsilon0=Settings.epsilon0 if epsilon0 == "none" else float(epsilon0),
        distance=None if distance in ("none", t0 - 1) else int(distance),
        sources=None if attrs["sources"] == "all" else int(attrs["sources"]),
        perturbation=perturbations[attrs["perturbation"]](),
        perturbed_position=int(attrs["perturbed_position"]),
        seed=0 if attrs["seed"] == "none" else int(attrs["seed"]),
        distinct=bool(attrs["distinct"]),
        linear="linear" in dataset,
        products=str(attrs["products"]),
        dtype=str(attrs["dtype"]),
    )


def architecture_of(dataset: xr.Dataset) -> dict[str, str | int]:
    """What Table 1 says of the measured model (`models.architecture`), as the results record it."""
    return json.loads(dataset.attrs["architecture"])


def content_digest(dataset: xr.Dataset) -> str:
    """Digest of names, dimensions and values of all variables and of the settings."""
    digest = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        variable = dataset[name]
        values = variable.values
        described = f"{name} {variable.dims} {values.shape}"
        digest.update(described.encode())
        text = values.dtype.kind in "OUT"
        digest.update(
            repr(values.tolist()).encode() if text else np.ascontiguousarray(values).tobytes()
        )
    settings = {
        name: str(value) for name, value in dataset.attrs.items() if name != "content_sha256"
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()


def _answers(dataset: xr.Dataset, model: str, settings: Settings) -> bool:
    """Whether a Dataset is what measuring a model with these settings would give."""
    found, asked = description(settings_of(dataset)), description(settings)
    if not settings.linear:
        del found["linear"], asked["linear"]
    if settings.products == "auto":
        del found["products"], asked["products"]
    if found != asked or dataset.attrs["model"] != model:
        return False
    hashes = {dataset.attrs["weights_sha256"], weights_sha256(model)} - {"unknown"}
    return len(hashes) <= 1


def _files_in(*folders: str | Path) -> Iterator[xr.Dataset]:
    for path in sorted(path for folder in folders for path in Path(folder).glob("*.nc")):
        try:
            dataset = load_results(path, kind=None)
        except ValueError as error:
            warnings.warn(f"{error}; skipped", stacklevel=3)
            continue
        if kind_of(dataset) == "response":
            yield dataset


def _rounded(dataset: xr.Dataset, name: str, bits: int) -> np.ndarray:
    """The values of a variable, to so many bits."""
    array = dataset[name]
    leading = _leading_bits(array.values, bits)
    bounded = array.metric.str.startswith("theta") if "metric" in array.dims else False
    if name.endswith("sem"):
        return leading
    unit = xr.full_like(array, 2.0**-bits, dtype=float)
    if name.endswith("sum"):
        place = name.removeprefix("linear_").partition("_")[0]
        # A power of two, so that the sum ends in zeros.
        unit = unit * 2 ** np.floor(np.log2(pairs_at(dataset, place).clip(min=1)))
        bounded = bounded | ("_log_" in name)
    steps = (array / unit).round() * unit
    return xr.where(bounded, steps, leading).transpose(*array.dims).values.astype(np.float32)


def _leading_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Keep the leading bits of float32 numbers."""
    drop = 23 - bits
    as_integer = np.ascontiguousarray(values).view(np.uint32)
    rounded = (as_integer + np.uint32(1 << (drop - 1))) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)
