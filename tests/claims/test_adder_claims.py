"""Claims about models that add: on studies made up to keep or break each, and on those shipped."""

import math

import numpy as np
import pytest
from made_up_adders import put, studies, study
from scipy.stats import spearmanr
from shipped import RESULTS, shipped_results
from universal_response import claims
from universal_response.claims import ARITHMETIC_CLAIMS, FAILS, HOLDS, REPORTED, UNDECIDED, UNTESTED

NAMES = sorted(path.stem for path in RESULTS.glob("arithmetic-*.nc"))
BY_STATEMENT = {claim.statement: claim for claim in ARITHMETIC_CLAIMS}
PATCHED = "circuit, corrected output, its place withheld"


def the(words):
    (found,) = [claim for name, claim in BY_STATEMENT.items() if words in name]
    return found


def findings(mine):
    return {one.claim.statement: one for one in claims.evaluate_arithmetic_claims(mine)}


def alike(one, name, kind, other):
    """A copy in which one kind of problem is as likely as another."""
    values = one[name].sel(kind_of_problem=other).values
    return put(one, name, values, kind_of_problem=kind)


def reordered(one):
    """A copy in which the same neurons matter to sums and to differences."""
    changed = one.copy(deep=True)
    changed.neuron_order[:, 1] = changed.neuron_order[:, 0]
    return changed


def turned(one):
    """A copy in which the response is large where the answer does not move."""
    return one.assign(scaled_response=-one.scaled_response)


# Statement, value in the study that keeps it, training, the same study with it broken, value there.
CASES = [
    (
        "adds and subtracts", 1, "nothing",
        lambda one: put(one, "accuracy", 0.99, part_of_split="held_out"), 0.99,
    ),
    (
        "A circuit calculates", 8 / 70, "nothing",
        lambda one: one.assign(circuit_nodes=("answer", [4, 60, 4])), 60 / 70,
    ),
    (
        "Not any nodes", 0.2, "nothing",
        lambda one: put(one, "circuit_accuracy", 0.9, ranking="random 0"), 0.9,
    ),
    (
        "moves the second operand", 0.8, "nothing",
        lambda one: put(one, "probe_accuracy", 0.8, label="b0"), 0,
    ),
    (
        "And the first.", 0.8, "nothing",
        lambda one: put(one, "probe_accuracy", 0.8, label="a0"), 0,
    ),
    (
        "makes the answer", 0.9, "nothing",
        lambda one: put(one, "written", 9, followed="right", part="0.0"), 0.5,
    ),
    (
        "cannot be read", 0.8, "nothing",
        lambda one: put(one, "probe_accuracy", 0.9, label="r0"), 0,
    ),
    (
        "Few neurons", 16 / 256, "nothing",
        lambda one: put(one, "neuron_accuracy", 0.89, kept=[16, 32]), 64 / 256,
    ),
    ("differ between operators", 8 / 32, "nothing", reordered, 1),
    (
        "deletes the operands", -0.25, "nothing",
        lambda one: put(one, "written", 0.25, part="mlp 1", followed=["first", "second"]), 0,
    ),
    (
        "carries that make carries", 0.3, "cascades",
        lambda one: put(one, "accuracy", 0.5, part_of_split="withheld"), 0.5,
    ),
    (
        "in a block of operands", 0.3, "block",
        lambda one: put(one, "accuracy", 0.5, part_of_split="withheld"), 0.5,
    ),
    (
        "forms never seen", 1, "nothing",
        lambda one: alike(one, "log_likelihood", "operator first", "held_out"), 0.5,
    ),
    (
        "The withheld block is unlikely", 1, "block",
        lambda one: alike(one, "log_likelihood", "withheld", "held_out"), 0.5,
    ),
    (
        "Withheld cascades are unlikely", 1, "cascades",
        lambda one: alike(one, "log_likelihood", "withheld", "held_out"), 0.5,
    ),
    (
        "predicts failure", 1, "cascades",
        lambda one: put(one, "solved", [0, 0, 0, 1, 1, 1], kind_of_problem="withheld"), 0,
    ),
    (
        "A failing problem is solved", 1, "cascades",
        lambda one: put(one, "rescued", [1, 1, 1, 0], rescue="circuit, same answer"), 0.75,
    ),
    (
        "Nothing but the circuit", 0, "cascades",
        lambda one: put(one, "rescued", [1, 0, 0, 0], rescue="other nodes, same answer"), 0.25,
    ),
    (
        "takes the whole circuit", 0.25, "cascades",
        lambda one: put(one, "rescued", 0.5, rescue="random nodes, same answer"), 0.5,
    ),
    (
        "restores the calculation", 0.75, "cascades",
        lambda one: put(one, "rescued", 0, rescue="circuit, another answer"), 0,
    ),
    (
        "brings the donor's answer", 1, "cascades",
        lambda one: put(one, "as_donor", [1, 1, 1, 0], rescue="circuit, another answer"), 0.75,
    ),
    (
        "own output, corrected", 0.25, "cascades",
        lambda one: put(one, "rescued", [1, 1, 0, 0], rescue=PATCHED), 0,
    ),
    ("where the answer depends", 1, "nothing", turned, -1),
    (
        "knows the carry", 2, "nothing",
        lambda one: put(one, "raised_response", math.log(1.2), unit_sum=9), 1.2,
    ),
    (
        "read the carry off", 1, "nothing",
        lambda one: put(one, "answer_flips", 0.25, unit_sum=9, changed="operand, result as before"),
        0.75,
    ),
]  # fmt: skip


WORDS = [case[0] for case in CASES]


def test_there_is_a_case_for_every_claim():
    bounded = [claim.statement for claim in ARITHMETIC_CLAIMS if claim.holds]
    assert [the(words).statement for words in WORDS] == bounded
    assert len(BY_STATEMENT) == len(ARITHMETIC_CLAIMS)


@pytest.fixture(scope="module")
def kept():
    return findings(studies())


@pytest.mark.parametrize(("words", "value"), [case[:2] for case in CASES])
def test_the_made_up_studies_keep_every_claim(kept, words, value):
    found = kept[the(words).statement]
    assert found.verdict == HOLDS
    assert found.estimate.low == found.estimate.high == pytest.approx(value)


def test_what_has_no_bound_is_reported(kept):
    """Response and effects at the operands' places, which are made in the same order."""
    claim = the("indirect effects say")
    assert [one for one in ARITHMETIC_CLAIMS if one.holds is None] == [claim]
    assert kept[claim.statement].verdict == REPORTED
    assert kept[claim.statement].estimate.low == pytest.approx(1)
    less = [one.assign(logit_effect=1 - abs(one.logit_effect)) for one in studies(("nothing",))]
    np.testing.assert_allclose(claim.evaluate(less), -1)


def broken_in(case, *seeds):
    """Studies of the training that a claim is about, in some seeds broken."""
    _, _, training, broken, _ = case
    return [
        broken(one) if one.attrs["training_seed"] in seeds else one
        for one in studies((training,))
    ]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=WORDS)
def test_a_study_in_which_it_is_not_so_breaks_the_claim(case):
    """Broken in all seeds it does not hold; in one of them it is open."""
    claim, value = the(case[0]), case[-1]
    assert not claim.holds(value)
    found = findings(broken_in(case, 0, 1, 2))[claim.statement]
    assert found.verdict == FAILS
    assert found.estimate.median == pytest.approx(value)
    assert findings(broken_in(case, 1))[claim.statement].verdict == UNDECIDED


@pytest.mark.parametrize("case", CASES, ids=WORDS)
def test_a_claim_asks_for_its_own_training_alone(case):
    """Broken in all other trainings it holds; without its own it is not testable."""
    words, _, training, broken, _ = case
    claim = the(words)
    others = [broken(one) for one in studies(seeds=(0, 1)) if one.attrs["withheld"] != training]
    mine = [*studies((training,), (0, 1)), *others]
    assert findings(mine)[claim.statement].verdict == HOLDS
    assert findings(others)[claim.statement].verdict == UNTESTED


def test_every_claim_gives_a_number_for_every_seed_in_their_order():
    """Whatever the order of the files is."""
    for case in CASES:
        words, value, *_, other = case
        found = the(words).evaluate(broken_in(case, 2)[::-1])
        np.testing.assert_allclose(found, [value, value, other])


def test_one_seed_tells_nothing():
    for found in findings(studies(seeds=(1,))).values():
        assert (found.verdict, found.estimate) == (UNTESTED, None)


def test_without_studies_nothing_is_testable():
    assert {found.verdict for found in findings([]).values()} == {UNTESTED}


def test_without_failing_problems_rescue_is_not_testable():
    """Not even where one seed alone has none."""
    mine = studies()
    (at,) = [k for k, one in enumerate(mine) if
             (one.attrs["withheld"], one.attrs["training_seed"]) == ("cascades", 2)]  # fmt: skip
    for name in ("rescued", "as_donor"):
        mine[at] = mine[at].assign({name: mine[at][name] * np.nan})
    untested = {name for name, found in findings(mine).items() if found.verdict == UNTESTED}
    asked = (
        "A failing problem is solved", "Nothing but the circuit", "takes the whole circuit",
        "restores the calculation", "brings the donor's answer", "own output, corrected",
    )  # fmt: skip
    assert untested == {the(words).statement for words in asked}


def test_one_study_of_another_training_leaves_the_claims_of_the_first_testable():
    mine = [*studies(("nothing",)), study("cascades")]
    assert findings(mine)[the("adds and subtracts").statement].verdict == HOLDS


def test_neurons_that_never_suffice_are_not_few():
    never = [put(one, "neuron_accuracy", 0.5) for one in studies()]
    assert findings(never)[the("Few neurons").statement].verdict in (FAILS, UNTESTED)


# the shipped studies -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    return [shipped_results(name) for name in NAMES]


def of(shipped, training):
    mine = [one for one in shipped if one.attrs["withheld"] == training]
    return sorted(mine, key=lambda one: one.attrs["training_seed"])


def values(one, name, **names):
    """Numbers of some names along dimensions, as they are stored."""
    array = one[name]
    at = tuple(
        array[dim].values.tolist().index(names[dim]) if dim in names else slice(None)
        for dim in array.dims
    )
    return array.values[at].astype(float)


def mean(numbers):
    known = [float(one) for one in np.ravel(numbers) if not math.isnan(one)]
    return sum(known) / len(known)


def part_of_nodes(one):
    ranks = one.node_rank.values[1].ravel()
    return one.circuit_nodes.values[1] / sum(not math.isnan(rank) for rank in ranks)


def best_random(one):
    size = one.circuit_size.values.tolist().index(one.circuit_nodes.values[1])
    assert one.ranking.values[0] == "by effect"
    return max(one.circuit_accuracy.values[1, 1:, size])


def gained(label, later, earlier):
    def number(one):
        read = values(one, "probe_accuracy", label=label, place_read="=")
        return read[later] - read[earlier]

    return number


def by_last_mlp(one):
    right = values(one, "written", followed="right")
    assert one.part.values[-1] == "mlp 1"
    return (right[-1, 0] / sum(right[:, 0]) + right[-1, 1] / sum(right[:, 1])) / 2


def few(one):
    right = values(one, "neuron_accuracy", ranked_on="sums", operation="sums")[-1]
    return next(n for n, part in zip(one.kept.values, right, strict=True) if part >= 0.9) / 256


def shared(one):
    first, second = one.neuron_order.values[-1, :, :32].tolist()
    return sum(neuron in second for neuron in first) / 32


def deleted(one):
    mlp = {name: mean(values(one, "written", followed=name, part="mlp 1")[:2])
           for name in ("right", "first", "second", "other")}  # fmt: skip
    return ((mlp["first"] + mlp["second"]) / 2 - mlp["other"]) / mlp["right"]


def accuracy(part):
    return lambda one: float(values(one, "accuracy", part_of_split=part))


def less_likely(scores, others):
    """Part of the pairs in which one of the first is less likely; ties count half."""
    less = np.subtract.outer(scores, others)
    return np.mean(less < 0) + np.mean(less == 0) / 2


def likelihood(one, kind):
    return [each for each in values(one, "log_likelihood", kind_of_problem=kind)
            if not math.isnan(each)]  # fmt: skip


def unlikely(kind):
    return lambda one: less_likely(likelihood(one, kind), likelihood(one, "held_out"))


def unlikely_fails(one):
    score = values(one, "log_likelihood", kind_of_problem="withheld")
    solved = values(one, "solved", kind_of_problem="withheld")
    return less_likely(score[solved == 0], score[solved == 1])


def rescued(row, name="rescued"):
    return lambda one: mean(values(one, name, rescue=row))


def beyond(one):
    return rescued(PATCHED)(one) - rescued("none, after the error")(one)


def follows(one):
    moved, response = [], []
    changed = one.changed_digit.values.tolist()
    for k, source in enumerate(one.source.values):
        for answer in range(3):
            moved.append(one.answer_distance.values[changed.index(source), answer])
            response.append(mean(one.scaled_response.values[k, -1, answer]))  # of logarithms
    return spearmanr(moved, response).statistic


def follows_nodes(one):
    effects, response = [], []
    for k, source in enumerate(one.source.values):
        nodes = values(one, "logit_effect", operation="sums", place=source)
        for answer in range(3):
            effects.append(sum(abs(each) for each in nodes[answer].ravel()))
            response.append(mean(one.scaled_response.values[k, -1, answer]))  # of logarithms
    return spearmanr(effects, response).statistic


def at_carry(one):
    logs = values(one, "raised_response", behind="before")[-1, 1]
    return math.exp(logs[9] - mean([*logs[:9], *logs[10:]]))


def read_off(one):
    result, operand = (
        values(one, "answer_flips", changed=changed)[1, 9]
        for changed in ("result alone", "operand, result as before")
    )
    return result - operand


PLAIN = [
    ("adds and subtracts", "nothing", accuracy("held_out")),
    ("A circuit calculates", "nothing", part_of_nodes),
    ("Not any nodes", "nothing", best_random),
    ("moves the second operand", "nothing", gained("b0", 1, 0)),
    ("And the first.", "nothing", gained("a0", 1, 0)),
    ("makes the answer", "nothing", by_last_mlp),
    ("cannot be read", "nothing", gained("r0", 4, 3)),
    ("Few neurons", "nothing", few),
    ("differ between operators", "nothing", shared),
    ("deletes the operands", "nothing", deleted),
    ("carries that make carries", "cascades", accuracy("withheld")),
    ("in a block of operands", "block", accuracy("withheld")),
    ("forms never seen", "nothing", unlikely("operator first")),
    ("The withheld block is unlikely", "block", unlikely("withheld")),
    ("Withheld cascades are unlikely", "cascades", unlikely("withheld")),
    ("predicts failure", "cascades", unlikely_fails),
    ("A failing problem is solved", "cascades", rescued("circuit, same answer")),
    ("Nothing but the circuit", "cascades", rescued("other nodes, same answer")),
    ("takes the whole circuit", "cascades", rescued("random nodes, same answer")),
    ("restores the calculation", "cascades", rescued("circuit, another answer")),
    ("brings the donor's answer", "cascades", rescued("circuit, another answer", "as_donor")),
    ("own output, corrected", "cascades", beyond),
    ("where the answer depends", "nothing", follows),
    ("indirect effects say", "nothing", follows_nodes),
    ("knows the carry", "nothing", at_carry),
    ("read the carry off", "nothing", read_off),
]


@pytest.mark.parametrize(("words", "training", "plain"), PLAIN, ids=[row[0] for row in PLAIN])
def test_quantities_of_shipped_studies_are_those_computed_plainly(shipped, words, training, plain):
    expected = [plain(one) for one in of(shipped, training)]
    assert len(expected) == 3
    np.testing.assert_allclose(the(words).evaluate(shipped), expected, rtol=1e-5, atol=1e-6)


def test_every_claim_is_tested_on_the_shipped_studies(shipped):
    found = findings(shipped)
    assert [the(words).statement for words, *_ in PLAIN] == list(found)
    for statement, one in found.items():
        numbers = BY_STATEMENT[statement].evaluate(shipped)
        if one.claim.holds is None:
            assert one.verdict == REPORTED
            continue
        kept = {bool(one.claim.holds(number)) for number in numbers}
        expected = UNDECIDED if len(kept) == 2 else HOLDS if kept == {True} else FAILS
        assert one.verdict == expected, statement
        range_ = (min(numbers), float(np.median(numbers)), max(numbers))
        assert (one.estimate.low, one.estimate.median, one.estimate.high) == range_
        assert one.p is None
