"""The propagator: at l' = 0 the response, elsewhere that of a loop by forward differentiation."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr
from command_line import run
from messages import one_line
from tiny_models import tiny_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from universal_response import Settings, load_results, measure, metrics, propagator, save_results
from universal_response.companion import provenance
from universal_response.measurement import recorded
from universal_response.propagation import linear_inner_products
from universal_response.propagator import PropagatorSettings, verify_propagator
from universal_response.propagator import measure as measuring

pytestmark = pytest.mark.slow

SMALL = PropagatorSettings(t0=5, batch=3, sources=2, seed=4)
POSITIONS = 7  # three layers


@pytest.fixture(scope="module")
def model():
    return tiny_model("gpt2", torch.float64)


@pytest.fixture(scope="module")
def made(model):
    return propagator.measure_propagator(model, SMALL)


def test_dimensions_are_named(made):
    dims = ("perturbed_position", "position", "compared", "sequence")
    for name in ("response", "log_response"):
        assert made[name].dims == dims
        assert made[name].shape == (POSITIONS - 1, POSITIONS, 3, 3)
    assert made.compared.values.tolist() == [4, 5, 2]
    assert made.sublayer.values.tolist()[:3] == ["input", "attention", "mlp"]
    assert made.tokens.shape == (3, 10)
    assert made.attrs["dtype"] == "float64"  # the model's, whatever was asked for


def test_sources_have_their_pairs(made):
    assert made.sources.shape == (3, 2)
    assert made.sources.min() >= 0
    assert made.sources.max() < 5
    assert np.array_equal(made.tokens[:, :5], made.tokens[:, 5:])


def test_from_the_input_it_is_the_response_function(model, made):
    """Of each sequence, by a measurement of these sources."""
    for sequence in range(3):
        tokens = made.tokens.values[[sequence]]
        chosen = torch.from_numpy(made.sources.values[[sequence]]).long()
        found = linear_inner_products(torch.from_numpy(tokens), model, sources=chosen)
        matrix = metrics.delta(found)[:, 0, 0].numpy()
        every = measure(model, Settings.for_tokens(tokens, epsilons=()))
        whole = every.map if "map" in every else every.linear_map
        for distance in (4, 5, 2):
            expected = np.mean(
                [matrix[:, row, j + distance] for row, j in enumerate(chosen[0].tolist())], axis=0
            )
            mine = made.response.sel(compared=distance).isel(
                perturbed_position=0, sequence=sequence
            )
            np.testing.assert_allclose(mine, expected, rtol=1e-6)
            shipped = np.mean(
                [whole.sel(metric="delta").values[:, j, j + distance] for j in chosen[0].tolist()],
                axis=0,
            )
            np.testing.assert_allclose(mine, shipped, rtol=2e-3)  # of ten bits


@pytest.mark.parametrize("first", [1, 2, 5])
def test_from_later_positions_it_is_that_of_differentiation(model, made, first):
    """By torch.func.jvp of the layers above, on the model of transformers itself."""
    base = model.original_model
    tokens = torch.from_numpy(made.tokens.values[:1])
    source = int(made.sources[0, 0])
    states = clean_states(model, tokens)
    direction = torch.zeros_like(states[first])
    direction[0, source] = -states[first][0, source]
    for later in range(first + 1, POSITIONS):
        with sdpa_kernel(SDPBackend.MATH):  # others have no forward derivative
            _, change = torch.func.jvp(
                lambda x, later=later: above(base, x, first, later), (states[first],), (direction,)
            )
        size = change[0].norm(dim=-1) / states[later][0].norm(dim=-1)
        found = measuring.from_position(
            model, tokens, torch.tensor([[source]]), SMALL, first
        ).response
        for distance in (4, 5, 2):
            expected = float(size[source + distance])
            mine = float(found.sel(compared=distance, position=later)[0])
            assert mine == pytest.approx(expected, rel=1e-5, abs=1e-12)


def clean_states(model, tokens):
    found = []
    base = model.original_model
    x = base.transformer.wte(tokens) + base.transformer.wpe(torch.arange(tokens.shape[1]))
    found.append(x)
    for later in range(1, POSITIONS):
        found.append(above(base, x, 0, later))
    return found


def above(base, x, first, later):
    """Sublayers `first` .. `later` of a GPT-2, written out."""
    for position in range(first, later):
        block = base.transformer.h[position // 2]
        attention = getattr(block.attn, "original_component", block.attn)
        mlp = getattr(block.mlp, "original_component", block.mlp)
        one, two = (getattr(each, "original_component", each) for each in (block.ln_1, block.ln_2))
        x = x + (attention(one(x))[0] if position % 2 == 0 else mlp(two(x)))
    return x


def test_nothing_responds_below_where_it_is_perturbed(made):
    for first in range(POSITIONS - 1):
        below = made.response.isel(perturbed_position=first, position=slice(first + 1))
        assert (below == 0).all()
        assert made.log_response.isel(perturbed_position=first, position=first).isnull().all()


def test_logarithms_are_means_over_pairs(model):
    one = dataclasses.replace(SMALL, sources=1)
    found = propagator.measure_propagator(model, one)
    there = found.response > 0
    np.testing.assert_allclose(
        np.exp(found.log_response).where(there, 0), found.response, rtol=1e-6
    )


def test_summaries(made):
    assert propagator.response_by_distance(made).dims == made.response.dims[:-1]
    last = propagator.at_end(made)
    expected = made.response.isel(position=-1).std("sequence", ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(last.error, expected, rtol=1e-6)
    logs = propagator.ratio(made, 5)["mean"].isel(perturbed_position=0, position=-1)
    expected = (
        np.log(
            propagator.response_by_distance(made, geometric=True)
            .isel(perturbed_position=0, position=-1)
            .sel(compared=[4, 5])
        )
        .diff("compared")
        .item()
    )
    assert float(logs) == pytest.approx(-expected)


# kept, saved and verified ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("propagator")


@pytest.fixture(scope="module")
def stored(folder):
    return propagator.measure_propagator_into(
        folder / "p.nc", "gpt2-induction", dataclasses.replace(SMALL, t0=8)
    )


def test_a_killed_one_measures_no_position_twice(tmp_path, monkeypatch, stored):
    asked = dataclasses.replace(SMALL, t0=8)
    counted, real = [], measuring.from_position

    def killed(*arguments):
        if len(counted) == 4:
            raise KeyboardInterrupt
        counted.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(measuring, "from_position", killed)
    with pytest.raises(KeyboardInterrupt):
        propagator.measure_propagator_into(tmp_path / "p.nc", "gpt2-induction", asked)
    assert [path.name for path in tmp_path.iterdir()] == ["p.parts"]
    monkeypatch.setattr(measuring, "from_position", lambda *a: counted.append(a[-1]) or real(*a))
    found = propagator.measure_propagator_into(tmp_path / "p.nc", "gpt2-induction", asked)
    assert counted == list(range(8))
    xr.testing.assert_identical(found.drop_attrs(), stored.drop_attrs())
    assert [path.name for path in tmp_path.iterdir()] == ["p.nc"]


def test_it_is_found_again(folder, stored, monkeypatch):
    asked = dataclasses.replace(SMALL, t0=8)
    save_results(stored, folder / "propagator-gpt2-induction.nc")
    with monkeypatch.context() as patch:
        patch.setattr(propagator.measure, "measure_propagator", pytest.fail)
        found = propagator.propagator_for("gpt2-induction", asked, folder)
        xr.testing.assert_identical(found.drop_attrs(), stored.drop_attrs())
        on_cpu = dataclasses.replace(asked, device="cpu")
        propagator.propagator_for("gpt2-induction", on_cpu, folder)
    assert propagator.propagator_for(str(folder / "p.nc")).sizes == stored.sizes


def test_it_says_how_it_was_made(stored):
    attrs = stored.attrs
    assert recorded(PropagatorSettings, attrs) == dataclasses.replace(SMALL, t0=8)
    assert (attrs["kind"], attrs["schema_version"]) == ("propagator", 1)
    assert {"git_commit", "device", "created", "wall_time_s", "weights_sha256"} <= set(attrs)
    assert not {"identity", "seconds"} & set(attrs)
    assert provenance.command(stored) == (
        "universal-response propagator --out FILE --model gpt2-induction "
        "--t0 8 --batch 3 --sources 2 --seed 4"
    )


@pytest.mark.parametrize("quick", [False, True])
def test_it_agrees_with_itself_and_not_with_another(stored, quick):
    outcome = verify_propagator(stored, quick=quick)
    assert outcome.agrees
    assert outcome.compared == (3 if quick else 2) * 9 * 3
    changed = stored.copy(deep=True)
    changed.response[4, 8, 1, 0] *= 1.01
    outcome = verify_propagator(changed, quick=quick)
    assert not outcome.agrees
    assert outcome.where == {"perturbed_position": 4, "position": 8, "compared": 8}


def test_other_tokens_sources_and_weights_are_refused(stored):
    for name in ("tokens", "sources"):
        changed = stored.copy(deep=True)
        changed[name][0, 0] += 1
        with pytest.raises(ValueError, match=one_line(f"{name}: not those of seed=4; the file")):
            verify_propagator(changed)
    other = stored.assign_attrs(weights_sha256="0" * 64)
    with pytest.raises(ValueError, match=one_line("weights_sha256=")):
        verify_propagator(other)


def test_the_command_line_measures_and_verifies(monkeypatch, capsys, tmp_path):
    out = tmp_path / "p.nc"
    options = ["--t0", 4, "--batch", 2, "--sources", 2, "--model", "gpt2-induction"]
    code, said, err = run(monkeypatch, capsys, "propagator", "--out", out, *options)
    assert code == 0, err
    assert "from 8 positions to 9" in said
    assert load_results(out, kind="propagator").attrs["t0"] == 4
    code, said, _ = run(monkeypatch, capsys, "verify", out, "--quick")
    assert (code, "agrees" in said) == (0, True)


@pytest.mark.parametrize(
    ("changed", "start"),
    [
        ({"t0": 3}, "t0=3: a distance of no meaning needs a block; use t0 >= 4"),
        ({"batch": 0}, "batch=0: use at least one sequence, batch >= 1"),
        ({"sources": 65}, "sources=65: use 1 to T0 = 64 of them"),
        ({"seed": -1}, "seed=-1: use a seed >= 0"),
        ({"dtype": "int8"}, "dtype=int8: "),
    ],
)
def test_wrong_settings_are_refused_in_one_line(changed, start):
    with pytest.raises(ValueError, match=one_line(start)):
        PropagatorSettings(**changed)
