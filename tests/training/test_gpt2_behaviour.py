"""What a model does on a repeated block, against loops and models whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_gpt2 import NETWORK
from universal_response.sequences import separated_random_tokens
from universal_response.training import gpt2
from universal_response.training.gpt2 import Network, Probe, behaviour

T0, GAP, VOCABULARY = 5, 3, 20


class Known(torch.nn.Module):
    """A model that knows what stood after the last occurrence of a token, in some of the places."""

    def __init__(self, right=lambda place: True):
        super().__init__()
        self.weight, self.right, self.seen = torch.nn.Parameter(torch.zeros(1)), right, []

    def forward(self, tokens, position_ids):
        self.seen.append(position_ids)
        logits = torch.zeros(*tokens.shape, VOCABULARY)
        for row, numbers in enumerate(tokens.tolist()):
            for place, token in enumerate(numbers):
                before = [k for k in range(place) if numbers[k] == token]
                if before and self.right(place):
                    logits[row, place, numbers[before[-1] + 1]] = 3.0
                else:
                    # As wrong as can be: this token itself.
                    logits[row, place, token] = 3.0
        return SimpleNamespace(logits=logits)


@pytest.fixture
def tokens():
    return separated_random_tokens(T0, GAP, 70, VOCABULARY, np.random.default_rng(0))


def test_a_model_that_knows_is_right_everywhere(tokens):
    model = Known()
    assert gpt2.accuracy(model, tokens, T0).tolist() == [1.0] * 70
    lost = -np.log(np.exp(3) / (np.exp(3) + VOCABULARY - 1))
    assert gpt2.loss(model, tokens, T0).tolist() == pytest.approx([lost] * 70, rel=1e-6)


def test_only_the_second_block_from_its_second_token_on_counts(tokens):
    again = T0 + GAP
    for place in range(2 * T0 + GAP):
        found = gpt2.accuracy(Known(lambda k, place=place: k != place), tokens, T0)
        counts = again <= place < 2 * T0 + GAP - 1
        assert found.tolist() == pytest.approx([0.75 if counts else 1.0] * 70)


def test_positions_begin_at_the_offset(tokens):
    model = Known()
    gpt2.accuracy(model, tokens, T0, offset=7)
    assert all((each == torch.arange(7, 20)).all() for each in model.seen)
    assert sum(len(each) for each in model.seen) == 70


def test_of_a_model_of_transformers_a_loop_finds_the_same(tokens):
    model = gpt2.initial(NETWORK, 1)
    logits = model(torch.from_numpy(tokens), position_ids=torch.arange(4, 17)[None]).logits
    lost = [
        [-logits[row, k - 1].log_softmax(0)[tokens[row, k]].item() for k in range(9, 13)]
        for row in range(70)
    ]
    found = gpt2.loss(model, tokens, T0, offset=4)
    np.testing.assert_allclose(found, np.mean(lost, 1), rtol=1e-5)


def test_probes_that_fit_are_asked():
    assert Probe(48, 16).name == "t0=48, gap=16"
    assert Probe(64, 0, 128).name == "t0=64, offset=128"
    assert not Probe(8, 13).fits(NETWORK)  # of 20 tokens
    assert not Probe(8, 0, 25).fits(NETWORK)  # of 40 positions
    assert Probe(8, 12, 12).fits(NETWORK)
    assert list(gpt2.judged(gpt2.initial(NETWORK, 0), NETWORK, 4)) == ["t0=8", "t0=16"]
    assert all(probe.fits(Network()) for probe in gpt2.PROBES)


def test_probes_are_asked_as_they_say(monkeypatch):
    asked = []

    def accuracy(model, tokens, t0, offset):
        distinct = all(len(set(row[:-t0])) == len(row) - t0 for row in tokens.tolist())
        assert distinct
        assert (tokens[:, :t0] == tokens[:, -t0:]).all()
        asked.append(Probe(t0, tokens.shape[1] - 2 * t0, offset))
        return torch.tensor([0.5, 1.0])

    monkeypatch.setattr(behaviour, "accuracy", accuracy)
    found = gpt2.judged(torch.nn.Module(), Network(), 2)
    assert asked == list(gpt2.PROBES)
    assert found == {probe.name: 0.75 for probe in gpt2.PROBES}
