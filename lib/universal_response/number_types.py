"""Number types by name: of models, and of the products of changes with weights."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float64", "bfloat16", "float16")
PRODUCTS = ("float32", "tf32", "bfloat16")


def torch_dtype(name: str) -> "torch.dtype":
    """The number type of a tensor.

    Args:
        name: one of `DTYPES`.

    Raises:
        ValueError: another name.
    """
    import torch  # takes a second, and a name is checked without it

    check_dtype(name)
    return getattr(torch, name)


def dtype_name(dtype: "torch.dtype") -> str:
    """The name of a tensor's number type."""
    return str(dtype).removeprefix("torch.")


def check_dtype(name: str, parameter: str = "dtype") -> None:
    """Refuse a name that is not one of `DTYPES`.

    Raises:
        ValueError: it is not.
    """
    if name not in DTYPES:
        raise ValueError(f"{parameter}={name}: choose one of {', '.join(DTYPES)}")
