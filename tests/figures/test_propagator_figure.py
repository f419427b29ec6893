"""The figure of the propagator, on one made up so that the answer is known."""

import numpy as np
import pytest
import xarray as xr
from drawing import no_window, panel  # noqa: F401 (a fixture)
from universal_response import figures

T0, POSITIONS, SEQUENCES = 8, 5, 4


@pytest.fixture(scope="module")
def made():
    """C at T0 - 1 is 10^(-l') (1 + l), at T0 half of it, at T0/2 a hundredth."""
    first, last = np.arange(POSITIONS - 1.0)[:, None], np.arange(float(POSITIONS))
    expected = np.where(last > first, 10.0**-first * (1 + last), 0)
    parts = np.stack([expected, expected / 2, expected / 100], -1)[..., None]
    values = parts * np.array([0.5, 1.0, 1.0, 1.5])
    logs = np.full_like(values, np.nan)
    np.log(values, out=logs, where=values > 0)
    dims = ("perturbed_position", "position", "compared", "sequence")
    return xr.Dataset(
        {"response": (dims, values), "log_response": (dims, logs)},
        {"compared": [T0 - 1, T0, T0 // 2], "perturbed_position": range(POSITIONS - 1),
         "position": range(POSITIONS)},
        {"t0": T0},
    )  # fmt: skip


@pytest.fixture(scope="module")
def drawn(made):
    return figures.propagator({"A": made, "B": made}, {"A": {"induction": [0, 1]}})


def test_lines_are_the_means_at_the_end(drawn):
    lines = {line.get_label(): line for line in panel(drawn, "a").lines}
    expected = 10.0 ** -np.arange(POSITIONS - 1) * POSITIONS
    for label, factor in (("$T_0-1$", 1), ("$T_0$", 0.5), ("4", 0.01)):
        (line,) = [each for name, each in lines.items() if name.endswith(f"= {label}")]
        np.testing.assert_allclose(line.get_xydata()[:, 0], range(POSITIONS - 1))
        np.testing.assert_allclose(line.get_xydata()[:, 1], factor * expected)


def test_bands_are_the_standard_error(drawn, made):
    band = panel(drawn, "a").collections[0].get_paths()[0].vertices
    error = np.std([0.5, 1, 1, 1.5], ddof=1) / 2
    assert band[:, 1].max() == pytest.approx(POSITIONS * (1 + error))


def test_the_map_of_the_response_is_empty_below_the_diagonal(drawn):
    image = panel(drawn, "b").images[0].get_array()
    assert np.ma.getmaskarray(np.ma.masked_invalid(image))[1].tolist() == [True, True] + [False] * 3
    np.testing.assert_allclose(np.asarray(image)[0, 1:], [2, 3, 4, 5])
    np.testing.assert_allclose(np.asarray(image)[2, 3:], [0.04, 0.05])


def test_the_map_of_the_ratio_is_centred(drawn):
    image = panel(drawn, "c").images[0]
    values = np.asarray(np.ma.filled(image.get_array().astype(float), np.nan))
    np.testing.assert_allclose(values[~np.isnan(values)], np.log10(2), rtol=1e-6)
    assert image.norm.vmin == -image.norm.vmax


def test_a_row_for_each_model(drawn):
    assert [panel(drawn, letter).get_title(loc="right") for letter in "ad"] == ["A", "B"]


def test_heads_are_marked_where_they_read(drawn):
    labels = [line.get_label() for line in panel(drawn, "d").lines]
    assert not any("heads" in label for label in labels)
    (marks,) = [line for line in panel(drawn, "a").lines if "heads" in line.get_label()]
    assert marks.get_xdata().tolist() == [0, 2]
