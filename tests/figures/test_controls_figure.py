"""The figure of controls, on signatures made up."""

import numpy as np
import pytest
from drawing import no_window  # noqa: F401 (a fixture)
from universal_response import figures
from universal_response.controls import CONTROLS, FACTOR, OPEN, PRESENT, Signature

SHOWN = [each for each in CONTROLS if each.name in ("repeated", "gap", "shuffled")]
FOUND = {
    ("repeated", "one"): Signature(3.0, 2.0, 4.5, 0.001, 0.999, 32),
    ("gap", "one"): Signature(1.3, 1.0, 1.7, 0.4, 0.6, 32),
    ("shuffled", "one"): Signature(0.9, 0.8, 1.0, 0.999, 0.001, 32),
    ("repeated", "two"): Signature(5.0, 4.0, 6.5, 0.001, 0.999, 32),
}
VERDICTS = dict.fromkeys(FOUND, PRESENT) | {("gap", "one"): OPEN}


@pytest.fixture(scope="module")
def axes():
    return figures.controls(FOUND, VERDICTS).axes[0]


def test_a_row_for_each_control_in_the_order_of_the_catalogue(axes):
    assert [label.get_text() for label in axes.get_yticklabels()] == [one.words for one in SHOWN]


def test_points_are_ratios_and_lines_their_intervals(axes):
    points = [line for line in axes.lines if line.get_marker() == "o"]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 2][: len(points)]
    drawn = {
        (round(float(point.get_ydata()[0])), float(point.get_xdata()[0])): line.get_xdata()
        for point, line in zip(points, lines, strict=True)
    }
    rows = {each.name: row for row, each in enumerate(SHOWN)}
    assert len(drawn) == len(FOUND)
    for (name, _), one in FOUND.items():
        np.testing.assert_allclose(drawn[rows[name], one.ratio], [one.low, one.high])


def test_what_is_not_resolved_is_hollow(axes):
    points = [line for line in axes.lines if line.get_marker() == "o"]
    hollow = [p.get_xdata()[0] for p in points if p.get_markerfacecolor() == "white"]
    assert hollow == [1.3]


def test_where_the_signature_must_be_absent_the_ground_is_grey(axes):
    spans = [patch.get_bbox().bounds for patch in axes.patches]
    assert [(y, height) for _, y, _, height in spans] == [(1.5, 1.0)]


def test_the_bound_is_drawn(axes):
    assert axes.lines[-1].get_xdata()[0] == FACTOR
