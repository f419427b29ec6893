"""More than by chance, of many asked at once."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats


def holm(p: Float[np.ndarray, "..."], level: float = 0.01) -> Bool[np.ndarray, "..."]:
    """Which hypotheses are rejected, such that the chance of any false rejection is below `level`.

    The k-th smallest of n p-values is rejected if it and all smaller ones are at most
    level / (n - k + 1) (Holm's step-down method).
    """
    flat = p.ravel()
    order = np.argsort(flat)
    passes = flat[order] <= level / (len(flat) - np.arange(len(flat)))
    n_rejected = len(flat) if passes.all() else int(np.argmin(passes))
    found = np.zeros(len(flat), dtype=bool)
    found[order[:n_rejected]] = True
    return found.reshape(p.shape)


def sequences_needed(here: int, p: float, level: float) -> int | None:
    """How many sequences would make a one-sided p-value significant, if what is found stayed.

    Errors fall with the square root of their number. None where no number would.

    Args:
        here: how many there are.
        p: found with them.
        level: at which it would be.
    """
    errors, needed = (float(stats.norm.isf(each)) for each in (p, level))
    return int(np.ceil(here * (needed / errors) ** 2)) if errors > 0 else None


def above(
    scores: Float[np.ndarray, "sequence ..."], null: Float[np.ndarray, "sequence ..."]
) -> Float[np.ndarray, "..."]:
    """One-sided p-values that scores are not larger than under the null (Welch's t-test).

    Of numbers that do not vary at all it is 0 or 1.
    """
    (mean, of_mean), (other, of_other) = (
        (each.mean(0), each.var(0, ddof=1) / len(each)) for each in (scores, null)
    )
    variance = of_mean + of_other
    varies = variance > 0
    known = np.where(varies, variance, 1)
    freedom = known**2 / np.where(
        varies, of_mean**2 / (len(scores) - 1) + of_other**2 / (len(null) - 1), 1
    )
    p = stats.t.sf((mean - other) / np.sqrt(known), freedom)
    return np.where(varies, p, np.where(mean > other, 0.0, 1.0))
