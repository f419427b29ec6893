"""Half precision that rounds alike on every processor."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_F, _T = torch.nn.functional, torch.Tensor

_PRODUCTS = {
    *(_F.linear, _F.scaled_dot_product_attention, torch.einsum, torch.matmul, _T.matmul),
    *(_T.__matmul__, torch.bmm, _T.bmm, torch.addmm, _T.addmm, torch.baddbmm, _T.baddbmm),
}


class Float32Products(TorchFunctionMode):
    """Products of half-precision tensors in float32, rounded once: alike on every processor.

    All other functions of PyTorch compute in float32 and round by themselves.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func not in _PRODUCTS:
            return func(*args, **named)
        found = func(*map(_raised, args), **{name: _raised(each) for name, each in named.items()})
        low = [each.dtype for each in (*args, *named.values()) if _is_half(each)]
        return found.to(low[0]) if low else found


def _is_half(argument: Any) -> bool:
    return isinstance(argument, Tensor) and argument.dtype in (torch.float16, torch.bfloat16)


def _raised(argument: Any) -> Any:
    return argument.float() if _is_half(argument) else argument
