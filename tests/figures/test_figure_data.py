"""The table beside a figure holds what the figure draws, and nothing else."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from drawing import no_window  # noqa: F401 (a fixture)
from made_up import EPSILONS, T0, results
from universal_response import figures, response
from universal_response.figures import drawn_values


@pytest.fixture(scope="module")
def dataset():
    return results(curvature=1.5, tilt=0.05)


def test_lines_bars_and_images_by_hand():
    figure, axes = plt.subplots()
    axes.set_title("(c)", loc="left")
    axes.set(xlabel="distance", ylabel="response")
    axes.plot([1, 2], [3, 4], label="curve")
    axes.axvline(9)
    axes.bar([5], [6])
    axes.imshow([[1.0, 2.0], [np.nan, 4.0]], origin="lower", extent=(10, 12, 20, 22))
    found = drawn_values(figure)
    assert set(found.panel) == {"c"}
    assert set(found.labels) == {"response against distance"}
    line = found[found.kind == "line"]
    assert line[["series", "x", "y"]].values.tolist() == [["curve", 1, 3], ["curve", 2, 4]]
    assert found[found.kind == "bar"][["x", "y"]].values.tolist() == [[5, 6]]
    pixels = found[found.kind == "image"][["x", "y", "value"]].values.tolist()
    assert sorted(pixels) == [[10.5, 20.5, 1], [11.5, 20.5, 2], [11.5, 21.5, 4]]


def test_image_with_its_origin_above():
    figure, axes = plt.subplots()
    axes.imshow([[1.0, 2.0], [3.0, 4.0]])
    pixels = drawn_values(figure)[["x", "y", "value"]].values.tolist()
    assert sorted(pixels) == [[0, 0, 1], [0, 1, 3], [1, 0, 2], [1, 1, 4]]


def test_bars_end_at_their_values():
    figure, (left, right) = plt.subplots(1, 2)
    left.barh([0.0, 1.0], [3.0, 4.0])
    right.bar([0.0, 1.0], [3.0, 4.0], bottom=[0.0, 1.0])
    found = drawn_values(figure)[["x", "y"]].values.tolist()
    assert found == [[3, 0], [4, 1], [0, 3], [1, 5]]


def test_insets_are_told_apart():
    figure, axes = plt.subplots()
    axes.set_title("(a)", loc="left")
    axes.inset_axes((0.5, 0.5, 0.4, 0.4)).plot([1], [2])
    assert drawn_values(figure).panel.tolist() == ["a inset 1"]


def test_collapsed_curves_of_fig2_are_those_of_the_data(dataset):
    found = drawn_values(figures.fig2(dataset))
    curves = found[(found.panel == "b") & (found.kind == "line")]
    chi = response.scaling_function(dataset, "delta", 0.05)["mean"]
    last = dataset.response.sel(metric="delta", position=response.last(dataset))
    for epsilon in EPSILONS:
        drawn = curves[curves.series == f"epsilon = {epsilon:g}"]
        np.testing.assert_allclose(drawn.x, dataset.delta_j)
        np.testing.assert_allclose(drawn.y, (last / chi).sel(epsilon=epsilon))


def test_files_are_written_and_repeat(dataset, tmp_path):
    written = []
    for folder in ("one", "two"):
        figure = figures.peak_shift({"made up": dataset})
        written.append(figures.save(figure, tmp_path / folder, "peak"))
    assert [path.name for path in written[0]] == ["peak.png", "peak.svg", "peak.pdf", "peak.csv"]
    assert all(path.stat().st_size > 10_000 for path in written[0][:-1])
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes()
    table = pd.read_csv(written[0][-1])
    drawn = table[table.kind == "image"]
    assert np.isfinite(drawn.value).all()
    assert set(drawn.x) == set(range(T0 - 5, T0 + 6))
