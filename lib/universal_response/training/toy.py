"""A toy that learns in a plateau and a drop: three vectors, of which only the product is judged.

The toy of the source, as its program has it (icl-dynamics, simple_model_solver.py): the product is
the tensor a_i b_j c_k, the loss half the mean square of its error over all d^3 numbers; true
vectors and first values are standard normal, and a clamped vector is the true one from the start.
The source draws one seed, by random numbers that are not reproduced here, and does not say how long
its plateaus are: where they end, and a scale of the first values, are this project's.
"""

from collections.abc import Sequence

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from universal_response.training.task import generator_of

VECTORS = ("a", "b", "c")

Vectors = Float[Tensor, "vector seed d"]


def toy_curves(
    seeds: Sequence[int],
    clamped: Sequence[str] = (),
    d: int = 20,
    learning_rate: float = 1.0,
    steps: int = 1_000,
    scale: float = 1.0,
) -> xr.Dataset:
    """Learn the product by gradient descent, for all seeds at once, in float64.

    Args:
        seeds: of the true vectors and of the first values.
        clamped: which of `VECTORS` are given.
        d: numbers of each vector.
        learning_rate: of gradient descent.
        steps: of it.
        scale: standard deviation of the first values; that of true ones is 1.

    Returns:
        `loss` (seed, step) before the first step and after each, but for rounding of 1e-15;
        `plateau` (seed), the loss where the product is 0.

    Raises:
        ValueError: an argument is out of range, or the loss grows without bound.
    """
    _check(clamped, d=d, steps=steps, learning_rate=learning_rate, scale=scale)
    true, learned = _drawn(seeds, d, scale)
    free = torch.tensor([name not in clamped for name in VECTORS])[:, None, None]
    path = [torch.where(free, learned, true)]
    for _ in range(steps):
        path.append(path[-1] - learning_rate * free * _gradient(true, path[-1]))
    loss = _loss(true, torch.stack(path)).T
    if not loss.isfinite().all():
        raise ValueError(f"learning_rate={learning_rate:g}: the loss grows; use a smaller rate")
    plateau = _loss(true, torch.zeros_like(true))
    return xr.Dataset(
        {"loss": (("seed", "step"), loss.numpy()), "plateau": ("seed", plateau.numpy())},
        {"seed": list(seeds), "step": range(steps + 1)},
        {"clamped": ", ".join(clamped), "d": d, "learning_rate": learning_rate, "scale": scale},
    )


def plateau_end(curves: xr.Dataset, share: float = 0.5) -> xr.DataArray:
    """The end of the plateau: the first step with a loss below a share of it; none is NaN.

    Of the plateau and not of the first loss, which falls to the plateau at once.

    Args:
        curves: of `toy_curves`.
        share: of the loss of the plateau.
    """
    below = curves.loss < share * curves.plateau
    return below.idxmax("step").where(below.any("step"))


def _check(clamped: Sequence[str], **numbers: int | float) -> None:
    for name in clamped:
        if name not in VECTORS:
            raise ValueError(f"clamped={name}: no such vector; choose of {', '.join(VECTORS)}")
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name}={number:g}: use a number > 0")


def _drawn(seeds: Sequence[int], d: int, scale: float) -> tuple[Vectors, Vectors]:
    """True vectors and first values; of a seed the same whatever the clamps and the scale."""
    drawn = torch.stack(
        [
            torch.randn(6, d, generator=generator_of(seed, "toy"), dtype=torch.float64)
            for seed in seeds
        ],
        1,
    )
    return drawn[:3], scale * drawn[3:]


def _loss(
    true: Vectors, learned: Float[Tensor, "*step vector seed d"]
) -> Float[Tensor, "*step seed"]:
    """From squares and products of vectors; the tensors themselves are never made."""
    pairs = ((learned, learned), (learned, true), (true, true))
    squares, products, full = ((one * other).sum(-1).prod(-2) for one, other in pairs)
    error = squares - 2 * products + full
    # Rounding may leave less than nothing.
    return error.clamp(min=0) / (2 * true.shape[-1] ** 3)


def _gradient(true: Vectors, learned: Vectors) -> Vectors:
    """Of the loss: for each vector, with the squares and products of the other two."""
    squares, products = ((learned * each).sum(-1, keepdim=True) for each in (learned, true))
    squares, products = (each.roll(1, 0) * each.roll(2, 0) for each in (squares, products))
    return (squares * learned - products * true) / true.shape[-1] ** 3
