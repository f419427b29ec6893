"""Subtraction measured again and compared."""

import numpy as np
import xarray as xr

from universal_response.measurement import Verification, check_weights
from universal_response.models import weights_sha256
from universal_response.subtraction.errors import typical_error
from universal_response.subtraction.measure import measure_subtraction

CARRIED, MAGNITUDE = 1e-3, 3.0  # allowed: relative, and a factor


def verify_subtraction(dataset: xr.Dataset, quick: bool = False) -> Verification:
    """Measure again and compare: the carried change to 1e-3, a rounding error in its magnitude.

    Another processor rounds other digits, so of the plain way's error the median is compared, by a
    factor of three. Allowed is 1 in the sense of `Verification`.

    Args:
        dataset: results of `measure_subtraction`.
        quick: only the second number type, at two strengths.

    Raises:
        ValueError: the weights or the tokens are not those recorded.
        WeightsUnavailable: the weights are not to be had.
    """
    at_hand = weights_sha256(dataset.attrs["model"])
    if at_hand != "unknown":
        check_weights(dataset.attrs["weights_sha256"], at_hand)
    asked = dataset
    if quick:
        asked = dataset.isel(number_type=[1], epsilon=[len(dataset.epsilon) // 2, -3])
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
    of_carried = (off / CARRIED).max(("draw", "target"))
    old, new = typical_error(asked), typical_error(found)
    of_error = xr.where(old == new, 0.0, abs(np.log(new / old)) / np.log(MAGNITUDE))
    excess = xr.concat([of_carried, of_error], "compared").fillna(np.inf)
    at = excess.isel(excess.argmax(...))
    where = {name: at[name].item() for name in ("number_type", "epsilon")}
    return Verification(int(off.count()) + old.size, float(at), where, float(off.median()))
