"""Norms, read off what they do: the names of such modules differ, their formula does not."""

from dataclasses import dataclass

import torch
from torch import Tensor

from universal_response.propagation import rules
from universal_response.propagation.precision import FullPrecision, in_double
from universal_response.propagation.rules import Number

_CONSTANT = ("variance_epsilon", "eps", "epsilon")


@dataclass(frozen=True)
class Norm:
    """gain * x / (mean x^2 + constant)^(1/2) + bias, the mean taken off x first if centred.

    Attributes:
        constant: below the root.
        gain: (width,), in float64: that of a float64 Gemma, 1 + w, is no float32 number.
        bias: (width,).
        centred: LayerNorm, or else RMSNorm.
    """

    constant: Number
    gain: Tensor
    bias: Tensor
    centred: bool

    def fixed(self, x: Tensor, part: Tensor) -> Tensor:
        """A part of x as the norm passes it on, its scale fixed at that of x: linear in the part.

        The parts of x give the normed x, but for the bias.
        """
        x, part = self._centred(x), self._centred(part)
        scale = torch.rsqrt((x * x).mean(-1, keepdim=True) + self.constant)
        return part * scale * self.gain.to(part.dtype)

    def secant(self, x: Tensor, d: Tensor, part: Tensor, limit: bool) -> Tensor:
        """A part of the change d of x as the norm passes it on: linear in the part.

        The parts of d give the change of the normed x.

        Args:
            x: (row, width).
            d: the whole change of x.
            part: of it, (row, .., width).
            limit: leave out products of changes.
        """
        more = (slice(None), *[None] * (part.ndim - x.ndim))
        x, d, part = self._centred(x)[more], self._centred(d)[more], self._centred(part)
        return rules.secant(x, d, part, self.constant, limit) * self.gain.to(part.dtype)

    def behind(self, writes: Tensor) -> Tensor:
        """Rows (.., width) as the norm passes them on, but for its scale and bias."""
        return self._centred(writes) * self.gain.to(writes)

    def before(self, reads: Tensor) -> Tensor:
        """A matrix (width, ..) that reads behind the norm as one that reads before it, likewise."""
        return self._centred((self.gain.to(reads)[:, None] * reads).T).T

    def _centred(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True) if self.centred else x


def recognised(module: torch.nn.Module, width: int) -> Norm | None:
    """Read a norm off what it does to a few vectors; None if that is not the known form."""
    if any(True for _ in module.children()):
        return None
    constants = [getattr(module, name) for name in _CONSTANT if hasattr(module, name)]
    constant = float(constants[0]) if constants and constants[0] is not None else 0.0
    shapes = [each.shape for each in module.parameters()]
    shape = shapes[0] if shapes else torch.Size((width,))
    generator = torch.Generator().manual_seed(0)
    tried = torch.randn((2, *shape), generator=generator, dtype=torch.float64).to(_device(module))

    def run(x: Tensor) -> Tensor:
        with FullPrecision():
            return in_double(module, x)

    bias = run(torch.zeros_like(tried[:1]))
    centred = bool((run(torch.ones_like(tried[:1])) - bias).abs().max() < 1e-9)

    def shaped(x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True) if centred else x
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + constant)

    gain = (run(tried[:1]) - bias) / shaped(tried[:1])
    for scale in (1.0, 1e-3):
        x = scale * tried[1:]
        if not torch.allclose(run(x), shaped(x) * gain + bias, rtol=1e-7, atol=1e-9):
            return None
    return Norm(constant, gain[0], bias[0], centred)


def _device(module: torch.nn.Module) -> torch.device:
    return next((each.device for each in module.parameters()), torch.device("cpu"))
