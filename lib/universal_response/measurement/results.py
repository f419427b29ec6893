"""Results files: save, seal, load."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from universal_response.measurement.output import check_file
from universal_response.measurement.schema import SCHEMA_VERSIONS, as_stored, kind_of


def save_results(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write a Dataset as NetCDF, complete or not at all, with a digest of its numbers.

    float32 numbers are rounded to the bits that carry information (`schema.STORED_BITS`).

    Returns:
        The path written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = as_stored(dataset)
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


def made_into(
    path: str | Path,
    make: Callable[[Path], xr.Dataset],
    kind: str = "response",
    suffix: str = ".parts",
) -> xr.Dataset:
    """Make results and save them, with what is finished beside the file until it is written.

    Args:
        path: of the file.
        make: makes the results, and keeps what is finished in the folder that it is given.
        kind: what the results are.
        suffix: of that folder, in place of the file's.

    Returns:
        What `load_results` reads from the file.

    Raises:
        ValueError: the path is a folder.
    """
    path = Path(path)
    check_file(path)
    parts = path.with_suffix(suffix)
    save_results(make(parts), path)
    shutil.rmtree(parts, ignore_errors=True)
    return load_results(path, kind)


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
        raise ValueError(_unreadable(path)) from error
    found, held = dataset.attrs.get("schema_version", "none"), kind_of(dataset)
    if kind not in (held, None):
        raise ValueError(f"results={path}: holds {held}, not {kind}; give a file of that kind")
    if found != SCHEMA_VERSIONS.get(held):
        raise ValueError(
            f"results={path}: schema version {found}, this library reads "
            f"{SCHEMA_VERSIONS.get(held)}; measure it again"
        )
    if dataset.attrs.get("content_sha256") != content_digest(dataset):
        raise ValueError(
            f"results={path}: the numbers do not match the file's digest, they were changed after "
            "the measurement; restore the file or measure it again"
        )
    return dataset


def attributes_in(path: str | Path) -> dict[str, Any]:
    """The attributes of a NetCDF file, without its numbers.

    Raises:
        ValueError: not a readable NetCDF file.
    """
    try:
        with h5py.File(path) as file:
            return dict(file.attrs)
    except OSError as error:
        raise ValueError(_unreadable(path)) from error


def _unreadable(path: str | Path) -> str:
    return f"results={path}: not a readable NetCDF file; measure it again"


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
