"""What a propagator says, on numbers whose answer is known."""

import numpy as np
import pytest
import xarray as xr
from universal_response import propagator

T0, SEQUENCES = 8, 4


@pytest.fixture(scope="module")
def study():
    """At T0 - 1 a tenth more for each l' that is left, at T0 alike, at T0/2 one."""
    starts, ends = 5, 6
    logs = np.zeros((starts, ends, 3, SEQUENCES))
    logs[..., 0, :] = 0.1 * np.arange(starts)[::-1, None, None] - 0.15
    logs += 0.01 * np.array([-1, 1, -1, 1]) * np.array([1, 0, 0])[:, None]
    dims = ("perturbed_position", "position", "compared", "sequence")
    return xr.Dataset(
        {"log_response": (dims, logs), "response": (dims, np.exp(logs))},
        {
            "compared": [T0 - 1, T0, T0 // 2],
            "perturbed_position": range(starts),
            "position": range(ends),
        },
        {"t0": T0},
    )


def test_ratio_is_one_of_geometric_means_with_its_error(study):
    found = propagator.ratio(study, T0).isel(position=-1)
    # Numbers below one, in float64.
    np.testing.assert_allclose(found["mean"], [0.25, 0.15, 0.05, -0.05, -0.15], atol=1e-12)
    np.testing.assert_allclose(found.error, 0.01 * np.sqrt(4 / 3) / 2)
    same = propagator.ratio(study, T0 // 2, distance=T0)
    assert (same["mean"] == 0).all()


def test_the_last_that_leads(study):
    assert propagator.last_above(propagator.ratio(study, T0)) == 2
    assert propagator.last_above(propagator.ratio(study, T0 // 2, distance=T0)) is None
    noisy = propagator.ratio(study, T0)
    noisy["error"] = noisy.error + 0.05
    assert propagator.last_above(noisy) == 1


def test_onset_is_where_the_lead_is_kept(study):
    """From l' = 0 it is lost once more, from l' = 4 never there."""
    response = study.response.copy()
    response[0, :3, 0] = response[0, 4, 0] = 0
    found = propagator.onset(study.assign(response=response))
    np.testing.assert_array_equal(found, [5, 0, 0, np.nan, np.nan])
