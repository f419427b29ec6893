"""What of a problem can be read, by a linear classifier, at each place and position l."""

import numpy as np
from jaxtyping import Float, Int

from universal_response.activations import Outputs, Probe, probe
from universal_response.arithmetic.problems import (
    Problems,
    carries,
    operand_digits,
    places,
    result_digits,
)


def labels(problems: Problems) -> dict[str, Int[np.ndarray, " problem"]]:
    """Digits of the operands and of the result, and the carry of the units, by name."""
    first, second = operand_digits(problems)
    result = result_digits(problems)
    found = {f"a{k}": first[:, k] for k in range(problems.digits)}
    found |= {f"b{k}": second[:, k] for k in range(problems.digits)}
    found["carry"] = carries(problems)[:, 0].astype(int)
    return found | {f"r{k}": result[:, k] for k in range(problems.digits + 1)}


def probed(
    of: Outputs, problems: Problems, held_out: np.ndarray, seed: int
) -> Float[np.ndarray, "label position place 2"]:
    """Held-out accuracy at every l and place, and that of probes on shuffled labels.

    Args:
        of: a run of the problems.
        problems: what is read of them.
        held_out: which are left out of the fits, (problem,).
        seed: of the shuffling.
    """
    n = len(places(problems.digits))
    states = [state.float().cpu().numpy() for state in of.states]

    def at(label: np.ndarray, state: np.ndarray, place: int) -> tuple[float, float]:
        found: Probe = probe(state[:, place], label, held_out, seed)
        return found.accuracy, found.shuffled

    return np.array(
        [
            [[at(label, state, place) for place in range(n)] for state in states]
            for label in labels(problems).values()
        ]
    )
