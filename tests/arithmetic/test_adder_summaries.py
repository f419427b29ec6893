"""What studies of models that add say in a few numbers, against plain computations of them."""

import math
import warnings

import numpy as np
import pytest
import xarray as xr
from made_up_adders import FAILING, KEPT, LABELS, MOVED, RESCUE, put, study
from scipy.stats import spearmanr
from universal_response.arithmetic import summaries

MAP = ("operation", "answer", "layer", "component", "place")


@pytest.fixture(scope="module")
def made():
    return study()


def effects(seed=0):
    """Both measures of effects; nan where an answer is always the same."""
    generator = np.random.default_rng(seed)
    shape = (2, 3, 2, 5, 8)
    logit, formula = generator.normal(size=(2, *shape))
    logit[1, 2] = formula[1, 2] = np.nan
    return xr.Dataset({"logit_effect": (MAP, logit), "indirect_effect": (MAP, formula)})


def known(values):
    return [float(one) for one in np.ravel(values) if not math.isnan(one)]


def mean(values):
    numbers = known(values)
    return sum(numbers) / len(numbers) if numbers else math.nan


# effects and circuits ----------------------------------------------------------------------------


def test_size_of_effect_is_a_mean_over_digits_and_operations():
    """Of sizes, so that opposite effects do not cancel; what is nan does not count."""
    made = effects()
    found = summaries.size_of_effect(made)
    assert found.dims == ("layer", "component", "place")
    for at in ((0, 0, 0), (1, 4, 7), (1, 2, 3)):
        expected = mean(abs(made.logit_effect.values[(slice(None), slice(None), *at)]))
        assert float(found[at]) == pytest.approx(expected)


def test_measures_are_compared_by_the_ranks_of_their_sizes():
    made = effects()
    pairs = [
        (abs(one), abs(other))
        for one, other in zip(
            made.indirect_effect.values.ravel(), made.logit_effect.values.ravel(), strict=True
        )
        if not math.isnan(one)
    ]
    expected = spearmanr(*np.array(pairs).T).statistic
    assert summaries.formula_against_logits(made) == pytest.approx(expected)


def test_a_measure_that_grows_with_another_agrees_with_it_whatever_the_signs():
    """Where one of both is not known, neither counts."""
    made = effects()
    made["indirect_effect"] = -np.sign(made.logit_effect) * abs(made.logit_effect) ** 3
    made.indirect_effect[0, 0, 0, 0, 0] = np.inf
    assert summaries.formula_against_logits(made) == pytest.approx(1)
    made["indirect_effect"] = 1 / made.logit_effect
    assert summaries.formula_against_logits(made) == pytest.approx(-1)


def test_random_circuits_are_told_apart_from_the_one_by_effect(made):
    found = summaries.random_circuits(made)
    accuracy = made.circuit_accuracy.values
    for k in range(3):
        for n in range(5):
            drawn = [accuracy[k, ranking, n] for ranking in (1, 2)]
            at = found.isel(answer=k, circuit_size=n)
            assert (float(at.low), float(at.high)) == (min(drawn), max(drawn))
            assert float(at["mean"]) == pytest.approx(sum(drawn) / 2)


def test_random_circuits_of_another_measure(made):
    other = made.assign(circuit_logit_ratio=2 * made.circuit_accuracy)
    twice = summaries.random_circuits(other, "circuit_logit_ratio")
    xr.testing.assert_allclose(twice, 2 * summaries.random_circuits(made))


def test_at_its_circuit_every_digit_has_its_own_size(made):
    """The best random circuit is that of the same size, digit by digit."""
    sizes = made.assign(circuit_nodes=("answer", [4, 60, 0]))
    varied = put(sizes, "circuit_accuracy", 0.3, ranking="random 0", circuit_size=[0, 4])
    found = summaries.at_circuit(varied)
    assert found.circuit.dims == ("answer",)
    np.testing.assert_allclose(found.circuit, [0.5, 1, 0])
    np.testing.assert_allclose(found.random, [0.3, 0.4, 0.3])


# neurons -----------------------------------------------------------------------------------------


def test_shared_neurons_are_counted_among_the_first(made):
    order = made.neuron_order.values[1]
    for n in (1, 24, 25, 32, 256):
        expected = len([one for one in order[0, :n] if one in order[1, :n]]) / n
        assert summaries.shared_neurons(made, 1, n) == expected
    assert summaries.shared_neurons(made, 1, 24) == 0
    assert summaries.shared_neurons(made, 1, 256) == 1


def test_shared_neurons_are_those_of_the_layer(made):
    other = made.copy(deep=True)
    other.neuron_order[0, 1] = other.neuron_order[0, 0]
    assert summaries.shared_neurons(other, 0, 32) == 1
    assert summaries.shared_neurons(other, 1, 32) == 8 / 32


@pytest.mark.parametrize("part", [0.4, 0.5, 0.9, 0.95, 1.0])
def test_neurons_needed_are_the_fewest_that_suffice(made, part):
    """With equality enough, and each operation on its own ranking."""
    slow = put(
        made, "neuron_accuracy", 0.6, ranked_on="differences", operation="differences",
        kept=[8, 16, 32],
    )  # fmt: skip
    found = summaries.neurons_needed(slow, 1, part)
    for k, operation in enumerate(("sums", "differences")):
        right = slow.neuron_accuracy.values[1, k, k]
        expected = next(n for n, each in zip(KEPT, right, strict=True) if each >= part)
        assert int(found.sel(operation=operation)) == expected


def test_nine_of_ten_are_needed_if_not_told(made):
    assert summaries.neurons_needed(made, 1).values.tolist() == [16, 16]
    assert summaries.neurons_needed(made, 0).values.tolist() == [256, 256]


def test_neurons_that_never_suffice_have_no_number():
    never = put(study(), "neuron_accuracy", 0.89)
    assert summaries.neurons_needed(never, 1).isnull().all()


# likelihood --------------------------------------------------------------------------------------


def asked(**kinds):
    """Log likelihood and whether solved, by kind, of as many problems as there are."""
    n = max(len(likely) for likely, _ in kinds.values())
    both = np.full((2, len(kinds), n), np.nan)
    for k, pair in enumerate(kinds.values()):
        for which, values in enumerate(pair):
            both[which, k, : len(values)] = values
    dims = ("kind_of_problem", "asked")
    return xr.Dataset(
        {"log_likelihood": (dims, both[0]), "solved": (dims, both[1])},
        {"kind_of_problem": list(kinds)},
    )


EXAMPLE = asked(
    held_out=([-1, -2, -3, -4], [1, 1, 1, 0]),
    withheld=([-3, -5, -3], [1, 0, 0]),
    other=([-1, -9], [1, 0]),
    none=([], []),
)


def test_likelihood_is_a_mean_with_its_error_over_the_problems_that_there_are():
    found = summaries.likely(EXAMPLE)
    for kind, (likely, solved) in {
        "held_out": ([-1, -2, -3, -4], [1, 1, 1, 0]), "withheld": ([-3, -5, -3], [1, 0, 0])
    }.items():  # fmt: skip
        at, n = found.sel(kind_of_problem=kind), len(likely)
        middle = sum(likely) / n
        scatter = sum((one - middle) ** 2 for one in likely) / (n - 1)
        assert float(at["mean"]) == pytest.approx(middle)
        assert float(at.error) == pytest.approx(math.sqrt(scatter / n))
        assert float(at.solved) == pytest.approx(sum(solved) / n)
        assert int(at.n) == n


def test_of_an_empty_kind_nothing_is_known():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        at = summaries.likely(EXAMPLE).sel(kind_of_problem="none")
    assert int(at.n) == 0
    assert all(math.isnan(at[name]) for name in ("mean", "error", "solved"))


def less_likely(ones, others):
    pairs = [(one < other) + (one == other) / 2 for one in ones for other in others]
    return sum(pairs) / len(pairs)


def test_a_kind_is_unlikely_beside_what_is_held_out():
    """Over pairs, a tie by half: 9 of 12."""
    expected = less_likely([-3, -5, -3], [-1, -2, -3, -4])
    assert summaries.unlikely_kind(EXAMPLE) == pytest.approx(expected) == pytest.approx(9 / 12)
    expected = less_likely([-1, -9], [-1, -2, -3, -4])
    assert summaries.unlikely_kind(EXAMPLE, "other") == pytest.approx(expected)
    assert summaries.unlikely_kind(EXAMPLE, "held_out") == 0.5
    assert math.isnan(summaries.unlikely_kind(EXAMPLE, "none"))


def test_problems_that_fail_are_less_likely_than_those_that_are_solved():
    assert summaries.unlikely_fails(EXAMPLE) == pytest.approx(1.5 / 2)
    both = summaries.unlikely_fails(EXAMPLE, ("withheld", "held_out", "none"))
    expected = less_likely([-5, -3, -4], [-3, -1, -2, -3])
    assert both == pytest.approx(expected)


@pytest.mark.parametrize("solved", [0.0, 1.0])
def test_where_all_fail_or_none_nothing_can_be_told_apart(solved):
    alike = put(EXAMPLE, "solved", solved, kind_of_problem="withheld")
    assert math.isnan(summaries.unlikely_fails(alike))
    assert math.isnan(summaries.unlikely_fails(EXAMPLE, ("none",)))


# rescue ------------------------------------------------------------------------------------------


def test_rescue_is_a_share_with_its_error_over_problems(made):
    found = summaries.rescued(made)
    for row, part in RESCUE.items():
        at = found.sel(rescue=row)
        assert float(at["mean"]) == part
        assert float(at.error) == pytest.approx(math.sqrt(part * (1 - part) / (FAILING - 1)))
        assert int(at.n) == FAILING
    assert float(found.as_donor.sel(rescue="circuit, another answer")) == 1


def test_failing_problems_without_a_donor_do_not_count(made):
    some = put(made, "rescued", [1, 0, np.nan, 1], rescue="circuit, same answer")
    at = summaries.rescued(some).sel(rescue="circuit, same answer")
    assert int(at.n) == 3
    assert float(at["mean"]) == pytest.approx(2 / 3)
    assert float(at.error) == pytest.approx(1 / 3)  # sqrt(2/3 * 1/3 / 2)


def test_without_failing_problems_there_is_no_share(made):
    none = made.assign(rescued=made.rescued * np.nan, as_donor=made.as_donor * np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = summaries.rescued(none)
    assert (found.n == 0).all()
    assert all(found[name].isnull().all() for name in ("mean", "error", "as_donor"))


# responses ---------------------------------------------------------------------------------------


def responses(seed=0):
    generator = np.random.default_rng(seed)
    made = study()
    for name in ("scaled_response", "raised_response"):
        made[name] = made[name] + generator.normal(size=made[name].shape)
    made.scaled_response[2, -1, 1, 4] = np.nan
    return made


def test_response_is_a_geometric_mean_beside_how_far_the_answer_moves():
    """At the end of the model, of operands in the order of the sources."""
    made = responses()
    found = summaries.response_and_distance(made)
    assert found.source.values.tolist() == ["a1", "a0", "b1", "b0"]
    for source in range(4):
        for answer in range(3):
            logs = known(made.scaled_response.values[source, -1, answer])
            product = math.prod(math.exp(one) for one in logs) ** (1 / len(logs))
            at = found.isel(source=source, answer=answer)
            assert float(at.response) == pytest.approx(product)
            assert float(at.distance) == MOVED[source, answer]


def test_digits_that_were_changed_are_taken_by_name(made):
    order = ["r1", "b0", "a0", "r0", "b1", "a1"]
    shuffled = made.sel(changed_digit=order)
    found = summaries.response_and_distance(shuffled)
    np.testing.assert_array_equal(found.distance.transpose("source", "answer"), MOVED[:4])


def test_response_follows_the_answer_by_ranks(made):
    assert summaries.response_follows_answer(made) == pytest.approx(1)
    noisy = responses()
    last = [[mean(row) for row in each] for each in noisy.scaled_response.values[:, -1]]
    expected = spearmanr(np.ravel(last), MOVED[:4].ravel()).statistic
    assert summaries.response_follows_answer(noisy) == pytest.approx(expected)
    silent = put(made, "scaled_response", np.nan, source="a1")
    assert math.isnan(summaries.response_follows_answer(silent))


def test_effects_at_operands_are_summed_over_nodes_of_their_own_place(made):
    """Of sums, in size, by the names of places."""
    varied = made.assign(logit_effect=effects().logit_effect)
    found = summaries.effect_at_operands(varied)
    assert found.dims == ("source", "answer")
    for source, place in (("a1", 0), ("a0", 1), ("b1", 3), ("b0", 4)):
        for answer in range(3):
            nodes = varied.logit_effect.values[0, answer, :, :, place]
            expected = sum(abs(one) for one in nodes.ravel())
            assert float(found.sel(source=source)[answer]) == pytest.approx(expected)
    last = [[mean(row) for row in each] for each in varied.scaled_response.values[:, -1]]
    expected = spearmanr(np.ravel(last), found.values.ravel()).statistic
    assert summaries.response_follows_nodes(varied) == pytest.approx(expected)
    assert summaries.response_follows_nodes(made) == pytest.approx(1)


@pytest.mark.parametrize(("behind", "row"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize("answer", [0, 1, 2])
def test_at_a_carry_is_where_both_units_are_nine(behind, row, answer):
    made = responses()
    logs = made.raised_response.values[row, -1, answer]
    elsewhere = math.prod(math.exp(logs[k]) for k in range(18) if k != 9) ** (1 / 17)
    found = summaries.at_carry(made, answer, behind)
    assert found == pytest.approx(math.exp(logs[9]) / elsewhere)


def test_a_response_that_knows_no_carry_is_as_large_there(made):
    assert summaries.at_carry(made, 1) == pytest.approx(2)
    assert summaries.at_carry(made, 1, "after") == pytest.approx(1)
    assert summaries.at_carry(made, 0) == pytest.approx(1)


# probes and lens ---------------------------------------------------------------------------------


def test_probes_gain_over_shuffled_ones(made):
    """Of their label: chance is 0, a perfect probe 1, and what is below chance 0."""
    generator = np.random.default_rng(0)
    dims = ("label", "position", "place_read")
    accuracy, shuffled = generator.uniform(0, 1, (2, 8, 5, 9))
    shuffled *= np.linspace(0.1, 0.8, 8)[:, None, None]
    accuracy[3, 2, 1] = 1
    varied = made.assign(probe_accuracy=(dims, accuracy), probe_shuffled=(dims, shuffled))
    found = summaries.probe_gain(varied)
    assert found.dims == dims
    for label in range(len(LABELS)):
        chance = sum(shuffled[label].ravel()) / shuffled[label].size
        for position in range(5):
            for place in range(9):
                gain = (accuracy[label, position, place] - chance) / (1 - chance)
                assert float(found[label, position, place]) == pytest.approx(max(0, gain))
    assert float(found[3, 2, 1]) == 1
    assert float(found.min()) == 0


def test_lens_is_a_mean_over_digits_that_operands_have(made):
    """The first digit of a result has no place in them."""
    found = summaries.mean_over_operand_digits(made, "lens")
    lens, error = made.lens.values, made.lens_sem.values
    for followed in range(4):
        for position in range(5):
            units, tens, _ = lens[followed, position]
            at = found.isel(followed=followed, position=position)
            assert float(at["mean"]) == pytest.approx((units + tens) / 2)
            of_units, of_tens, _ = error[followed, position]
            assert float(at.error) == pytest.approx(math.hypot(of_units, of_tens) / 2)


def test_what_is_summarised_stays_as_it_was():
    made = responses().assign(effects().data_vars)
    before = made.copy(deep=True)
    for name in ("size_of_effect", "formula_against_logits", "random_circuits", "at_circuit",
                 "likely", "unlikely_kind", "unlikely_fails", "rescued", "response_and_distance",
                 "response_follows_answer", "effect_at_operands", "response_follows_nodes",
                 "probe_gain"):  # fmt: skip
        getattr(summaries, name)(made)
    xr.testing.assert_identical(made, before)
