"""Code that casts to float32 inside, run in float64 all the same."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.func import functional_call
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


def in_double(module: torch.nn.Module, *arguments: Any, **named: Any) -> Any:
    """What a module gives in float64."""
    bare = _Bare(module)
    state = {**dict(bare.named_parameters()), **dict(bare.named_buffers())}
    double = {k: v.double() if v.is_floating_point() else v for k, v in state.items()}
    return functional_call(bare, cast(dict, double), arguments, named)


class _Bare(torch.nn.Module):
    """A module by its class's own forward, without hooks."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *arguments: Any, **named: Any) -> Any:
        return type(self.module).forward(self.module, *arguments, **named)
