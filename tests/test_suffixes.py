"""How suffixes are laid end to end, and the attention that serves them."""

import itertools

import pytest
import torch
from universal_response.suffixes import Attended, Packing, Segment, attend, packings

CPU = torch.device("cpu")


def everything(n_sequences, t, n_strengths):
    """(strength, sequence, source, target) of all that must be computed."""
    return {
        (strength, sequence, source, target)
        for strength in range(n_strengths)
        for sequence in range(n_sequences)
        for source in range(t)
        for target in range(source, t)
    }


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize(
    ("n_sequences", "t", "n_strengths", "tokens_per_pass"),
    itertools.chain(itertools.product((1, 3), (2, 7), (1, 4), (1, 10, 64, 10**6))),
)
def test_every_token_is_passed_once(n_sequences, t, n_strengths, tokens_per_pass, mixed):
    found = list(packings(n_sequences, t, n_strengths, tokens_per_pass, mixed))
    seen = []
    for packing in found:
        index = packing.index(CPU)
        columns = (index.strength, index.sequence, index.source, index.target)
        seen += zip(*(column.tolist() for column in columns), strict=True)
        assert packing.n_tokens == len(index.source)
        assert mixed or len({segment.source for segment in packing.segments}) == 1
        # A row starts at its source.
        assert torch.equal(index.target[index.start], index.source)
        for column in (index.strength, index.sequence, index.source):
            assert torch.equal(column[index.start], column)
        # No larger than asked, unless it is a single suffix of every sequence.
        smallest = n_sequences * (t - packing.segments[0].source)
        assert packing.n_tokens <= max(tokens_per_pass, smallest)
    assert len(seen) == len(set(seen)) == n_sequences * n_strengths * t * (t + 1) // 2
    assert set(seen) == everything(n_sequences, t, n_strengths)


def test_passes_are_full():
    """No pass could have taken the first row of the next one as well."""
    found = list(packings(2, 40, 3, 500))
    for packing, following in itertools.pairwise(found):
        first = following.segments[0]
        assert packing.n_tokens + 2 * (40 - first.source) > 500
    assert len(found) < 1.2 * 2 * 3 * 40 * 41 / 2 / 500


class Layer:
    layer_idx = 0


@pytest.mark.parametrize("softcap", [None, 0.7])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_attention_of_suffixes_is_that_of_whole_sequences(key_heads, window, softcap):
    """Against softmax(q k) v of every row alone, in float64."""
    generator = torch.Generator().manual_seed(0)
    n_sequences, t, heads, width, scaling = 2, 9, 4, 5, 0.3
    packing = Packing((Segment(0, 0, 1), Segment(3, 1, 4), Segment(8, 0, 2)), n_sequences, t)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    clean = (random(n_sequences, key_heads, t, width), random(n_sequences, key_heads, t, width))
    query = random(1, heads, packing.n_tokens, width)
    key, value = (random(1, key_heads, packing.n_tokens, width) for _ in range(2))
    found, pattern = attend(
        Layer(), query, key, value, None, scaling=scaling, softcap=softcap, sliding_window=window,
        suffixes=Attended(packing, {0: clean}), dropout=0.0,
    )  # fmt: skip
    assert pattern is None
    assert found.shape == (1, packing.n_tokens, heads, width)
    index = packing.index(CPU)
    for place in range(packing.n_tokens):
        start, source = int(index.start[place]), int(index.source[place])
        target, sequence = int(index.target[place]), int(index.sequence[place])
        for head in range(heads):
            shared = head * key_heads // heads
            seen = range(0 if window is None else max(0, target - window + 1), target + 1)
            keys, values = (
                torch.stack(
                    [
                        whole[sequence, shared, j] if j < source
                        else packed[0, shared, start + j - source]
                        for j in seen
                    ]
                )
                for whole, packed in zip(clean, (key, value), strict=True)
            )  # fmt: skip
            scores = keys @ query[0, head, place] * scaling
            if softcap is not None:
                scores = softcap * torch.tanh(scores / softcap)
            expected = torch.softmax(scores, 0) @ values
            torch.testing.assert_close(found[0, place, head], expected)


def test_clean_pass_keeps_keys_and_values():
    n_sequences, t, kept = 2, 3, {}
    packing = Packing((Segment(0, 0, 1),), n_sequences, t)
    states = torch.arange(n_sequences * t * 4, dtype=torch.float32).view(1, 1, -1, 4)
    attended = Attended(packing, kept, keep=True)
    attend(Layer(), states, states, 2 * states, None, scaling=1.0, suffixes=attended)
    keys, values = kept[0]
    assert keys.shape == (n_sequences, 1, t, 4)
    assert torch.equal(keys.flatten(), states.flatten())
    assert torch.equal(values, 2 * keys)


def test_attention_sinks_are_refused():
    packing = Packing((Segment(0, 0, 1),), 1, 2)
    states = torch.zeros(1, 1, 2, 4)
    with pytest.raises(ValueError, match=r"\Amodel: attention sinks[^\n]*\Z"):
        attend(
            Layer(), states, states, states, None, scaling=1.0,
            suffixes=Attended(packing, {}, keep=True), s_aux=torch.zeros(1),
        )  # fmt: skip
