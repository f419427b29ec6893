"""One test a panel for the figures of models that add: what is drawn is what the files say.

Everything that is expected is computed here in plain words, from the shipped studies.
"""

import math

import numpy as np
import pytest
from drawing import no_window, panel  # noqa: F401 (a fixture)
from matplotlib.colors import to_hex, to_rgba
from shipped import RESULTS, shipped_results
from universal_response import figures

NAMES = sorted(path.stem for path in RESULTS.glob("arithmetic-*.nc"))
SEEDS = [f"arithmetic-adder-{seed}" for seed in range(3)]
COMPONENTS = ["0.0", "0.1", "0.2", "0.3", "MLP 0", "1.0", "1.1", "1.2", "1.3", "MLP 1"]
PLACES = ["$a_1$", "$a_0$", r"$\pm$", "$b_1$", "$b_0$", "$=$", "$r_0$", "$r_1$"]
# As the figures have them.
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", to_hex("0.45")
FOLLOWED = {"right": ORANGE, "first": BLUE, "second": GREEN, "other": GREY}


@pytest.fixture(scope="module")
def study():
    return shipped_results("arithmetic-adder-0")


@pytest.fixture(scope="module")
def seeds():
    return [shipped_results(name) for name in SEEDS]


@pytest.fixture(scope="module")
def every():
    return [shipped_results(name) for name in NAMES]


@pytest.fixture(scope="module")
def drawn(study, seeds, every):
    """Every figure, drawn once."""
    return {
        "effects": figures.adder_effects(study),
        "routes": figures.adder_routes(dict(zip(SEEDS, seeds, strict=True)), 1),
        "circuit": figures.adder_circuit(study),
        "probes": figures.adder_probes(study),
        "sums": figures.adder_neurons(study),
        "differences": figures.adder_neurons(study, "differences"),
        "outside": figures.adder_outside(every),
        "response": figures.adder_response(seeds),
    }


def image(axes):
    (found,) = axes.images
    return np.ma.filled(np.ma.asarray(found.get_array()).astype(float), np.nan)


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def coloured(axes, colour):
    return [line for line in axes.lines if to_hex(line.get_color()) == to_hex(colour)]


def along(axes, vertical=False):
    """Points with error bars: their x, y, and half the lengths of the bars."""
    found = []
    for container in axes.containers:
        points = container.lines[0]
        half = [
            (bar[1] - bar[0])[int(vertical)] / 2 if len(bar) else math.nan
            for bar in container.lines[2][0].get_segments()
        ]
        found.append((points, *points.get_xydata().T, half))
    return found


def mean(values):
    """Of those that are numbers."""
    known = [float(value) for value in np.ravel(values) if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def nodes_by_place(study, operation, answer):
    """Heads of the first layer in the lowest rows, then its MLP, then the second layer."""
    effects = study.logit_effect.transpose("operation", "answer", "layer", "component", "place")
    rows = []
    for layer in range(2):
        for component in range(5):
            rows.append(effects.values[operation, answer, layer, component])
    return np.array(rows)


def is_named(axes, figure, axis):
    """A label or names along an axis, its own or of a panel that shares it."""
    span = "colspan" if axis == "x" else "rowspan"
    mine = getattr(axes.get_subplotspec(), span)
    shared = [
        other
        for other in figure.axes
        if "colorbar" not in other.get_label() and getattr(other.get_subplotspec(), span) == mine
    ]
    texts = [text for each in shared for text in ticks(getattr(each, f"{axis}axis"))]
    # Numbers alone do not say of what.
    names = any(text[:1].isalpha() or text.startswith(("$a", "$r")) for text in texts)
    return names or any(getattr(each, f"get_{axis}label")() for each in shared)


def test_every_panel_says_what_is_along_its_axes(drawn):
    for name, figure in drawn.items():
        figure.canvas.draw()
        for axes in figure.axes:
            if "colorbar" in axes.get_label():
                assert axes.get_ylabel(), name
                continue
            for axis in "xy":
                assert is_named(axes, figure, axis), (name, axes.get_title(loc="left"), axis)


# effects -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letter", "operation", "answer"),
    [(letter, k // 3, k % 3) for k, letter in enumerate("abcdef")],
)
def test_effects_are_a_map_of_nodes_by_place(drawn, study, letter, operation, answer):
    axes = panel(drawn["effects"], letter)
    np.testing.assert_array_equal(image(axes), nodes_by_place(study, operation, answer))
    name = ("sums", "differences")[operation]
    assert axes.get_title() == f"$r_{answer}$ of {name}"
    assert axes.images[0].origin == "lower"


def test_rows_and_columns_of_effects_are_named_at_the_edges(drawn):
    for letter in "ad":
        assert ticks(panel(drawn["effects"], letter).yaxis) == COMPONENTS
    for letter in "def":
        assert ticks(panel(drawn["effects"], letter).xaxis) == PLACES


def test_effects_share_their_colours(drawn, study):
    largest = np.nanmax(abs(study.logit_effect.values))
    for letter in "abcdef":
        norm = panel(drawn["effects"], letter).images[0].norm
        assert (norm.vmin, norm.vmax) == (-largest, largest)


def test_what_is_always_zero_is_said_where_there_is_nothing_to_draw(drawn):
    said = {
        letter: [text.get_text() for text in panel(drawn["effects"], letter).texts]
        for letter in "abcdef"
    }
    assert said == {letter: [] for letter in "abcde"} | {"f": ["always 0"]}
    assert np.isnan(image(panel(drawn["effects"], "f"))).all()


@pytest.mark.parametrize("seed", range(3))
def test_routes_are_maps_of_one_digit_of_sums_by_model(drawn, seeds, seed):
    axes = panel(drawn["routes"], "abc"[seed])
    np.testing.assert_array_equal(image(axes), nodes_by_place(seeds[seed], 0, 1))
    assert axes.get_title() == SEEDS[seed]
    assert ticks(axes.xaxis) == PLACES
    largest = max(np.nanmax(abs(each.logit_effect.values[0, 1])) for each in seeds)
    norm = axes.images[0].norm
    np.testing.assert_allclose((norm.vmin, norm.vmax), (-largest, largest), rtol=1e-6)
    assert "r_1" in drawn["routes"].axes[-1].get_ylabel()


def test_components_of_routes_are_named(drawn):
    assert ticks(panel(drawn["routes"], "a").yaxis) == COMPONENTS


# circuit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", range(3))
def test_circuits_are_drawn_beside_random_ones(drawn, study, answer):
    axes = panel(drawn["circuit"], "abc"[answer])
    accuracy, sizes = study.circuit_accuracy.values[answer], study.circuit_size.values
    assert study.ranking.values[0] == "by effect"
    (by_effect,) = [line for line in axes.lines if line.get_label() == "by effect"]
    np.testing.assert_array_equal(by_effect.get_xydata(), np.stack([sizes, accuracy[0]], 1))
    (random,) = [line for line in axes.lines if line.get_label() == "random nodes"]
    expected = [mean(accuracy[1:, k]) for k in range(len(sizes))]
    np.testing.assert_allclose(random.get_ydata(), expected, rtol=1e-5)
    (area,) = axes.collections
    outline = area.get_paths()[0].vertices
    for k, size in enumerate(sizes):
        there = outline[outline[:, 0] == size][:, 1]
        np.testing.assert_allclose(
            (there.min(), there.max()), (min(accuracy[1:, k]), max(accuracy[1:, k]))
        )
    (chosen,) = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert chosen.get_xdata()[0] == study.circuit_nodes.values[answer]
    assert axes.get_xlabel() == f"nodes in the circuit of $r_{answer}$"


@pytest.mark.parametrize("layer", range(2))
def test_neurons_are_drawn_by_ranking_and_operation(drawn, study, layer):
    axes = panel(drawn["circuit"], "de"[layer])
    of, lines = study.neuron_accuracy.values[layer], iter(axes.lines)
    assert study.neuron_accuracy.dims == ("layer", "ranked_on", "operation", "kept")
    for ranked, colour in enumerate((BLUE, ORANGE, GREY)):
        for operation, look in enumerate(("-", "--")):
            line = next(lines)
            np.testing.assert_array_equal(line.get_xdata(), study.kept.values)
            np.testing.assert_array_equal(line.get_ydata(), of[ranked, operation])
            assert (line.get_linestyle(), to_hex(line.get_color())) == (look, colour)
    named = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    assert named == ["sums", "differences", "random"]
    assert ticks(axes.xaxis) == ["0", "1", "4", "16", "64", "256"]
    assert axes.get_xlabel() == f"neurons of MLP {layer} that are kept"


def written(study, name, part):
    """Mean over units and tens of what a part writes; standard errors of all digits."""
    rows = [study.followed.values.tolist().index(name), study.part.values.tolist().index(part)]
    of, error = study.written.values[*rows], study.written_sem.values[*rows]
    return (of[0] + of[1]) / 2, error


def test_written_logits_are_drawn_by_part(drawn, study):
    axes = panel(drawn["circuit"], "f")
    assert ticks(axes.yaxis) == ["embedding", *(f"{k}.{h}" for k in (0, 1) for h in range(4)),
                                 "MLP 0", "MLP 1"]  # fmt: skip
    found = along(axes)
    assert len(found) == len(FOLLOWED)
    for (points, x, y, _), (name, colour) in zip(found, FOLLOWED.items(), strict=True):
        expected = [written(study, name, part)[0] for part in study.part.values]
        np.testing.assert_allclose(x, expected, rtol=1e-5)
        np.testing.assert_array_equal(y, range(len(expected)))
        assert to_hex(points.get_color()) == colour
    assert legend(axes) == ["right digit", "digit of $a$", "digit of $b$", "other digit"]


def test_errors_of_written_logits_are_those_of_units_and_tens(drawn, study):
    for (*_, half), name in zip(along(panel(drawn["circuit"], "f")), FOLLOWED, strict=True):
        errors = [written(study, name, part)[1] for part in study.part.values]
        expected = [math.hypot(units, tens) / 2 for units, tens, _ in errors]
        np.testing.assert_allclose(half, expected, rtol=1e-4)


# what is inside ----------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(8))
def test_probes_are_maps_of_gain_over_shuffled_ones(drawn, study, k):
    axes = panel(drawn["probes"], "abcdefgh"[k])
    shuffled, accuracy = study.probe_shuffled.values[k], study.probe_accuracy.values[k]
    chance = sum(shuffled.ravel()) / shuffled.size
    expected = [[max(0, (one - chance) / (1 - chance)) for one in row] for row in accuracy]
    np.testing.assert_allclose(image(axes), expected, atol=1e-6)
    assert axes.images[0].get_clim() == (0, 1)
    label = study.label.values[k]
    name = "the carry" if label == "carry" else f"${label[0]}_{label[1]}$"
    assert axes.get_title() == f"probe for {name}"
    assert ticks(axes.xaxis) == [*PLACES, "$r_2$"]
    assert axes.images[0].origin == "lower"


def test_lens_is_a_band_for_every_digit_that_is_followed(drawn, study):
    axes = panel(drawn["probes"], "i")
    lens, error = study.lens.values[..., :2], study.lens_sem.values[..., :2]
    names = study.followed.values.tolist()
    areas = iter(axes.collections)
    for name, colour in FOLLOWED.items():
        row = names.index(name)
        middle = lens[row].sum(-1) / 2
        half = np.sqrt((error[row] ** 2).sum(-1)) / 2
        (line,) = [one for one in coloured(axes, colour) if len(one.get_xdata()) == 5]
        np.testing.assert_array_equal(line.get_xdata(), range(5))
        np.testing.assert_allclose(line.get_ydata(), middle, rtol=1e-5)
        outline = next(areas).get_paths()[0].vertices
        for position in range(5):
            there = outline[outline[:, 0] == position][:, 1]
            np.testing.assert_allclose(
                (there.min(), there.max()),
                (middle[position] - half[position], middle[position] + half[position]),
                rtol=1e-4,
            )
    assert legend(axes) == ["right digit", "digit of $a$", "digit of $b$", "another digit"]


@pytest.mark.parametrize(("row", "operation"), enumerate(("sums", "differences")))
def test_neurons_have_a_map_of_both_units_and_bars_of_digits(drawn, study, row, operation):
    grid = np.array(drawn[operation].axes).reshape(2, 6)
    order = study.neuron_order.values[-1, row]
    for k in range(6):
        upper, lower = grid[:, k]
        key = study.neuron_key.values[row, k]
        np.testing.assert_array_equal(image(upper), key)  # the first operand from below
        assert upper.images[0].origin == "lower"
        largest = np.nanmax(abs(key))
        np.testing.assert_allclose(upper.images[0].get_clim(), (-largest, largest), rtol=1e-6)
        assert upper.get_title() == f"neuron {order[k]}"
        heights = [bar.get_height() for bar in lower.patches]
        np.testing.assert_array_equal(heights, study.neuron_value.values[row, k])
        np.testing.assert_allclose([bar.get_x() + bar.get_width() / 2 for bar in lower.patches],
                                   range(10), atol=1e-9)  # fmt: skip
        assert (upper.get_xlabel(), lower.get_xlabel()) == ("$b_0$", "digit")
    assert grid[0, 0].get_ylabel() == "$a_0$"


# outside of the training data --------------------------------------------------------------------

WITHHELD = {"nothing": BLUE, "cascades": ORANGE, "block": GREEN}
KINDS = ("held_out", "withheld", "operator first", "operator last", "negative difference")


def of_kind(study, name, kind):
    return mean(study[name].values[study.kind_of_problem.values.tolist().index(kind)])


def test_solved_parts_have_a_mark_for_every_seed(drawn, every):
    axes = panel(drawn["outside"], "a")
    assert ticks(axes.yaxis) == [
        "held out", "withheld kind", "operator first", "operator last", "negative difference"
    ]  # fmt: skip
    assert axes.yaxis_inverted()
    for k, (withheld, colour) in enumerate(WITHHELD.items()):
        for seed, mark in enumerate("os^"):
            (mine,) = [
                each
                for each in every
                if (each.attrs["withheld"], each.attrs["training_seed"]) == (withheld, seed)
            ]
            (line,) = [one for one in coloured(axes, colour) if one.get_marker() == mark]
            expected = [of_kind(mine, "solved", kind) for kind in KINDS]
            np.testing.assert_allclose(line.get_xdata(), expected, rtol=1e-5)
            np.testing.assert_allclose(line.get_ydata(), np.arange(5) + 0.22 * (k - 1))
    assert legend(axes) == ["nothing withheld", "cascades withheld", "block withheld"]


def test_solved_parts_are_drawn_against_likelihood(drawn, every):
    axes = panel(drawn["outside"], "b")
    points = {}
    for line in axes.lines:
        ((x, y),) = line.get_xydata()
        points.setdefault((to_hex(line.get_color()), line.get_marker()), []).append((x, y))
    for withheld, colour in WITHHELD.items():
        mine = [each for each in every if each.attrs["withheld"] == withheld]
        for kind, mark in zip(KINDS, "o*<>x", strict=True):
            expected = [
                (of_kind(each, "log_likelihood", kind), of_kind(each, "solved", kind))
                for each in mine
            ]
            np.testing.assert_allclose(points[colour, mark], expected, rtol=1e-5)
    # One entry a kind, and not one a model.
    assert legend(axes) == ticks(panel(drawn["outside"], "a").yaxis)


def test_rescues_have_a_mark_for_every_model_that_fails(drawn, every):
    axes = panel(drawn["outside"], "c")
    failing = [each for each in every if int(each.failing_problems) > 0]
    assert [each.attrs["model"] for each in failing] == [
        "adder-no-block-2", *(f"adder-no-cascades-{seed}" for seed in range(3))
    ]  # fmt: skip
    rows = [
        "circuit, same answer", "circuit, same answer, its place withheld",
        "circuit, another answer", "random nodes, same answer", "other nodes, same answer",
        "circuit, corrected output", "circuit, corrected output, its place withheld",
        "none, after the error", "circuit, corrected output, one place later",
    ]  # fmt: skip
    for (points, x, y, half), one in zip(along(axes), failing, strict=True):
        names = one.rescue.values.tolist()
        values = [one.rescued.values[names.index(row)] for row in rows]
        part = np.array([mean(each) for each in values])
        n = np.array([sum(not math.isnan(value) for value in each) for each in values])
        np.testing.assert_allclose(x, part, rtol=1e-5)
        np.testing.assert_array_equal(y, range(len(rows)))
        squares = np.array([
            sum((value - mine) ** 2 for value in each if not math.isnan(value))
            for each, mine in zip(values, part, strict=True)
        ])  # fmt: skip
        with np.errstate(invalid="ignore", divide="ignore"):
            np.testing.assert_allclose(half, np.sqrt(squares / (n - 1) / n), rtol=1e-3, atol=1e-7)
        assert to_hex(points.get_color()) == WITHHELD[one.attrs["withheld"]]
        assert points.get_marker() == "os^"[one.attrs["training_seed"]]
    assert legend(axes) == [
        f"seed {one.attrs['training_seed']}, {int(one.failing_problems)} failing" for one in failing
    ]


def test_rows_of_rescue_are_told_in_words(drawn):
    assert ticks(panel(drawn["outside"], "c").yaxis) == [
        "circuit, same answer", "… without the answering place", "circuit, another answer",
        "random nodes, same answer", "all nodes but the circuit",
        "own output corrected: next digit", "… without the corrected place", "… unpatched",
        "… at the error, from one place later",
    ]  # fmt: skip


# response ----------------------------------------------------------------------------------------


def test_response_is_drawn_against_the_distance_of_answers(drawn, seeds):
    axes = panel(drawn["response"], "a")
    lines = [line for line in axes.lines if len(line.get_xdata())]
    assert len(lines) == 3 * 4 * 3
    found = iter(lines)
    for one in seeds:
        changed = one.changed_digit.values.tolist()
        for source, (name, mark) in enumerate(zip(("a1", "a0", "b1", "b0"), "os^D", strict=True)):
            assert one.source.values[source] == name
            for answer, colour in enumerate((BLUE, ORANGE, GREEN)):
                line = next(found)
                logs = one.scaled_response.values[source, -1, answer].astype(float)
                ((x, y),) = line.get_xydata()
                moved = one.answer_distance.values[changed.index(name), answer]
                np.testing.assert_allclose((x, y), (moved, math.exp(mean(logs))), rtol=1e-5)
                assert (line.get_marker(), to_hex(line.get_color())) == (mark, colour)
    assert legend(axes) == ["$a_1$", "$a_0$", "$b_1$", "$b_0$", "$r_0$", "$r_1$", "$r_2$"]


def test_response_to_raised_units_has_a_curve_for_every_seed(drawn, seeds):
    axes = panel(drawn["response"], "b")
    found = iter(along(axes, vertical=True))
    assert seeds[0].behind.values[0] == "before"
    for answer, colour in enumerate((BLUE, ORANGE)):
        for one in seeds:
            points, x, y, half = next(found)
            expected = np.exp(one.raised_response.values[0, -1, answer].astype(float))
            np.testing.assert_array_equal(x, range(18))
            np.testing.assert_allclose(y, expected, rtol=1e-5)
            error = expected * one.raised_response_sem.values[0, -1, answer]
            np.testing.assert_allclose(half, error, rtol=1e-3)
            assert to_rgba(points.get_color()) == to_rgba(colour)
    assert next(found, None) is None
    assert legend(axes) == ["where $r_0$ is predicted", "where $r_1$ is predicted"]
    assert 9 in [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2]


def test_flips_are_those_of_the_tens(drawn, seeds):
    axes = panel(drawn["response"], "c")
    found = iter(axes.lines)
    for changed, colour in (("operand, result as before", BLUE), ("result alone", ORANGE)):
        for one in seeds:
            line = next(found)
            row = one.changed.values.tolist().index(changed)
            expected = one.answer_flips.values[row, 1]
            np.testing.assert_array_equal(line.get_xydata(), np.stack([range(18), expected], 1))
            assert to_hex(line.get_color()) == colour
    assert legend(axes) == ["$a_0$ raised", "$r_0$ alone becomes the next"]
