"""Claims about heads, against studies made up to keep or break each of them."""

import numpy as np
import pytest
import xarray as xr
from made_up_heads import (
    CONTROL,
    DUPLICATE,
    HEADS,
    INDUCTION,
    LAYERS,
    MAP,
    ONSET,
    PREVIOUS,
    SEQUENCES,
    T0,
    at,
    study,
)
from universal_response import claims
from universal_response.claims.heads import redrawn

# Words by which a claim is found.
REPEATS = "predicts what followed"
RESPONSIBLE = "responsible for the prediction"
TWO = "two heads in different layers"
NEEDED = "Without previous-token heads"
WRITTEN = "written by a previous-token head"
KEYS = "decided by what was written for their keys"
PASSED_ON = "induction heads pass on"
COPIES = "writes the token that it attends to"
NO_DISTANCE = "not at a distance"
SHUFFLED = "Shuffled weights"
HOW_MANY = "this many"
HOW_STRONGLY = "this strongly"
OWES = "this much to duplicate"
ARRIVES = "Attention moves"
MOVED_BY = "It is induction heads"
AT_END = "MLPs carry a part"
DIRECT = "act on the logits directly"
INDIRECT = "on the logits indirectly"
SATURATES = "saturates"
ORTHOGONAL = "orthogonal subspaces"
ELSEWHERE = "elsewhere than they read"
PATTERN = "does not tell that a head is used"
TOGETHER = "Pattern and attribution"
ZEROS = "set to zero"
ESTIMATES = "rank heads as patching does, to this degree (denoising)"
MISSES = "by this much (noising)"
LINEAR = "Shares in the linear response"
FINITE = "A weak perturbation"

OF_INDUCTION = {
    RESPONSIBLE, TWO, WRITTEN, KEYS, PASSED_ON, COPIES, NO_DISTANCE, MOVED_BY, DIRECT, INDIRECT,
    PATTERN, FINITE,
}  # fmt: skip
OF_SENDERS = {WRITTEN, KEYS, PASSED_ON, INDIRECT}


def findings(dataset, n_resamples=100):
    found = claims.evaluate_head_claims(dataset, np.random.default_rng(0), n_resamples)
    return {one.claim.statement: one for one in found}


def finding(dataset, words):
    (found,) = [one for statement, one in findings(dataset).items() if words in statement]
    return found


def having(dataset, verdict):
    return {statement for statement, one in findings(dataset).items() if one.verdict == verdict}


def about(*words):
    found = [claim.statement for claim in claims.HEAD_CLAIMS]
    return {statement for statement in found for each in words if each in statement}


def value(dataset, words):
    return finding(dataset, words).estimate.value


def set_at(dataset, name, head, number):
    dataset[name].values[..., *head] = number


def test_a_model_that_keeps_every_claim():
    found = findings(study())
    bounded = {claim.statement for claim in claims.HEAD_CLAIMS if claim.holds}
    assert having(study(), claims.HOLDS) == bounded
    assert having(study(), claims.REPORTED) == set(found) - bounded


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (REPEATS, 10),
        (RESPONSIBLE, (10 - 1) / 10),
        (TWO, 0.9 - 0.02),
        (NEEDED, (10 - 2) / 10),
        (WRITTEN, 0.9 - 0.02),
        (KEYS, 0.1 / 4),
        (PASSED_ON, 0.1 / 4),
        (COPIES, 0.9 - 0.1),
        (NO_DISTANCE, 0.8 / 0.9),
        (SHUFFLED, 0.02 / 0.9),
        (HOW_MANY, 1),
        (HOW_STRONGLY, 0.9 - 0.02),
        (OWES, 0.05),
        (ARRIVES, 1),
        (MOVED_BY, 0.9),
        (AT_END, 0.6),
        (DIRECT, 2.7 / 3),
        (INDIRECT, -0.4 / 8),
        (SATURATES, 0.25),
        # From l = 1 to 16, every other one .01 more.
        (ORTHOGONAL, 0.05 + 0.005 - 0.03),
        (ELSEWHERE, 0),
        (PATTERN, 0.5),
        (ZEROS, 0.5 - 0.1),
        (ESTIMATES, 1),
        (MISSES, 0.1),
        (LINEAR, 1),
        (FINITE, 0.03),
    ],
)
def test_quantities_of_a_study_whose_answers_are_known(words, expected):
    assert value(study(), words) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def changed(change):
    """A study in which one thing is otherwise."""
    dataset = study()
    change(dataset)
    return dataset


def wrong_prediction(dataset):
    dataset["logit_difference"] = -dataset.logit_difference


def random_heads_matter_as_much(dataset):
    left = dataset.set_logit_difference
    left.loc[{"head_set": [f"random {k}" for k in range(3)]}] = left.sel(head_set="induction")


def previous_token_head_too_late(dataset):
    dataset.head_class.values[PREVIOUS], dataset.head_class.values[7, 1] = "", "previous_token"


def half_attention_to_the_token_before(dataset):
    dataset.attention_score.loc[{"score": "previous_token", "input": "repeated"}] *= 0.5


def shuffled_weights_look_back_too(dataset):
    dataset.attention_score.loc[{"score": "previous_token", "input": "shuffled weights"}] = 0.5


def little_lost_without_previous_token(dataset):
    dataset.set_logit_difference.loc[{"head_set": "previous_token"}] = 8.0


def another_head_sends(dataset):
    for name in ("edge_score", "edge_effect"):
        dataset[name].values[:, :, 3, 2] = dataset[name].values[:, :, *PREVIOUS]
        dataset[name].values[:, 0, *PREVIOUS] = -0.01
    set_at(dataset, "ablation_effect", (3, 2), -1.0)
    set_at(dataset, "direct_effect", (3, 2), -0.1)


def read_through_queries(dataset):
    dataset.edge_score.values[:, 1, *PREVIOUS] = -0.3


def read_through_values(dataset):
    dataset.edge_effect.values[:, 2, *PREVIOUS] = 3.0


def induction_heads_copy_less(dataset):
    dataset["copying"] = (MAP, at(INDUCTION, -0.1, 0.1))


def a_positional_induction_head(dataset):
    dataset.prefix_matching_gapped.values[6, 2] = 0.02


def shuffled_weights_do_induction(dataset):
    dataset.attention_score.values[2, 2, 0, 0] = 0.3


def mlps_at_the_onset(dataset):
    dataset.share_all_mlps.values[0, 1, ONSET] = 0.6


def other_heads_at_the_onset(dataset):
    dataset.share_induction.values[0, 1, ONSET] = 0.1


def induction_heads_carry_any_distance(dataset):
    dataset.share_induction.loc[{"compared": CONTROL}] = 0.29


def indirect_induction(dataset):
    dataset["direct_effect"] = (MAP, at(INDUCTION, -1.0) + at(PREVIOUS, 0.4))


def a_direct_sender(dataset):
    set_at(dataset, "direct_effect", PREVIOUS, -6.0)


def probability_still_grows(dataset):
    dataset["lens_probability"] = (dataset.lens_logit_difference / 20) ** 3


def nothing_grows(dataset):
    """The logit difference falls at the end, and probability falls more."""
    late = xr.DataArray(np.arange(2 * LAYERS + 1) > 12, dims="position")
    dataset["lens_logit_difference"] = dataset.lens_logit_difference.where(~late, 7.0)
    dataset["lens_probability"] = dataset.lens_probability.where(~late, 0.5)


def places_in_token_space(dataset):
    dataset["place_token_overlap"] = dataset.place_token_overlap + 0.1


def heads_write_where_they_read(dataset):
    dataset["read_write_overlap"] = dataset.read_write_overlap + 0.1


def every_pattern_is_used(dataset):
    set_at(dataset, "attribution", INDUCTION[1], 5.0)


def means_disturb_more(dataset):
    dataset.set_loss.loc[{"replacement": "unrepeated mean"}] *= 1.1


def other_heads_carry_what_is_finite(dataset):
    dataset.share_induction.loc[{"strength": "finite"}] *= 0.8


BROKEN = [
    (wrong_prediction, {REPEATS}),
    (random_heads_matter_as_much, {RESPONSIBLE, NEEDED}),
    (previous_token_head_too_late, {TWO}),
    (half_attention_to_the_token_before, {TWO, WRITTEN}),
    (shuffled_weights_look_back_too, {TWO, WRITTEN}),
    (little_lost_without_previous_token, {NEEDED}),
    (another_head_sends, {WRITTEN}),
    (read_through_queries, {KEYS}),
    (read_through_values, {PASSED_ON}),
    (induction_heads_copy_less, {COPIES}),
    (a_positional_induction_head, {NO_DISTANCE}),
    (shuffled_weights_do_induction, {SHUFFLED}),
    (mlps_at_the_onset, {ARRIVES}),
    (other_heads_at_the_onset, {MOVED_BY}),
    (induction_heads_carry_any_distance, {MOVED_BY}),
    (indirect_induction, {DIRECT}),
    (a_direct_sender, {INDIRECT}),
    (probability_still_grows, {SATURATES}),
    (nothing_grows, {SATURATES}),
    (places_in_token_space, {ORTHOGONAL}),
    (heads_write_where_they_read, {ELSEWHERE}),
    (every_pattern_is_used, {PATTERN}),
    (means_disturb_more, {ZEROS}),
    (other_heads_carry_what_is_finite, {FINITE}),
]


@pytest.mark.parametrize(("change", "words"), BROKEN, ids=[each.__name__ for each, _ in BROKEN])
def test_what_breaks_a_claim_breaks_no_other(change, words):
    assert having(changed(change), claims.FAILS) == about(*words)


def test_every_bound_is_broken_by_something():
    broken = about(*set().union(*(words for _, words in BROKEN)))
    assert broken == {claim.statement for claim in claims.HEAD_CLAIMS if claim.holds}


def no(name):
    def change(dataset):
        dataset["head_class"] = dataset.head_class.where(dataset.head_class != name, "")

    return change


def no_edge_matters(dataset):
    dataset["edge_score"] = abs(dataset.edge_score)


def no_onset(dataset):
    dataset.response.loc[{"distance": T0}] = 1.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no("previous_token"), {NEEDED}),
        (no("duplicate_token"), {OWES}),
        (no_edge_matters, OF_SENDERS),
        (no_onset, {ARRIVES, MOVED_BY}),
    ],
)
def test_what_a_model_does_not_have_is_not_testable(change, words):
    assert having(changed(change), claims.UNTESTED) == about(*words)


def test_without_induction_heads_nothing_is_said_of_them():
    dataset = changed(no("induction"))
    dataset = dataset.isel(receiver=[])
    assert having(dataset, claims.UNTESTED) == about(*OF_INDUCTION)


def test_no_head_at_all_before_the_first_induction_head_breaks_the_claim():
    dataset = study()
    dataset.head_class.values[0, 0] = "induction"
    found = finding(dataset, TWO)
    assert (found.estimate.value, found.verdict) == (0, claims.FAILS)


def test_one_sequence_has_no_error():
    """Nothing that rests on sequences is testable; what has an error over heads or l still is."""
    dataset = study()
    for name in [name for name in dataset if name.endswith("_sem")]:
        dataset[name] = dataset[name] * np.nan
    for dim in ("sequence", "mapped_sequence", "evaluated_sequence"):
        dataset = dataset.isel({dim: [0]})
    tested = set(findings(dataset)) - having(dataset, claims.UNTESTED)
    assert tested == about(COPIES, ORTHOGONAL, ELSEWHERE)


def test_a_bound_within_two_errors_is_undecided():
    dataset = study()
    dataset.attention_score.values[0, 0, *PREVIOUS] = 0.53
    dataset.attention_score_sem.values[0, 0, *PREVIOUS] = 0.02
    assert having(dataset, claims.UNDECIDED) == about(TWO, WRITTEN)


def test_a_sender_is_compared_where_all_its_edges_were_cut():
    """Through queries and values only the strongest senders of each receiver are."""
    dataset = study()
    dataset.edge_effect.values[0, 1:, *PREVIOUS] = np.nan
    dataset.edge_effect.values[0, 0, *PREVIOUS] = -100.0
    assert value(dataset, PASSED_ON) == pytest.approx(0.1 / 4)


def test_another_head_may_be_read_through_queries():
    dataset = study()
    dataset.edge_score.values[1, 1, *DUPLICATE] = -0.5
    assert value(dataset, KEYS) == pytest.approx((0.01 + 0.5) / (2 * 0.4))


def test_classes_are_judged_by_what_heads_do_on_unrepeated_tokens():
    """At its mean on repeated tokens a head still writes how far back they repeat."""
    dataset = study()
    for name in ("induction", "previous_token", "duplicate_token"):
        dataset.set_logit_difference.loc[{"replacement": "mean", "head_set": name}] = 10.0
    assert value(dataset, RESPONSIBLE) == pytest.approx(0.9)
    assert value(dataset, NEEDED) == pytest.approx(0.8)


def test_the_response_settles_where_its_limit_does():
    dataset = study()
    dataset.response.loc[{"strength": "finite", "distance": T0}] = 1.0
    # Still in the attention before, another tie at T0.
    dataset.response.loc[{"strength": "limit", "distance": T0, "position": [ONSET]}] = 0.5
    dataset.share_all_mlps.loc[{"strength": "finite"}] = 0.9
    assert value(dataset, ARRIVES) == pytest.approx(1 - 0.6)


def test_the_strongest_sender_is_that_of_all_receivers_together():
    dataset = study()
    dataset.edge_score.values[0, 0, *DUPLICATE] = -0.5
    assert value(dataset, WRITTEN) == pytest.approx(0.88)
    dataset.edge_score.values[1, 0, *DUPLICATE] = -0.5
    assert value(dataset, WRITTEN) == pytest.approx(0)


def test_a_head_below_the_threshold_in_some_draws_is_counted_with_an_error():
    dataset = study()
    dataset.head_class.values[0, 0] = "duplicate_token"
    dataset.attention_score.values[0, 1, 0, 0] = 0.31
    dataset.attention_score_sem.values[0, 1, 0, 0] = 0.02
    found = finding(dataset, HOW_MANY).estimate
    # Below in 31 % of all draws.
    assert found.value == 2
    assert found.error == pytest.approx(np.sqrt(0.31 * 0.69), abs=0.05)


def test_writing_where_one_reads_is_counted_from_chance():
    for by_chance in (64 / 576, 256 / 640):
        dataset = study()
        dataset["read_write_by_chance"] = by_chance
        dataset["read_write_overlap"] = dataset.read_write_overlap * 0 + by_chance
        assert value(dataset, ELSEWHERE) == pytest.approx(0, abs=1e-12)
        dataset["read_write_overlap"] = dataset.read_write_overlap * 0 + 1
        assert value(dataset, ELSEWHERE) == pytest.approx(1)


def test_heads_and_positions_of_which_nothing_is_known_do_not_count():
    """A head that writes nothing has no circuit, a state that does not vary no directions."""
    dataset = study()
    for name in ("copying", "read_write_overlap"):
        dataset[name].values[6, 2] = dataset[name].values[0, 0] = np.nan
    dataset.place_token_overlap.values[::2] = np.nan
    expected = {COPIES: 0.9 - 0.1, ELSEWHERE: 0, ORTHOGONAL: 0.05 + 0.01 - 0.03}
    for words, number in expected.items():
        assert value(dataset, words) == pytest.approx(number)


def test_rank_correlations_know_order_alone():
    dataset = study()
    dataset["denoising_estimate"] = np.exp(dataset.denoising)
    assert value(dataset, ESTIMATES) == pytest.approx(1)
    dataset["denoising_estimate"] = -dataset.denoising
    assert value(dataset, ESTIMATES) == pytest.approx(-1)
    dataset["denoising_estimate"] = dataset.denoising * 0
    dataset["denoising_estimate_sem"] = dataset.denoising_sem * 0
    assert finding(dataset, ESTIMATES).verdict == claims.UNTESTED


def test_the_largest_miss_is_measured_by_the_largest_effect():
    dataset = study()
    largest = float(abs(dataset.noising).max())
    dataset["noising_estimate"] = dataset.noising.copy()
    dataset.noising_estimate.values[7, 3] += 3
    assert value(dataset, MISSES) == pytest.approx(3 / largest)


# what they rest on -------------------------------------------------------------------------------


def test_draws_scatter_by_the_errors_that_are_kept():
    dataset = study()
    dataset.ablation_effect_sem.values[3, 1] = 0.7
    drawn = redrawn(dataset, 4000, np.random.default_rng(0))
    xr.testing.assert_allclose(drawn.ablation_effect.isel(resample=0), dataset.ablation_effect)
    scatter = drawn.ablation_effect.isel(resample=slice(1, None)).std("resample", ddof=1)
    # The error of a standard deviation of 4000 draws is 1.1 %.
    np.testing.assert_allclose(scatter, dataset.ablation_effect_sem, rtol=0.05)


def test_draws_of_sequences_have_the_error_of_their_mean_and_stay_together():
    dataset = study()
    rng = np.random.default_rng(2)
    dataset["lens_probability"] = dataset.lens_probability + rng.normal(size=SEQUENCES)
    dataset["lens_logit_difference"] = dataset.lens_probability * 2
    drawn = redrawn(dataset, 4000, np.random.default_rng(0))
    at_end = dataset.lens_probability.isel(position=-1)
    found = drawn.lens_probability.isel(position=-1)
    assert float(found[0]) == pytest.approx(float(at_end.mean()))
    # A bootstrap divides by n and not by n - 1.
    expected = float(at_end.std(ddof=0)) / np.sqrt(SEQUENCES)
    assert float(found[1:].std()) == pytest.approx(expected, rel=0.05)
    np.testing.assert_allclose(drawn.lens_logit_difference, 2 * drawn.lens_probability)


def test_weights_of_means_over_heads_positions_and_random_sets():
    drawn = redrawn(study(), 50, np.random.default_rng(0))
    dims = {"head_weight": MAP, "position_weight": "position", "set_weight": "head_set"}
    for name, over in dims.items():
        np.testing.assert_allclose(drawn[name].sum(over), 1)
    np.testing.assert_allclose(drawn.head_weight[0], 1 / (LAYERS * HEADS))
    assert (drawn.set_weight.isel(head_set=slice(4)) == 0).all()


def test_draws_depend_on_the_generator_alone():
    first, again, other = (redrawn(study(), 5, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.identical(again)
    assert not first.identical(other)


def test_both_tables_have_a_row_for_each_claim():
    found = claims.evaluate_head_claims(study(), np.random.default_rng(0), 20)
    table = claims.table({"a": found, "b": found})
    assert list(table["statement"]) == [claim.statement for claim in claims.HEAD_CLAIMS]
    assert list(table.columns) == ["statement", "source", "a", "b", "tested by"]
    assert list(table.index) == list(range(1, len(claims.HEAD_CLAIMS) + 1))


def test_statements_are_distinct():
    assert len({claim.statement for claim in claims.HEAD_CLAIMS}) == len(claims.HEAD_CLAIMS)
