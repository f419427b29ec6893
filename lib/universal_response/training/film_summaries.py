"""What a film of a training says. Pure functions of its Dataset."""

import json

import numpy as np
import xarray as xr

# Accuracies at whose first passing the film is stopped for a look.
LOOKS = (0.25, 0.5, 0.9)


def shown_frames(film: xr.Dataset) -> list[int]:
    """Places of a few frames: random weights, where accuracy passes `LOOKS`, ends of phases."""
    first = np.flatnonzero(film.frame_phase.values == 0)
    accuracy = film.accuracy.values[first]
    passed = [int(first[(accuracy > level).argmax()]) for level in LOOKS if accuracy.max() > level]
    ends = [int(np.flatnonzero(film.frame_phase.values == n)[-1]) for n in phases_of(film)]
    return sorted({0, *passed, *ends})


def phases_of(film: xr.Dataset) -> list[int]:
    """Numbers of the phases of the curriculum that have frames."""
    return sorted(set(film.frame_phase.values.tolist()))


def at_distance(film: xr.Dataset, offset: int | None, linear: bool = True) -> xr.DataArray:
    """C_delta at the last position at dj = T0 + offset of every frame's own T0; None for dj = 0.

    Args:
        film: some frames.
        offset: of the distance from T0.
        linear: in the limit.

    Returns:
        (frame,).
    """
    last = _response(film, linear).isel(position=-1)
    return _near(last, film, offset) if offset is not None else last.sel(delta_j=0, drop=True)


def share(film: xr.Dataset, linear: bool = True) -> xr.DataArray:
    """C(T0 - 1) / (C(T0 - 1) + C(T0)) (frame, position); nan where both vanish."""
    before, same = (_near(_response(film, linear), film, offset) for offset in (-1, 0))
    both = before + same
    return before / both.where(both > 0)


def above_rest(film: xr.Dataset, half_window: int) -> xr.DataArray:
    """C(T0 - 1) over the largest other dj within a window around T0 (frame, position)."""
    offsets = [k for k in range(-half_window, half_window + 1) if k != -1]
    others = xr.concat([_near(film.linear, film, k) for k in offsets], "offset").max("offset")
    return _near(film.linear, film, -1) / others.where(others > 0)


def behind_gap(film: xr.Dataset) -> xr.Dataset:
    """The trained model with unseen tokens between the blocks, as a film of one frame.

    Its T0 is the distance of the repeat, gap and all.
    """
    gap = json.loads(film.attrs["film"])["gap"]
    distance = int(film.t0[-1]) + gap
    found = film[["gap_linear", "gap_accuracy"]].rename(
        gap_linear="linear", gap_accuracy="accuracy"
    )
    return found.expand_dims("frame").assign_coords(t0=("frame", [distance]))


def leads_for_good(film: xr.Dataset, half_window: int) -> int:
    """First frame from which on T0 - 1 is the largest of its window at the end of the model.

    The number of frames, if it is not at the end.
    """
    leads = above_rest(film, half_window).isel(position=-1).values > 1
    return int(np.flatnonzero(~leads).max(initial=-1)) + 1


def beyond_a_guess(film: xr.Dataset) -> int:
    """First frame whose accuracy exceeds that of a guess among the tokens of a block.

    The number of frames, if none does.
    """
    return int(((film.accuracy > 1 / film.t0).values.cumsum() == 0).sum())


def _response(film: xr.Dataset, linear: bool) -> xr.DataArray:
    return film["linear" if linear else "response"]


def _near(response: xr.DataArray, film: xr.Dataset, offset: int) -> xr.DataArray:
    """At dj = T0 + offset of every frame's own T0."""
    return response.sel(delta_j=film.t0 + offset).drop_vars("delta_j")
