"""One test a panel: what is drawn is what was measured, recomputed here with plain numpy."""

import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawing import draw_whole, no_window, panel  # noqa: F401 (a fixture)
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer
from shipped import shipped_results
from tiny_models import tiny_model
from universal_response import Settings, figures, measure, subtraction
from universal_response.figures.style import distance_name

METRICS = ("delta", "phi", "theta_source")
POWER = {"delta": 1, "phi": 2}
T0 = 64
# After the second attention sublayer: l = 1 and 2 are those of the first pair.
READ_FROM = 3
# What torch says of itself when forward-mode differentiation is first used.
# Of what other tests of the process have left to the garbage collector, such as notebooks' sockets.
LEFT = "ignore::ResourceWarning"
SCRIPTED = "ignore:.torch.jit.script:DeprecationWarning"


@pytest.fixture(scope="module")
def dataset():
    return shipped_results("smollm2-135m")


@pytest.fixture(scope="module")
def gemma():
    return shipped_results("gemma-3-270m")


@pytest.fixture(scope="module")
def drawn(dataset, gemma):
    """Every figure, drawn once."""
    return {
        1: figures.fig1(dataset, 18),
        2: figures.fig2(dataset),
        3: figures.fig3(dataset),
        4: figures.fig4(dataset),
        5: figures.fig5({"smollm2-135m": dataset, "gemma-3-270m": gemma}),
    }


def response(dataset, metric, **at):
    return dataset.response.sel(metric=metric, **at)


def chi(dataset, metric, epsilon0):
    """Mean over dj of the ratios at the last position, by strength."""
    last = response(dataset, metric).values[:, -1]
    reference = last[list(dataset.epsilon.values).index(epsilon0)]
    return (last / reference).mean(-1)


def curves(axes, length):
    """Drawn lines with as many points as the data have."""
    return np.array([line.get_ydata() for line in axes.lines if len(line.get_ydata()) == length])


def verticals(axes):
    return {line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1}


def horizontals(axes):
    return {line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1}


def image(axes):
    (found,) = axes.images
    return np.ma.filled(found.get_array().astype(float), np.nan)


def normalised(dataset, metric):
    """Rows of a layer map; nan before the second attention sublayer."""
    near = slice(T0 - 5, T0 + 5)
    rows = response(dataset, metric, epsilon=0.05, delta_j=near).values.astype(float)
    rows[:READ_FROM] = np.nan
    if metric == "theta_source":
        return rows
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        return rows / np.nanmax(rows, 1, keepdims=True)


def mean_markers(axes):
    """The points with error bars, and half the lengths of these."""
    (container,) = axes.containers
    segments = np.array(container.lines[2][0].get_segments())
    return container.lines[0].get_ydata(), (segments[:, 1, 1] - segments[:, 0, 1]) / 2


def heights(axes, horizontal=False):
    """Lengths of bars and their colours."""
    (bars,) = [one for one in axes.containers if isinstance(one, BarContainer)]
    lengths = [bar.get_width() if horizontal else bar.get_height() for bar in bars]
    return lengths, [to_hex(bar.get_facecolor()) for bar in bars]


def grey_up_to(axes):
    """Where the grey ground ends that says `do not read`."""
    (span,) = [one for one in axes.patches if to_hex(one.get_facecolor()) == to_hex(figures.EMPTY)]
    return span.get_x() + span.get_width()


def legend_of(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(("letter", "metric"), zip("abc", METRICS, strict=True))
def test_fig1_metrics_of_one_source(drawn, dataset, letter, metric):
    axes = panel(drawn[1], letter)
    row = dataset.matrix.sel(metric=metric).values[18, 18:]
    np.testing.assert_array_equal(curves(axes, len(row))[0], row)
    assert {18 + T0 - 1, 18 + T0} <= verticals(axes)
    for j, marker in ((18 + T0 - 1, "o"), (18 + T0, "s")):
        (point,) = [line for line in axes.lines if line.get_marker() == marker]
        np.testing.assert_array_equal(point.get_xydata(), [[j, row[j - 18]]])


def test_fig1_the_strip_shows_the_tokens(drawn, dataset):
    cells = [patch for patch in drawn[1].axes[0].patches if patch.get_height() == 1]
    colours = [to_hex(cell.get_facecolor()) for cell in cells]
    assert len(colours) == 2 * T0
    assert colours[:T0] == colours[T0:]
    assert len(set(colours)) == len(np.unique(dataset.tokens[0]))
    # A copy stands below what it copies.
    assert [cell.get_x() for cell in cells] == [*range(T0)] * 2
    assert cells[0].get_y() > cells[T0].get_y()


def test_fig1_neighbours_in_the_strip_can_be_told_apart(drawn):
    """By lightness, which every kind of colour vision sees: twenty of the hundred steps of L*."""
    cells = [patch for patch in drawn[1].axes[0].patches if patch.get_height() == 1]
    linear = np.array([cell.get_facecolor()[:3] for cell in cells]) ** 2.2
    lightness = 116 * np.cbrt(linear @ (0.2126, 0.7152, 0.0722)) - 16
    assert abs(np.diff(lightness)).min() > 20


def test_fig1_marks_the_token_its_copy_and_the_one_before(drawn):
    boxes = [patch for patch in drawn[1].axes[0].patches if patch.get_height() > 1]
    assert [box.get_x() for box in boxes] == [18, 17, 18]
    assert boxes[0].get_y() > boxes[1].get_y() == boxes[2].get_y()


def test_fig1_refuses_a_source_outside_the_block(dataset):
    with pytest.raises(ValueError, match="source=64"):
        figures.fig1(dataset, 64)


@pytest.mark.parametrize(("letter", "metric"), [("a", "delta"), ("d", "phi")])
def test_fig2_matrices(drawn, dataset, letter, metric):
    found = image(panel(drawn[2], letter))
    upper = np.triu_indices(2 * T0)
    np.testing.assert_allclose(found[upper], dataset.matrix.sel(metric=metric).values[upper])
    assert np.isnan(found[np.tril_indices(2 * T0, -1)]).all()


@pytest.mark.parametrize(("letter", "metric"), [("b", "delta"), ("e", "phi")])
def test_fig2_collapse(drawn, dataset, letter, metric):
    axes = panel(drawn[2], letter)
    last = response(dataset, metric).values[:, -1]
    expected = last / chi(dataset, metric, 0.05)[:, None]
    np.testing.assert_allclose(curves(axes, 2 * T0), expected, rtol=1e-5)
    low, high = axes.get_ylim()
    # The curves fill the panel: no room is kept for anything else.
    assert np.log(expected.max() / expected.min()) > 0.7 * np.log(high / low)
    measured = panel(drawn[2], f"{letter}'")
    np.testing.assert_allclose(curves(measured, 2 * T0), last)
    assert verticals(axes) == verticals(measured) == {T0 - 1}


def test_a_peak_elsewhere_is_marked_there_and_none_nowhere(dataset):
    for attributes, expected in (({"t0": 0, "distance": 83}, {83}), ({"distance": "none"}, set())):
        axes = plt.figure().subplots()
        figures.collapse_panel(axes, dataset.assign_attrs(attributes), "delta")
        assert verticals(axes) == expected


@pytest.mark.parametrize(("letter", "metric"), [("c", "delta"), ("f", "phi")])
def test_fig2_scaling(drawn, dataset, letter, metric):
    axes = panel(drawn[2], letter)
    epsilons = dataset.epsilon.values
    drawn_curves = curves(axes, len(epsilons))
    np.testing.assert_allclose(drawn_curves[0], (epsilons / 0.05) ** POWER[metric])
    last = response(dataset, metric).values[:, -1]
    ratios = last / last[list(epsilons).index(0.05)]
    np.testing.assert_allclose(drawn_curves[1 : 2 * T0 + 1], ratios.T, rtol=1e-5)
    mean, spread = mean_markers(axes)
    np.testing.assert_allclose(mean, ratios.mean(1), rtol=1e-5)
    np.testing.assert_allclose(spread, ratios.std(1), rtol=1e-4, atol=1e-9)


def assert_ratio_over_theory(axes, dataset, metric, epsilon0):
    """Mean and spread over dj of the ratios divided by their theory, and where the limit is."""
    epsilons = dataset.epsilon.values
    last = response(dataset, metric).values[:, -1]
    reference = last[list(epsilons).index(epsilon0)]
    over = last / reference / ((epsilons / epsilon0) ** POWER[metric])[:, None]
    mean, spread = mean_markers(axes)
    np.testing.assert_allclose(1 + mean, over.mean(1), rtol=1e-5)
    np.testing.assert_allclose(spread, over.std(1), rtol=1e-4, atol=1e-6)
    limit = dataset.linear.sel(metric=metric).values[-1] * epsilon0 ** POWER[metric] / reference
    off = pytest.approx(limit.mean() - 1, rel=1e-5, abs=1.2e-7)  # float32 knows 1 no better
    assert any(y == off for y in horizontals(axes))
    assert 0 in horizontals(axes)


@pytest.mark.parametrize(("letter", "metric"), [("c'", "delta"), ("f'", "phi")])
def test_fig2_ratio_over_theory(drawn, dataset, letter, metric):
    assert_ratio_over_theory(panel(drawn[2], letter), dataset, metric, 0.05)


@pytest.mark.parametrize(("letter", "metric"), zip("abc", METRICS, strict=True))
def test_fig3_along_the_layers(drawn, dataset, letter, metric):
    axes = panel(drawn[3], letter)
    measured = response(dataset, metric, delta_j=T0 - 1).values[:, READ_FROM:]
    scale = chi(dataset, metric, 0.05)[:, None] if metric in POWER else 1
    found = curves(axes, measured.shape[1])
    np.testing.assert_allclose(found, measured / scale, rtol=1e-5, atol=1e-12)
    panels = [axes]
    if metric in POWER:
        panels.append(panel(drawn[3], f"{letter}'"))
        np.testing.assert_allclose(curves(panels[1], measured.shape[1]), measured)
    for each in panels:
        assert each.lines[0].get_xdata()[0] == READ_FROM
        assert grey_up_to(each) == READ_FROM - 0.5


def test_fig3_c_is_scaled_to_the_signal(drawn, dataset):
    measured = response(dataset, "theta_source", delta_j=T0 - 1).values
    low, high = panel(drawn[3], "c").get_ylim()
    shown = measured[:, READ_FROM:]
    assert high - low < 1.2 * (shown.max() - shown.min())
    assert measured[:, :READ_FROM].min() < low  # the leak


@pytest.mark.parametrize(("letter", "metric"), zip("def", METRICS, strict=True))
def test_fig3_increments(drawn, dataset, letter, metric):
    axes = panel(drawn[3], letter)
    along = response(dataset, metric, epsilon=0.05, delta_j=T0 - 1).values.astype(float)
    if metric not in POWER:
        along[:3] = 0  # before the second attention sublayer
    steps = np.diff(along)
    if metric in POWER:
        steps /= steps.sum()
    lengths, colours = heights(axes)
    np.testing.assert_allclose(lengths, steps, rtol=1e-4, atol=1e-6)
    green, blue = figures.ATTENTION.lower(), figures.MLP.lower()
    assert colours == [green, blue] * (len(steps) // 2)
    assert grey_up_to(axes) == READ_FROM - 0.5
    sums = panel(drawn[3], f"{letter}'")
    lengths, colours = heights(sums, horizontal=True)
    totals = dict(zip(colours, lengths, strict=True))
    assert totals[green] == pytest.approx(steps[0::2].sum(), rel=1e-4)
    assert totals[blue] == pytest.approx(steps[1::2].sum(), rel=1e-4)
    words = [text.get_text().replace("\N{MINUS SIGN}", "-") for text in sums.get_yticklabels()]
    assert words == [f"MHA {totals[green]:.2f}", f"MLP {totals[blue]:.2f}"]
    if metric in POWER:
        assert sum(totals.values()) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(("letter", "metric"), zip("abc", METRICS, strict=True))
def test_fig4_layer_maps(drawn, dataset, letter, metric):
    found = image(panel(drawn[4], letter))
    np.testing.assert_allclose(found, normalised(dataset, metric), rtol=1e-5)
    clear = np.isfinite(found).any(1)
    assert clear[READ_FROM:].all()
    assert not clear[:READ_FROM].any()
    if metric in POWER:
        np.testing.assert_array_equal(np.nanmax(found[clear], axis=1), 1)


@pytest.mark.parametrize(("letter", "metric"), zip("def", METRICS, strict=True))
def test_fig4_single_distances(drawn, dataset, letter, metric):
    axes = panel(drawn[4], letter)
    for line, delta_j in zip(axes.lines[:4], (T0 - 1, T0, T0 - 2, T0 + 1), strict=True):
        expected = response(dataset, metric, epsilon=0.05, delta_j=delta_j).values
        np.testing.assert_array_equal(line.get_ydata(), expected[READ_FROM:])
        assert line.get_xdata()[0] == READ_FROM
    assert grey_up_to(axes) == READ_FROM - 0.5


@pytest.mark.parametrize(("upper", "lower"), zip("abc", "def", strict=True))
def test_fig4_marks_the_peak_the_copy_and_the_onset(drawn, upper, lower):
    marks = {line.get_marker(): line for line in panel(drawn[4], upper).lines}
    (onset,) = marks["<"].get_ydata()
    assert verticals(panel(drawn[4], lower)) == {onset}
    curves = {line.get_color(): line.get_label() for line in panel(drawn[4], lower).lines}
    for line in panel(drawn[4], upper).lines:
        if line.get_marker() == "v":
            expected = {T0 - 1: "$T_0 -1$", T0: "$T_0$"}[line.get_xdata()[0]]
            assert curves[line.get_color()] == expected


def test_what_is_drawn_is_named(drawn):
    """Every line, marker and ground, in one legend a figure, off the panels."""
    ratios = ["theory", "linear limit", r"mean and spread over $\Delta j$", r"each $\Delta j$"]
    leak = "before the second attention: only a leak"
    peak, copy = r"$\Delta j=T_0 -1$", r"$\Delta j=T_0$"
    around = [peak, copy, r"$\Delta j=T_0 -2$", r"$\Delta j=T_0 +1$"]
    expected = {
        1: ["response", "$j=i+T_0-1$", "$j=i+T_0$"],
        2: ratios,
        3: ["MHA", "MLP", "standard error", leak],
        4: [*around, "onset", leak],
        5: [*ratios, r"$\varepsilon_0$", peak, copy, leak],
    }
    assert {number: legend_of(figure) for number, figure in drawn.items()} == expected
    for figure in drawn.values():
        assert not any(axes.get_legend() for axes in figure.axes)


@pytest.mark.parametrize(("letter", "name"), [("a", "dataset"), ("b", "gemma")])
def test_fig5_scaling(drawn, request, letter, name):
    measured = request.getfixturevalue(name)
    axes = panel(drawn[5], letter)
    last = response(measured, "delta").values[:, -1]
    epsilons = measured.epsilon.values
    ratios = last / last[list(epsilons).index(0.03)]
    np.testing.assert_allclose(mean_markers(axes)[0], ratios.mean(1), rtol=1e-5)
    np.testing.assert_allclose(curves(axes, len(epsilons))[0], epsilons / 0.03)
    deviation = panel(drawn[5], f"{letter}'")
    assert_ratio_over_theory(deviation, measured, "delta", 0.03)
    assert 0.03 in verticals(axes) & verticals(deviation)


def test_fig5_rounding_errors_do_not_set_the_scale(dataset):
    axes = plt.figure().subplots()
    exact = dataset.copy(deep=True)
    exact.response[:] = exact.response.sel(epsilon=0.03) * (exact.epsilon / 0.03)
    figures.deviation_panel(axes, exact, "delta", 0.03)
    low, high = axes.get_ylim()
    assert low <= -0.1
    assert high >= 0.1


@pytest.mark.parametrize(("letter", "name"), [("c", "dataset"), ("d", "gemma")])
def test_fig5_layer_maps(drawn, request, letter, name):
    measured = request.getfixturevalue(name)
    found = image(panel(drawn[5], letter))
    np.testing.assert_allclose(found, normalised(measured, "delta"), rtol=1e-5)


def test_distances_are_named_after_the_block_only_if_they_are_of_its_size(dataset):
    """With a gap of 20 tokens between the blocks the peak is expected at T0 - 1 + 20."""
    gapped = dataset.assign_attrs(t0=0, distance=83)
    assert [distance_name(dataset, k) for k in (-1, 0, 1, 2)] == [
        "T_0 -2",
        "T_0 -1",
        "T_0",
        "T_0 +1",
    ]
    assert [distance_name(gapped, k) for k in (0, 1)] == ["83", "84"]


def test_axes_carry_labels(drawn):
    for figure in drawn.values():
        for axes in figure.axes:
            if axes.axison and axes.has_data() and axes.get_label() != "<colorbar>":
                assert axes.get_xlabel()
                assert axes.get_ylabel()


def test_legends_are_as_wide_as_their_figures(drawn, dataset):
    for figure in (*drawn.values(), figures.fig5({"smollm2-135m": dataset})):
        figure.canvas.draw()
        (legend,) = figure.legends
        assert figure.bbox.contains(*legend.get_window_extent().p0)
        assert figure.bbox.contains(*legend.get_window_extent().p1)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_model_of_one_layer_is_all_grey(dataset):
    """There is no second attention sublayer, and nothing to read."""
    small = dataset.isel(position=slice(READ_FROM))
    third, fourth, fifth = figures.fig3(small), figures.fig4(small), figures.fig5({"small": small})
    assert grey_up_to(panel(third, "c")) == READ_FROM - 0.5
    assert np.isnan(image(panel(fourth, "a"))).all()
    assert np.isnan(image(panel(fifth, "b"))).all()
    for figure in (third, fourth, fifth):
        draw_whole(figure, laid_out=False)


def test_style_does_not_leak(dataset):
    before = dict(mpl.rcParams)
    figures.fig2(dataset)
    assert dict(mpl.rcParams) == before


@pytest.mark.slow
@pytest.mark.filterwarnings("error", SCRIPTED, LEFT)
@pytest.mark.parametrize(
    ("architecture", "t0", "batch", "epsilons"),
    [
        # One strength of one sequence that is shorter than the window, with both kinds of blocks.
        ("gpt_neox", 2, 1, (0.05,)),
        ("gpt2", 2, 1, (0.05,)),
        # Longer than the window, at the reference and the largest strength.
        ("gpt_neox", 12, 2, (0.05, 1.0)),
    ],
)
def test_every_figure_draws_for_small_and_odd_measurements(architecture, t0, batch, epsilons):
    measured = measure(tiny_model(architecture), Settings(t0=t0, batch=batch, epsilons=epsilons))
    for draw in (figures.fig1, figures.fig2, figures.fig3, figures.fig4):
        draw_whole(draw(measured), laid_out=t0 == 12)
    draw_whole(figures.fig5({"unknown": measured}, 0.05), laid_out=t0 == 12)
    plt.close("all")


def test_subtraction_draws_its_errors():
    datasets = {
        name: shipped_results(f"subtraction-{name}") for name in ("smollm2-135m", "gemma-3-270m")
    }
    figure = figures.subtraction(datasets)
    grid = np.array(figure.axes[:4]).reshape(2, 2)
    for dataset, (top, bottom) in zip(datasets.values(), grid.T, strict=True):
        error = subtraction.typical_error(dataset).transpose("number_type", "epsilon")
        (cells,) = top.collections
        drawn = cells.get_array().reshape(error.shape)
        np.testing.assert_allclose(drawn, error.clip(1e-7))
        edges = cells.get_coordinates()[0, :, 0]
        assert (edges[:-1] < dataset.epsilon).all()
        assert (edges[1:] > dataset.epsilon).all()
        lines = {line.get_label(): line for line in bottom.lines}
        for number_type in dataset.number_type.values:
            line = lines[number_type]
            np.testing.assert_allclose(line.get_ydata(), error.sel(number_type=number_type))
            np.testing.assert_allclose(line.get_xdata(), dataset.epsilon)
        bands = [band.get_paths()[0].vertices[:, 1] for band in bottom.collections]
        high = subtraction.typical_error(dataset, 0.9)
        for band, number_type in zip(bands, dataset.number_type.values, strict=True):
            assert band.max() == high.sel(number_type=number_type).max()
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list(
        subtraction.NUMBER_TYPES
    )
