"""Whether a failing problem is solved once its circuit gives what it gives in another run."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations import Outputs, Unembedding, outputs
from universal_response.arithmetic.answers import answers, tokens_of
from universal_response.arithmetic.nodes import Node, replaced
from universal_response.arithmetic.problems import Problems, result_digits
from universal_response.propagation import forward


@dataclass(frozen=True)
class Rescue:
    """Of failing problems, one digit of the result.

    Attributes:
        right: whether the right digit is given, (problem,).
        donors: whether that of the donor is given, (problem,).
    """

    right: Bool[np.ndarray, " problem"]
    donors: Bool[np.ndarray, " problem"]


def rescued(
    failing: Problems,
    donors: Problems,
    nodes: Iterable[Node],
    answer: int,
    model: TransformerBridge,
    unembedding: Unembedding,
) -> Rescue:
    """Patch nodes from donors into failing problems.

    Args:
        failing: problems.
        donors: as many.
        nodes: that are patched.
        answer: digit of the result that is asked for, 0 for the units.
        model: a bridge.
        unembedding: of the model.

    Raises:
        ValueError: another number of donors, or of other length.
    """
    if (failing.digits, len(failing)) != (donors.digits, len(donors)):
        raise ValueError(
            f"donors: {len(donors)} of {donors.digits} digits for {len(failing)} problems of "
            f"{failing.digits}; give one of the same length for each"
        )
    tokens = tokens_of(failing, model)
    by = outputs(tokens_of(donors, model), model)
    return patched(outputs(tokens, model), by, nodes, answer, model, unembedding)


def patched(
    of: Outputs,
    by: Outputs,
    nodes: Iterable[Node],
    answer: int,
    model: TransformerBridge,
    unembedding: Unembedding,
) -> Rescue:
    """The same of runs, whose tokens end with the result that counts as right."""
    normed = forward(of.tokens, model, edits=replaced(nodes, by))
    found = answers(normed, of.tokens, unembedding)
    said = found.logits[:, answer].argmax(-1).cpu()
    donor = answers(by.normed, by.tokens, unembedding).right[:, answer].cpu()
    right = found.right[:, answer].cpu()
    return Rescue((said == right).numpy(), (said == donor).numpy())


def donors_for(
    failing: Problems, solved: Problems, answer: int, same: bool, generator: np.random.Generator
) -> np.ndarray:
    """For every failing problem a solved one, by number; -1 where there is none.

    Args:
        failing: problems.
        solved: to choose from.
        answer: digit of the result that fails, 0 for the units.
        same: with the same result, or with another digit there.
        generator: draws one of those that fit.
    """
    digit, wrong = (result_digits(each)[:, answer] for each in (solved, failing))
    found = np.full(len(failing), -1)
    for k in range(len(failing)):
        alike = solved.result == failing.result[k] if same else digit != wrong[k]
        fits = alike & (solved.minus == failing.minus[k])
        if fits.any():
            found[k] = generator.choice(np.flatnonzero(fits))
    return found
