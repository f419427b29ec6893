"""Metrics as pure functions of inner products: properties on random vectors."""

from dataclasses import fields, replace

import plain
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from universal_response import InnerProducts
from universal_response.metrics import METRICS, delta, phi, phi_coefficient

THETAS = [name for name in METRICS if name.startswith("theta")]

cases = st.builds(
    lambda seed, epsilon, t, d_model: random_streams(seed, epsilon, t, d_model),
    seed=st.integers(0, 10**6),
    epsilon=st.sampled_from([1e-6, 1e-4, 1e-2, 0.3, 1.0]),
    t=st.integers(1, 5),
    d_model=st.integers(2, 9),
)
properties = settings(max_examples=60)


def random_streams(seed, epsilon, t, d_model, positions=2, strengths=2, sequences=2):
    """Random clean vectors and causal random responses of relative size epsilon."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    length = torch.exp(2 * normal(positions, 1, 1, 1))
    clean = length * normal(positions, sequences, t, d_model)
    change = (
        epsilon * length[..., None, None] * normal(positions, strengths, sequences, t, t, d_model)
    )
    change *= torch.ones(t, t, dtype=torch.float64).triu()[..., None]
    return plain.Streams(clean, clean[:, None, :, None] + change)


def products_of(streams):
    return made(**plain.inner_products(streams))


def made(**products):
    """Inner products of all sources."""
    n, t = products["state_state"].shape[1:]
    return InnerProducts(**products, sources=torch.arange(t).repeat(n, 1), fallback_modules=())


@given(cases)
@properties
def test_every_metric_equals_that_of_the_vectors(streams):
    products, expected = products_of(streams), plain.metrics(streams)
    assert set(METRICS) == set(expected)
    for name, metric in METRICS.items():
        # 1 - cos of the vectors themselves is good to 1e-15 only.
        absolute = 1e-14 if name == "phi" else 1e-8
        found = metric(products)
        torch.testing.assert_close(found, expected[name], rtol=1e-8, atol=absolute, msg=name)


@given(cases, st.floats(1e-3, 1e3))
@properties
def test_metrics_do_not_change_under_common_rescaling(streams, factor):
    scaled = plain.Streams(factor * streams.clean, factor * streams.perturbed)
    a, b = products_of(streams), products_of(scaled)
    for name, metric in METRICS.items():
        absolute = 1e-7 if name in THETAS else 1e-15
        torch.testing.assert_close(metric(a), metric(b), rtol=1e-6, atol=absolute, msg=name)


@given(cases)
@properties
def test_ranges(streams):
    products = products_of(streams)
    left = torch.ones(streams.change.shape[-2], streams.change.shape[-2]).tril(-1).bool()
    for name, metric in METRICS.items():
        found = metric(products)
        assert torch.isfinite(found).all()
        low, high = {"delta": (0, float("inf")), "phi": (0, 2)}.get(name, (-1, 1))
        assert low <= found.min(), name
        assert found.max() <= high, name
        assert (found[..., left] == 0).all(), name


@given(cases)
@properties
def test_zero_where_the_response_vanishes(streams):
    nothing = plain.Streams(streams.clean, streams.clean[:, None, :, None] + 0 * streams.change)
    for metric in METRICS.values():
        assert (metric(products_of(nothing)) == 0).all()


def test_theta_is_one_at_the_source_and_at_the_input():
    products = products_of(random_streams(0, 0.1, 4, 8))
    for name, at in (("theta_source", slice(None)), ("theta_perturbation", slice(0, 1))):
        diagonal = METRICS[name](products)[at].diagonal(dim1=-2, dim2=-1)
        torch.testing.assert_close(diagonal, torch.ones_like(diagonal))


def test_sign_of_theta():
    """A response along -x, the one made at the input, has theta_state = -1."""
    clean = random_streams(1, 0.1, 3, 8).clean
    streams = plain.Streams(clean, (0.9 * clean)[:, None, :, None].expand(-1, 1, -1, 3, -1, -1))
    found = METRICS["theta_state"](products_of(streams))
    torch.testing.assert_close(found, -torch.ones_like(found))


@given(st.integers(0, 10**6), st.floats(-0.9, 3).filter(lambda factor: abs(factor) > 1e-3))
@properties
def test_phi_is_zero_for_a_parallel_response(seed, factor):
    clean = random_streams(seed, 0.1, 3, 8).clean
    longer = (1 + factor) * clean[:, None, :, None].expand(-1, 1, -1, 3, -1, -1)
    products = products_of(plain.Streams(clean, longer))
    assert phi(products).abs().max() < 1e-13
    torch.testing.assert_close(delta(products), torch.full_like(delta(products), abs(factor)))


def test_phi_of_known_angles():
    """A vector turned by 0, 60, 90 and 180 degrees."""
    clean = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(1, 1, 4, 2)
    angles = torch.deg2rad(torch.tensor([0.0, 60.0, 90.0, 180.0], dtype=torch.float64))
    turned = 3 * torch.stack([angles.cos(), angles.sin()], dim=-1)
    streams = plain.Streams(clean, turned.expand(1, 1, 1, 4, 4, 2))
    found = phi(products_of(streams))[0, 0, 0, 0]
    torch.testing.assert_close(found, torch.tensor([0, 0.5, 1, 2], dtype=torch.float64))


@pytest.mark.parametrize("epsilon", [1e-3, 1e-4, 1e-5])
def test_phi_keeps_its_digits_in_single_precision(epsilon):
    streams = random_streams(2, epsilon, 6, 64)
    rounded = {name: p.float() for name, p in plain.inner_products(streams).items()}
    upper = torch.triu_indices(6, 6)
    found = phi(made(**rounded))[..., *upper].double()
    expected = plain.metrics(streams)["phi"][..., *upper]
    assert (found / expected - 1).abs().max() < 1e-4
    if epsilon <= 1e-4:
        # What single precision makes of 1 - cos.
        x = streams.clean.float()[:, None, :, None].expand_as(streams.perturbed)
        naive = 1 - plain.cosine(streams.perturbed.float(), x)[..., *upper]
        assert (naive / expected - 1).abs().max() > 0.5


def test_vanishing_state_gives_zero_and_not_nan():
    """A padded row of the embedding is all zeros, and so is its perturbation."""
    nothing = products_of(random_streams(0, 0.0, 2, 4))
    zeros = {
        one.name: torch.zeros_like(getattr(nothing, one.name))
        for one in fields(nothing)
        if one.name not in ("sources", "fallback_modules")
    }
    products = replace(nothing, **zeros)
    for metric in METRICS.values():
        assert (metric(products) == 0).all()


@given(cases, st.integers(0, 10**6))
@properties
def test_metrics_of_some_sources_are_those_of_all(streams, seed):
    products = products_of(streams)
    n, t = products.sources.shape
    drawn = torch.randint(t, (n, 3), generator=torch.Generator().manual_seed(seed))
    some = picked(products, drawn)
    for name, metric in METRICS.items():
        expected = rows_of(metric(products), drawn)
        torch.testing.assert_close(metric(some), expected, rtol=1e-12, atol=1e-15, msg=name)


def rows_of(matrix, drawn):
    at = drawn[None, None, :, :, None]
    return matrix.gather(3, at.expand(*matrix.shape[:3], -1, matrix.shape[-1]))


def picked(products, drawn):
    """The same inner products, of the drawn sources only."""
    rows = {
        one.name: rows_of(getattr(products, one.name), drawn)
        for one in fields(products)
        if getattr(getattr(products, one.name), "ndim", 0) == 5
    }
    return replace(products, **rows, sources=drawn)


def test_perturbation_is_that_of_the_first_position_that_responds():
    """At l = 1 here: nothing responds at l = 0, as where a later position is perturbed."""
    streams = random_streams(3, 0.1, 4, 8, positions=3)
    later = plain.Streams(streams.clean, streams.perturbed.clone())
    later.perturbed[0] = later.clean[0, None, :, None]
    from_second = plain.Streams(streams.clean[1:], streams.perturbed[1:])
    found = METRICS["theta_perturbation"](
        replace(
            products_of(later),
            response_perturbation=torch.cat(
                [
                    torch.zeros(1, 2, 2, 4, 4, dtype=torch.float64),
                    products_of(from_second).response_perturbation,
                ]
            ),
        )
    )
    assert (found[0] == 0).all()
    torch.testing.assert_close(found[1:], METRICS["theta_perturbation"](products_of(from_second)))


def test_coefficient_of_the_angle_is_its_limit():
    streams = random_streams(4, 1.0, 4, 8)
    small = 1e-5
    weak = plain.Streams(streams.clean, streams.clean[:, None, :, None] + small * streams.change)
    expected = phi(products_of(weak)) / small**2
    torch.testing.assert_close(phi_coefficient(products_of(streams)), expected, rtol=1e-4, atol=0)
