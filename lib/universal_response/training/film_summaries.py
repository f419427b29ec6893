"""What a film of a training says. Pure functions of its Dataset."""

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
    response = film["linear" if linear else "response"].isel(position=-1)
    distances = xr.zeros_like(film.t0) if offset is None else film.t0 + offset
    return response.sel(delta_j=distances).drop_vars("delta_j")


def share(film: xr.Dataset, linear: bool = True) -> xr.DataArray:
    """C(T0 - 1) / (C(T0 - 1) + C(T0)) (frame, position); nan where both vanish."""
    response = film["linear" if linear else "response"]
    before, same = (
        response.sel(delta_j=film.t0 + offset).drop_vars("delta_j") for offset in (-1, 0)
    )
    both = before + same
    return before / both.where(both > 0)


def above_rest(film: xr.Dataset, half_window: int) -> xr.DataArray:
    """C(T0 - 1) over the largest other dj within a window around T0 (frame, position)."""
    offsets = [k for k in range(-half_window, half_window + 1) if k != -1]
    others = xr.concat(
        [film.linear.sel(delta_j=film.t0 + k).drop_vars("delta_j") for k in offsets], "offset"
    ).max("offset")
    before = film.linear.sel(delta_j=film.t0 - 1).drop_vars("delta_j")
    return before / others.where(others > 0)
