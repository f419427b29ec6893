"""Modules that are run otherwise while changes are carried.

Linear layers multiply the change only; their values are known from the clean pass. Norms have one
rule as a whole, since composed of their steps they would lose all digits of a change that is
parallel to the state. A module with an operation that has no rule is run by itself, on value and
value plus change in float64, and subtracted.
"""

import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp
from transformers.pytorch_utils import Conv1D

from universal_response.propagation import linear_functions, rules  # noqa: F401 (enters its rules)
from universal_response.propagation.change import Carried, NoRule
from universal_response.propagation.entries import find, made
from universal_response.propagation.nonlinear import activated
from universal_response.propagation.norms import norm_change
from universal_response.propagation.precision import FullPrecision, in_double
from universal_response.propagation.products import Multiply, products_of
from universal_response.propagation.recognition import Norm, recognised
from universal_response.propagation.rows import Rows


@dataclass
class Tape:
    """What linear layers gave in the clean pass, by layer and call."""

    recording: bool = True
    n_tokens: int = 0
    outputs: dict[torch.nn.Module, list[tuple[Tensor, dict]]] = field(default_factory=dict)
    calls: dict[torch.nn.Module, int] = field(default_factory=dict)

    def record(self, layer: torch.nn.Module, output: Tensor) -> None:
        # Cloned: the model may go on to write into it.
        self.outputs.setdefault(layer, []).append((output.flatten(0, -2).clone(), {}))

    def rows(self, layer: torch.nn.Module, index: Tensor) -> Rows:
        """Of the next call of a layer in this pass."""
        call = self.calls.get(layer, 0)
        self.calls[layer] = call + 1
        table, memo = self.outputs[layer][call]
        return Rows(table, index, memo)


@dataclass(frozen=True)
class Carrying:
    """A model whose modules carry changes, for a while.

    Attributes:
        alone: names of the modules that were run by subtraction.
    """

    alone: list[str] = field(default_factory=list)


@contextmanager
def carrying(
    model: torch.nn.Module,
    tape: Tape | None = None,
    mixing: Collection[torch.nn.Module] = (),
    products: str = "float32",
) -> Iterator[Carrying]:
    """Give the modules of a model their rules, and take them away again.

    Args:
        model: whose modules are meant; those whose forward another library took are left alone.
        tape: where values of linear layers are written to and read from; computed anew if None.
        mixing: modules that look at other tokens than their own, which may not be run alone.
        products: the precision in which changes are multiplied with weights.
    """
    found = Carrying()
    ours = [each for each in model.modules() if "forward" not in vars(each)]
    names = {module: name for name, module in model.named_modules()}
    containing = {each for each in model.modules() if any(m in mixing for m in each.modules())}
    multiply = products_of([each for each in ours if is_linear(each)], products)
    patched: list[torch.nn.Module] = []
    try:
        for module in ours:
            forward: Callable[..., Any] | None = None
            if module in multiply:
                forward = partial(_linear, module, module.forward, multiply[module], tape)
            elif _is_called(module, "norm") and not isinstance(module, torch.nn.LayerNorm):
                run = partial(_alone, module, names[module], found.alone)
                forward = partial(_attempt, partial(_norm, module, module.forward, {}), run)
            elif _is_called(module, "gelu") and not isinstance(module, torch.nn.GELU):
                forward = partial(_activation, module, module.forward)
            elif module not in containing and type(module).forward is not torch.nn.Module.forward:
                run = partial(_alone, module, names[module], found.alone)
                forward = partial(_attempt, module.forward, run)
            if forward is not None:
                module.forward = forward  # type: ignore[method-assign]
                patched.append(module)
        yield found
    finally:
        for module in patched:
            vars(module).pop("forward", None)


def is_linear(layer: torch.nn.Module) -> bool:
    return type(layer) in (torch.nn.Linear, Conv1D)


def _is_called(module: torch.nn.Module, what: str) -> bool:
    """By its class: the names of such classes differ, their formula does not (it is tried)."""
    return what in type(module).__name__.lower() and not any(True for _ in module.children())


def _linear(
    layer: torch.nn.Module,
    original: Callable[..., Tensor],
    multiply: Multiply,
    tape: Tape | None,
    x: Tensor,
) -> Tensor:
    if not isinstance(x, Carried):
        found = multiply.value(x) if x.dtype == multiply.dtype else original(x)
        if tape is not None and tape.recording and found.shape[:-1].numel() == tape.n_tokens:
            tape.record(layer, found)
        return found
    change = multiply.change(x.change)
    index = x.terms.index
    if tape is None or index is None or change.shape[:-1].numel() != len(index):
        return made(original, change, (x,), {}, x)
    return Carried(tape.rows(layer, index), change, x.terms, x.dtype)


def _norm(
    module: torch.nn.Module,
    original: Callable[..., Any],
    known: dict[int, Norm | None],
    x: Tensor,
    *others: Any,
) -> Any:
    if not isinstance(x, Carried) or others:
        return original(x, *others)
    width = x.shape[-1]
    if width not in known:
        known[width] = recognised(module, width)
    norm = known[width]
    if norm is None:
        return original(x)
    flat = norm.gain.ndim == 1
    change = norm_change(x, norm.constant, norm.gain if flat else None, norm.centred)
    if not flat:
        change = change * norm.gain.to(change.dtype)
    return made(original, change, (x,), {}, x)


def _activation(module: torch.nn.Module, original: Callable[..., Tensor], x: Tensor) -> Tensor:
    if not isinstance(x, Carried):
        return original(x)
    tried = torch.linspace(-4, 4, 33, dtype=torch.float64, device=x.device)
    given = original(tried)
    for known in (rules.GELU_TANH, rules.QUICK_GELU):
        if torch.allclose(given, known.value(tried), rtol=1e-6, atol=1e-8):
            return activated(known, x)
    exact = torch.nn.functional.gelu
    return exact(x) if torch.allclose(given, exact(tried), rtol=1e-6, atol=1e-8) else original(x)


def _attempt(
    original: Callable[..., Any], alone: Callable[..., Any], *arguments: Any, **named: Any
) -> Any:
    """By the rules, or by itself where one is missing."""
    carried = [each for each in (*arguments, *named.values()) if isinstance(each, Carried)]
    before = [each.pair for each in carried]
    try:
        return original(*arguments, **named)
    except NoRule as missing:
        if not carried:
            raise
        for each, pair in zip(carried, before, strict=True):
            # It may have been written into by then.
            each.pair = pair
        return alone(missing, *arguments, **named)


def _alone(
    module: torch.nn.Module,
    name: str,
    noted: list[str],
    missing: NoRule,
    *arguments: Any,
    **named: Any,
) -> Any:
    """Run a module on value and value plus change in float64, and subtract; its limit by jvp.

    Raises:
        NoRule: its result is no tensor of the shape of its argument: the module around it is tried.
    """
    carried = find(*arguments, *named.values())
    arguments, named = _as_double(arguments), _as_double(named)

    def run(x: Tensor) -> Any:
        placed = tuple(x if isinstance(each, Carried) else each for each in arguments)
        by_name = {k: x if isinstance(each, Carried) else each for k, each in named.items()}
        with FullPrecision():
            return in_double(module, *placed, **by_name)

    def first(x: Tensor) -> Tensor:
        found = run(x)
        return found[0] if isinstance(found, tuple) else found

    x, d = carried.value.double(), carried.change.double()
    clean = run(x.clone())  # into which it may write
    value = clean[0] if isinstance(clean, tuple) else clean
    if not isinstance(value, Tensor) or value.shape != x.shape:
        raise missing
    change = jvp(first, (x,), (d,))[1] if carried.terms.limit else first(x + d) - value
    if name not in noted:
        noted.append(name)
        warnings.warn(
            f"model: module {name} has an operation without a rule ({missing}); it runs by itself, "
            "on both states in float64",
            stacklevel=2,
        )
    found = Carried(value, change.to(carried.pair.dtype), carried.terms, carried.dtype)
    return (found, *clean[1:]) if isinstance(clean, tuple) else found


def _as_double(arguments: Any) -> Any:
    """Plain tensors of numbers in float64, so that nothing inside is less precise."""
    if isinstance(arguments, dict):
        return {name: _as_double(each) for name, each in arguments.items()}
    if isinstance(arguments, tuple):
        return tuple(_as_double(each) for each in arguments)
    if isinstance(arguments, Tensor) and not isinstance(arguments, Carried):
        return arguments.double() if arguments.is_floating_point() else arguments
    return arguments
