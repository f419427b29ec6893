"""Figures of tails and of attention against MLPs, on shipped results."""

import numpy as np
import pandas as pd
import pytest
from drawing import no_window  # noqa: F401 (a fixture)
from shipped import shipped_results
from universal_response import figures, response

NAMES = ("smollm2-135m", "gpt2-induction")


@pytest.fixture(scope="module")
def datasets():
    return {name: shipped_results(name) for name in NAMES}


def line(axes, n):
    return [one for one in axes.lines if len(one.get_xdata())][n]


@pytest.fixture(scope="module")
def covered():
    return pd.DataFrame({"symmetric": [0.9, 0.8], "logarithm": [0.93, 0.9], "geo": [0.95, 0.95]},
                        index=[0.5, 1.0])  # fmt: skip


@pytest.fixture(scope="module")
def tails(datasets, covered):
    return figures.tails(datasets, covered).axes


def test_pairs_from_the_largest_on(tails, datasets):
    at = {"metric": "phi", "pair_distance": 63}
    pairs = np.sort(datasets["gpt2-induction"].pairs.sel(at).values.ravel())
    pairs = pairs[np.isfinite(pairs)][::-1].astype(float)
    drawn = line(tails[0], 3)
    assert len(pairs) == 32 * 65
    np.testing.assert_allclose(drawn.get_xdata()[1:3], [100 / 2080, 200 / 2080])
    np.testing.assert_allclose(drawn.get_ydata()[1:], pairs.cumsum() / pairs.sum())


def test_sequences_from_the_largest_on(tails, datasets):
    dataset = datasets["smollm2-135m"]
    of_each = (dataset.linear_last_sum.sel(metric="phi") / dataset.n_pairs).mean("delta_j").values
    drawn = line(tails[1], 1)
    # Summed in float32 on one side.
    np.testing.assert_allclose(
        drawn.get_ydata()[1:], np.sort(of_each)[::-1].cumsum() / of_each.sum(), rtol=1e-5
    )
    np.testing.assert_allclose(line(tails[1], 4).get_ydata(), np.arange(33) / 32)


def test_both_means_of_the_angle(tails, datasets):
    last = datasets["smollm2-135m"].isel(position=-1).sel(metric="phi")
    np.testing.assert_array_equal(line(tails[2], 0).get_ydata(), last.linear)
    np.testing.assert_array_equal(line(tails[2], 1).get_ydata(), last.linear_geometric)


def test_coverage_of_each_kind_of_interval(tails, covered):
    for n, name in enumerate(covered):
        np.testing.assert_allclose(line(tails[3], n).get_ydata(), 100 * covered[name])
        np.testing.assert_allclose(line(tails[3], n).get_xdata(), [0.5, 1.0])


@pytest.fixture(scope="module")
def shares(datasets):
    return {
        name: response.attention_shares(dataset, np.random.default_rng(0), 20)
        for name, dataset in datasets.items()
    }


@pytest.fixture(scope="module")
def parts(datasets, shares):
    return figures.attention_or_mlp(datasets, shares).axes


def test_shares_by_definition_and_distance(parts, shares):
    drawn = [one for one in parts[0].lines if one.get_label().startswith("_smollm2")]
    for one, distance in zip(drawn, (63, 64, 60), strict=True):
        np.testing.assert_allclose(
            one.get_xdata(), shares["smollm2-135m"].value.sel(delta_j=distance)
        )
    labels = [text.get_text() for text in parts[0].get_legend().get_texts()]
    assert labels == [rf"$\Delta j={name}$" for name in ("T_0 -1", "T_0", "T_0 -4")]


def test_lengths_of_states_by_depth(parts, datasets):
    drawn = line(parts[1], 1)
    np.testing.assert_array_equal(drawn.get_ydata(), datasets["gpt2-induction"].state_length)
    np.testing.assert_allclose(drawn.get_xdata(), np.arange(9) / 8)


def test_gains_end_at_the_whole_rise(parts, datasets):
    at = {"metric": "delta", "epsilon": 0.05, "delta_j": 63}
    curve = datasets["smollm2-135m"].response.sel(at)
    drawn = [line(parts[2], n).get_ydata()[-1] for n in (0, 1)]
    assert sum(drawn) == pytest.approx(float(np.log(curve[60] / curve[3])), rel=1e-5)
