"""What a model goes through on some tokens: its states and what its heads mix."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.propagation import Edit, Seen, Start, forward, positions

# What is asked of a run: of the states after the final norm, a number for every sequence.
Metric = Callable[[Float[Tensor, "sequence token d_model"]], Float[Tensor, " sequence"]]


@dataclass(frozen=True)
class Outputs:
    """Of one run of a model.

    Attributes:
        tokens: (sequence, token).
        states: of every position l, (sequence, token, d_model).
        inputs: of every block, l of the state at its input.
        z: of every layer what its heads mix, (sequence, token, head, d_head);
            of means a single sequence.
        attention: of every layer what its attention gives, before a norm of its own.
        mlps: of every layer what its MLP adds, (sequence, token, d_model); of means likewise.
        normed: the state after the final norm.
    """

    tokens: Int[Tensor, "sequence token"]
    states: list[Float[Tensor, "sequence token d_model"]]
    inputs: list[int]
    z: list[Float[Tensor, "mixed token head d_head"]]
    attention: list[Float[Tensor, "sequence token d_model"]]
    mlps: list[Float[Tensor, "mixed token d_model"]]
    normed: Float[Tensor, "sequence token d_model"]

    def start(self, layer: int) -> Start:
        """To run a block and what follows, and not what comes before."""
        return Start(layer, self.states[self.inputs[layer]])


def outputs(
    tokens: Int[Tensor, "sequence token"], model: TransformerBridge, edits: Sequence[Edit] = ()
) -> Outputs:
    """Run a model, edited or not, and keep its states and what its heads mix.

    Raises:
        ValueError: what `propagation.forward` refuses.
    """
    kept: dict[str, list[Tensor]] = {name: [] for name in ("residual", "z", "attention", "mlp")}

    def keep(seen: Seen) -> None:
        if seen.kind == "output" and seen.sublayer == "attention":
            name = "attention"
        elif seen.kind == "normed_output" and seen.sublayer == "mlp":
            name = "mlp"
        elif seen.kind in kept:
            name = seen.kind
        else:
            return
        kept[name].append(seen.value.unflatten(0, tuple(tokens.shape)))

    kinds = ("residual", "z", "output", "normed_output")
    normed = forward(tokens, model, edits=edits, observe=dict.fromkeys(kinds, keep))
    at = positions(model)
    inputs = [0] + [max(p.index for p in at if p.layer < n) for n in range(1, model.cfg.n_layers)]
    states, z, attention, mlps = kept.values()
    return Outputs(torch.as_tensor(tokens), states, inputs, z, attention, mlps, normed)


def mean_by_position(of: Outputs) -> list[Float[Tensor, "1 token head d_head"]]:
    """Of every layer the mean over sequences of what heads mix, token by token."""
    return [z.mean(0, keepdim=True) for z in of.z]
