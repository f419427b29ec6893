"""Parts of a results file by what they mean: strength, last position, window, linear limit."""

import json

import numpy as np
import xarray as xr


def last(dataset: xr.Dataset) -> int:
    """Index l of the last position of the residual stream (2L)."""
    return int(dataset.position[-1])


def at_epsilon(array: xr.DataArray, epsilon: float) -> xr.DataArray:
    """The entry of one measured strength.

    Args:
        array: any array with dimension epsilon.
        epsilon: the strength, to six digits.

    Returns:
        The array without that dimension.

    Raises:
        ValueError: epsilon was not measured.
    """
    found = np.isclose(array.epsilon, epsilon, rtol=1e-6, atol=0)
    if not found.any():
        measured = ", ".join(f"{value:g}" for value in array.epsilon.values)
        raise ValueError(f"epsilon={epsilon:g} was not measured; choose one of {measured}")
    return array.isel(epsilon=int(found.argmax()))


def measured_linear(dataset: xr.Dataset) -> xr.DataArray:
    """The exact limit epsilon -> 0 of C / epsilon^power.

    Args:
        dataset: results of one model.

    Returns:
        DataArray (metric, position, delta_j).

    Raises:
        ValueError: the results hold no linear limit.
    """
    if "linear" not in dataset:
        raise ValueError("linear: not in these results; measure with linear=True")
    return dataset.linear


def peak_distance(dataset: xr.Dataset) -> int:
    """The dj at which a peak is expected, T0 - 1 where a block is repeated.

    Raises:
        ValueError: it is expected nowhere.
    """
    distance = dataset.attrs["distance"]
    if distance == "none":
        raise ValueError("distance: no peak is expected in these results; measure with distance=dj")
    return int(distance)


def window(t0: int, half_width: int = 5, t: int | None = None) -> np.ndarray:
    """The dj = T0 - 5 .. T0 + 5 shown in Fig. 4 and 5, cut at the ends of the sequence.

    Args:
        t0: its middle.
        half_width: dj on either side.
        t: length T of the sequence; 2 T0 if None.
    """
    last = (2 * t0 if t is None else t) - 1
    return np.arange(max(t0 - half_width, 0), min(t0 + half_width, last) + 1)


def second_attention_on(response: xr.DataArray) -> xr.DataArray:
    """Positions from the second attention sublayer on, the first that can pass a response on.

    Up to there another token responds only through the constant of the norm (method page, "Why the
    first layer hardly notices"): its cosines are exact, but those of that leak.

    Args:
        response: with the coordinate `sublayer` along `position`.
    """
    return response.sublayer.isin(["attention", "block"]).cumsum("position") >= 2


def architecture_of(dataset: xr.Dataset) -> dict[str, str | int]:
    """What Table 1 says of the measured model (`models.architecture`), as the results record it."""
    return json.loads(dataset.attrs["architecture"])
