"""Results that are here already, and else measured."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from universal_response import measurement, models
from universal_response.measurement.description import (
    answer,
    file_stem,
    recorded_name,
    results_name,
    same_weights,
    settings_of,
)
from universal_response.measurement.results import attributes_in, load_results
from universal_response.measurement.schema import kind_in
from universal_response.measurement.settings import Settings, recorded
from universal_response.sequences import text_digest


def results_for(
    model: str,
    settings: Settings,
    folder: str | Path = "runs",
    also: Sequence[str | Path] = (),
    progress: bool = False,
) -> xr.Dataset:
    """Results with exactly these settings: read from a file, or else measured and saved.

    Any file counts whose model, weights and `description` are those asked for; it may hold the
    linear limit and further strengths unasked, which are left out. The device may differ. A new
    measurement is that of `measure_into`.

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
    for dataset in _files_in(*also, folder, model=recorded_name(model), t0=settings.t0):
        if (found := answer(dataset, model, settings)) is not None:
            return found
    return measurement.measure_into(
        folder / results_name(model, settings), model, settings, progress
    )


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
    for dataset in _files_in(*also, folder, model=recorded_name(model), text_sha256=digest):
        has = settings_of(dataset)
        asked = Settings(tokens=has.tokens, t0=has.t0, text_sha256=has.text_sha256, **others)
        if (found := answer(dataset, model, asked)) is not None:
            return found
    tokenizer = models.load_tokenizer(model)
    settings = Settings.for_text(text, tokenizer, bos, repeat, length, **others)
    return results_for(model, settings, folder, also, progress)


def already_there(
    name: str,
    kind: str,
    folders: Sequence[str | Path],
    model: str | None = None,
    fits: Callable[[xr.Dataset], bool] = lambda found: True,
) -> xr.Dataset | None:
    """A results file of this name, the first that is of the model and fits; None if none is.

    Args:
        name: of the file.
        kind: of results.
        folders: where it is looked for.
        model: what `load_model` takes; any if None.
        fits: whether results are those asked for.
    """
    for path in (Path(folder) / name for folder in folders):
        if path.exists():
            found = load_results(path, kind=kind)
            of_model = model is None or (
                found.attrs["model"] == recorded_name(model) and same_weights(found, model)
            )
            if of_model and fits(found):
                return found
    return None


def found_or_made(
    kind: str,
    model: str,
    settings: Any,
    make: Callable[[Path], xr.Dataset],
    runs: str | Path,
    also: Sequence[str | Path],
) -> xr.Dataset:
    """Results of a study of a model: read from KIND-MODEL.nc, or made and saved there.

    Args:
        kind: of results.
        model: what `load_model` takes, or a results file (.nc), which is taken as it is.
        settings: asked for, with a `device` that does not matter.
        make: makes the results and saves them.
        runs: folder of what is made.
        also: further folders to look in, before that one.
    """
    if model.endswith(".nc"):
        return load_results(model, kind=kind)
    name, asked = f"{kind}-{file_stem(model)}.nc", replace(settings, device=type(settings).device)
    found = already_there(
        name, kind, (*also, runs), model, lambda one: recorded(type(settings), one.attrs) == asked
    )
    return make(Path(runs) / name) if found is None else found


def _files_in(*folders: str | Path, **attributes: object) -> Iterator[xr.Dataset]:
    """Files of responses with these attributes; others are not read further than theirs."""
    for path in sorted(path for folder in folders for path in Path(folder).glob("*.nc")):
        try:
            held = attributes_in(path)
            if kind_in(held) == "response" and attributes.items() <= held.items():
                yield load_results(path)
        except ValueError as error:
            warnings.warn(f"{error}; skipped", stacklevel=3)
