"""One test a panel: what is drawn is what was measured, recomputed here with plain numpy."""

import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawing import draw_whole, no_window, panel  # noqa: F401 (a fixture)
from matplotlib.colors import to_hex
from shipped import shipped_results
from tiny_models import tiny_model
from universal_response import Settings, figures, measure, subtraction
from universal_response.figures.style import distance_name

METRICS = ("delta", "phi", "theta_source")
POWER = {"delta": 1, "phi": 2}
T0 = 64
# What torch says of itself when forward-mode differentiation is first used.
FORWARD_MODE = "ignore:.torch.jit.script:DeprecationWarning"


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
        5: figures.fig5({"gpt2-xl": None, "smollm2-135m": dataset, "gemma-3-270m": gemma}),
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


def image(axes):
    (found,) = axes.images
    return np.ma.filled(found.get_array().astype(float), np.nan)


def normalised(dataset, metric):
    """Rows of a layer map; nan where nothing responds."""
    near = slice(T0 - 5, T0 + 5)
    rows = response(dataset, metric, epsilon=0.05, delta_j=near).values.astype(float)
    rows[response(dataset, "delta", epsilon=0.05, delta_j=near).values == 0] = np.nan
    if metric == "theta_source":
        return rows
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        return rows / np.nanmax(rows, 1, keepdims=True)


def mean_markers(axes):
    """The points with error bars."""
    (container,) = axes.containers
    return container.lines[0].get_ydata()


@pytest.mark.parametrize(("letter", "metric"), zip("abc", METRICS, strict=True))
def test_fig1_metrics_of_one_source(drawn, dataset, letter, metric):
    axes = panel(drawn[1], letter)
    row = dataset.matrix.sel(metric=metric).values[18, 18:]
    np.testing.assert_array_equal(curves(axes, len(row))[0], row)
    assert verticals(axes) == {18 + T0 - 1}


def test_fig1_the_strip_shows_the_tokens(drawn, dataset):
    cells = [patch for patch in drawn[1].axes[0].patches if patch.get_height() == 1]
    colours = [to_hex(cell.get_facecolor()) for cell in cells]
    assert len(colours) == 2 * T0
    assert colours[:T0] == colours[T0:]
    assert len(set(colours)) == len(np.unique(dataset.tokens[0]))


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
    (inset,) = axes.child_axes
    np.testing.assert_allclose(curves(inset, 2 * T0), last)
    assert verticals(axes) == verticals(inset) == {T0 - 1}


@pytest.mark.parametrize(("letter", "metric"), [("c", "delta"), ("f", "phi")])
def test_fig2_scaling(drawn, dataset, letter, metric):
    axes = panel(drawn[2], letter)
    epsilons = dataset.epsilon.values
    drawn_curves = curves(axes, len(epsilons))
    np.testing.assert_allclose(drawn_curves[0], (epsilons / 0.05) ** POWER[metric])
    last = response(dataset, metric).values[:, -1]
    ratios = last / last[list(epsilons).index(0.05)]
    np.testing.assert_allclose(drawn_curves[1 : 2 * T0 + 1], ratios.T, rtol=1e-5)
    np.testing.assert_allclose(mean_markers(axes), ratios.mean(1), rtol=1e-5)


@pytest.mark.parametrize(("letter", "metric"), zip("abc", METRICS, strict=True))
def test_fig3_along_the_layers(drawn, dataset, letter, metric):
    axes = panel(drawn[3], letter)
    measured = response(dataset, metric, delta_j=T0 - 1).values
    scale = chi(dataset, metric, 0.05)[:, None] if metric in POWER else 1
    found = curves(axes, measured.shape[1])
    np.testing.assert_allclose(found, measured / scale, rtol=1e-5, atol=1e-12)
    if metric in POWER:
        (inset,) = axes.child_axes
        np.testing.assert_allclose(curves(inset, measured.shape[1] - 1), measured[:, 1:])


@pytest.mark.parametrize(("letter", "metric"), zip("def", METRICS, strict=True))
def test_fig3_increments(drawn, dataset, letter, metric):
    axes = panel(drawn[3], letter)
    along = response(dataset, metric, epsilon=0.05, delta_j=T0 - 1).values.astype(float)
    if metric not in POWER:
        along[:3] = 0  # before the second attention sublayer
    steps = np.diff(along)
    if metric in POWER:
        steps /= steps.sum()
    bars = axes.patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], steps, rtol=1e-4, atol=1e-6)
    green, blue = figures.ATTENTION.lower(), figures.MLP.lower()
    colours = [to_hex(bar.get_facecolor()) for bar in bars]
    assert colours == [green, blue] * (len(bars) // 2)
    (inset,) = axes.child_axes
    totals = {to_hex(bar.get_facecolor()): bar.get_height() for bar in inset.patches}
    assert totals[green] == pytest.approx(steps[0::2].sum(), rel=1e-4)
    assert totals[blue] == pytest.approx(steps[1::2].sum(), rel=1e-4)
    if metric in POWER:
        assert sum(totals.values()) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(("letter", "metric"), zip("abc", METRICS, strict=True))
def test_fig4_layer_maps(drawn, dataset, letter, metric):
    found = image(panel(drawn[4], letter))
    np.testing.assert_allclose(found, normalised(dataset, metric), rtol=1e-5)
    clear = np.isfinite(found).any(1)
    assert clear[1:].all()
    assert not clear[0]  # nothing has responded
    if metric in POWER:
        np.testing.assert_array_equal(np.nanmax(found[clear], axis=1), 1)


@pytest.mark.parametrize(("letter", "metric"), zip("def", METRICS, strict=True))
def test_fig4_single_distances(drawn, dataset, letter, metric):
    axes = panel(drawn[4], letter)
    for line, delta_j in zip(axes.lines[:4], (T0 - 1, T0, T0 - 2, T0 + 1), strict=True):
        expected = response(dataset, metric, epsilon=0.05, delta_j=delta_j).values
        found = line.get_ydata()
        np.testing.assert_array_equal(found, expected[-len(found) :])
        assert len(found) >= len(expected) - 1


def test_fig5_slot_is_labelled_and_empty(drawn):
    top, bottom = panel(drawn[5], "a"), panel(drawn[5], "d")
    assert "GPT-2-XL" in top.texts[0].get_text()
    assert "make figures" in bottom.texts[0].get_text()
    assert not any([top.lines, bottom.lines, top.images, bottom.images])


@pytest.mark.parametrize(("letter", "name"), [("b", "dataset"), ("c", "gemma")])
def test_fig5_scaling(drawn, request, letter, name):
    measured = request.getfixturevalue(name)
    axes = panel(drawn[5], letter)
    last = response(measured, "delta").values[:, -1]
    epsilons = measured.epsilon.values
    ratios = last / last[list(epsilons).index(0.03)]
    np.testing.assert_allclose(mean_markers(axes), ratios.mean(1), rtol=1e-5)
    np.testing.assert_allclose(curves(axes, len(epsilons))[0], epsilons / 0.03)
    assert 0.03 in verticals(axes)
    (inset,) = axes.child_axes
    deviation = (ratios / (epsilons / 0.03)[:, None] - 1).mean(1)
    np.testing.assert_allclose(mean_markers(inset), deviation, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("letter", "name"), [("e", "dataset"), ("f", "gemma")])
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


def test_style_does_not_leak(dataset):
    before = dict(mpl.rcParams)
    figures.fig2(dataset)
    assert dict(mpl.rcParams) == before


@pytest.mark.filterwarnings("error", FORWARD_MODE)
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
    draw_whole(figures.fig5({"unknown": measured, "gpt2-xl": None}, 0.05), laid_out=t0 == 12)
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
