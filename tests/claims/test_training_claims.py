"""Claims about learning, against studies made up to keep or break each of them."""

import numpy as np
import pytest
from made_up_training import LEARNED, study
from universal_response import claims
from universal_response.training import summaries

REPORTED = {"Induction heads are diverse."}


def verdicts(dataset):
    found = claims.evaluate_training_claims(dataset)
    return {one.claim.statement: one.verdict for one in found}


def the(found, words):
    (verdict,) = [value for statement, value in found.items() if words in statement]
    return verdict


@pytest.fixture(scope="module")
def kept():
    return study()


def test_the_made_up_study_keeps_every_claim(kept):
    for statement, verdict in verdicts(kept).items():
        reported = any(words in statement for words in REPORTED)
        assert verdict == (claims.REPORTED if reported else claims.HOLDS), statement


def delayed(dataset, name, factor):
    """The same with one experiment slower."""
    mine = (dataset.experiment == name).values
    times = dataset.sequences.values.copy()
    times[mine] *= factor
    return dataset.assign(sequences=(dataset.sequences.dims, times))


def changed(dataset, name, value):
    return dataset.assign({name: dataset[name] * 0 + value})


ORDERS = (
    ("leave least to be learned", "L1 + copy", 3),
    ("less than matching given", "L1 + copy", 3),
    ("Copying given helps more", "copy", 3),
    ("Matching given helps more", "match", 4),
    ("helps more than its pattern", "L1", 4),
    ("The pattern alone helps", "PT", 3),
    ("helps less", "PT", 4),
    ("A trained layer 1", "grafted", 9),
    ("Twice the labels", "10 labels", 0.5),
    ("Twice the classes", "100 classes", 2),
    ("Labels leave the subcircuit", "L1 + copy, 10 labels", 1.5),
    ("Labels delay the subcircuit", "match, 10 labels", 0.3),
    ("Classes delay the subcircuit", "L1 + copy, 100 classes", 0.5),
    ("Classes leave the subcircuit", "match, 100 classes", 2),
    ("after 200 to 600", "full", 3),
)


@pytest.mark.parametrize(("words", "name", "factor"), ORDERS)
def test_an_order_turned_around_does_not_hold(kept, words, name, factor):
    assert the(verdicts(delayed(kept, name, factor)), words) == claims.FAILS


def test_ranges_that_overlap_are_not_told_apart(kept):
    factor = 1.01 * LEARNED["none"] / LEARNED["PT"]
    assert the(verdicts(delayed(kept, "PT", factor)), "The pattern alone") == claims.UNDECIDED


NUMBERS = (
    ("serves classes", "accuracy", 0.8),
    ("The task is solved", "accuracy", 0.98),
    ("labels in new pairs", "accuracy", 0.8),
    ("more than one induction head", "strength", 0.2),
    ("No single head is needed", "drop_one_accuracy", 0.9),
    ("second strongest helps", "added_back_loss", 1.0),
    ("And so do all others", "added_back_loss", 1.0),
    ("Layer 1 acts through layer 2", "without_path_accuracy", 0.9),
    ("one factor given", "toy_end", 9.0),
    ("And a second one", "toy_end", 9.0),
    ("not seen through a norm", "leak", 1e-5),
    ("Where layer 2 attends", "previous_ablated_accuracy", 0.95),
    ("patterns kept, they", "previous_ablated_accuracy", 0.7),
    ("not needed for where", "previous_ablated_accuracy", 0.7),
    ("needed for what is copied", "previous_ablated_accuracy", 0.95),
)


@pytest.mark.parametrize(("words", "name", "value"), NUMBERS)
def test_a_number_that_breaks_the_bound_does_not_hold(kept, words, name, value):
    assert the(verdicts(changed(kept, name, value)), words) == claims.FAILS


def test_the_plateau_and_the_fall_are_told(kept):
    above = kept.assign(loss=kept.loss + 0.2)
    assert the(verdicts(above), "plateau where both") == claims.FAILS
    when = kept.sequences / kept.sequences.max("time")
    slow = kept.assign(loss=kept.loss * 0 + (0.75 - 0.74 * when))
    assert the(verdicts(slow), "phase change") == claims.FAILS


def test_keeping_one_head_is_judged_by_ranks(kept):
    turned = kept.assign(keep_one_accuracy=1 - kept.keep_one_accuracy)
    assert the(verdicts(turned), "serves as well as it is strong") == claims.FAILS


def test_wiring_by_one_head_is_not_many_to_many(kept):
    one = kept.assign(gained_with=kept.gained_with.where(kept.gained_with.first_head == 0, 0))
    assert the(verdicts(one.drop_vars("first_head", errors="ignore")), "Wiring") == claims.FAILS


def test_a_response_that_leads_or_is_there_at_once_is_told(kept):
    runs = (kept.experiment == "responses").values
    early = kept.response.copy()
    early[runs] = np.roll(early[runs], -20, 1)
    early[runs, -20:] = early[runs, -21:-20].values
    found = verdicts(kept.assign(response=early))
    assert the(found, "announce the fall") == the(found, "announce attention") == claims.FAILS
    assert the(found, "does not tell the right label") == claims.FAILS
    assert the(verdicts(changed(kept, "response", 1.0)), "At the end it does") == claims.FAILS


def test_what_is_never_learned_is_said(kept):
    none = kept.assign(loss=kept.loss.where(kept.experiment != "single heads", 0.7))
    assert the(verdicts(none), "Each single head") == claims.FAILS
    table = claims.table({"study": claims.evaluate_training_claims(none)})
    (said,) = table[table.statement.str.contains("Each single head")].study
    assert said == "never (never to never): does not hold"


def test_a_single_seed_tells_nothing(kept):
    one = kept.isel(trained=[0], run=(kept.seed == 0).values)
    assert set(verdicts(one).values()) == {claims.UNTESTED}


def test_the_table_gives_median_and_range(kept):
    table = claims.table({"study": claims.evaluate_training_claims(kept)})
    (said,) = table[table.statement.str.contains("after 200")].study
    ends = summaries.learned(kept, "full").values
    low, middle, high = (f"{end / 1000:.0f} thousand" for end in sorted(ends))
    assert said == f"{middle} ({low} to {high}): holds"
