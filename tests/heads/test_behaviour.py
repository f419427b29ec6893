"""Predictions of the second block, against plain loops over logits of Hugging Face."""

import pytest
import runs
import torch
from runs import T0, TOKENS, close
from universal_response import heads

FAMILIES = ("gpt2", "gemma2", "cohere", "phi")


def test_queries():
    """Each is followed by a token of the second block that it can know."""
    places = list(range(2 * T0))[heads.queries(T0)]
    assert places == [q for q in range(T0, 2 * T0) if q + 1 < 2 * T0]


@pytest.mark.parametrize("family", FAMILIES)
def test_predictions(family):
    normed, full = runs.last(family)
    found = heads.predictions(normed, TOKENS, runs.unembedding(family), probabilities=True)
    close(found.logit_difference, runs.difference(full))
    expected = [
        [row[q].log_softmax(0)[tokens[q + 1]] for q in range(T0, 2 * T0 - 1)]
        for row, tokens in zip(full, TOKENS, strict=True)
    ]
    close(found.log_probability, torch.tensor(expected))
    close(found.probability, torch.tensor(expected).exp())
    assert heads.predictions(normed, TOKENS, runs.unembedding(family)).log_probability.isnan().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_loss(family):
    normed, full = runs.last(family)
    found = heads.loss(normed, TOKENS, runs.unembedding(family))
    following = TOKENS[:, 1:].flatten()
    expected = torch.nn.functional.cross_entropy(
        full[:, :-1].flatten(0, 1), following, reduction="none"
    )
    close(found, expected.view(2, -1))


def test_a_token_that_stands_twice_in_a_block():
    """It is right wherever it stands, and then none of the others."""
    tokens = torch.tensor([[5, 8, 5, 2, 9]]).repeat(1, 2)
    full, normed = runs.hf_run("gpt2", tokens).logits, runs.outputs("gpt2", tokens).normed
    found = heads.predictions(normed, tokens, runs.unembedding("gpt2"))
    close(found.logit_difference, runs.difference(full, tokens))


@pytest.mark.parametrize("family", FAMILIES)
def test_differences_change_as_those_of_log_probabilities(family):
    """The normaliser of the softmax is the same for the right token and for the others."""
    normed, full = runs.last(family)
    changes = []
    for logits in (full, full.log_softmax(-1)):
        changes.append(runs.difference(logits) - runs.difference(logits.flip(0)))
    found = [
        heads.predictions(each, TOKENS, runs.unembedding(family)).logit_difference
        for each in (normed, normed.flip(0))
    ]
    close(found[0] - found[1], changes[1])
    close(changes[0], changes[1])
