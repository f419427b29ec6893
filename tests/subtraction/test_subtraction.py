"""What subtraction costs, on a tiny model: known regimes of rounding."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_models import tiny_hf_model
from universal_response import load_results, save_results, subtraction
from universal_response.models import load_model
from universal_response.subtraction import Float32Products, measure_subtraction
from universal_response.subtraction.measure import Asked, _weights_of

pytestmark = pytest.mark.slow

EPSILONS = (1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
# Weaker, and (1 - epsilon) x rounds to x: half the distance between neighbours, as a part of x.
LEAST = {"float16": 2**-12, "bfloat16": 2**-9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama")
    tiny_hf_model("llama").save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def what_is_verified_is_measured_again_once():
    """Whatever was changed in a file, `verify_subtraction` measures the same each time."""
    known = {}

    def once(*arguments, **named):
        asked = repr((arguments, named))
        if asked not in known:
            known[asked] = measure_subtraction(*arguments, **named)
        return known[asked].copy(deep=True)

    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules[subtraction.verify_subtraction.__module__]
        patch.setattr(module, "measure_subtraction", once)
        yield


@pytest.fixture(scope="module")
def found(folder):
    return measure_subtraction(folder, epsilons=EPSILONS, t0=6, sources=4, seed=1)


def error(found, number_type):
    of_type = subtraction.typical_error(found).sel(number_type=number_type)
    return dict(zip(EPSILONS, of_type.values, strict=True))


def test_pairs_are_those_right_of_the_source(found):
    assert found.subtracted.dims == ("number_type", "epsilon", "draw", "target")
    right = found.sources.values[:, None] <= np.arange(12)
    for name in ("subtracted", "carried"):
        assert (found[name].notnull().values == right).all()
    assert (found.carried.fillna(1) > 0).all()


def test_both_agree_where_digits_suffice(found):
    """In float64 the casts to float32 inside the model are what is left of rounding."""
    assert error(found, "float64")[0.1] < 1e-5
    assert error(found, "float32")[0.1] < 1e-5
    assert error(found, "bfloat16")[1.0] < 0.1


def test_rounding_weighs_more_the_weaker_the_strength(found):
    """As 1 / epsilon; a median over some twenty pairs scatters by a factor of a few."""
    of_type = error(found, "float32")
    weak = np.array(EPSILONS[:4])
    slope, _ = np.polyfit(np.log(weak), np.log([of_type[epsilon] for epsilon in weak]), 1)
    assert slope == pytest.approx(-1, abs=0.25)


@pytest.mark.parametrize("number_type", ["float16", "bfloat16"])
def test_what_is_lost_in_rounding_changes_nothing(found, number_type):
    silent = found.subtracted.sel(number_type=number_type).max(("draw", "target")) == 0
    expected = [epsilon < LEAST[number_type] for epsilon in EPSILONS]
    assert silent.values.tolist() == expected
    assert all(error(found, number_type)[e] == 1 for e in EPSILONS if silent.sel(epsilon=e))


def test_the_carried_change_is_proportional(found):
    slope = found.carried / found.epsilon
    weak = slope.sel(epsilon=[1e-6, 1e-4]).std("epsilon") / slope.sel(epsilon=1e-4)
    assert weak.max() < 1e-3


@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
def test_products_are_those_of_float32_rounded_once(low):
    a, b = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0)).to(low)
    exact = a.double() @ b.double()
    functions = [
        torch.matmul,
        lambda x, y: x @ y,
        lambda x, y: torch.nn.functional.linear(x, y.T),
        lambda x, y: torch.einsum("ij,jk->ik", x, y),
        lambda x, y: torch.addmm(torch.zeros(5, 5, dtype=low), x, y),
        lambda x, y: torch.bmm(x[None], y[None])[0],
    ]
    for function in functions:
        with Float32Products():
            found = function(a, b)
        assert found.dtype == low
        torch.testing.assert_close(found, exact.to(low), rtol=torch.finfo(low).eps, atol=0)
        with Float32Products():
            assert function(a.float(), b.float()).dtype == torch.float32 or function is functions[4]


def test_models_are_left_as_they_were(folder):
    double = load_model(folder, dtype="float64", tokenizer=False)
    low = load_model(folder, dtype="bfloat16", tokenizer=False)
    before = [each.clone() for each in double.original_model.parameters()]
    with _weights_of(double, low):
        for each, theirs in zip(
            double.original_model.parameters(), low.original_model.parameters(), strict=True
        ):
            assert each.dtype == torch.float64
            assert torch.equal(each.to(torch.bfloat16), theirs)
    for each, kept in zip(double.original_model.parameters(), before, strict=True):
        assert torch.equal(each, kept)
    asked = Asked(torch.arange(6)[None], torch.tensor([1]), (0.1,))
    subtraction.subtracted(double, asked)
    assert not any(point.fwd_hooks for point in double.hook_dict.values())


def test_errors_of_what_is_no_number():
    values = np.array([[[[np.nan, 1.0, 2.0], [np.nan, np.nan, np.nan]]]])
    carried = np.array([[[[np.nan, 2.0, 2.0], [np.nan, np.nan, 4.0]]]])
    dims = ("number_type", "epsilon", "draw", "target")
    dataset = xr.Dataset({"subtracted": (dims, values), "carried": (dims, carried)})
    found = subtraction.relative_error(dataset).values[0, 0]
    np.testing.assert_array_equal(found, [[np.nan, 0.5, 0], [np.nan, np.nan, np.inf]])
    assert subtraction.typical_error(dataset).item() == 0.5
    assert subtraction.typical_error(dataset, 1.0).item() == np.inf


def test_weakest_strength():
    error = xr.DataArray([3.0, 0.05, 0.2, 0.01], {"epsilon": [1, 2, 3, 4]}, "epsilon")
    asked = (10.0, 0.3, 0.1, 0.01)
    found = [subtraction.weakest_strength(error, bound) for bound in asked]
    assert found == [1, 2, 4, None]


def test_regimes(found):
    table = subtraction.regimes(found, bounds=(0.5,), strengths=(0.1,))
    assert list(table.index) == list(subtraction.NUMBER_TYPES)
    of_type = {name: error(found, name) for name in table.index}
    for name, row in table.iterrows():
        assert row["error at 0.1"] == of_type[name][0.1]
        start = EPSILONS.index(row["below 50% from"])
        assert all(of_type[name][e] < 0.5 for e in EPSILONS[start:])
        assert start == 0 or of_type[name][EPSILONS[start - 1]] >= 0.5


def test_it_is_measured_once(folder, tmp_path, monkeypatch):
    small = partial(measure_subtraction, t0=4, sources=2, epsilons=(0.1,))
    monkeypatch.setattr(subtraction, "measure_subtraction", small)
    first = subtraction.subtraction_for(folder, tmp_path)
    monkeypatch.setattr(subtraction, "measure_subtraction", None)
    again = subtraction.subtraction_for(folder, tmp_path / "none", also=[tmp_path])
    assert again.identical(first)
    (path,) = tmp_path.glob("*.nc")
    assert subtraction.subtraction_for(str(path)).identical(first)
    monkeypatch.setattr(subtraction, "measure_subtraction", lambda model, progress: first)
    for name, other in (("model", "another"), ("weights_sha256", "0" * 64)):
        save_results(first.assign_attrs({name: other, "seed": 7}), path)
        assert subtraction.subtraction_for(folder, tmp_path).attrs["seed"] == 0
    with pytest.raises(ValueError, match="holds subtraction, not response"):
        load_results(path)


@pytest.mark.parametrize("quick", [False, True])
def test_verify(found, quick):
    outcome = subtraction.verify_subtraction(found, quick)
    assert outcome.agrees
    assert outcome.median_relative < 1e-6
    types, strengths = (1, 2) if quick else (4, 6)
    errors = strengths * (1 if quick else 2)  # in half precision only
    assert outcome.compared == found.carried.count() * types * strengths // 24 + errors


def test_verify_without_half_precision(folder):
    found = measure_subtraction(folder, number_types=("float32",), epsilons=(0.1,), t0=4, sources=2)
    outcome = subtraction.verify_subtraction(found)
    assert outcome.agrees
    assert outcome.compared == found.carried.count()


@pytest.mark.parametrize(
    ("name", "number_type", "factor"),
    [("carried", "float32", 1.01), ("subtracted", "float16", 30), ("subtracted", "bfloat16", 30)],
)
def test_verify_sees_what_was_changed(found, name, number_type, factor):
    at = {"number_type": number_type, "epsilon": 0.01}
    changed = found.copy(deep=True)
    changed[name].loc[at] = changed[name].loc[at] * factor
    outcome = subtraction.verify_subtraction(changed)
    assert not outcome.agrees
    assert outcome.where == at


@pytest.mark.parametrize("number_type", ["float64", "float32"])
def test_verify_leaves_to_the_processor_how_it_rounds_products(found, number_type):
    at = {"number_type": number_type}
    other = found.copy(deep=True)
    apart = found.subtracted.loc[at] - found.carried.loc[at]
    other.subtracted.loc[at] = found.carried.loc[at] + 5 * apart
    assert subtraction.verify_subtraction(other).agrees


def test_verify_knows_its_weights(found):
    with pytest.raises(ValueError, match="weights_sha256"):
        subtraction.verify_subtraction(found.assign_attrs(weights_sha256="other"))


def test_an_unknown_number_type_is_refused(folder):
    with pytest.raises(ValueError, match="number_types=float8: choose one of float32"):
        measure_subtraction(folder, number_types=("float8",))
