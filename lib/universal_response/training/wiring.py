"""How heads of layer 2 depend on those of layer 1, by interventions in what layer 2 reads.

All heads of layer 2 read the same queries, keys and values, and each is judged by what it does
itself: by its induction strength where queries or keys are changed, by its part of the answer where
values are. Heads of layer 1 share the norm of layer 2: where it follows, one that adds less makes
all others louder. Where it is frozen, at the scale of the whole input, queries, keys and values are
sums of what tokens and heads give to them.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from universal_response.training import progress
from universal_response.training.answers import answered, through_norm
from universal_response.training.clamping import Clamp
from universal_response.training.clamps import Clamps, kept
from universal_response.training.composition import check_input
from universal_response.training.model import D_HEAD, HEADS, Model
from universal_response.training.passes import Pass, Residual, forward
from universal_response.training.rotary import rotated
from universal_response.training.task import Sequences

Wiring = Float[Tensor, "run head1 head2"]
ByHead = Float[Tensor, "run sequence head token d_head"]


def lost_without(model: Model, sequences: Sequences, name: str, frozen: bool = True) -> Wiring:
    """What a head of layer 2 does less where its input lacks what a head of layer 1 adds.

    Where several heads of layer 1 add the same, none of them is missed: see `gained_with`.

    Args:
        model: several runs.
        sequences: of every run.
        name: of the input: `query`, `key` or `value`.
        frozen: the norm keeps its scale.

    Returns:
        Induction strength; for values logits (`answers.answered`), which with a frozen norm are the
        same as those of `gained_with`: the part of the answer that takes this path.

    Raises:
        ValueError: there is no such input.
    """
    found = _done_without(model, sequences, name, [[], *([head] for head in range(HEADS))], frozen)
    return found[:, :1] - found[:, 1:]


def gained_with(model: Model, sequences: Sequences, name: str, frozen: bool = True) -> Wiring:
    """What a head of layer 2 does more where its input has, of layer 1, what one head adds.

    Args:
        model: several runs.
        sequences: of every run.
        name: of the input: `query`, `key` or `value`.
        frozen: the norm keeps its scale.

    Returns:
        As of `lost_without`: with tokens and one head, less with tokens alone.

    Raises:
        ValueError: there is no such input.
    """
    others = [_others(head) for head in range(HEADS)]
    found = _done_without(model, sequences, name, [list(range(HEADS)), *others], frozen)
    return found[:, 1:] - found[:, :1]


@torch.no_grad()
def paired_accuracy(model: Model, sequences: Sequences, name: str, frozen: bool = True) -> Wiring:
    """Accuracy with one head of each layer: one adds to the input, one adds to the output.

    Chance is not one fifth: a head that attends to both labels alike is right half the time.

    Args:
        model: several runs.
        sequences: of every run.
        name: of the input: `query`, `key` or `value`; the other two are as ever.
        frozen: the norm keeps its scale.

    Raises:
        ValueError: there is no such input.
    """
    rows = []
    for head in range(HEADS):
        one = without(name, _others(head), frozen)
        passes = (forward(model, sequences, one + kept(2, [other])) for other in range(HEADS))
        rows.append(torch.stack([progress.accuracy(each) for each in passes], 1))
    return torch.stack(rows, 1)


def without(name: str, heads: list[int], frozen: bool = True) -> Clamps:
    """An input of layer 2 lacks what heads of layer 1 add.

    Args:
        name: of the input: `query`, `key` or `value`.
        heads: of layer 1.
        frozen: the norm keeps its scale.

    Raises:
        ValueError: there is no such input.
    """
    check_input(name)

    def following(value: Tensor, done: Pass) -> Tensor:
        return value - added(done, heads)

    def kept_scale(value: Tensor, done: Pass) -> Tensor:
        return value - _read(done, name, added(done, heads))

    about = f"without heads {heads}"
    if frozen:
        return (Clamp(f"{name[0]}2", kept_scale, about),)
    return (Clamp(f"{name}_input2", following, about),)


def added(done: Pass, heads: list[int]) -> Residual:
    """What heads of layer 1 add to the residual stream, their sum."""
    weight = done.model.parameters["w_o1"].unflatten(1, (HEADS, D_HEAD))[:, heads]
    return torch.einsum("rshtd,rhdw->rstw", done["z1"][:, :, heads], weight)


@torch.no_grad()
def _done_without(
    model: Model, sequences: Sequences, name: str, sets: list[list[int]], frozen: bool
) -> Float[Tensor, "run set head2"]:
    """What heads of layer 2 do where their input lacks a set of heads of layer 1."""
    base = forward(model, sequences)
    passes = (forward(model, sequences, without(name, heads, frozen)) for heads in sets)
    if name == "value":
        return torch.stack([answered(each, base) for each in passes], 1)
    return torch.stack([progress.induction_strength(each) for each in passes], 1)


def _read(done: Pass, name: str, part: Residual) -> ByHead:
    """What queries, keys or values of layer 2 owe to a part of the residual stream."""
    p = done.model.parameters
    normed = through_norm(part, done["x1"], p["gain2"], done.model.norm_epsilon)
    found = torch.einsum("rstw,rwv->rstv", normed, p[f"w_{name[0]}2"])
    found = found if name == "value" else rotated(found, D_HEAD)
    return found.unflatten(-1, (HEADS, D_HEAD)).transpose(2, 3)


def _others(head: int) -> list[int]:
    return [each for each in range(HEADS) if each != head]
