"""How suffixes are laid end to end, without padding."""

import itertools

import pytest
import torch
from universal_response.propagation.suffixes import packings

CPU = torch.device("cpu")


def every(n_sequences, t):
    """All tokens of all sequences as sources."""
    return torch.arange(t).expand(n_sequences, t)


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
    found = list(packings(every(n_sequences, t), t, n_strengths, tokens_per_pass, mixed))
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
    found = list(packings(every(2, 40), 40, 3, 500))
    for packing, following in itertools.pairwise(found):
        first = following.segments[0]
        assert packing.n_tokens + 2 * (40 - first.source) > 500
    assert len(found) < 1.2 * 2 * 3 * 40 * 41 / 2 / 500


def test_sources_may_differ_between_sequences():
    sources = torch.tensor([[0, 4], [4, 2], [5, 1]])
    seen = set()
    for packing in packings(sources, 6, 2, 10):
        index = packing.index(CPU)
        columns = (index.strength, index.sequence, index.source, index.target)
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        assert not seen & set(rows)
        seen |= set(rows)
    assert seen == {
        (strength, sequence, source, target)
        for strength in range(2)
        for sequence, row in enumerate(sources.tolist())
        for source in row
        for target in range(source, 6)
    }
