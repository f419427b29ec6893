"""Claims about films, on films whose answers are known."""

import numpy as np
import pytest
from made_up_film import BEHIND, FIXED, SAME_BEHIND, film
from universal_response import claims
from universal_response.claims import FAILS, HOLDS, UNDECIDED, UNTESTED
from universal_response.training import film_summaries as summaries

COMPLETES, BEHIND_GAP, INDUCTION, ALONE, MOVES, NOT_FIXED, LEADS, STAYS, ANNOUNCES = range(9)


def with_frame(frame, **values):
    """The film with the response of one frame at T0 - 1 (`before`) or T0 (`same`) changed."""
    changed = film()
    for name, value in values.items():
        place = int(changed.t0[frame]) - (name == "before")
        changed.linear[frame, 1:, place] = value
    return changed


def early():
    """T0 - 1 leads at step 10 already, when accuracy is that of a guess."""
    changed = with_frame(1, before=0.4)
    changed.linear[2, 1:, int(changed.t0[2])] = 0.05
    return changed


def finding(number, *films):
    return claims.evaluate_film_claims(list(films))[number]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (COMPLETES, 0.99),
        (BEHIND_GAP, 0.97),
        (INDUCTION, 0.9),
        (ALONE, 9),
        (MOVES, BEHIND / SAME_BEHIND),
        (NOT_FIXED, BEHIND / FIXED),
        (LEADS, 0.75),
        (STAYS, 0.75),
        # Accuracy exceeds 1/8 at step 20; T0 - 1 is larger than T0 from step 30 on.
        (ANNOUNCES, 10),
    ],
)
def test_values_are_those_that_were_made(number, expected):
    found = finding(number, film(), film())
    assert found.estimate.low == found.estimate.high == pytest.approx(expected)
    assert found.verdict == HOLDS


@pytest.mark.parametrize(
    ("number", "broken"),
    [
        (COMPLETES, lambda: film().assign(accuracy=film().accuracy * 0.9)),
        (BEHIND_GAP, lambda: film().assign(gap_accuracy=0.8)),
        (INDUCTION, lambda: with_frame(-1, same=0.7)),
        (ALONE, lambda: with_frame(-1, same=0.5)),
        (LEADS, lambda: with_frame(3, same=0.7)),
        (STAYS, lambda: with_frame(4, same=0.95)),
        (ANNOUNCES, lambda: early()),
    ],
)
def test_a_film_in_which_it_is_not_so_breaks_the_claim(number, broken):
    other = broken()
    assert finding(number, other, other).verdict == FAILS
    assert finding(number, film(), other).verdict == UNDECIDED


@pytest.mark.parametrize(("number", "offset"), [(MOVES, -1), (NOT_FIXED, -1)])
def test_a_head_of_fixed_distance_is_no_induction(number, offset):
    other = film()
    fixed = int(other.t0[-1]) + offset
    other.gap_linear[1:, fixed] = 0.9
    # Within the window around the distance of the repeat.
    assert finding(number, other, other).verdict == FAILS


def test_what_never_happens_is_not_tested():
    slow = film().assign(accuracy=film().accuracy * 0.1)
    for number in (LEADS, STAYS, ANNOUNCES):
        assert finding(number, slow, slow).verdict == UNTESTED
    assert all(one.verdict == UNTESTED for one in claims.evaluate_film_claims([film()]))


def test_when_the_response_leads_for_good():
    data = film().isel(frame=slice(5))
    assert summaries.leads_for_good(data, 3) == 3
    assert summaries.beyond_a_guess(data) == 2
    turned = with_frame(4, same=1.0).isel(frame=slice(5))
    assert summaries.leads_for_good(turned, 3) == 5
    always = data.assign(linear=data.linear.copy())
    always.linear[:3, 1:, 7] = 0.9
    assert summaries.leads_for_good(always, 3) == 0
    assert summaries.beyond_a_guess(data.assign(accuracy=data.accuracy * 0)) == 5


def test_behind_the_gap_is_a_film_of_one_frame():
    gap = summaries.behind_gap(film())
    assert gap.t0.values.tolist() == [20]
    np.testing.assert_allclose(summaries.share(gap)[0, 1:], BEHIND / (BEHIND + SAME_BEHIND))
    np.testing.assert_allclose(summaries.at_distance(gap, -5), FIXED)
