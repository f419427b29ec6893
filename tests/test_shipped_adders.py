"""What the shipped studies of models that add must be, and what their controls must show."""

import json
import math
import re

import numpy as np
import pytest
from shipped import RESULTS, shipped_results
from universal_response import REGISTRY, arithmetic, measurement
from universal_response.arithmetic import ArithmeticSettings
from universal_response.arithmetic.probing import labels
from universal_response.arithmetic.study.material import Material
from universal_response.measurement import recorded
from universal_response.models import SHIPPED

TRAININGS = {"": "nothing", "-no-cascades": "cascades", "-no-block": "block"}
ADDERS = {
    f"adder{name}-{seed}": (withheld, seed)
    for name, withheld in TRAININGS.items()
    for seed in range(3)
}
FAIL = ("adder-no-cascades-0", "adder-no-cascades-1", "adder-no-cascades-2", "adder-no-block-2")
HELD_OUT = 300  # a quarter of the problems for probes


@pytest.fixture(scope="module", params=ADDERS)
def name(request):
    return request.param


@pytest.fixture
def study(name):
    return shipped_results(f"arithmetic-{name}")


@pytest.fixture(params=FAIL)
def failing(request):
    return shipped_results(f"arithmetic-{request.param}")


def told(name):
    return json.loads((SHIPPED / name / "provenance.json").read_text())


def row(study, variable, rescue):
    return study[variable].sel(rescue=rescue).values


# what they are -----------------------------------------------------------------------------------


def test_a_study_is_shipped_of_every_adder():
    assert {path.stem for path in RESULTS.glob("arithmetic-*.nc")} == {
        f"arithmetic-{name}" for name in ADDERS
    }
    assert set(ADDERS) == {one for one, model in REGISTRY.items() if model.task == "addition"}


def test_attributes_are_complete(study, name):
    attrs = study.attrs
    expected = {
        "schema_version", "model", "weights_sha256", "quantisation", "input", "digits", "device",
        "architecture", "versions", "git_commit", "wall_time_s", "created", "content_sha256",
    }  # fmt: skip
    assert expected <= set(attrs)
    assert all(str(value) not in ("", "unknown") for value in attrs.values())
    assert (attrs["model"], attrs["kind"], attrs["digits"]) == (name, "arithmetic", 2)
    assert attrs["schema_version"] == measurement.SCHEMA_VERSIONS["arithmetic"]
    assert (attrs["withheld"], attrs["training_seed"]) == ADDERS[name]
    assert attrs["wall_time_s"] > 0
    # Measured with a committed state of the library, which `-dirty` would deny.
    assert re.fullmatch("([^ ]+-g)?[0-9a-f]{40}", attrs["git_commit"])


def test_settings_are_the_usual_ones(study):
    assert recorded(ArithmeticSettings, study.attrs) == ArithmeticSettings()
    assert (study.attrs["seed"], study.attrs["dtype"]) == (0, "float32")


def test_weights_are_those_of_the_registry(study, name):
    digest = study.attrs["weights_sha256"]
    assert digest == REGISTRY[name].sha256 == told(name)["weights_sha256"]


def test_files_are_small(name):
    assert (RESULTS / f"arithmetic-{name}.nc").stat().st_size <= 5e5


def test_accuracy_is_that_which_was_found_after_training(study, name):
    said = told(name)["accuracy"]
    there = {
        str(part): value
        for part, value in zip(study.part_of_split.values, study.accuracy.values, strict=True)
        if not math.isnan(value)
    }
    # As single precision keeps it.
    assert there == {part: np.float32(value) for part, value in said.items()}
    assert ("withheld" in there) == (ADDERS[name][0] != "nothing")


def test_problems_are_those_of_the_split(study, name):
    parts = vars(arithmetic.split(*ADDERS[name]))
    assert study.problems.values.tolist() == [len(parts[one]) for one in study.part_of_split.values]
    right = study.accuracy * study.problems
    # A share of that many problems.
    np.testing.assert_allclose(right.fillna(0), right.fillna(0).round(), atol=2e-3)


def test_numbers_are_missing_only_where_there_is_nothing_to_measure(study, name):
    """No answer but 0 to the last digit of a difference, and no digit of operands beside it."""
    always_zero = study.logit_effect.sel(operation="differences").isel(answer=2)
    assert always_zero.isnull().all()
    assert int(study.logit_effect.isnull().sum()) == always_zero.size
    for each in ("written", "lens"):
        of_operands = study[each].sel(followed=["first", "second"]).isel(answer=2)
        assert int(study[each].isnull().sum()) == of_operands.size == of_operands.isnull().sum()
    for each in ("circuit_accuracy", "probe_accuracy", "neuron_accuracy", "answer_flips",
                 "answer_distance"):  # fmt: skip
        assert study[each].notnull().all()
        assert (study[each] >= 0).all()
        assert (study[each] <= 1).all()


# what they say of themselves ---------------------------------------------------------------------


def test_what_parts_write_sums_to_the_logits(study):
    """At the end of the model, whose norm is held fixed, to single precision."""
    total = study.written.sum("part", skipna=False)
    last = study.lens.isel(position=-1)
    largest = float(abs(study.written).max())
    np.testing.assert_allclose(
        total, last.transpose(*total.dims), atol=11 * np.finfo("float32").eps * largest
    )
    assert total.dims == ("followed", "answer")


def test_all_nodes_are_the_model_and_none_is_a_guess(study):
    """Of units and tens; the last digit is 0 in three of four problems.

    Without nodes each operation gets a digit of its own at most: no more than a quarter are right.
    """
    whole = study.circuit_accuracy.sel(circuit_size=80)
    assert (whole.sel(ranking="by effect") == 1).all()
    empty = study.circuit_accuracy.sel(circuit_size=0).isel(answer=[0, 1])
    # Without nodes they are all one, whichever way they were drawn.
    assert (empty.std("ranking") == 0).all()
    assert float(empty.max()) < 0.25


def test_the_circuit_is_the_smallest_that_was_enough(study):
    """Chosen on other problems, it gives nearly as much on those of the study."""
    for answer, n in enumerate(study.circuit_nodes.values):
        found = study.circuit_accuracy.sel(ranking="by effect").isel(answer=answer)
        assert float(found.sel(circuit_size=n)) > 0.9
        smaller = found.where(found.circuit_size < n, drop=True)
        assert float(smaller.max()) < 0.99


def test_ranks_are_those_of_all_nodes_that_can_matter(study):
    """An answer depends on places up to that at which it is predicted: ten nodes each."""
    for answer in range(3):
        ranks = study.node_rank.isel(answer=answer)
        there = ranks.values[np.isfinite(ranks.values)]
        assert sorted(there) == list(range(10 * (6 + answer)))
        assert ranks.isel(place=slice(6 + answer, None)).isnull().all()


def test_neurons_are_ranked_each_once(study):
    assert (np.sort(study.neuron_order.values, -1) == np.arange(256)).all()
    whole = study.neuron_accuracy.sel(kept=256)
    assert float(whole.min()) > 0.99


# controls ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [0, 1])
def test_random_circuits_fail_where_the_circuit_does_not(study, answer):
    """Units and tens: the best of all draws is far below the circuit of the same size."""
    n = int(study.circuit_nodes[answer])
    found = study.circuit_accuracy.isel(answer=answer).sel(circuit_size=n)
    assert study.ranking.values.tolist() == ["by effect", *(f"random {k}" for k in range(20))]
    by_effect, random = float(found[0]), found.values[1:]
    assert by_effect > 0.9
    assert max(random) < 0.6
    assert random.mean() < 0.25
    assert by_effect - max(random) > 0.4


def guessed(name, study):
    """How often the most frequent class of a label is right, among problems left out of fits."""
    material = Material(
        None,  # problems are those of the settings alone
        arithmetic.settings_of_training(name),
        recorded(ArithmeticSettings, study.attrs),
    )
    problems = material.problems("probed_on")
    held_out = np.arange(len(problems)) % 4 == 3
    assert held_out.sum() == HELD_OUT
    return {
        label: np.bincount(values[held_out]).max() / HELD_OUT
        for label, values in labels(problems).items()
    }


def test_probes_with_shuffled_labels_are_at_chance(study, name):
    """Within four binomial errors of the most frequent class: on average, and in most cells.

    Where a digit has been written into a state there are ten clusters of states. A shuffled probe
    gives each of them some digit, right or wrong as a whole: ten draws and no more. So a single
    cell may lie as far off as five errors of ten draws.
    """
    for label, often in guessed(name, study).items():
        shuffled = study.probe_shuffled.sel(label=label)
        allowed = often + 4 * math.sqrt(often * (1 - often) / HELD_OUT)
        assert float(shuffled.mean()) < allowed, label
        assert float((shuffled > allowed).mean()) < 0.2, label
        ten_draws = often + 5 * math.sqrt(often * (1 - often) / 10)
        assert float(shuffled.max()) < ten_draws, label


@pytest.mark.parametrize("label", ["a0", "b0", "r0"])
def test_shuffled_probes_are_low_where_claims_read(study, label):
    """What claims ask for there is a gain of a quarter, or of half."""
    assert float(study.probe_shuffled.sel(label=label, place_read="=").max()) < 0.25


def test_probes_read_what_they_must(study):
    """An operand's digit at its own place, from the embedding on; the right one at the end."""
    read = study.probe_accuracy
    for label in ("a1", "a0", "b1", "b0"):
        assert float(read.sel(label=label, place_read=label).isel(position=0)) == 1
    # Nothing is known of what comes later.
    often = study.probe_shuffled.sel(label="b0").max()
    assert float(read.sel(label="b0", place_read="a1").max()) <= float(often) + 0.1
    assert float(read.sel(label="r0", place_read="=").isel(position=-1)) > 0.6


# rescue ------------------------------------------------------------------------------------------


def test_failing_problems_are_there_where_models_fail(study, name):
    n = int(study.failing_problems)
    assert (n > 0) == (name in FAIL)
    assert study.sizes["failing"] == max(n, 1)
    assert study.rescued.notnull().any() == (n > 0)


def test_a_donor_with_another_answer_rescues_nothing(failing):
    """It brings its own answer instead, in every problem."""
    right = row(failing, "rescued", "circuit, another answer")
    donors = row(failing, "as_donor", "circuit, another answer")
    assert np.isfinite(right).all()
    assert (right == 0).all()
    assert (donors == 1).all()


def test_all_nodes_of_a_donor_give_its_answer(failing):
    assert (row(failing, "rescued", "all nodes, same answer") == 1).all()
    assert (row(failing, "rescued", "circuit, same answer") == 1).all()
    assert row(failing, "rescued", "other nodes, same answer").mean() < 0.05


def test_a_patch_before_the_error_is_none(failing):
    """Both runs are the same up to there: with its place withheld the patch changes nothing."""
    for variable in ("rescued", "as_donor"):
        withheld = row(failing, variable, "circuit, corrected output, its place withheld")
        unpatched = row(failing, variable, "none, after the error")
        assert np.isfinite(withheld).all()
        np.testing.assert_array_equal(withheld, unpatched)


def test_the_same_answer_is_the_donors(failing):
    """Where donors have the failing problem's result, right and as the donor are one."""
    for each in failing.rescue.values:
        if "same answer" in each:
            np.testing.assert_array_equal(
                row(failing, "rescued", each), row(failing, "as_donor", each)
            )


# measured again ----------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["adder-1", "adder-no-cascades-2"])
def test_a_study_agrees_with_what_is_measured_again(again):
    study = shipped_results(f"arithmetic-{again}").copy(deep=True)
    found = arithmetic.verify_arithmetic(study)
    assert found.agrees
    witnesses = [one for one in study.data_vars if one.startswith("witness_")]
    assert len(witnesses) == 4
    assert found.compared == sum(study[one].size for one in witnesses)
    assert found.median_relative < 1e-3


@pytest.mark.parametrize(
    ("witness", "at"),
    [
        ("witness_log_probability", {"witness": 3, "answer": 1, "digit": 7}),
        ("witness_log_likelihood", {"witness": 2}),
        ("witness_effect", {"node": 44, "witness": 1, "answer": 1}),
        ("witness_response", {"position": 4, "witness": 0, "answer": 0}),
    ],
)
def test_a_study_with_another_witness_disagrees(witness, at):
    altered = shipped_results("arithmetic-adder-1").copy(deep=True)
    value = float(altered[witness][at])
    # Somewhat more than a thousandth of 1 and of itself.
    altered[witness][at] = value + 2.5e-3 * (1 + abs(value))
    found = arithmetic.verify_arithmetic(altered)
    assert not found.agrees
    assert 2 < found.worst < 3
    assert found.where == {"of": witness, **at}


def test_a_missing_witness_disagrees():
    altered = shipped_results("arithmetic-adder-1").copy(deep=True)
    altered.witness_effect[5, 0, 0] = np.nan
    assert not arithmetic.verify_arithmetic(altered).agrees


def test_a_study_of_other_weights_is_refused():
    study = shipped_results("arithmetic-adder-1").copy(deep=True)
    said = r"^weights_sha256=0+: the model at hand has [0-9a-f]{64}; use the recorded weights$"
    with pytest.raises(ValueError, match=said):
        arithmetic.verify_arithmetic(study.assign_attrs(weights_sha256="0" * 64))


def test_a_study_of_other_problems_is_refused():
    altered = shipped_results("arithmetic-adder-1").copy(deep=True)
    altered.tokens[0, 0] = (altered.tokens[0, 0] + 1) % 10
    with pytest.raises(ValueError, match=r"^tokens: not those of seed=0; the file was changed$"):
        arithmetic.verify_arithmetic(altered)
    other = shipped_results("arithmetic-adder-1").copy(deep=True).assign_attrs(seed=1)
    with pytest.raises(ValueError, match=r"^tokens: not those of seed=1; the file was changed$"):
        arithmetic.verify_arithmetic(other)
