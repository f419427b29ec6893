"""The logit lens, against a Hugging Face model whose final norm is given another state."""

import hand_wired
import plain
import pytest
import raw
import runs
import torch
from runs import T0, TOKENS, close
from universal_response import activations, heads
from universal_response.propagation import positions


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "cohere"])
def test_every_position(family):
    of, hf = runs.outputs(family), runs.hf_model(family)
    found = heads.logit_lens(of, runs.unembedding(family))
    states = plain.plain_streams(hf, TOKENS, [0.0]).clean
    assert len(found.logit_difference) == len(states) == len(positions(runs.bridge(family)))
    right = TOKENS[:, T0 + 1 :, None]
    for at, state in enumerate(states):
        shown = raw.edited_input(raw.final_norm(hf), lambda _, state=state: state)
        with raw.hooks(shown):
            full = runs.hf_run(family).logits
        rows = full[:, T0:-1]
        close(found.logit_difference[at], runs.difference(full))
        close(found.log_probability[at], rows.log_softmax(-1).gather(2, right)[..., 0])
        assert torch.equal(found.rank[at], (rows > rows.gather(2, right)).sum(-1).float())
    close(found.logit_difference[-1], runs.difference(runs.last(family)[1]))


@pytest.mark.parametrize("make", hand_wired.INDUCTION, ids=lambda make: make.__name__)
def test_an_induction_circuit(make):
    """The right token is there once the receiver has written, at l = 3 of 4: its MLPs give 0."""
    wired = make()
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randperm(hand_wired.VOCABULARY, generator=generator)[None, :12].repeat(1, 2)
    of = activations.outputs(tokens, wired.bridge)
    found = heads.logit_lens(of, activations.unembedding_of(wired.bridge))
    assert float(found.log_probability[:3].exp().max()) < 0.5
    assert float(found.log_probability[3:].exp().min()) > 0.99
    assert float(found.rank[3:].max()) == 0
