"""One pass through the model, activation by activation, each open to clamps.

x0 are the embedded tokens; a layer reads x(l-1) three times, for queries, keys and values, and adds
`out` to it; `normed` and `logits` are those of the query token, which alone is asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from universal_response.training.clamping import ACTIVATIONS, Clamp
from universal_response.training.model import D_HEAD, LAYERS, Model
from universal_response.training.rotary import rotated
from universal_response.training.task import N_TOKENS, Sequences

Residual = Float[Tensor, "run sequence token width"]


class Pass(Mapping[str, Tensor]):
    """Activations of one pass, by name, as far as it has come.

    Shapes: residual streams, inputs and `out` (run, sequence, token, width); `q`, `k`, `v`, `z`
    (run, sequence, head, token, d_head), queries and keys turned to their places; `scores` and
    `pattern` (run, sequence, head, query, key); `normed` (run, sequence, width); `logits` (run,
    sequence, label). Heads are counted from 0, layers from 1.

    Attributes:
        model: the model.
        sequences: what it reads.
    """

    def __init__(self, model: Model, sequences: Sequences, clamps: Sequence[Clamp] = ()) -> None:
        self.model, self.sequences = model, sequences
        self._values: dict[str, Tensor] = {}
        self._clamps: dict[str, list[Clamp]] = {}
        for clamp in clamps:
            self._clamps.setdefault(clamp.name, []).append(clamp)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._values:
            made = f"after {next(reversed(self._values))}" if self._values else "yet"
            known = "is not there " + made if name in ACTIVATIONS else "is no activation"
            raise ValueError(f"activation={name}: {known}; ask for what comes before")
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def put(self, name: str, value: Tensor) -> Tensor:
        """Enter an activation: its value, or what it is clamped to."""
        for clamp in self._clamps.get(name, ()):
            value = clamp.applied(value, self)
        self._values[name] = value
        return value

    @cached_property
    def base(self) -> "Pass":
        """The same pass without clamps, through which gradients flow too."""
        return forward(self.model, self.sequences)


def forward(model: Model, sequences: Sequences, clamps: Sequence[Clamp] = ()) -> Pass:
    """Run the model.

    Args:
        model: several runs.
        sequences: of every run, (run, sequence).
        clamps: of activations of all runs; those of one activation in this order.

    Raises:
        ValueError: a clamp has another shape than its activation.
    """
    done = Pass(model, sequences, clamps)
    x = done.put("x0", embedded(model, sequences))
    for layer in LAYERS:
        x = _attended(done, layer, x)
    normed = done.put("normed", _norm(model, "", x[:, :, -1:])[:, :, 0])
    p = model.parameters
    done.put("logits", torch.matmul(normed, p["unembed"]) + p["unembed_bias"][:, None])
    return done


def embedded(model: Model, sequences: Sequences) -> Residual:
    """Tokens as the first layer reads them: exemplar, label, exemplar, label, query."""
    p, one = model.parameters, model.parameters["label_map"]
    shown = _times(model.exemplars[sequences.classes], p["exemplar_map"])
    first, second, query = (shown + p["exemplar_bias"][:, None, None]).unbind(2)
    # As a product, the gradient of which is the same in every run of the program.
    labels = _times(F.one_hot(sequences.labels, model.n_labels).to(one), one)
    return torch.stack([first, labels[:, :, 0], second, labels[:, :, 1], query], 2)


def _attended(done: Pass, layer: int, x: Residual) -> Residual:
    """A layer: what its heads read, where they look, what they add."""
    model, w = done.model, done.model.parameters
    inputs = {each: done.put(f"{each}_input{layer}", x) for each in ("query", "key", "value")}
    # Once for all three, unless they are clamped apart.
    normed = {each: _norm(model, layer, each) for each in dict.fromkeys(inputs.values())}
    query, key, value = (normed[each] for each in inputs.values())
    q = done.put(f"q{layer}", _heads(rotated(_times(query, w[f"w_q{layer}"]), D_HEAD)))
    k = done.put(f"k{layer}", _heads(rotated(_times(key, w[f"w_k{layer}"]), D_HEAD)))
    v = done.put(f"v{layer}", _heads(_times(value, w[f"w_v{layer}"])))
    scores = torch.matmul(q, k.transpose(-1, -2)) * D_HEAD**-0.5
    later = torch.ones(N_TOKENS, N_TOKENS, dtype=torch.bool, device=x.device).triu(1)
    scores = done.put(f"scores{layer}", scores.masked_fill(later, -torch.inf))
    pattern = done.put(f"pattern{layer}", torch.softmax(scores, -1))
    z = done.put(f"z{layer}", torch.matmul(pattern, v))
    out = done.put(f"out{layer}", _times(z.transpose(2, 3).flatten(3), w[f"w_o{layer}"]))
    return done.put(f"x{layer}", x + out)


def _norm(model: Model, which: int | str, x: Residual) -> Residual:
    """LayerNorm, with gain and shift of a layer, or those before the unembedding."""
    gain, shift = (model.parameters[f"{name}{which}"][:, None, None] for name in ("gain", "shift"))
    return F.layer_norm(x, x.shape[-1:], None, None, model.norm_epsilon) * gain + shift


def _times(
    x: Float[Tensor, "run sequence token n"], weight: Float[Tensor, "run n m"]
) -> Float[Tensor, "run sequence token m"]:
    return torch.matmul(x.flatten(1, 2), weight).unflatten(1, (x.shape[1], x.shape[2]))


def _heads(x: Residual) -> Float[Tensor, "run sequence head token d_head"]:
    return x.unflatten(-1, (-1, D_HEAD)).transpose(2, 3)
