"""Heads of GPT-2 that others have published, for whoever can fetch its weights.

HF_HUB_OFFLINE=0 .venv/bin/pytest tests/heads/test_published.py
"""

import os

import numpy as np
import pytest
import torch
from universal_response import load_model, repeated_random_tokens
from universal_response.heads import stripe
from universal_response.propagation import forward

INDUCTION = {(5, 1), (5, 5), (6, 9), (7, 2), (7, 10)}
N, BOS = 50, 50256


@pytest.mark.skipif(
    os.environ.get("HF_HUB_OFFLINE") != "0",
    reason="needs GPT-2 from the Hugging Face hub: set HF_HUB_OFFLINE=0",
)
def test_induction_heads_of_gpt2():
    """The five strongest on repeated random tokens behind a BOS, each with more than .8."""
    model = load_model("openai-community/gpt2", tokenizer=False)
    tokens = repeated_random_tokens(N, 8, BOS, np.random.default_rng(0))
    tokens = torch.from_numpy(np.insert(tokens, 0, BOS, axis=1))
    scores = []

    def score(seen):
        scores.append(stripe(seen.value, N - 1, N + 1).mean(0))

    forward(tokens, model, observe={"pattern": score})
    found = torch.stack(scores)
    strongest = found.flatten().topk(len(INDUCTION))
    assert {divmod(int(k), found.shape[1]) for k in strongest.indices} == INDUCTION
    assert strongest.values.min() > 0.8
