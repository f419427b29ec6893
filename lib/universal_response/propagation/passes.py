"""Clean pass, changed passes -> inner products.

A causal model cannot change what stands left of the perturbed token. One clean pass over the
sequences keeps residual vectors, the outputs of linear layers, queries, keys and values; then, for
each source i, only the change of the suffix i .. T-1 is carried: T (T + 1) / 2 tokens per sequence
and strength instead of T^2. Suffixes of all strengths and of several sources are laid end to end,
so that every matrix product has many rows. Hooks reduce each change to inner products at once, and
the base model is called without its unembedding, so no logits are computed.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.metrics import InnerProducts
from universal_response.perturbation import Perturbation, Scaling
from universal_response.propagation.change import Carried
from universal_response.propagation.clean_pass import (
    TOKENS_PER_PASS,
    check_finite,
    input_of,
    prepared,
)
from universal_response.propagation.edits import Edit
from universal_response.propagation.hooks import outputs_seen, started, states_seen
from universal_response.propagation.modules import Tape
from universal_response.propagation.observing import Observers, Seen, check
from universal_response.propagation.pair import Pair, Terms
from universal_response.propagation.reduction import (
    Entries,
    empty,
    moments,
    products_of_rows,
    row_products,
)
from universal_response.propagation.rows import Rows
from universal_response.propagation.run import Run, run_blocks
from universal_response.propagation.suffixes import Packing, packings


def inner_products(
    tokens: Int[Tensor, "sequence token"],
    model: TransformerBridge,
    epsilons: Sequence[float],
    **others: Any,
) -> InnerProducts:
    """Perturb source tokens in turn and carry the change to all later residual vectors.

    The perturbation is x_i^(0) -> (1 - epsilon) x_i^(0) at the transformer input (Fig. 1), for
    GPT-2 after the positional embedding, unless another one is given.

    Args:
        tokens: token ids (sequence, token), moved to the model's device.
        model: any causal TransformerBridge, in any dtype, with or without a tokenizer.
        epsilons: perturbation strengths in [0, 1].
        others: as for `chunked_inner_products`.

    Returns:
        InnerProducts on the model's device, in its dtype (float32 for half precision).

    Raises:
        ValueError: as for `chunked_inner_products`.
    """
    (products,) = chunked_inner_products(tokens, model, [epsilons], **others)
    return products


def linear_inner_products(
    tokens: Int[Tensor, "sequence token"], model: TransformerBridge, **others: Any
) -> InnerProducts:
    """The limit epsilon -> 0 of the inner products, with D_j the change per unit of epsilon.

    By the same passes, leaving out products of changes.

    Args:
        tokens: token ids (sequence, token), moved to the model's device.
        model: as for `inner_products`.
        others: as for `chunked_inner_products`.

    Returns:
        InnerProducts with one entry along epsilon, per unit of epsilon.

    Raises:
        ValueError: as for `chunked_inner_products`.
    """
    (products,) = chunked_inner_products(tokens, model, [None], **others)
    return products


@torch.no_grad()
def chunked_inner_products(
    tokens: Int[Tensor, "sequence token"],
    model: TransformerBridge,
    chunks: Sequence[Sequence[float] | None],
    *,
    perturbation: Perturbation = Scaling(),  # noqa: B008 (frozen)
    perturbed_position: int = 0,
    sources: Tensor | None = None,
    products: str = "float32",
    observe: Observers | None = None,
    edits: Sequence[Edit] = (),
    tokens_per_pass: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Generator[InnerProducts]:
    """`inner_products` of some strengths after others, so that not all need memory at once.

    One clean pass serves them all. The model is the engine's until the last chunk is taken.

    Args:
        tokens: as for `inner_products`.
        model: as for `inner_products`.
        chunks: the strengths of every chunk; None for the linear limit.
        perturbation: what is done to the vector of the source.
        perturbed_position: l at which it is done; earlier layers are not run again.
        sources: which tokens of every sequence are perturbed, (sequence, source); all if None.
        products: precision in which changes are multiplied with weights (`PRODUCTS`).
        observe: functions called with what is `Seen` of each kind in every pass.
        edits: what is done to the model, in the clean pass and in those of changes.
        tokens_per_pass: how many tokens one forward pass holds; a default by device if None.
        progress: called with the number of token-passes done, T (T + 1) / 2 in all per sequence
            and strength where all tokens are sources.

    Yields:
        InnerProducts of every chunk in turn.

    Raises:
        ValueError: no strengths, one outside [0, 1], more tokens than the model's context, a
            position or source that is not there, an edit that cannot be made, or states that
            are not finite.
    """
    for epsilons in chunks:
        if epsilons is not None and not (
            len(epsilons) and all(0 <= epsilon <= 1 for epsilon in epsilons)
        ):
            raise ValueError(
                f"epsilons={list(epsilons)}: give at least one strength, each in [0, 1]"
            )
    tokens = torch.as_tensor(tokens)
    chosen = _sources(tokens, sources)
    n_strengths = sum(1 if each is None else len(each) for each in chunks)
    n_passed = n_strengths * int((tokens.shape[1] - chosen).sum())
    with prepared(model, tokens, products, perturbed_position, n_passed, edits) as run:
        budget = tokens_per_pass or TOKENS_PER_PASS.get(run.device.type, TOKENS_PER_PASS["cpu"])
        check(observe or {}, run.blocks.open_attention)
        direction = _direction(run, perturbation, perturbed_position)
        for epsilons in chunks:
            strengths = run.states[0].new_tensor([1.0] if epsilons is None else list(epsilons))
            found = empty(run.states, len(strengths), chosen, run.device)
            first = _First(direction, strengths.double(), perturbed_position, epsilons is None)
            for packing in packings(
                chosen, tokens.shape[1], len(strengths), budget, run.blocks.open_attention
            ):
                _changed_pass(run, found, packing, first, observe or {})
                if progress is not None:
                    progress(packing.n_tokens)
            check_finite(found.response_response, run.blocks, "the response")
            yield replace(found, fallback_modules=tuple(run.carrying.alone))


@dataclass(frozen=True)
class _First:
    """The first change.

    Attributes:
        direction: at unit strength, (sequence token, d_model) in float64.
        strengths: (epsilon,).
        position: l at which it is made.
        limit: leave out products of changes from there on.
    """

    direction: Tensor
    strengths: Tensor
    position: int
    limit: bool


def _sources(tokens: Tensor, sources: Tensor | None) -> Tensor:
    n_sequences, t = tokens.shape
    if sources is None:
        return torch.arange(t).expand(n_sequences, t)
    sources = torch.as_tensor(sources)
    if sources.ndim != 2 or len(sources) != n_sequences or sources.shape[1] == 0:
        raise ValueError(
            f"sources: shape {tuple(sources.shape)}; give the same number for each of the "
            f"{n_sequences} sequences"
        )
    if int(sources.min()) < 0 or int(sources.max()) >= t:
        raise ValueError(f"sources: {sources.tolist()} are not all tokens 0 .. {t - 1}")
    if any(len(set(row)) < len(row) for row in sources.tolist()):
        raise ValueError("sources: a token is given twice in a sequence; give each once")
    return sources


def _direction(run: Run, perturbation: Perturbation, position: int) -> Tensor:
    def replaced(token: int) -> Tensor:
        n_tokens = run.blocks.base.get_input_embeddings().weight.shape[0]
        if position > 0:
            raise ValueError(
                f"perturbation: another token stands at the input only; use perturbed_position=0, "
                f"not {position}"
            )
        if not 0 <= token < n_tokens:
            raise ValueError(f"perturbation: token {token} is not one of 0 .. {n_tokens - 1}")
        other = Run(run.blocks, torch.full_like(run.tokens, token), Tape(False), run.carrying)
        return input_of(other)

    exact = torch.float32 if run.device.type == "mps" else torch.float64
    return perturbation.direction(run.states[position].to(exact), replaced)


def _changed_pass(
    run: Run, found: InnerProducts, packing: Packing, first: _First, observe: Observers
) -> None:
    """Carry the change through the suffixes of a pass and write its inner products."""
    index = packing.index(run.device)
    of_clean = index.sequence * packing.t + index.target
    terms = Terms(first.limit, of_clean, run.compiled)
    entries = Entries.of(found, index)
    at_source = (index.source == index.target).nonzero()[:, 0]
    x = run.states[first.position][of_clean[at_source]].to(first.direction)
    d = first.strengths[index.strength[at_source], None] * first.direction[of_clean[at_source]]
    made = run.states[0].new_zeros((len(of_clean), d.shape[-1]))
    made.index_copy_(0, at_source, d.to(made))

    def put(state: Carried) -> None:
        clean = Rows(run.states[first.position], of_clean)
        state.become(Pair(clean, made.view(state.shape)))
        state.exact = (at_source, x, d)

    def seen(state: Tensor, position: int) -> None:
        if position < first.position:
            return
        here, change = Rows(run.states[position], of_clean), made
        if position == first.position:
            if isinstance(state, Carried):
                put(state)
            entries.write(position, row_products(lambda _: x, [d, d, d]), at_source)
        else:
            assert isinstance(state, Carried)
            state.become(Pair(here, state.change))
            change = state.change.flatten(0, -2)
            numbers = products_of_rows(change, here, index.start, made, terms.compiled)
            entries.write(position, numbers)
            state.moments = moments(numbers, state.shape[-1])
        if "residual" in observe:
            at = run.blocks.positions[position]
            about = ("residual", at.layer, at.sublayer)
            observe["residual"](Seen(*about, here[slice(None)], change, index, position))

    run.tape.calls.clear()
    with (
        states_seen(run.blocks, seen),
        started(run.blocks, run.states, first.position, terms, put, run.with_tuples),
        outputs_seen(run.blocks, observe, index),
    ):
        run_blocks(run, packing, observe)
