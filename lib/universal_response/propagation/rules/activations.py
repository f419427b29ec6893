"""Activation functions, and gates that multiply their argument."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from universal_response.propagation.rules.double import exact_dtype, leaves, replaced

# 1 + s E must not vanish, nor E multiply the rounding of dw, or of an s below the normal numbers.
_WEAK = (-0.75, math.exp(5.0))

_EXPM1_TERMS = 10  # of the series of e^v - 1: 2e-11 of it is left out at 0.5

_GELU_TANH = math.sqrt(2 / math.pi)

_GELU_CUBIC = 0.044715

# Nodes and weights of Gauss-Legendre quadrature on [-1, 1]; 8 of them are exact to degree 15.
_NODES = (0.1834346424956498, 0.5255324099163290, 0.7966664774136267, 0.9602898564975363)

_WEIGHTS = (0.3626837833783620, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763)


def sigmoid(v: Tensor, d: Tensor, limit: bool) -> Tensor:
    """s(v + d) - s(v) = (1 - e^-d) s(v + d) s(-v), with the signs of v and d turned where d < 0.

    In the limit s(v) s(-v) d.
    """
    if limit:
        return torch.sigmoid(v) * torch.sigmoid(-v) * d
    sign = torch.where(d < 0, -1.0, 1.0).to(d.dtype)
    grown = -torch.expm1(-d.abs()) * sign
    return grown * sigmoid_of_sum(sign * v, sign * d) * torch.sigmoid(-sign * v)


def tanh(v: Tensor, d: Tensor, limit: bool) -> Tensor:
    """Twice the change of the sigmoid of 2 v."""
    return 2 * sigmoid(2 * v, 2 * d, limit)


def sigmoid_of_sum(v: Tensor, d: Tensor) -> Tensor:
    """s(v + d), the rounding r of the sum made good by its derivative: it would show in the tail.

    r = (v - (t - b)) + (d - b) with t = v + d and b = t - v is exact (Knuth).
    """
    t = v + d
    b = t - v
    s = torch.sigmoid(t)
    return torch.addcmul(s, s * (1 - s), (v - (t - b)) + (d - b))


def _expm1(v: Tensor) -> Tensor:
    """e^v - 1. Compiled for a processor `torch.expm1` is exp(v) - 1 and loses a small v."""
    if not torch.compiler.is_compiling():
        return torch.expm1(v)
    series = v.new_full((), 1 / math.factorial(_EXPM1_TERMS)).expand_as(v)
    for k in range(_EXPM1_TERMS - 1, 0, -1):
        series = series * v + 1 / math.factorial(k)
    return torch.where(v.abs() < 0.5, series * v, torch.exp(v) - 1)


# Parts of a clean value by number, so that only those that are needed are gathered.
Saved = Callable[[int], Tensor]


class SelfGated:
    """x s(w(x)): a value times the sigmoid of a function of it, such as silu and GELU.

    With E = e^dw - 1, s = s(w) and k = x s(-w) the change is s (d + E (d + k)) / (1 + s E); in the
    limit s (d + k dw).
    """

    def gate(self, x: Tensor) -> Tensor:
        """w(x)."""
        raise NotImplementedError

    def gate_change(self, saved: Saved, d: Tensor, limit: bool) -> Tensor:
        """w(x + d) - w(x)."""
        raise NotImplementedError

    def value(self, x: Tensor) -> Tensor:
        """x s(w)."""
        return self.saved(x)[3]

    def saved(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the change needs of the clean value: x, s, k, and the value x s."""
        w = self.gate(x.to(exact_dtype(x)))
        s, n = torch.sigmoid(w), torch.sigmoid(-w)
        return x, s.to(x.dtype), (x * n).to(x.dtype), (x * s).to(x.dtype)

    def change(self, saved: Saved, d: Tensor, limit: bool) -> Tensor:
        """Of x s(w), for a change d of x."""
        found, grown = self.weak_change(saved, d, limit)
        if not limit and leaves(grown, *_WEAK):
            rare = (grown < _WEAK[0]) | (grown > _WEAK[1])
            return replaced(found, rare, self._strong_change, (saved(0), d))
        return found

    def weak_change(self, saved: Saved, d: Tensor, limit: bool) -> tuple[Tensor, Tensor]:
        """The same as long as E lies within `_WEAK`, and E."""
        dw, s, k = self.gate_change(saved, d, limit), saved(1), saved(2)
        if limit:
            return torch.addcmul(d, k, dw) * s, dw
        grown = _expm1(dw)
        return torch.addcmul(d, grown, d + k).mul_(s).div_((grown * s).add_(1)), grown

    def is_strong(self, grown: Tensor) -> Tensor:
        """Of every row whether some E is too large for `weak_change`."""
        return (grown.amin(-1) < _WEAK[0]) | (grown.amax(-1) > _WEAK[1])

    def _strong_change(self, x: Tensor, d: Tensor) -> Tensor:
        x, d = (each.to(exact_dtype(each)) for each in (x, d))
        w, dw = self.gate(x), self.gate_change(lambda _: x, d, limit=False)
        return d * torch.sigmoid(w + dw) + x * sigmoid(w, dw, limit=False)


class Silu(SelfGated):
    """x s(x)."""

    def gate(self, x: Tensor) -> Tensor:
        return x

    def gate_change(self, saved: Saved, d: Tensor, limit: bool) -> Tensor:
        return d


class GeluTanh(SelfGated):
    """x s(w) with w = 2 c (x + 0.044715 x^3), c = (2 / pi)^(1/2): the tanh form of GELU."""

    def gate(self, x: Tensor) -> Tensor:
        return 2 * _GELU_TANH * (x + _GELU_CUBIC * x**3)

    def gate_change(self, saved: Saved, d: Tensor, limit: bool) -> Tensor:
        """dw = 2 c d (1 + 0.044715 (3 x^2 + 3 x d + d^2))."""
        x = saved(0)
        cubic = x * x if limit else torch.addcmul(x * x, torch.add(x, d, alpha=1 / 3), d)
        return cubic.mul_(6 * _GELU_TANH * _GELU_CUBIC).add_(2 * _GELU_TANH).mul_(d)


class QuickGelu(SelfGated):
    """x s(1.702 x)."""

    def gate(self, x: Tensor) -> Tensor:
        return 1.702 * x

    def gate_change(self, saved: Saved, d: Tensor, limit: bool) -> Tensor:
        return 1.702 * d


SILU, GELU_TANH, QUICK_GELU = Silu(), GeluTanh(), QuickGelu()


def gelu(v: Tensor, d: Tensor, limit: bool) -> Tensor:
    """v' P(v') - v P(v) = d P(v') + v (P(v') - P(v)), P the normal distribution function.

    The difference of P is the integral of its density from v to v', by Gauss-Legendre where that
    is short, and a difference of error functions of the same side elsewhere. In float64: the
    density depends on v^2.
    """
    x, step = v.to(exact_dtype(v)), d.to(exact_dtype(d))
    if limit:
        found = step * (_normal(x) + x * _density(x))
    else:
        found = step * _normal(x + step) + x * _normal_change(x, step)
    return found.to(d.dtype)


def _normal(v: Tensor) -> Tensor:
    return torch.special.erfc(-v / math.sqrt(2)) / 2


def _density(v: Tensor) -> Tensor:
    return torch.exp(-v * v / 2) / math.sqrt(2 * math.pi)


def _normal_change(v: Tensor, d: Tensor) -> Tensor:
    middle, half = v + d / 2, d / 2
    integral = torch.zeros_like(v)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        integral += weight * (_density(middle + node * half) + _density(middle - node * half))
    # P(v) = 1 - P(-v): both values from the tail in which v lies.
    side = torch.where(v > 0, -1.0, 1.0).to(v.dtype)
    apart = side * (_normal(side * (v + d)) - _normal(side * v))
    return torch.where(d.abs() * v.abs().clamp(min=1) < 1, half * integral, apart)
