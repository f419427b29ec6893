"""Subspaces of the residual stream that heads read and write, and how they lie to each other."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import subspace_angles
from torch import Tensor

from universal_response.heads.circuits import Factors


def overlap(a: Float[np.ndarray, "d_model n"], b: Float[np.ndarray, "d_model m"]) -> float:
    """Mean squared cosine of the principal angles between the spaces that columns span.

    1 if one contains the other, 0 if they are orthogonal, max(n, m) / d_model for random ones; nan
    where one of them has no directions.
    """
    angles = subspace_angles(a, b)
    return float((np.cos(angles) ** 2).mean()) if len(angles) else float("nan")


def read_by(circuit: Factors) -> Float[np.ndarray, "d_model d_head"]:
    """What the left side of a circuit reads."""
    return circuit.left.numpy()


def written_by(circuit: Factors) -> Float[np.ndarray, "d_model d_head"]:
    """What the right side of a circuit writes, or reads of keys."""
    return circuit.right.T.numpy()


def main_directions(rows: Float[Tensor, "row d_model"], n: int) -> Float[np.ndarray, "d_model n"]:
    """The n directions in which centred rows vary most."""
    centred = (rows - rows.mean(0)).double()
    return torch.linalg.svd(centred, full_matrices=False).Vh[:n].T.numpy()


def position_and_token_spaces(
    states: Float[Tensor, "sequence token d_model"], n: int
) -> tuple[Float[np.ndarray, "d_model n"], Float[np.ndarray, "d_model n"]]:
    """Where states of random tokens vary with the place of a token, and with what it is.

    Args:
        states: at one position l, of many sequences of random tokens.
        n: directions of each.
    """
    by_place = states.mean(0)
    return main_directions(by_place, n), main_directions((states - by_place).flatten(0, 1), n)
