"""Inner products and the response metrics made of them, a T x T matrix per position and strength.

Notation: x_j is the clean residual vector at token j, D_j = x'_j - x_j its response. Every metric
returns a tensor (position, epsilon, sequence, source, target) that is zero for target < source.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int

Tensor = Any  # PyTorch's: what reads results knows the metrics without importing it

ResponseMatrix = Float[Tensor, "position epsilon sequence source target"]


@dataclass(frozen=True)
class InnerProducts:
    """All the metrics need to know of a measurement (six inner products, method page).

    With x_j the clean residual vector at token j and D_j its change. Entries left of the source
    are exactly zero (causality), and so are all at positions before the perturbed one.

    Attributes:
        state_state: |x_j|^2, shape (position, sequence, target).
        response_response: D_j . D_j, shape (position, epsilon, sequence, source, target).
        response_state: D_j . x_j, same shape.
        response_source: D_j . D_i, the response at j against that at the perturbed token i.
        response_perturbation: D_j . D_i^(0), against the perturbation made.
        perpendicular: |D_j - (D_j . x_j / x_j . x_j) x_j|^2, of the part perpendicular to x_j.
        sources: token index i of every perturbed source, (sequence, source).
        fallback_modules: names of modules that have no rule and ran by subtraction.
    """

    state_state: Float[Tensor, "position sequence target"]
    response_response: Float[Tensor, "position epsilon sequence source target"]
    response_state: Float[Tensor, "position epsilon sequence source target"]
    response_source: Float[Tensor, "position epsilon sequence source target"]
    response_perturbation: Float[Tensor, "position epsilon sequence source target"]
    perpendicular: Float[Tensor, "position epsilon sequence source target"]
    sources: Int[Tensor, "sequence source"]
    fallback_modules: tuple[str, ...] = ()


def delta(products: InnerProducts) -> ResponseMatrix:
    """C_delta = |D_j| / |x_j|, the relative length of the response (Fig. 2a). Grows as epsilon.

    Args:
        products: of a measurement.

    Returns:
        Tensor (position, epsilon, sequence, source, target); 0 where x vanishes.
    """
    return _ratio(products.response_response, _state_state(products)).sqrt()


def phi(products: InnerProducts) -> ResponseMatrix:
    """C_phi = 1 - cos(angle between x'_j and x_j) (Fig. 2d). Grows as epsilon^2.

    Taken from the part of D perpendicular to x, as 2 sin^2(angle / 2): the plain form
    1 - x'.x / |x'||x| loses every digit below epsilon ~ 1e-3 in float32.

    Args:
        products: of a measurement.

    Returns:
        Tensor (position, epsilon, sequence, source, target); 0 where x' vanishes.
    """
    length = _state_state(products).sqrt()
    parallel = _ratio(products.response_state, length)
    angle = products.perpendicular.sqrt().atan2(length + parallel)
    return 2 * (angle / 2).sin() ** 2


def theta_source(products: InnerProducts) -> ResponseMatrix:
    """C_theta = cos(D_j, D_i): the response at j against that at the perturbed token (default).

    Args:
        products: of a measurement.

    Returns:
        Tensor (position, epsilon, sequence, source, target); 0 where D_i or D_j vanishes.
    """
    squared = products.response_response
    return _cosine(products.response_source, squared, _at_source(squared, products.sources))


def theta_state(products: InnerProducts) -> ResponseMatrix:
    """C_theta = cos(D_j, x_j): the response against the clean residual vector it moves.

    Args:
        products: of a measurement.

    Returns:
        Tensor (position, epsilon, sequence, source, target); 0 where D_j or x_j vanishes.
    """
    return _cosine(products.response_state, products.response_response, _state_state(products))


def theta_perturbation(products: InnerProducts) -> ResponseMatrix:
    """C_theta = cos(D_j, D_i^(0)): the response against the perturbation, where that was made.

    Args:
        products: of a measurement.

    Returns:
        Tensor (position, epsilon, sequence, source, target); 0 where D_j vanishes.
    """
    squared = products.response_response
    at_source = _at_source(squared, products.sources)
    # Left of the perturbed position nothing responds: it is the first at which the source does.
    first = (at_source > 0).byte().argmax(0, keepdim=True)
    return _cosine(products.response_perturbation, squared, at_source.gather(0, first))


def phi_coefficient(products: InnerProducts) -> ResponseMatrix:
    """Coefficient of epsilon^2 in C_phi: half the squared angle per unit of epsilon.

    |D_perp|^2 / 2 |x|^2, D_perp perpendicular to x.

    Args:
        products: linear inner products.

    Returns:
        Tensor (position, 1, sequence, source, target); 0 where x vanishes.
    """
    return _ratio(products.perpendicular, 2 * _state_state(products))


@dataclass(frozen=True)
class Metric:
    """A metric, and what is known of it by definition.

    Attributes:
        function: inner products -> response matrices.
        power: of epsilon, with which it grows in the scale-invariant regime (Fig. 2c, 2f), never
            negative then; 0 for a cosine, which does not see the length of the response.
        symbol: below the C in formulas, LaTeX.
        meaning: in words.
        limit: function that takes linear inner products to what C / epsilon^power tends to; None if
            that is `function`.
    """

    function: Callable[[InnerProducts], ResponseMatrix]
    power: int
    symbol: str
    meaning: str
    limit: Callable[[InnerProducts], ResponseMatrix] | None = None

    @property
    def name(self) -> str:
        """In data and code: that of the function."""
        return self.function.__name__

    def __call__(self, products: InnerProducts) -> ResponseMatrix:
        return self.function(products)


_ALL = (
    Metric(delta, 1, r"\Delta", "length of the response"),
    Metric(phi, 2, r"\varphi", "turn of the vector", limit=phi_coefficient),
    Metric(theta_source, 0, r"\vartheta", "along the source's response"),
    Metric(theta_state, 0, r"\vartheta", "along the vector itself"),
    Metric(theta_perturbation, 0, r"\vartheta", "along the perturbation"),
)
METRICS = {metric.name: metric for metric in _ALL}
LINEAR_METRICS = {metric.name: metric.limit or metric.function for metric in _ALL}
COSINES = tuple(metric.name for metric in _ALL if metric.power == 0)
GROWING = tuple(metric.name for metric in _ALL if metric.power > 0)
QUADRATIC = tuple(metric.name for metric in _ALL if metric.power == 2)


def _state_state(products: InnerProducts) -> Float[Tensor, "position 1 sequence 1 target"]:
    return products.state_state[:, None, :, None, :]


def _at_source(squared: ResponseMatrix, sources: Int[Tensor, "sequence source"]) -> Tensor:
    """|D_i|^2: the entry target = source, for every target."""
    own = sources.to(squared.device)[..., None]
    return squared.gather(-1, own.expand(*squared.shape[:-1], 1))


def _cosine(inner: Tensor, squared: Tensor, other_squared: Tensor) -> Tensor:
    """Cosine from an inner product and two squared lengths; 0 where a vector vanishes."""
    lengths = squared.sqrt() * other_squared.sqrt()
    return _ratio(inner, lengths).clamp(-1, 1)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Quotient, 0 where the denominator vanishes (a padded row of the embedding is all zeros)."""
    return numerator / denominator.where(denominator > 0, math.inf)
