"""Scores of attention patterns, against plain loops, TransformerLens, and heads set by hand."""

import hand_wired
import pytest
import torch
from hand_wired import HEADS, VOCABULARY
from tiny_models import random_tokens, tiny_hf_model, tiny_model
from transformer_lens import head_detector
from universal_response import heads

T0 = 6
NAMES = tuple(heads.SCORES)


def patterns(sequences, n_heads, t, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn((sequences, n_heads, t, t), generator=generator, dtype=torch.float64)
    hidden = torch.ones(t, t, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1)


def distinct(sequences, t, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack(
        [torch.randperm(VOCABULARY, generator=generator)[:t] for _ in range(sequences)]
    )


def mean_over(pattern, asked):
    """By plain loops: over queries q that have keys, the attention to all keys asked(q)."""
    t = len(pattern)
    found = []
    for q in range(t):
        keys = [k for k in range(q + 1) if asked(q, k)]
        if keys:
            found.append(sum(float(pattern[q, k]) for k in keys))
    return sum(found) / len(found)


def by_loops(name, pattern, tokens):
    """One head's score in one sequence."""
    row, t0 = tokens.tolist(), len(tokens) // 2
    asked = {
        "previous_token": lambda q, k: k == q - 1,
        "duplicate_token": lambda q, k: q >= t0 and k == q - t0,
        "induction": lambda q, k: q >= t0 and k == q - (t0 - 1),
        "prefix_matching": lambda q, k: k > 0 and row[k - 1] == row[q],
    }
    return mean_over(pattern, asked[name])


def assert_by_loops(found, pattern, tokens, atol):
    for score, name in zip(found, NAMES, strict=True):
        for sequence, row in enumerate(tokens):
            for head in range(pattern.shape[1]):
                expected = by_loops(name, pattern[sequence, head], row)
                assert float(score[sequence, head]) == pytest.approx(expected, abs=atol), name


# Distinct in a block; with a token twice in a block, and one next to itself.
TOKENS = {
    "distinct": distinct(2, T0).repeat(1, 2),
    "chance": torch.tensor([[3, 1, 4, 1, 5, 9], [2, 2, 6, 5, 3, 5]]).repeat(1, 2),
    "once": torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], [*range(11), 4]]),
}


@pytest.mark.parametrize("name", TOKENS)
def test_scores_are_means_over_the_pattern(name):
    tokens, pattern = TOKENS[name], patterns(2, 3, 2 * T0)
    found = torch.stack([score(pattern, tokens) for score in heads.SCORES.values()])
    assert_by_loops(found, pattern, tokens, atol=1e-12)


def test_stripe_begins_where_it_is_told_to():
    pattern = patterns(1, 2, 7)
    expected = torch.stack([pattern[:, :, q, q - 2] for q in (4, 5, 6)]).mean(0)
    torch.testing.assert_close(heads.stripe(pattern, 2, 4), expected)


def test_tokens_that_never_come_back_ask_for_no_prefix():
    assert heads.prefix_matching(patterns(1, 2, 8), distinct(1, 8)).isnan().all()


def test_every_head_of_a_model():
    tokens = random_tokens(2, T0).repeat(1, 2)
    found = heads.attention_scores(tokens, tiny_model("gemma3"))
    with torch.no_grad():
        seen = tiny_hf_model("gemma3").base_model(
            tokens, output_attentions=True, attn_implementation="eager"
        )
    assert found.shape == (4, 2, 3, 4)
    assert seen.attentions is not None
    for layer, pattern in enumerate(seen.attentions):
        assert_by_loops(found[:, :, layer], pattern, tokens, atol=1e-6)


DETECTION = {
    "previous_token": head_detector.get_previous_token_head_detection_pattern,
    "duplicate_token": head_detector.get_duplicate_token_head_detection_pattern,
    "induction": head_detector.get_induction_head_detection_pattern,
    "prefix_matching": head_detector.get_induction_head_detection_pattern,
}


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_transformer_lens(name):
    """It divides by all queries, and not by those that are asked."""
    tokens, pattern = distinct(1, T0, seed=4).repeat(1, 2), patterns(1, 2, 2 * T0, seed=3)
    n_asked = 2 * T0 - 1 if name == "previous_token" else T0
    found = heads.SCORES[name](pattern, tokens)[0]
    for head in range(2):
        theirs = head_detector.compute_head_attention_similarity_score(
            pattern[0, head],
            DETECTION[name](tokens),
            exclude_bos=False,
            exclude_current_token=False,
            error_measure="mul",
        )
        assert float(found[head]) == pytest.approx(theirs * 2 * T0 / n_asked, abs=1e-7)


# heads set by hand -------------------------------------------------------------------------------

SCORE_OF = {
    "previous": "previous_token",
    "duplicate": "duplicate_token",
    "induction": "induction",
}
N = 12


@pytest.fixture(scope="module", params=hand_wired.ALL, ids=lambda make: make.__name__)
def wired(request):
    return request.param()


def scored(wired, tokens):
    """By name, the mean over sequences, (layer, head)."""
    found = heads.attention_scores(tokens, wired.bridge).mean(1)
    return dict(zip(NAMES, found, strict=True))


def test_every_role_is_found(wired):
    """A head scores where it attends, and nowhere else."""
    found = scored(wired, distinct(3, N).repeat(1, 2))
    assert set(wired.roles) == {(layer, head) for layer in range(2) for head in range(HEADS)}
    for head, role in wired.roles.items():
        for name, score in found.items():
            named = "induction" if name == "prefix_matching" else name
            if SCORE_OF.get(role) == named:
                assert score[head] > 0.95, (head, name)
            else:
                # What attends uniformly, at rest at least, has .13.
                assert score[head] < 0.2, (head, name)
    best = divmod(int(found["induction"].argmax()), HEADS)
    assert (best == wired.induction) == (wired.induction is not None)


def test_a_detector_that_is_off_by_one_is_no_induction_head():
    wired = hand_wired.gpt2_off_by_one()
    found = scored(wired, distinct(3, N).repeat(1, 2))
    assert found["induction"][wired.receiver] < 0.01
    assert found["prefix_matching"][wired.receiver] < 0.01
    assert found["duplicate_token"][wired.receiver] > 0.95


def test_without_repeats_only_positions_are_left(wired):
    """The null: what attends by tokens finds none, and a previous-token head is one as before."""
    found = scored(wired, distinct(3, 2 * N, seed=1))
    if wired.induction is not None:
        assert found["induction"][wired.induction] < 0.1
    for head in wired.heads("duplicate"):
        # The duplicate-token head of Llama takes the token itself, q - 0.
        assert found["duplicate_token"][head] < 0.1
    for head in wired.heads("previous"):
        assert found["previous_token"][head] > 0.95
