"""Norms of a layer."""

import torch
from torch import Tensor

from universal_response.propagation.rules.double import Number

# Of v + d, in units of the dtype's epsilon; 3 were seen where a state vanishes.
_ROUNDING = 64


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


def secant(x: Tensor, d: Tensor, part: Tensor, constant: Number, limit: bool) -> Tensor:
    """What a part of a change makes of a norm's change: r' part + k x mean(part (2 x + d)).

    With v = mean x^2 + e and v' that of x + d, r' = v'^(-1/2) and
    k = -1 / (v^(1/2) v'^(1/2) (v^(1/2) + v'^(1/2))). Linear in the part; all parts together make
    the change of the norm. In the limit r part - r^3 x mean(part x).

    Args:
        x: (..., width).
        d: whole change of x.
        part: of d.
        constant: e.
        limit: leave out products of changes.
    """
    m, added = (x * x).mean(-1, keepdim=True), ((2 * x + d) * d).mean(-1, keepdim=True)
    root = (m + constant).sqrt()
    if limit:
        return part / root - x * (part * x).mean(-1, keepdim=True) / root**3
    changed = (m + constant + added).sqrt()
    k = -1 / (root * changed * (root + changed))
    return part / changed + k * x * (part * (2 * x + d)).mean(-1, keepdim=True)
