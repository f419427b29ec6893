"""Response matrices by distance, against plain loops."""

import numpy as np
import plain
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from universal_response import response
from universal_response.response import pairs

# all sources ------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 1000),
    t=st.integers(1, 12),
    batch=st.lists(st.integers(1, 3), max_size=3),
)
def test_response_function_is_the_mean_along_diagonals(seed, t, batch):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(*batch, t, t, generator=generator, dtype=torch.float64)
    found = response.response_function(matrix)
    assert found.shape == (*batch, t)
    torch.testing.assert_close(found, plain.response_function(matrix))


@pytest.mark.parametrize("garbage", [1e30, float("inf"), float("nan")])
def test_entries_left_of_the_source_are_ignored(garbage):
    matrix = torch.arange(25.0).reshape(1, 5, 5)
    spoiled = torch.where(torch.ones(5, 5).triu().bool(), matrix, torch.tensor(garbage))
    expected = plain.response_function(matrix)
    torch.testing.assert_close(response.response_function(spoiled), expected)


def test_response_function_does_not_change_its_argument_and_takes_views():
    matrix = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(0))
    view = matrix.transpose(-1, -2)
    before = matrix.clone()
    torch.testing.assert_close(response.response_function(view), plain.response_function(view))
    assert torch.equal(matrix, before)


# drawn sources -----------------------------------------------------------------------------------


def matrices(seed, n, sequences, t):
    generator = torch.Generator().manual_seed(seed)
    sources = torch.stack([torch.randperm(t, generator=generator)[:n] for _ in range(sequences)])
    matrix = torch.randn(2, sequences, n, t, generator=generator, dtype=torch.float64)
    return matrix, sources


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 3), st.integers(5, 9))
def test_rows_by_distance(seed, n, sequences, t):
    matrix, sources = matrices(seed, n, sequences, t)
    found = pairs.by_distance(matrix, sources)
    counted = pairs.number_of_pairs(sources, t)
    assert found.shape == matrix.shape
    for s in range(sequences):
        for k in range(n):
            i = int(sources[s, k])
            assert torch.equal(found[:, s, k, : t - i], matrix[:, s, k, i:])
            assert torch.isnan(found[:, s, k, t - i :]).all()
        for delta_j in range(t):
            assert counted[s, delta_j] == sum(int(i) + delta_j < t for i in sources[s])


def test_pairs_of_all_sources():
    every = torch.arange(6).repeat(2, 1)
    assert pairs.number_of_pairs(every, 6).tolist() == [[6, 5, 4, 3, 2, 1]] * 2


@given(st.integers(0, 1000))
def test_logarithms_are_those_of_what_responds(seed):
    matrix, sources = matrices(seed, 4, 2, 7)
    rows = pairs.by_distance(matrix.clamp(min=0), sources)  # half of them exactly 0
    sums, n = pairs.log_sums(rows)
    for delta_j in range(7):
        for s in range(2):
            values = [float(c) for c in rows[0, s, :, delta_j] if c > 0]
            assert n[0, s, delta_j] == len(values)
            assert float(sums[0, s, delta_j]) == pytest.approx(float(np.log(values).sum()))


def test_nothing_responds():
    sums, n = pairs.log_sums(torch.zeros(3, 4))
    assert (sums == 0).all()
    assert (n == 0).all()
