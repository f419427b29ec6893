"""What subtraction costs: the change as a difference of two runs, beside the carried change.

The plain way runs the model twice and subtracts. Both runs are rounded, so of a weak change few
digits are left or none, and the fewer the coarser the number type.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge

from universal_response import metrics
from universal_response.measurement import (
    SCHEMA_VERSIONS,
    Verification,
    load_results,
    save_results,
)
from universal_response.measurement.results import file_stem
from universal_response.measurement.settings import RANDOM
from universal_response.measurement.subject import describe
from universal_response.measurement.verify import check_weights
from universal_response.models import DTYPES, load_model
from universal_response.propagation import inner_products, positions
from universal_response.sequences import repeated_random_tokens, stratified_sources

NUMBER_TYPES = ("float64", "float32", "float16", "bfloat16")
CARRIED, MAGNITUDE = 1e-3, 3.0  # allowed: relative, and a factor
EPSILONS = (*(float(f"{digit}e{power}") for power in range(-7, 0) for digit in (1, 3)), 1.0)

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
        low = [each.dtype for each in args if _is_half(each)]
        return found.to(low[0]) if low else found


def _is_half(argument: Any) -> bool:
    return isinstance(argument, Tensor) and argument.dtype in (torch.float16, torch.bfloat16)


def _raised(argument: Any) -> Any:
    return argument.float() if _is_half(argument) else argument


def measure_subtraction(
    model: str,
    *,
    epsilons: Sequence[float] = EPSILONS,
    number_types: Sequence[str] = NUMBER_TYPES,
    t0: int = 16,
    sources: int = 8,
    seed: int = 0,
    progress: bool = False,
) -> xr.Dataset:
    """C_delta after the last block by subtraction in several number types, and as carried.

    The carried change is that of float64 with the weights of the number type and without casts to
    float32, so that beside it the plain way shows its rounding and little else.

    Args:
        model: what `load_model` takes.
        epsilons: perturbation strengths in (0, 1].
        number_types: of the plain way.
        t0: length of the block of random tokens that is repeated.
        sources: how many of its tokens are perturbed.
        seed: of the tokens and of the sources.
        progress: show a progress bar.

    Returns:
        Dataset of `subtracted` and `carried`, C_delta at l = 2L (number_type, epsilon, draw,
        target), nan left of the source; not finite where the number type overflows.

    Raises:
        ValueError: an unknown number type, or what `load_model` and `inner_products` refuse.
    """
    unknown = [each for each in number_types if each not in DTYPES]
    if unknown:
        raise ValueError(f"number_types: {unknown[0]} is not one of {', '.join(DTYPES)}")
    began = time.perf_counter()
    double = load_model(model, device="cpu", dtype="float64", tokenizer=False)
    about = describe(double).attributes
    generator = np.random.default_rng(seed)
    tokens = repeated_random_tokens(t0, 1, double.cfg.d_vocab, generator)
    drawn = stratified_sources(2 * t0, sources, generator)
    asked = Asked(torch.from_numpy(tokens), torch.from_numpy(drawn), tuple(epsilons))
    found: dict[str, list[Tensor]] = {"subtracted": [], "carried": []}
    for number_type in tqdm(number_types, disable=not progress, unit="type"):
        plain = load_model(model, device="cpu", dtype=number_type, tokenizer=False)
        with _weights_of(double, plain):
            found["carried"].append(carried(double, asked))
        found["subtracted"].append(subtracted(plain, asked))
    dims = ("number_type", "epsilon", "draw", "target")
    left = torch.arange(2 * t0) < asked.sources[:, None]
    variables = {
        name: (dims, torch.stack(each).masked_fill(left, torch.nan).numpy())
        for name, each in found.items()
    }
    attributes = about | {
        "kind": "subtraction",
        "schema_version": SCHEMA_VERSIONS["subtraction"],
        "input": RANDOM,
        "dtype": ", ".join(number_types),
        "t0": t0,
        "seed": seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_time_s": round(time.perf_counter() - began, 1),
        "command": f'ur.subtraction.measure_subtraction("{model}")',
    }
    return xr.Dataset(
        variables | {"tokens": (("sequence", "token"), tokens), "sources": ("draw", drawn)},
        {"number_type": list(number_types), "epsilon": np.array(epsilons, dtype=float)},
        attributes,
    )


@dataclass(frozen=True)
class Asked:
    """Which changes: tokens of one sequence, those of them that are perturbed, and how strongly."""

    tokens: Int[Tensor, "1 token"]
    sources: Int[Tensor, " draw"]
    epsilons: tuple[float, ...]


def carried(model: TransformerBridge, asked: Asked) -> Float[Tensor, "epsilon draw target"]:
    """C_delta at l = 2L of the carried change."""
    found = inner_products(asked.tokens, model, asked.epsilons, sources=asked.sources[None])
    return metrics.delta(found)[-1, :, 0].double()


@torch.no_grad()
def subtracted(model: TransformerBridge, asked: Asked) -> Float[Tensor, "epsilon draw target"]:
    """C_delta at l = 2L of x' - x, from a full run of the model for each source and strength."""
    first, last = (model.hook_dict[positions(model)[k].hook] for k in (0, -1))
    base: Any = model.original_model
    rows = asked.tokens.expand(len(asked.sources), -1)
    is_source = asked.sources[:, None, None] == torch.arange(rows.shape[1])[:, None]

    def run(epsilon: float) -> Tensor:
        states: list[Tensor] = []

        def weaken(x: Tensor, hook: object) -> Tensor:
            return torch.where(is_source, (1 - epsilon) * x, x)

        def keep(x: Tensor, hook: object) -> None:
            states.append(x.double())

        with _hooked(first, weaken), _hooked(last, keep), Float32Products():
            base.base_model(rows, use_cache=False)
        return states[0]

    clean = run(0.0)
    changes = torch.stack([run(epsilon) - clean for epsilon in asked.epsilons])
    return changes.norm(dim=-1) / clean.norm(dim=-1)


@contextmanager
def _hooked(point: Any, hook: Callable[..., Any]) -> Iterator[None]:
    point.add_hook(hook)
    try:
        yield
    finally:
        point.remove_hooks()


@contextmanager
def _weights_of(model: TransformerBridge, other: TransformerBridge) -> Iterator[None]:
    """Give a model the weights of another one of its kind, for a while."""
    ours, theirs = (list(each.original_model.parameters()) for each in (model, other))
    before = [each.data for each in ours]
    try:
        for each, weights in zip(ours, theirs, strict=True):
            each.data = weights.data.to(each.dtype)
        yield
    finally:
        for each, kept in zip(ours, before, strict=True):
            each.data = kept


def relative_error(dataset: xr.Dataset) -> xr.DataArray:
    """|C - C_carried| / C_carried of every pair; infinite where the plain way gives no number."""
    error = abs(dataset.subtracted - dataset.carried) / dataset.carried
    overflown = dataset.subtracted.isnull() & dataset.carried.notnull()
    return error.where(~overflown, np.inf)


def typical_error(dataset: xr.Dataset, quantile: float = 0.5) -> xr.DataArray:
    """A quantile over pairs of the relative error, (number_type, epsilon)."""
    pairs = relative_error(dataset).stack(pair=("draw", "target"))
    return (
        pairs.dropna("pair", how="all")
        .quantile(quantile, "pair", method="inverted_cdf")
        .drop_vars("quantile")
    )


def verify_subtraction(dataset: xr.Dataset, quick: bool = False) -> Verification:
    """Measure again and compare: the carried change to 1e-3, a rounding error in its magnitude.

    Another processor rounds other digits, so of the plain way's error the median is compared, by a
    factor of three. Allowed is 1 in the sense of `Verification`.

    Args:
        dataset: results of `measure_subtraction`.
        quick: only the second number type, at two strengths.

    Raises:
        ValueError: the weights or the tokens are not those recorded.
        WeightsUnavailable: the weights are not to be had.
    """
    asked = dataset
    if quick:
        asked = dataset.isel(number_type=[1], epsilon=[len(dataset.epsilon) // 2, -3])
    found = measure_subtraction(
        dataset.attrs["model"],
        epsilons=asked.epsilon.values.tolist(),
        number_types=asked.number_type.values.tolist(),
        t0=dataset.attrs["t0"],
        sources=dataset.sizes["draw"],
        seed=dataset.attrs["seed"],
    )
    for name in ("tokens", "sources"):
        if not found[name].identical(asked[name]):
            raise ValueError(f"{name}: not those of seed={dataset.attrs['seed']}; file was changed")
    check_weights(dataset.attrs["weights_sha256"], found.attrs["weights_sha256"])
    off = abs(found.carried / asked.carried - 1)
    of_carried = (off / CARRIED).max(("draw", "target"))
    old, new = typical_error(asked), typical_error(found)
    of_error = xr.where(old == new, 0.0, abs(np.log(new / old)) / np.log(MAGNITUDE))
    excess = xr.concat([of_carried, of_error], "compared").fillna(np.inf)
    at = excess.isel(excess.argmax(...))
    where = {name: at[name].item() for name in ("number_type", "epsilon")}
    return Verification(int(off.count()) + old.size, float(at), where, float(off.median()))


def subtraction_for(
    model: str, runs: str | Path = "runs", also: Sequence[str | Path] = ()
) -> xr.Dataset:
    """What `measure_subtraction` gives with its defaults: read from a file, or measured and saved.

    Args:
        model: what `load_model` takes, or a results file (.nc), which is taken as it is.
        runs: folder of subtraction-MODEL.nc, where a new measurement is saved.
        also: further folders to look in, such as that of the shipped results.
    """
    if model.endswith(".nc"):
        return load_results(model, kind="subtraction")
    name = f"subtraction-{file_stem(model)}.nc"
    for folder in (*also, runs):
        if (Path(folder) / name).exists():
            return load_results(Path(folder) / name, kind="subtraction")
    path = save_results(measure_subtraction(model), Path(runs) / name)
    return load_results(path, kind="subtraction")


def weakest_strength(error: xr.DataArray, bound: float) -> float | None:
    """Weakest strength from which on an error (epsilon,) stays below a bound; None if at none."""
    above = (error >= bound).values
    first = int(above.size - above[::-1].argmax()) if above.any() else 0
    return float(error.epsilon[first]) if first < above.size else None


def regimes(
    dataset: xr.Dataset,
    bounds: Sequence[float] = (0.01, 0.1, 1.0),
    strengths: Sequence[float] = (0.001, 0.1),
) -> pd.DataFrame:
    """Where subtraction can be trusted, a row a number type.

    Args:
        dataset: of `measure_subtraction`.
        bounds: of the median error; the weakest strength from which on it stays below each.
        strengths: at which the median error is told, the nearest measured ones.
    """
    rows = {}
    for error in typical_error(dataset):
        weakest = {
            f"below {bound:.0%} from": weakest_strength(error, bound) or np.nan for bound in bounds
        }
        told = {
            f"error at {strength:g}": float(error.sel(epsilon=strength, method="nearest"))
            for strength in strengths
        }
        rows[str(error.number_type.item())] = weakest | told
    return pd.DataFrame.from_dict(rows, orient="index")
