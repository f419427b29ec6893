"""Maps of a prompt: a test a panel, values recomputed with plain numpy."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawing import no_window, panel  # noqa: F401 (a fixture)
from messages import one_line
from shipped import shipped_results
from universal_response import figures, response

T, LAST = 58, 60
ABOVE = np.triu_indices(T)


@pytest.fixture(scope="module")
def dataset():
    return shipped_results("prompt-smollm2-135m")


@pytest.fixture(scope="module")
def figure(dataset):
    drawn = figures.prompt_maps(dataset, positions=(3, LAST))
    yield drawn
    plt.close(drawn)


def stored(dataset, name, position):
    """C_delta(i, j) as the file has it."""
    return dataset[name].sel(metric="delta").values[position]


def drawn(figure, letter):
    (image,) = panel(figure, letter).images
    array = image.get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(array), np.tri(T, k=-1))
    return array.data[ABOVE], image


@pytest.mark.parametrize(("letter", "position"), [("a", 3), ("d", LAST)])
def test_finite_strength_is_divided_by_it(dataset, figure, letter, position):
    found, _ = drawn(figure, letter)
    np.testing.assert_allclose(found, stored(dataset, "map", position)[ABOVE] / 0.05, rtol=1e-6)


@pytest.mark.parametrize(("letter", "position"), [("b", 3), ("e", LAST)])
def test_limit_is_that_of_the_file(dataset, figure, letter, position):
    found, _ = drawn(figure, letter)
    np.testing.assert_array_equal(found, stored(dataset, "linear_map", position)[ABOVE])


@pytest.mark.parametrize(("letter", "position"), [("c", 3), ("f", LAST)])
def test_ratio_is_finite_over_limit(dataset, figure, letter, position):
    found, _ = drawn(figure, letter)
    finite, limit = (stored(dataset, name, position)[ABOVE] for name in ("map", "linear_map"))
    np.testing.assert_allclose(found, finite / 0.05 / limit, rtol=1e-6)


def test_finite_and_limit_share_their_colours_and_1_is_white(figure):
    norms = [drawn(figure, letter)[1].norm for letter in "abde"]
    assert {(norm.vmin, norm.vmax) for norm in norms} == {(norms[0].vmin, norms[0].vmax)}
    for letter in "cf":
        _, image = drawn(figure, letter)
        assert image.norm.vmin * image.norm.vmax == pytest.approx(1)
        red, green, blue, _ = image.cmap(image.norm(1.0))
        assert min(red, green, blue) > 0.95


def test_most_of_what_another_token_answers_is_told_apart(dataset, figure):
    norm, ratio_norm = drawn(figure, "a")[1].norm, drawn(figure, "c")[1].norm
    maps = response.limit_maps(dataset).sel(position=slice(3, None))
    for name, each in (("finite", norm), ("limit", norm), ("ratio", ratio_norm)):
        values = maps[name].values[:, *ABOVE]
        inside = (values >= each.vmin) & (values <= each.vmax)
        assert 0.95 < inside.mean() < 1


def test_tokens_are_on_the_axes_of_every_panel(dataset, figure):
    labels = list(dataset.token_label.values[0])
    for letter in "abcdef":
        axes = panel(figure, letter)
        for axis in (axes.xaxis, axes.yaxis):
            places = [int(place) for place in axis.get_ticklocs()]
            assert [label.get_text() for label in axis.get_ticklabels()] == [
                labels[place] for place in places
            ]
            assert len(places) >= T // 2


def test_rows_are_the_positions(figure, dataset):
    titles = [panel(figure, letter).get_title() for letter in "abcdef"]
    assert all(title.startswith(r"$\ell=3$") for title in titles[:3])
    assert all(title.startswith(r"$\ell=60$") for title in titles[3:])
    usual = figures.prompt_maps(dataset)
    starts = [panel(usual, letter).get_title().partition(",")[0] for letter in "adg"]
    assert starts == [r"$\ell=20$", r"$\ell=40$", r"$\ell=60$"]


def test_the_bar_of_the_ratio_names_its_ends_and_1(figure):
    found = [axes for axes in figure.axes if axes.get_xlabel() == "finite strength over limit"]
    (bar,) = found
    low, middle, high = (float(label.get_text()) for label in bar.get_xticklabels())
    assert middle == 1
    assert low < 1 < high


def test_nothing_responds_at_the_input_but_the_token_itself(dataset):
    """There the ratio is no number, and stays white."""
    first = figures.prompt_maps(dataset, positions=[0])
    found, image = drawn_with_gaps(first, "c")
    assert np.isfinite(np.diag(found)).all()
    assert np.isnan(found[np.triu_indices(T, 1)]).all()
    assert image.cmap(np.nan)[3] == 0  # nothing is painted


def drawn_with_gaps(figure, letter):
    (image,) = panel(figure, letter).images
    return np.ma.filled(image.get_array(), np.nan), image


@pytest.mark.parametrize("position", [-1, LAST + 1])
def test_a_position_that_is_not_there(dataset, position):
    with pytest.raises(ValueError, match=one_line(f"position={position}: ")):
        figures.prompt_maps(dataset, positions=[3, position])


@pytest.mark.parametrize("name", ["map", "linear_map"])
def test_results_without_maps_are_refused(dataset, name):
    with pytest.raises(ValueError, match=one_line("map: not in these results")):
        figures.prompt_maps(dataset.drop_vars(name))


def test_the_square_of_the_strength_divides_phi(dataset):
    maps = response.limit_maps(dataset, "phi")
    expected = dataset["map"].sel(metric="phi").values[LAST][ABOVE] / 0.05**2
    np.testing.assert_allclose(maps.finite.values[LAST][ABOVE], expected, rtol=1e-6)
