"""Changes of attention on suffixes, against softmax(q k) v of every row alone, in float64."""

import pytest
import torch
from universal_response.propagation import modules  # noqa: F401 (enters the rules)
from universal_response.propagation.attention import Attended, attend
from universal_response.propagation.change import Carried
from universal_response.propagation.pair import Terms
from universal_response.propagation.suffixes import Packing, Segment

HEADS, T, WIDTH, SCALING = 4, 9, 5, 0.3
BOTH = (0, 1)
PACKING = Packing((Segment(0, BOTH, 0, 1), Segment(3, BOTH, 1, 4), Segment(8, (1,), 0, 2)), T)


class Layer:
    layer_idx = 0


def random(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def laid_end_to_end(states):
    """(sequence, head, token, width) -> (1, head, packed, width)."""
    return states.transpose(0, 1).flatten(1, 2)[None]


def alone(q, k, v, target, window, softcap, sink):
    """z of one query: q (width,), k and v (token, width)."""
    seen = range(0 if window is None else max(0, target - window + 1), target + 1)
    scores = k[seen] @ q * SCALING
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if sink is not None:
        scores = torch.cat([scores, sink[None]])
    return torch.softmax(scores, 0)[: len(seen)] @ v[seen]


@pytest.mark.parametrize("strength", [0.3, 1e-3, 40.0])
@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (4, None), (None, 0.7)])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_changes_are_those_of_every_row_alone(key_heads, window, softcap, sinks, strength):
    """Strong changes take another form than weak ones; both are exact."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (random(generator, 2, heads, T, WIDTH) for heads in (HEADS, key_heads, key_heads))
    sink = random(generator, HEADS) if sinks else None
    asked = {"scaling": SCALING, "softcap": softcap, "sliding_window": window, "s_aux": sink}
    whole = Packing((Segment(0, BOTH, 0, 1),), T)
    kept = {}
    clean, pattern = attend(
        Layer(), *map(laid_end_to_end, (q, k, v)), None, suffixes=Attended(whole, kept), **asked
    )
    assert pattern is None
    moved = [
        strength * random(generator, 1, heads, PACKING.n_tokens, WIDTH)
        for heads in (HEADS, key_heads, key_heads)
    ]
    carried = [Carried(lambda: None, d, Terms()) for d in moved]
    found, _ = attend(Layer(), *carried, None, suffixes=Attended(PACKING, kept), **asked)
    index = PACKING.index(torch.device("cpu"))
    before, after, stood = [], [], []
    for place in range(PACKING.n_tokens):
        start, source = int(index.start[place]), int(index.source[place])
        target, sequence = int(index.target[place]), int(index.sequence[place])
        suffix = slice(start, start + T - source)
        for head in range(HEADS):
            shared = head * key_heads // HEADS
            keys, values = k[sequence, shared].clone(), v[sequence, shared].clone()
            of = (target, window, softcap, None if sink is None else sink[head])
            before.append(alone(q[sequence, head, target], keys, values, *of))
            keys[source:] += moved[1][0, shared, suffix]
            values[source:] += moved[2][0, shared, suffix]
            after.append(
                alone(q[sequence, head, target] + moved[0][0, head, place], keys, values, *of)
            )
            stood.append((sequence * T + target, head))
    before, after = torch.stack(before), torch.stack(after)
    places, heads = torch.tensor(stood).T
    torch.testing.assert_close(clean[0, places, heads], before)
    torch.testing.assert_close(
        found.change[0].flatten(0, 1), after - before, rtol=1e-9, atol=1e-12 * strength
    )


def test_clean_pass_keeps_queries_keys_and_values():
    packing, kept = Packing((Segment(0, BOTH, 0, 1),), 3), {}
    states = torch.arange(2 * 3 * 4, dtype=torch.float32).view(1, 1, -1, 4)
    attended = Attended(packing, kept)
    attend(Layer(), 3 * states, states, 2 * states, None, scaling=1.0, suffixes=attended)
    clean = kept[0]
    assert clean.key.shape == (2, 1, 3, 4)
    assert torch.equal(clean.key.flatten(), states.flatten())
    assert torch.equal(clean.value, 2 * clean.key)
    assert torch.equal(clean.query, 3 * clean.key)
