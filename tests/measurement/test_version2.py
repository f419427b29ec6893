"""Files of the version before."""

import numpy as np
import pytest
import xarray as xr
from universal_response import load_results, measurement, response, save_results, verify


def old(dataset):
    """As version 2 had it."""
    n, t0 = dataset.n_pairs, dataset.attrs["t0"]
    near = response.pairs_at(dataset, "window")
    variables = {
        "last_response": dataset.last_sum / n,
        "peak_response": dataset.peak_sum / (2 * t0 - (t0 - 1)),
        "window_response": dataset.window_sum / near,
        "last_linear": dataset.linear_last_sum / n,
        "floor": xr.full_like(dataset.linear, 1e-8),
    }
    kept = ["tokens", "response", "response_sem", "matrix", "witness", "linear", "linear_sem"]
    attributes = {
        name: value
        for name, value in dataset.attrs.items()
        if name in {"t0", "batch", "epsilon0", "seed", "input", "dtype", "model", "weights_sha256"}
    }
    made = dataset[kept].drop_vars("pair_distance", errors="ignore").assign(variables)
    return made.transpose("metric", "epsilon", "sequence", ...).assign_attrs(
        attributes, schema_version=2
    )


@pytest.fixture(scope="module")
def version2(shipped, tmp_path_factory):
    return load_results(save_results(old(shipped), tmp_path_factory.mktemp("old") / "old.nc"))


def test_version_2_is_read_under_the_names_of_version_3(shipped, version2):
    for name in ("last_sum", "peak_sum", "window_sum", "linear_last_sum"):
        assert version2[name].dims == shipped[name].dims
        np.testing.assert_allclose(version2[name], shipped[name], rtol=2e-3, atol=2e-2)
    for name in ("sources", "n_pairs"):
        np.testing.assert_array_equal(version2[name], shipped[name])
    assert "floor" not in version2
    assert measurement.settings_of(version2) == measurement.settings_of(shipped)


def test_version_2_agrees_within_its_noise(single, version2):
    assert verify(version2, single).agrees
    assert verify(version2, single, quick=True).agrees
    for name, at in (("witness", (0, 1, -1, 3)), ("linear_witness", (0, -1, 3))):
        changed = version2.copy(deep=True)
        changed[name][at] *= 1.01
        assert not verify(changed, single).agrees
