"""Subtraction measured again and compared."""

import numpy as np
import xarray as xr

from universal_response.measurement import Verification, check_weights
from universal_response.models import weights_sha256
from universal_response.subtraction.errors import typical_error
from universal_response.subtraction.measure import measure_subtraction

CARRIED, MAGNITUDE = 1e-3, 3.0  # allowed: relative, and a factor

# Rounded after every operation, the same on every processor (`Float32Products`). How products in
# float32 and float64 round is each processor's own affair.
HALF = ("float16", "bfloat16")


def verify_subtraction(dataset: xr.Dataset, quick: bool = False) -> Verification:
    """Measure again and compare: the carried change to 1e-3, a rounding error in its magnitude.

    Of the error of the plain way the median over pairs is compared, by a factor of three, and only
    in half precision: in float32 and float64 it depends on the processor. Allowed is 1 in the sense
    of `Verification`.

    Args:
        dataset: results of `measure_subtraction`.
        quick: only the last number type, at two strengths.

    Raises:
        ValueError: the weights or the tokens are not those recorded.
        WeightsUnavailable: the weights are not to be had.
    """
    at_hand = weights_sha256(dataset.attrs["model"])
    if at_hand != "unknown":
        check_weights(dataset.attrs["weights_sha256"], at_hand)
    asked = dataset
    if quick:
        asked = dataset.isel(number_type=[-1], epsilon=[len(dataset.epsilon) // 2, -3])
    found = measure_subtraction(
        dataset.attrs["model"],
        epsilons=asked.epsilon.values.tolist(),
        number_types=asked.number_type.values.tolist(),
        t0=dataset.attrs["t0"],
        sources=dataset.sizes["draw"],
        seed=dataset.attrs["seed"],
    )
    for name in ("tokens", "sources"):
        if not found[name].identical(asked[name]):
            raise ValueError(f"{name}: not those of seed={dataset.attrs['seed']}; file was changed")
    check_weights(dataset.attrs["weights_sha256"], found.attrs["weights_sha256"])
    off = abs(found.carried / asked.carried - 1)
    excess = [(off / CARRIED).max(("draw", "target")).fillna(np.inf)]
    half = [name for name in asked.number_type.values if name in HALF]
    if half:
        excess.append(_apart(*(each.sel(number_type=half) for each in (asked, found))))
    joined = xr.concat(excess, "compared", join="outer")
    at = joined.isel(joined.fillna(-1.0).argmax(...))
    where = {name: at[name].item() for name in ("number_type", "epsilon")}
    compared = int(off.count()) + sum(each.size for each in excess[1:])
    return Verification(compared, float(at), where, float(off.median()))


def _apart(shipped: xr.Dataset, found: xr.Dataset) -> xr.DataArray:
    """How far the median errors of the plain way lie apart, as a multiple of what is allowed."""
    old, new = typical_error(shipped), typical_error(found)
    ratio = abs(np.log(new / old)) / np.log(MAGNITUDE)
    return xr.where(old == new, 0.0, ratio).fillna(np.inf)
