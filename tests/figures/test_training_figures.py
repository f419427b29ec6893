"""One test a panel for the figures of learning: what is drawn is what the made-up study says."""

import numpy as np
import pytest
from drawing import no_window, panel  # noqa: F401 (a fixture)
from made_up_training import HEADS, LAG, LATER, LEARNED, SEEDS, STRENGTH, study
from universal_response import figures
from universal_response.training import summaries

N = len(SEEDS)


@pytest.fixture(scope="module")
def data():
    return study()


@pytest.fixture(scope="module")
def drawn(data):
    names = ("learning", "additive", "clamping", "announcing")
    return {name: getattr(figures, name)(data) for name in names}


def labelled(axes, label):
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return found


def of(data, name):
    return data.isel(run=(data.experiment == name).values)


@pytest.mark.parametrize(("letter", "name"), [("a", "loss"), ("b", "accuracy")])
def test_three_kinds_of_sequences_are_drawn_run_by_run(drawn, data, letter, name):
    axes, runs = panel(drawn["learning"], letter), of(data, "full")
    values = runs[name].sel(split="unseen")
    thin = [line for line in axes.lines if line.get_linewidth() == 0.5]
    assert len(thin) == 3 * N
    for line, row, when in zip(thin[N : 2 * N], values, runs.sequences, strict=True):
        np.testing.assert_allclose(line.get_xydata(), np.stack([when / 1e3, row], 1))
    median = labelled(axes, "unseen classes")
    np.testing.assert_allclose(median.get_ydata(), values.median("run"))


def test_strongest_head_is_that_of_the_end(drawn, data):
    runs = of(data, "full").induction_strength.isel(head=0)
    lines = panel(drawn["learning"], "c").lines
    for line, row in zip(lines[:N], runs, strict=True):
        np.testing.assert_allclose(line.get_ydata(), row)


@pytest.mark.parametrize(("letter", "name"), [("d", "previous_token"), ("e", "induction_strength")])
def test_heads_of_the_first_seed_are_drawn_one_by_one(drawn, data, letter, name):
    lines = panel(drawn["learning"], letter).lines
    assert [line.get_label() for line in lines] == [str(head) for head in range(HEADS)]
    for head, line in enumerate(lines):
        np.testing.assert_allclose(line.get_ydata(), of(data, "full")[name][0, :, head])


def test_strengths_at_the_end_have_a_column_for_every_seed(drawn):
    for place, line in enumerate(panel(drawn["learning"], "f").lines):
        np.testing.assert_allclose(line.get_xydata()[:, 0], place)
        np.testing.assert_allclose(line.get_ydata(), STRENGTH)


def test_heads_alone_and_left_out_are_drawn_against_strength(drawn):
    axes = panel(drawn["additive"], "a")
    for label, expected in (("alone", 0.5 + STRENGTH / 2), ("all others", 0.999 - STRENGTH / 100)):
        points = labelled(axes, label).get_xydata()
        np.testing.assert_allclose(points, np.tile(np.stack([STRENGTH, expected], 1), (N, 1)))


def test_heads_added_back(drawn):
    for line in panel(drawn["additive"], "b").lines:
        np.testing.assert_allclose(line.get_ydata(), 1 / np.arange(1, HEADS + 1))


def test_ablated_sets_are_bars_of_medians(drawn):
    axes = panel(drawn["additive"], "c")
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    np.testing.assert_allclose(heights, [[0.99, 0.4, 0.9], [0.6, 0.98, 0.97]])


def test_strength_set_by_hand(drawn):
    for line in panel(drawn["additive"], "d").lines[:N]:
        np.testing.assert_allclose(line.get_ydata(), 5 * line.get_xdata())


@pytest.mark.parametrize(("letter", "name"), [("e", "key"), ("f", "value")])
def test_wiring_is_a_map_of_the_first_seed(drawn, data, letter, name):
    (image,) = panel(drawn["additive"], letter).images
    expected = data.gained_with.sel(input=name)[0]
    np.testing.assert_allclose(image.get_array(), expected)


def test_toy_is_drawn_by_what_is_given(drawn, data):
    axes = panel(drawn["clamping"], "a")
    for given in ("none", "c", "b and c"):
        expected = data.toy_loss.sel(given=given).median("trained")
        np.testing.assert_allclose(labelled(axes, given).get_ydata(), expected)


@pytest.mark.parametrize(
    ("letter", "label", "name"),
    [("b", "L1", "L1"), ("b", "none", "none"), ("e", "10 labels", "10 labels")],
)
def test_losses_of_experiments(drawn, data, letter, label, name):
    line = labelled(panel(drawn["clamping"], letter), label)
    expected = of(data, name).loss.sel(split="training").median("run")
    # A logarithmic axis has no zero.
    np.testing.assert_allclose(line.get_ydata(), expected[1:] if letter == "b" else expected)


def test_when_experiments_have_learned(drawn):
    axes = panel(drawn["clamping"], "c")
    for place, tick in enumerate(axes.get_yticklabels()):
        (line,) = [one for one in axes.lines if one.get_ydata()[0] == place]
        ends = LEARNED[tick.get_text()] * LATER ** np.arange(N) / 1e3
        # Straight lines between evaluations cut the corner where the plateau ends.
        np.testing.assert_allclose(line.get_xdata(), ends, rtol=2e-2)


def test_what_has_not_learned_is_marked_at_its_end(data):
    loss = data.loss.where(data.experiment != "none", 0.7)
    axes = panel(figures.clamping(data.assign(loss=loss)), "c")
    (arrow,) = [one for one in axes.lines if one.get_marker() == ">"]
    np.testing.assert_allclose(arrow.get_xdata(), 2 * LEARNED["none"] / 1e3)


def test_single_heads_are_drawn_one_by_one(drawn, data):
    lines = panel(drawn["clamping"], "d").lines
    for head in range(HEADS):
        expected = of(data, "single heads").loss[head].sel(split="training")
        np.testing.assert_allclose(lines[head].get_ydata(), expected)


def test_delays_by_other_data(drawn):
    axes = panel(drawn["clamping"], "f")
    expected = {"100 classes": (4 / 3, 1.5, 1), "10 labels": (3, 1, 3)}
    for data, ratios in expected.items():
        colour = labelled(axes, data).get_color()
        mine = [each for each in axes.lines if each.get_color() == colour and len(each.get_xdata())]
        for line, ratio in zip(mine, ratios, strict=True):
            # A ratio of two such times.
            np.testing.assert_allclose(line.get_xdata(), ratio, rtol=3e-2)


def test_loss_strength_and_contrast_over_training(drawn, data):
    axes = panel(drawn["announcing"], "a")
    contrast = summaries.contrast(data, "responses")
    np.testing.assert_allclose(labelled(axes, "$S$").get_ydata(), contrast.median("run"))
    strength = of(data, "responses").induction_strength.isel(head=0).median("run")
    line = labelled(axes, "strength of the strongest head")
    np.testing.assert_allclose(line.get_ydata(), strength)


def test_contrast_against_strength(drawn, data):
    strength = of(data, "responses").induction_strength.isel(head=0)
    for line, x in zip(panel(drawn["announcing"], "b").lines[:N], strength, strict=True):
        np.testing.assert_allclose(line.get_xdata(), x)


def test_the_lag_is_that_of_half_points(drawn):
    for seed, line in enumerate(panel(drawn["announcing"], "c").lines):
        half = LEARNED["responses"] * LATER**seed / 1e3
        _, strength, contrast = line.get_ydata()
        # Rises are curved between evaluations, which are a fortieth of the time apart.
        np.testing.assert_allclose(strength, half, rtol=1e-2)
        np.testing.assert_allclose(contrast, LAG * half, rtol=1e-2)
