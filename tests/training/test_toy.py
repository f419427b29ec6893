"""The toy against tensors made in full, and against the formula where it is linear."""

import numpy as np
import pytest
import torch
from messages import one_line
from universal_response import training

SEEDS = range(9)


def drawn(seed, d):
    """True a, b, c, then their first values."""
    generator = training.generator_of(seed, "toy")
    return torch.randn(6, d, generator=generator, dtype=torch.float64)


def plain_losses(seed, clamped, d, steps, rate=1.0, scale=1.0):
    """All d^3 numbers, gradients by autograd, one seed."""
    both = drawn(seed, d)
    true = dict(zip("abc", both[:3], strict=True))
    learned = dict(zip("abc", scale * both[3:], strict=True))
    learned |= {name: true[name] for name in clamped}
    free = {name: learned[name].clone().requires_grad_() for name in "abc" if name not in clamped}
    target = torch.einsum("i,j,k->ijk", *true.values())
    losses = []
    for _ in range(steps + 1):
        made = torch.einsum("i,j,k->ijk", *(free.get(name, learned[name]) for name in "abc"))
        loss = ((target - made) ** 2).mean() / 2
        losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, list(free.values()))
        for vector, gradient in zip(free.values(), gradients, strict=True):
            vector.data -= rate * gradient
    return losses, float((target**2).mean() / 2)


@pytest.mark.parametrize(
    ("clamped", "rate", "scale"),
    [((), 1.0, 1.0), (("c",), 1.0, 1.0), (("a",), 0.5, 2.0), (("b", "c"), 1.0, 0.1)],
)
def test_losses_are_those_of_tensors_made_in_full(clamped, rate, scale):
    seeds, d, steps = [0, 3], 6, 40
    curves = training.toy_curves(seeds, clamped, d, rate, steps, scale)
    assert curves.loss.shape == (2, steps + 1)
    for seed in seeds:
        losses, plateau = plain_losses(seed, clamped, d, steps, rate, scale)
        one = curves.sel(seed=seed)
        assert losses[-1] < 0.9 * losses[0]
        np.testing.assert_allclose(one.loss, losses, rtol=1e-9, atol=1e-14)
        assert float(one.plateau) == pytest.approx(plateau, rel=1e-12)


def test_clamps_shorten_the_plateau():
    """As in the source: c, then b and c."""
    ends = {
        clamped: training.plateau_end(training.toy_curves(SEEDS, tuple(clamped), steps=steps))
        for clamped, steps in {"": 1_000, "c": 300, "bc": 100}.items()
    }
    medians = [float(each.median(skipna=False)) for each in ends.values()]
    assert medians[0] > 3 * medians[1] > 9 * medians[2]


def test_without_clamps_there_is_a_plateau():
    """At the loss of a product of 0, to which it falls first: for long it hardly changes."""
    curves = training.toy_curves(SEEDS)
    share = curves.loss / curves.plateau
    assert float(share.sel(step=0).median()) > 1.5
    within = (abs(share - 1) < 0.1).sum("step")
    assert float(within.median()) > 50


def test_with_two_clamped_the_error_decays_as_in_linear_regression():
    curves = training.toy_curves(SEEDS, ("a", "b"), steps=60)
    for seed in SEEDS:
        a, b = drawn(seed, 20)[:2]
        kept = 1 - float((a @ a) * (b @ b)) / 20**3
        expected = float(curves.loss.sel(seed=seed, step=0)) * kept ** (2 * np.arange(61))
        np.testing.assert_allclose(curves.loss.sel(seed=seed), expected, rtol=1e-7, atol=1e-14)


def test_with_all_clamped_nothing_is_wrong():
    assert float(training.toy_curves([0], "abc", steps=3).loss.max()) < 1e-14


def test_the_end_of_a_plateau_is_the_first_step_below():
    curves = training.toy_curves(SEEDS, ("c",), steps=120)
    ends = training.plateau_end(curves, 0.4)
    for seed in SEEDS:
        one = curves.sel(seed=seed)
        below = np.flatnonzero(one.loss.values < 0.4 * float(one.plateau))
        end = float(ends.sel(seed=seed))
        assert end == below[0] if len(below) else np.isnan(end)
    assert 0 < int(ends.isnull().sum()) < len(SEEDS)


def test_a_seed_is_the_same_in_any_company():
    alone, together = training.toy_curves([5], steps=9), training.toy_curves([1, 5], steps=9)
    np.testing.assert_array_equal(alone.loss[0], together.loss[1])
    assert not np.allclose(together.loss[0], together.loss[1])


def test_wrong_toys_are_refused():
    with pytest.raises(ValueError, match=one_line("clamped=d: no such vector; choose of a, b, c")):
        training.toy_curves([0], ("d",))
    for name, none in {"d": 0, "steps": 0, "learning_rate": 0.0, "scale": 0.0}.items():
        with pytest.raises(ValueError, match=one_line(f"{name}=0: use a number > 0")):
            training.toy_curves([0], **{name: none})
    with pytest.raises(ValueError, match=one_line("learning_rate=100: the loss grows")):
        training.toy_curves([0], learning_rate=100.0)
