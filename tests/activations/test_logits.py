"""From the last state to logits, against those of Hugging Face."""

import plain
import pytest
import raw
import runs
import torch
from runs import TOKENS, close
from universal_response.activations import logits

# A cap, factors on logits, biases, attention that is code of its own.
FAMILIES = ("gpt2", "gemma2", "cohere", "granite", "phi", "gptj")


@pytest.mark.parametrize("family", FAMILIES)
def test_logits(family, monkeypatch):
    normed, expected = runs.last(family)
    found = runs.unembedding(family)
    close(found.logits(normed), expected)
    of_some = torch.tensor([[3, 99, 0], [7, 7, 50]])
    rows = expected.gather(2, of_some[:, None].expand(-1, normed.shape[1], -1))
    close(found.logits(normed, of_some), rows)

    monkeypatch.setattr(logits, "_AT_A_TIME", 303)  # three rows of the vocabulary
    flat, asked = expected.flatten(0, 1), TOKENS.flatten()
    close(found.log_normaliser(normed.flatten(0, 1)), flat.exp().sum(1).log())
    larger = [sum(row > row[token]) for row, token in zip(flat, asked, strict=True)]
    log_probability, rank = found.log_probability_and_rank(normed.flatten(0, 1), asked)
    assert torch.equal(rank, torch.stack(larger))
    close(log_probability, flat.log_softmax(1).gather(1, asked[:, None])[:, 0])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_final_norm(family):
    found, norm = runs.unembedding(family), raw.final_norm(runs.hf_model(family))
    state = torch.randn((3, 2, 32), generator=torch.Generator().manual_seed(0)).double()
    with plain.uncast(), torch.no_grad():
        close(found.normed(state), norm(state))


def test_what_comes_after_the_norm():
    """Not by chance the same in all families."""
    assert runs.unembedding("gemma2").cap == 30.0
    factors = {name: runs.unembedding(name).multiplier for name in ("cohere", "granite", "gpt2")}
    assert factors == {"cohere": 0.0625, "granite": 0.125, "gpt2": 1.0}
    assert float(runs.unembedding("phi").bias.abs().max()) > 0.1
