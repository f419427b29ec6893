"""Results that are there already."""

import dataclasses

import pytest
import xarray as xr
from measured import MEASURE, numbers
from universal_response import Settings, measure, measure_into, measurement, results_for

SMALL = Settings(t0=3, batch=2, epsilons=(0.01, 0.05, 0.2), epsilon0=0.05, seed=7)


@pytest.fixture
def counted(single, monkeypatch):
    """Counts measurements of a model called `tiny`."""
    calls = []

    def counting(model, settings, progress=False, shards=None, executor=None):
        calls.append(settings)
        return measure(single, settings, progress).assign_attrs(model=model)

    monkeypatch.setattr(MEASURE, "measure", counting)
    return calls


def test_results_are_measured_once(counted, tmp_path):
    first = results_for("tiny", SMALL, tmp_path)
    second = results_for("tiny", SMALL, tmp_path)
    assert counted == [SMALL]
    xr.testing.assert_equal(first, second)
    assert len(list(tmp_path.iterdir())) == 1


def test_any_file_name_will_do(counted, tmp_path):
    results_for("tiny", SMALL, tmp_path)
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "renamed.nc")
    results_for("tiny", SMALL, tmp_path)
    assert len(counted) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"t0": 4},
        {"batch": 1},
        {"epsilons": (0.02, 0.05)},
        {"epsilons": (0.01, 0.05, 0.2, 0.3)},
        {"epsilon0": 0.01},
        {"seed": 8},
        {"sources": 2},
        {"distance": 1},
        {"distinct": True},
    ],
)
def test_other_settings_are_measured(counted, tmp_path, change):
    other = dataclasses.replace(SMALL, **change)
    results_for("tiny", SMALL, tmp_path)
    results_for("tiny", other, tmp_path)
    assert counted == [SMALL, other]
    assert len(list(tmp_path.iterdir())) == 2


def test_strengths_among_those_measured_are_taken(counted, tmp_path):
    more = results_for("tiny", SMALL, tmp_path)
    fewer = dataclasses.replace(SMALL, epsilons=(0.2, 0.05))
    found = results_for("tiny", fewer, tmp_path)
    assert counted == [SMALL]
    assert measurement.settings_of(found).epsilons == fewer.epsilons
    anew = measure_into(tmp_path / "elsewhere.nc", "tiny", fewer)
    for name in ("response", "last_sum", "witness", "linear", "matrix"):
        xr.testing.assert_allclose(found[name], anew[name], rtol=1e-3, atol=1e-6)
    assert numbers(found).identical(numbers(more.sel(epsilon=list(fewer.epsilons))))


def test_other_model_is_measured(counted, tmp_path):
    results_for("tiny", SMALL, tmp_path)
    results_for("owner/other", SMALL, tmp_path)
    assert len(counted) == len(list(tmp_path.iterdir())) == 2


def test_device_and_chunks_are_not_compared(counted, tmp_path):
    results_for("tiny", SMALL, tmp_path)
    elsewhere = dataclasses.replace(SMALL, device="cpu", sequences_per_chunk=1)
    results_for("tiny", elsewhere, tmp_path)
    assert len(counted) == 1


def test_results_without_the_limit_do_not_serve_who_asks_for_it(counted, tmp_path):
    without = dataclasses.replace(SMALL, linear=False)
    results_for("tiny", without, tmp_path)
    assert "linear" in results_for("tiny", SMALL, tmp_path)
    assert len(counted) == 2
    # Who does not ask is served by either.
    results_for("tiny", without, tmp_path)
    assert len(counted) == 2
