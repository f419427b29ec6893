"""What one attention sublayer makes of any states at any places: queries, keys and values."""

from jaxtyping import Float, Int
from torch import Tensor, no_grad
from transformer_lens.model_bridge import TransformerBridge

from universal_response.propagation.attention import Attended
from universal_response.propagation.blocks import unbridged
from universal_response.propagation.editing import Captured, Capturing
from universal_response.propagation.hooks import begun
from universal_response.propagation.suffixes import Packing

Read = tuple[
    Float[Tensor, "row head d_head"],
    Float[Tensor, "row key_head d_head"],
    Float[Tensor, "row key_head d_head"],
]


@no_grad()
def read(
    model: TransformerBridge,
    layer: int,
    states: Float[Tensor, "row d_model"],
    at: Int[Tensor, " row"],
) -> Read:
    """Queries, keys and values of states at the input of a block, as its attention compares them.

    Normed, rotated to their places, and with a norm of their own where the model has one.

    Args:
        model: a bridge whose attention can be opened.
        layer: the block.
        states: of the residual stream.
        at: the place of each in its sequence, for rotary positions.

    Raises:
        ValueError: the model's attention is code of its own.
    """
    with unbridged(model) as blocks:
        if not blocks.open_attention:
            raise ValueError("model: runs attention by code of its own, which cannot be read")
        at = at.to(blocks.device)[None]
        with begun(blocks, layer, states[None]):
            try:
                blocks.base(
                    at * 0,
                    position_ids=at,
                    use_cache=False,
                    suffixes=Attended(Packing((), at.shape[1]), {}, editing=Capturing()),
                )
            except Captured as captured:
                query, key, value = (each[0].transpose(0, 1) for each in captured.inputs)
                return query, key, value
    raise AssertionError("attention was not called")
