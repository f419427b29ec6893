"""Results that are there already."""

import dataclasses
import functools
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from measured import MEASURE, few, measured, numbers
from messages import one_line
from tiny_models import tiny_model
from universal_response import (
    Arrangement,
    Direction,
    RandomDirection,
    Settings,
    Swap,
    load_results,
    measure_into,
    measurement,
    models,
    results_for,
    save_results,
)
from universal_response.measurement import find
from universal_response.measurement.description import answer, results_name

pytestmark = pytest.mark.slow

SMALL = Settings(t0=3, batch=2, epsilons=(0.01, 0.05, 0.2), epsilon0=0.05, seed=7)


@pytest.fixture
def counted(single, monkeypatch):
    """Counts measurements of a model called `tiny`, and gives a part of their results."""
    calls = []

    def counting(model, settings, progress=False, shards=None, executor=None):
        calls.append(settings)
        return few(measured(single, settings)).assign_attrs(model=model)

    monkeypatch.setattr(MEASURE, "measure", counting)
    return calls


@pytest.fixture(scope="module")
def small(single, tmp_path_factory):
    """A file of `SMALL`."""
    found = few(measured(single, SMALL)).assign_attrs(model="tiny")
    return load_results(save_results(found, tmp_path_factory.mktemp("small") / "small.nc"))


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
        {"epsilons": (0.01, 0.2), "epsilon0": 0.01},
        {"epsilon0": 0.01},
        {"seed": 8},
        {"sources": 2},
        {"distance": 1},
        {"distinct": True},
        {"arrangement": Arrangement(gap=2)},
        {"arrangement": Arrangement(copies=3)},
        {"arrangement": Arrangement(later="shuffled")},
        {"perturbation": RandomDirection()},
        {"perturbation": Swap(3)},
        {"perturbation": Direction(np.ones(32))},
    ],
)
def test_other_settings_are_other_results(small, change):
    other = dataclasses.replace(SMALL, **change)
    assert answer(small, "tiny", other) is None
    assert results_name("tiny", other) != results_name("tiny", SMALL)


def test_other_settings_are_measured(counted, tmp_path):
    other = dataclasses.replace(SMALL, seed=8)
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


COMPONENTS = np.random.default_rng(0).normal(size=32)  # none of them a float32


@pytest.mark.parametrize(
    "perturbation",
    [
        *(Swap(3), Swap(3, "three"), Direction(COMPONENTS), Direction(COMPONENTS, "up")),
        *(RandomDirection(0), RandomDirection(5)),
    ],
)
def test_other_perturbations_are_found_again(counted, tmp_path, perturbation):
    asked = dataclasses.replace(SMALL, perturbation=perturbation)
    results_for("tiny", SMALL, tmp_path)
    results_for("tiny", asked, tmp_path)
    found = results_for("tiny", asked, tmp_path)
    assert len(counted) == 2
    assert measurement.description(measurement.settings_of(found)) == measurement.description(asked)


@pytest.mark.parametrize(
    "change",
    [
        {"arrangement": Arrangement(later="shuffled", copies=3, gap=1)},
        {"arrangement": Arrangement(later="other"), "distance": 4},
        {"arrangement": Arrangement(gap=2), "distinct": True, "t0": 4},
    ],
)
def test_other_arrangements_are_found_again(counted, tmp_path, change):
    asked = dataclasses.replace(SMALL, **change)
    results_for("tiny", SMALL, tmp_path)
    results_for("tiny", asked, tmp_path)
    found = results_for("tiny", asked, tmp_path)
    assert len(counted) == 2
    assert measurement.description(measurement.settings_of(found)) == measurement.description(asked)


@dataclasses.dataclass(frozen=True)
class Halving:
    """A user's own."""

    name: str = "halving"

    def direction(self, states, replaced):
        return -states / 2


def test_a_perturbation_of_ones_own_is_never_found_and_harms_nothing(counted, tmp_path):
    own = dataclasses.replace(SMALL, perturbation=Halving())
    for _ in range(2):
        results_for("tiny", own, tmp_path)
        results_for("tiny", SMALL, tmp_path)
    assert counted == [own, SMALL, own]
    with pytest.raises(ValueError, match=one_line("perturbation=halving: ")):
        measurement.settings_of(results_for("tiny", own, tmp_path))


def test_a_folder_may_be_written_in_several_ways(counted, tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "weights_sha256", lambda name: "unknown")

    def counting(model, settings, *others):
        counted.append(model)
        return few(measure_small(settings)).assign_attrs(model=str(Path(model)))

    measure_small = functools.partial(measured, tiny_model("llama"))
    monkeypatch.setattr(MEASURE, "measure", counting)
    for written in ("model", "./model", "model/"):
        results_for(written, SMALL, tmp_path)
    assert counted == ["model"]


def test_what_is_damaged_is_told_and_skipped(counted, tmp_path):
    (tmp_path / "text.nc").write_text("not a results file")
    results_for("tiny", SMALL, tmp_path)
    with pytest.warns(UserWarning, match=one_line("results=[^\n]*text.nc: [^\n]*; skipped")):
        results_for("tiny", SMALL, tmp_path)
    assert len(counted) == 1


def test_other_files_are_not_read(counted, tmp_path, monkeypatch):
    for other in (SMALL, dataclasses.replace(SMALL, t0=4)):
        results_for("tiny", other, tmp_path)
    results_for("other", SMALL, tmp_path)
    read = []
    monkeypatch.setattr(find, "load_results", lambda path: read.append(path) or load_results(path))
    results_for("tiny", SMALL, tmp_path)
    assert len(read) == 1


def test_folders_of_one_name_have_files_of_their_own(tmp_path):
    for run in ("first", "second"):
        (tmp_path / run / "step1000").mkdir(parents=True)
    names = {results_name(str(tmp_path / run / "step1000"), SMALL) for run in ("first", "second")}
    assert len(names) == 2
    assert all(re.fullmatch(r"step1000-\w{8}-t3-b2-s7-\w{8}\.nc", name) for name in names)
