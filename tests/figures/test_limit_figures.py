"""One test a panel for the linear limit: what is drawn, recomputed with plain numpy."""

import matplotlib as mpl
import numpy as np
import pytest
from drawing import no_window, panel  # noqa: F401 (a fixture)
from made_up import EPSILONS, POSITIONS, T0, results
from universal_response import figures, response

EPSILON0, REFERENCE = 0.05, 0.03


@pytest.fixture(scope="module")
def dataset():
    return results(curvature=1.5, tilt=0.05)


@pytest.fixture(scope="module")
def last(dataset):
    """C_delta at the last position (epsilon, delta_j) and its limit (delta_j)."""
    at = {"metric": "delta", "position": POSITIONS - 1}
    return dataset.response.sel(at).values, dataset.linear.sel(at).values


def line(axes, label):
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return found


def horizontals(axes):
    return [one.get_ydata()[0] for one in axes.lines if len(set(one.get_ydata())) == 1]


@pytest.fixture(scope="module")
def limit_figure(dataset):
    return figures.linear_limit({"a": dataset, "b": dataset}, REFERENCE)


@pytest.mark.parametrize("letter", ["a", "b"])
def test_limit_top_shows_every_strength_divided_by_it_and_the_limit(limit_figure, last, letter):
    curves, limit = last
    axes = panel(limit_figure, letter)
    drawn = [one.get_ydata() for one in axes.lines if len(one.get_ydata()) == 2 * T0]
    np.testing.assert_allclose(drawn[: len(EPSILONS)], curves / EPSILONS[:, None])
    np.testing.assert_allclose(line(axes, "linear limit").get_ydata(), limit)
    assert line(axes, "linear limit").get_color() == "black"


def test_limit_middle_shows_the_distance_from_it(limit_figure, last):
    curves, limit = last
    axes = panel(limit_figure, "c")
    excess = curves / EPSILONS[:, None] / limit - 1
    points = np.array([one.get_ydata() for one in axes.lines[: 2 * T0]])
    np.testing.assert_allclose(points.T, abs(excess))
    root = line(axes, r"root mean square over $\Delta j$")
    np.testing.assert_allclose(root.get_ydata(), np.sqrt((excess**2).mean(1)))
    mean = line(axes, r"|mean over $\Delta j$|")
    np.testing.assert_allclose(mean.get_ydata(), abs(excess.mean(1)))
    # (1 + 1.5 e)(1 + 0.05 dj e): the two terms are known.
    slope = 1.5 + 0.05 * np.arange(2 * T0)
    first = line(axes, r"$b\,\varepsilon$").get_ydata()
    np.testing.assert_allclose(first, np.sqrt((slope**2).mean()) * EPSILONS, rtol=1e-6)
    second = line(axes, r"$c\,\varepsilon^2$").get_ydata()
    curve = 1.5 * 0.05 * np.arange(2 * T0)
    np.testing.assert_allclose(second, np.sqrt((curve**2).mean()) * EPSILONS**2, rtol=1e-6)
    assert 0.05 in horizontals(axes)


def test_limit_bottom_explains_the_deviation(limit_figure, dataset, last):
    curves, limit = last
    axes = panel(limit_figure, "e")
    start = list(EPSILONS).index(REFERENCE)
    measured = (curves / curves[start] / (EPSILONS / REFERENCE)[:, None] - 1).mean(1)
    shown = line(axes, r"$\delta(\varepsilon)$ of Fig. 5").get_ydata()
    np.testing.assert_allclose(shown, measured, atol=1e-12)
    ratio = curves[start] / REFERENCE / limit
    settled = line(axes, "from the linear limit alone").get_ydata()
    np.testing.assert_allclose(settled, (1 / ratio - 1).mean())
    predicted = line(axes, "with two higher orders, fitted up to 0.1")
    at = np.interp(np.log(EPSILONS), np.log(predicted.get_xdata()), predicted.get_ydata())
    np.testing.assert_allclose(at, measured, atol=2e-3)


def test_ratios_reach_the_linear_limit_in_fig5(dataset, last):
    curves, limit = last
    figure = figures.fig5({"made up": dataset}, REFERENCE)
    axes = panel(figure, "a")
    start = list(EPSILONS).index(REFERENCE)
    expected = EPSILONS * (limit / curves[start]).mean()
    np.testing.assert_allclose(line(axes, "linear limit").get_ydata(), expected)
    assert any(
        y == pytest.approx((limit * REFERENCE / curves[start]).mean() - 1)
        for y in horizontals(panel(figure, "a'"))
    )


def test_fig3_error_lines_are_those_of_pairs(dataset):
    axes = panel(figures.fig3(dataset), "d")
    (bars,) = [one for one in axes.containers if hasattr(one, "lines")]
    segments = np.array(bars.lines[2][0].get_segments())
    curve = dataset.response.sel(metric="delta", delta_j=T0 - 1, epsilon=EPSILON0)
    total = float(curve[-1] - curve[0])
    expected = response.increments_error(dataset, "delta", EPSILON0) / total
    np.testing.assert_allclose((segments[:, 1, 1] - segments[:, 0, 1]) / 2, expected, atol=1e-9)


def test_figures_need_no_limit(dataset):
    bare = dataset.drop_vars(["linear", "linear_sem", "linear_last_sum"])
    figures.fig2(bare)
    figures.fig3(bare)
    figures.fig5({"made up": bare}, REFERENCE)
    with pytest.raises(ValueError, match="linear: not in these results"):
        figures.linear_limit({"made up": bare}, REFERENCE)


def test_rows_in_which_nothing_responds_are_grey(dataset):
    silent = dataset.copy(deep=True)
    silent.response[:, :, :5, 1:] = 0
    image = panel(figures.fig4(silent), "a").images[0]
    drawn = image.get_array().filled(np.nan)
    assert np.isnan(drawn[:5]).all()
    assert np.isfinite(drawn[5:]).all()
    assert mpl.colors.to_hex(image.cmap.get_bad()) == mpl.colors.to_hex(figures.EMPTY)


def test_peak_shift_draws_the_whole_map_of_every_model(dataset):
    figure = figures.peak_shift({"one": dataset, "other": dataset})
    maps = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in maps] == ["one", "other"]
    expected = response.in_window(dataset, "delta", EPSILON0).transpose("position", "delta_j")
    for axes in maps:
        np.testing.assert_allclose(axes.images[0].get_array().filled(np.nan), expected)
        words = {text.get_text().strip(): text.xy[0] for text in axes.texts}
        assert words == {"the token before": T0 - 1, "same token": T0}


def test_directions_are_those_of_all_three_readings(dataset):
    figure = figures.directions(dataset)
    readings = {"a": "theta_source", "b": "theta_perturbation", "c": "theta_state"}
    for letter, metric in readings.items():
        drawn = panel(figure, letter).images[0].get_array().filled(np.nan)
        expected = response.in_window(dataset, metric, EPSILON0).transpose("position", "delta_j")
        np.testing.assert_allclose(drawn, expected)


COMPARISON = {
    "case": {"model": "gpt2-xl"},
    "contenders": {
        "plain": {"seconds": [30.0, 34.0], "median_s": 32.0, "times_engine": 4.0},
        "engine": {"seconds": [7.0, 9.0], "median_s": 8.0, "times_engine": 1.0},
    },
    "limit": {"seconds": 6.0},
}


def test_speed_draws_medians_repetitions_and_the_limit():
    axes = figures.speed([COMPARISON, COMPARISON]).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [32, 8]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["plain", "engine"]
    points = [list(one.get_xdata()) for one in axes.lines if one.get_marker() == "."]
    assert points == [[30, 34], [7, 9]]
    assert [6.0, 6.0] in [list(one.get_xdata()) for one in axes.lines]
    assert {"32 s, 4x", "8 s, 1x"} <= {text.get_text() for text in axes.texts}
    assert axes.get_title() == "GPT-2-XL"


def test_growth_draws_every_size_and_constant_speed():
    base = {"t0": 4, "sequences": 2, "epsilons": 2, "layers": 8}
    point = {"token_passes": 100, "seconds": [1.0, 2.0], "median_s": 1.5}
    double = point | {"token_passes": 200, "seconds": [2.0, 4.0], "median_s": 3.0}
    found = {name: [base | point, base | {name: 2 * base[name]} | double] for name in base}
    drawn = figures.growth({"growth": found}).axes
    assert len(drawn) == 4
    for axes, name in zip(drawn, base, strict=True):
        constant = next(one for one in axes.lines if one.get_linestyle() == "--")
        medians = next(one for one in axes.lines if one.get_marker() == "o")
        assert list(medians.get_xdata()) == [base[name], 2 * base[name]]
        assert list(medians.get_ydata()) == [1.5, 3.0]
        # Layers are work as tokens are.
        expected = 1.5 if name != "layers" else 0.75
        np.testing.assert_allclose(constant.get_ydata(), [expected, 3.0])
