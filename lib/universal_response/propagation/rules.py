"""Changes of the functions that a transformer is made of, exact at any strength.

Each rule takes clean values v and their changes d and returns f(v + d) - f(v) without ever
subtracting two nearly equal numbers, so that a change keeps its relative precision however weak
it is. With `limit` the products of changes are left out: the same rule is then the derivative of f
applied to d. (The equations are derived in the book's page on the method.)

Where a change is so strong that the form for weak ones would overflow or lose digits, single
elements are computed anew in float64, in which plain forms suffice.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Number = float | int

# Beyond it the rounding of d, relative to e^d, exceeds 5e-7 in float32.
_STRONG = 16.0
# 1 + s E must not vanish, nor E multiply the rounding of dw, or of an s below the normal numbers.
_WEAK = (-0.75, math.exp(5.0))
# Of v + d, in units of the dtype's epsilon; 3 were seen where a state vanishes.
_ROUNDING = 64
_GELU_TANH = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715
# Nodes and weights of Gauss-Legendre quadrature on [-1, 1]; 8 of them are exact to degree 15.
_NODES = (0.1834346424956498, 0.5255324099163290, 0.7966664774136267, 0.9602898564975363)
_WEIGHTS = (0.3626837833783620, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763)


def product(x: Tensor, dx: Tensor, y: Tensor, dy: Tensor, limit: bool) -> Tensor:
    """x'y' - x y = dx y + x' dy, with x' = x + dx; in the limit dx y + x dy."""
    return torch.addcmul(dx * y, x if limit else x + dx, dy)


def quotient(x: Tensor | Number, dx: Tensor, y: Tensor, dy: Tensor, limit: bool) -> Tensor:
    """x'/y' - x/y = (dx - (x / y) dy) / y', with y' = y + dy; in the limit / y."""
    return (dx - x / y * dy) / (y if limit else y + dy)


def square(v: Tensor, d: Tensor, limit: bool) -> Tensor:
    """(v + d)^2 - v^2 = d (2 v + d); in the limit 2 v d."""
    return d * (2 * v if limit else 2 * v + d)


def cube(v: Tensor, d: Tensor, limit: bool) -> Tensor:
    """(v + d)^3 - v^3 = d (3 v (v + d) + d^2); in the limit 3 v^2 d."""
    return d * (3 * v * v if limit else 3 * v * (v + d) + d * d)


def clamp(v: Tensor, d: Tensor, low: Number, high: Number, limit: bool) -> Tensor:
    """d as far as it stays between the bounds; in the limit d where v lies between them."""
    if limit:
        return d * ((v > low) & (v < high))
    kept = v.clamp(low, high)
    return torch.minimum(torch.maximum(d + (v - kept), low - kept), high - kept)


def relu(v: Tensor, d: Tensor, limit: bool) -> Tensor:
    """d, 0, or the part of d beyond the kink."""
    return clamp(v, d, 0.0, math.inf, limit)


def sigmoid(v: Tensor, d: Tensor, limit: bool) -> Tensor:
    """s(v + d) - s(v) = (1 - e^-d) s(v + d) s(-v), with the signs of v and d turned where d < 0.

    In the limit s(v) s(-v) d.
    """
    if limit:
        return torch.sigmoid(v) * torch.sigmoid(-v) * d
    sign = torch.where(d < 0, -1.0, 1.0).to(d.dtype)
    grown = -torch.expm1(-d.abs()) * sign
    return grown * _sigmoid_of_sum(sign * v, sign * d) * torch.sigmoid(-sign * v)


def tanh(v: Tensor, d: Tensor, limit: bool) -> Tensor:
    """Twice the change of the sigmoid of 2 v."""
    return 2 * sigmoid(2 * v, 2 * d, limit)


def _sigmoid_of_sum(v: Tensor, d: Tensor) -> Tensor:
    """s(v + d), the rounding r of the sum made good by its derivative: it would show in the tail.

    r = (v - (t - b)) + (d - b) with t = v + d and b = t - v is exact (Knuth).
    """
    t = v + d
    b = t - v
    s = torch.sigmoid(t)
    return torch.addcmul(s, s * (1 - s), (v - (t - b)) + (d - b))


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
        w = self.gate(x.to(_exact(x)))
        s, n = torch.sigmoid(w), torch.sigmoid(-w)
        return x, s.to(x.dtype), (x * n).to(x.dtype), (x * s).to(x.dtype)

    def change(self, saved: Saved, d: Tensor, limit: bool) -> Tensor:
        """Of x s(w), for a change d of x."""
        found, grown = self.weak_change(saved, d, limit)
        if not limit and _leaves(grown, *_WEAK):
            rare = (grown < _WEAK[0]) | (grown > _WEAK[1])
            return _replaced(found, rare, self._strong_change, (saved(0), d))
        return found

    def weak_change(self, saved: Saved, d: Tensor, limit: bool) -> tuple[Tensor, Tensor]:
        """The same as long as E lies within `_WEAK`, and E."""
        dw, s, k = self.gate_change(saved, d, limit), saved(1), saved(2)
        if limit:
            return torch.addcmul(d, k, dw) * s, dw
        grown = torch.expm1(dw)
        return torch.addcmul(d, grown, d + k).mul_(s).div_((grown * s).add_(1)), grown

    def is_strong(self, grown: Tensor) -> Tensor:
        """Of every row whether some E is too large for `weak_change`."""
        return (grown.amin(-1) < _WEAK[0]) | (grown.amax(-1) > _WEAK[1])

    def _strong_change(self, x: Tensor, d: Tensor) -> Tensor:
        x, d = (each.to(_exact(each)) for each in (x, d))
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
    x, step = v.to(_exact(v)), d.to(_exact(d))
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


def softmax(scores: Tensor, weights: Tensor, d: Tensor, limit: bool) -> Tensor:
    """p' - p = p (E - m) / (1 + m) with E = e^d - 1 and m = sum p E, p the softmax of the scores.

    A softmax does not see what all scores share: d is counted from that at the largest p. In the
    limit p (d - sum p d). Where some d exceeds 16, or 1 + m nearly vanishes, from the scores.

    Args:
        scores: (..., key), -inf or less than -1e30 where a key is hidden; broadcast over d.
        weights: p, their softmax.
        d: change of the scores (..., key).
        limit: leave out products of changes.
    """
    largest = weights.argmax(-1, keepdim=True)
    shifted = d - d.gather(-1, largest.expand(*d.shape[:-1], 1))
    # What is hidden stays so, whatever its score.
    shifted = shifted.masked_fill(scores < -1e30, 0)
    if limit:
        return weights * (shifted - (weights * shifted).sum(-1, keepdim=True))
    grown = torch.expm1(shifted).mul_(weights)
    mean = grown.sum(-1, keepdim=True)
    found = torch.addcmul(grown, weights, mean, value=-1).div_(mean + 1)
    rare = (shifted.amax(-1) > _STRONG) | (mean[..., 0] < -0.5)
    return _replaced(found, rare, _strong_softmax, (scores.expand_as(d), d))


def _strong_softmax(scores: Tensor, d: Tensor) -> Tensor:
    exact = scores.to(_exact(scores))
    changed = exact + d.masked_fill(scores < -1e30, 0)
    return torch.softmax(changed, -1) - torch.softmax(exact, -1)


def is_strong(d: Tensor) -> bool:
    """Whether e^d may overflow in a softmax; not asked, but assumed, where asking means waiting."""
    return _leaves(d, -math.inf, _STRONG)


def mixed(
    weights: Tensor,
    d: Tensor,
    value: Tensor,
    dvalue: Tensor,
    mixture: Tensor,
    limit: bool,
) -> Tensor:
    """z' - z for z = p v: (G v - m z + (p + G) dv) / (1 + m), with G = p (e^d - 1), m = sum G.

    The softmax of changed scores and what it mixes, without the changed softmax itself. In the
    limit G v - m z + p dv with G = p d. For d up to 16, counted from the largest p as in `softmax`.

    Args:
        weights: p, (..., query, key); the last keys may be some without value.
        d: change of the scores; overwritten.
        value: v, (..., key, width).
        dvalue: its change, of the last keys of v; those before do not change.
        mixture: z, (..., query, width).
        limit: leave out products of changes.
    """
    t, changed = value.shape[-2], dvalue.shape[-2]
    grown = (d if limit else d.expm1_()).mul_(weights)
    mean = grown.sum(-1, keepdim=True)
    found = torch.addcmul(grown[..., :t] @ value, mean, mixture, value=-1)
    late = weights[..., t - changed : t]
    found += (late if limit else late + grown[..., t - changed : t]) @ dvalue
    return found if limit else found.div_(mean + 1)


def normalised(x: Tensor, d: Tensor, constant: Number, limit: bool) -> Tensor:
    """x' / |x'| - x / |x| with |x|^2 = mean x^2 + constant: RMSNorm and, centred, LayerNorm.

    A norm does not see a change parallel to x but for its constant: d = a x + w with
    a = (x.d) / (x.x). The change is r' w + b x, by `norm_factors`.

    Args:
        x: (..., width).
        d: change of x.
        constant: e.
        limit: leave out products of changes.
    """
    m = (x * x).mean(-1, keepdim=True)
    a = (x * d).mean(-1, keepdim=True) / torch.where(m > 0, m, 1)
    if x.dtype == torch.float64:
        # The first step is exact where x are float32 numbers and d is nearly parallel.
        coarse = a.float().double()
        w = torch.addcmul(d, coarse, x, value=-1).addcmul_(a - coarse, x, value=-1)
    else:
        w = torch.addcmul(d, a, x, value=-1)
    c, p = ((each * w).mean(-1, keepdim=True) for each in (x, w))
    r, b = norm_factors(m, a, c, p, constant, limit)
    return torch.addcmul(w.mul_(r), x, b)


def norm_factors(
    m: Tensor, a: Tensor, c: Tensor | Number, p: Tensor, constant: Number, limit: bool
) -> tuple[Tensor, Tensor]:
    """r' and b of a norm's change r' w + b x, for d = a x + w.

    With m' = (1 + a)^2 m + 2 (1 + a) c + p, r = (m + e)^(-1/2), r' = (m' + e)^(-1/2),
    b = (1 + a) r' - r, which where 1 + a >= 0 is
    r^2 r'^2 (e a (2 + a) - 2 (1 + a) c - p) / ((1 + a) r' + r).
    In the limit r' = r and b = r^3 (e a - c).

    Where no more than rounding is left of x + d it counts as 0, so that r' x' = 0. (A first token
    that is switched off stays 0 through all layers; rounding would grow by e^(-1/2) in each.)

    Args:
        m: mean of x^2.
        a: part of the change along x.
        c: mean of x w; zero but for rounding.
        p: mean of w^2.
        constant: e.
        limit: leave out products of changes.
    """
    r = torch.rsqrt(m + constant)
    if limit:
        return r, r**3 * (constant * a - c)
    scale = 1 + a
    m_new = scale * scale * m + 2 * scale * c + p
    gone = m_new <= (_ROUNDING * torch.finfo(m.dtype).eps) ** 2 * m
    r_new = torch.rsqrt(m_new + constant).masked_fill(gone, 0)
    fine = (r * r_new) ** 2 * (constant * a * (2 + a) - 2 * scale * c - p)
    plain = (scale < 0) | gone
    return r_new, torch.where(plain, scale * r_new - r, fine / (scale * r_new + r).abs())


def _exact(like: Tensor) -> torch.dtype:
    """float64, where the device has it."""
    return like.dtype if like.device.type == "mps" else torch.float64


def _leaves(numbers: Tensor, low: Number, high: Number) -> bool:
    """Whether some number is outside; taken for granted where to ask would mean to wait."""
    if numbers.device.type != "cpu":
        return True
    least, most = torch.aminmax(numbers)
    return not (float(least) >= low and float(most) <= high)


def _replaced(
    found: Tensor, rare: Tensor, formula: Callable[..., Tensor], arguments: Sequence[Tensor]
) -> Tensor:
    """`found`, with the elements (or rows) `rare` computed by `formula` instead.

    On a processor only those are computed. Elsewhere all are: to ask which would mean to wait.
    """
    if found.device.type != "cpu":
        instead = formula(*arguments).to(found.dtype)
        return torch.where(rare if rare.ndim == found.ndim else rare[..., None], instead, found)
    if rare.any():
        found[rare] = formula(*(each[rare] for each in arguments)).to(found.dtype)
    return found
