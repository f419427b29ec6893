"""How likely a model finds what is asked, whatever it answers; and forms it has never seen."""

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations import Unembedding
from universal_response.arithmetic.problems import MINUS, Problems, all_problems, answer_places
from universal_response.propagation import forward

FORMS = ("operator first", "operator last", "negative difference")


def log_likelihood(
    tokens: Int[Tensor, "problem place"], model: TransformerBridge, unembedding: Unembedding
) -> Float[Tensor, " problem"]:
    """Natural logarithm of the probability of what is asked, up to `=`, given its first token."""
    asked = tokens[:, : answer_places(tokens.shape[1]).start + 1]
    found = unembedding.logits(forward(asked, model)[:, :-1]).log_softmax(-1)
    return found.gather(2, asked[:, 1:, None].to(found.device))[..., 0].sum(1)


def unseen_form(form: str, problems: Problems) -> np.ndarray:
    """Token ids of problems in a form that no training has: (problem, place).

    Args:
        form: `operator first` or `operator last`, of both operands; or `negative difference`, the
            smaller operand first, whose result is written as if they were exchanged.
        problems: that are asked.

    Raises:
        ValueError: another form.
    """
    tokens, n = problems.tokens(), problems.digits
    order = {
        "operator first": [n, *range(n), *range(n + 1, 2 * n + 1)],
        "operator last": [*range(n), *range(n + 1, 2 * n + 1), n],
        "negative difference": [*range(n + 1, 2 * n + 1), n, *range(n)],
    }
    if form not in order:
        raise ValueError(f"form={form}: choose one of {', '.join(FORMS)}")
    found = tokens.copy()
    found[:, : 2 * n + 1] = tokens[:, order[form]]
    if form == "negative difference":
        found[:, n] = MINUS
    return found


def true_differences(digits: int) -> Problems:
    """Differences of unlike numbers."""
    every = all_problems(digits)
    return every[every.minus & (every.first > every.second)]
