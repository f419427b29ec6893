"""The figure of the film, on frames made up so that the answer is known."""

import numpy as np
import pytest
from drawing import no_window, panel  # noqa: F401 (a fixture)
from made_up_film import ACCURACY, BEFORE, POSITIONS, SAME, STEPS, film
from universal_response import figures
from universal_response.training import film_summaries as summaries


@pytest.fixture(scope="module", name="film")
def _film():
    return film()


@pytest.fixture(scope="module")
def drawn(film):
    return figures.film(film)


def test_frames_shown_are_random_weights_passed_accuracies_and_ends(film):
    assert summaries.shown_frames(film) == [0, 2, 3, 4, 5]


def test_a_model_that_learns_nothing_shows_its_ends(film):
    assert summaries.shown_frames(film.assign(accuracy=0 * film.accuracy)) == [0, 4, 5]


def test_each_frame_is_read_at_its_own_length(film):
    for offset, expected in ((-1, BEFORE), (0, SAME), (None, [2.0] * 6)):
        np.testing.assert_allclose(summaries.at_distance(film, offset), expected)
    weak = summaries.at_distance(film, -1, linear=False)
    np.testing.assert_allclose(weak, 0.05 * np.array(BEFORE))


def test_share_and_lead_of_the_induction_distance(film):
    expected = np.array(BEFORE) / (np.array(BEFORE) + SAME)
    share = summaries.share(film)
    np.testing.assert_allclose(share[:, 1:], np.tile(expected[:, None], POSITIONS - 1))
    assert share[:, 0].isnull().all()
    lead = np.array(BEFORE) / np.maximum(SAME, 0.01)
    np.testing.assert_allclose(summaries.above_rest(film, 3)[:, 5], lead)


def test_curves_are_those_of_the_first_phase(drawn, film):
    lines = {line.get_label(): line for line in panel(drawn, "a").lines}
    np.testing.assert_allclose(lines["accuracy"].get_xydata(), np.stack([STEPS, ACCURACY], 1)[:5])
    (before,) = [line for label, line in lines.items() if "T_0-1" in label]
    np.testing.assert_allclose(before.get_ydata(), np.array(BEFORE[:5]) / 2)
    (same,) = [line for label, line in lines.items() if "(T_0)" in label]
    np.testing.assert_allclose(same.get_ydata(), np.array(SAME[:5]) / 2)


def test_shares_have_a_line_for_every_other_position(drawn):
    lines = [line for line in panel(drawn, "b").lines if "ell" in line.get_label()]
    assert [line.get_label() for line in lines] == [rf"$\ell = {n}$" for n in (3, 5, 7)]
    expected = np.array(BEFORE) / (np.array(BEFORE) + SAME)
    np.testing.assert_allclose(lines[0].get_ydata(), expected[:5])


def test_maps_are_rows_over_their_largest_value(drawn):
    images = [axes.images[0] for axes in drawn.axes if axes.images]
    assert len(images) == 5
    first = np.asarray(images[0].get_array())
    np.testing.assert_allclose(first[3], [0.01 / 0.3, 0.01 / 0.3, 1 / 3, 1] + [0.01 / 0.3] * 3)
    assert np.ma.getmaskarray(images[0].get_array())[0].all() or np.isnan(first[0]).all()
    last = np.asarray(images[-1].get_array())
    np.testing.assert_allclose(last[3][2:4], [1, 1 / 9])
