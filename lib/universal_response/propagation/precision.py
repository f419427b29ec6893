"""Code that casts to float32 inside, run in float64 all the same."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_TYPED = {
    *(torch.Tensor.to, torch.Tensor.type, torch.Tensor.type_as, torch.Tensor.softmax),
    *(torch.softmax, torch.nn.functional.softmax, torch.Tensor.sum, torch.sum),
}


class FullPrecision(TorchFunctionMode):
    """Leaves float64 tensors float64 where a function would make them float32."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        # Most functions cannot cast: they are passed on as fast as may be.
        casts = func is torch.Tensor.float or func in _TYPED
        if casts and args and isinstance(args[0], Tensor) and args[0].dtype == torch.float64:
            if func is torch.Tensor.float:
                return args[0]
            args = tuple(_raised(each) for each in args)
            kwargs = {name: _raised(each) for name, each in kwargs.items()}
        return func(*args, **kwargs)


def _raised(argument: Any) -> Any:
    if isinstance(argument, Tensor) and argument.dtype == torch.float32:
        return argument.double()
    return torch.float64 if argument is torch.float32 else argument
