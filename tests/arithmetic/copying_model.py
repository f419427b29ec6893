"""A Llama set by hand that copies one digit to the answer in two steps: its circuit is known.

It reads problems of two digits, `a1 a0 op b1 b0 = r0 r1 r2`, and says at `=` that the result ends
with a0. That is right wherever b0 is 0. Two nodes do it:

- head (0, 1) at `op`, the sender: attends to the place before and copies its digit to `moved`;
- head (1, 2) at `=`, the receiver: attends to `op` and copies `moved` to `output`.

**Codes.** A residual vector is a sum of codes, coordinates of R^128 dealt out to subspaces:

- `token`: which of the 13 tokens stands here (embedding), and `one`, the same everywhere;
- `moved`: the digit before this place (sender); `output`: the answer, read by the unembedding;
- `spare`, one for each idle part: written there, and read by none of the known circuit.

**Units.** A code counts as 1 when its coefficient is `UNIT`, so that n codes have the mean square
n `UNIT`^2 / 128 = n / 2. Lengths below are in units.

**Norms.** RMSNorm divides by s = (n / 2 + c)^(1/2). Behind a norm without c a vector and its half
are the same, and layer 0 would not respond to a scaled vector at all. With `CONSTANT` c = 1, as
large as the mean square of an embedding (n = 2), half of a change gets through.

**Places.** Of 16 pairs of dimensions of a head, turned by (3/4)^f a place, the fast ones hold
phases that make the score of a positional head largest at one offset (as in `hand_wired`). The
slowest one, .013 a place, holds what is looked for by content: is there a sign, is this `=`.

**Idle parts** do something, too, but of the same length whatever the digits are, so that they do
not change s from problem to problem: (0, 0) copies the digit of its own place, (0, 2) that two
places before; the MLPs copy the digit of their place; (1, 0) takes a1 from `op` to `=`, as the
receiver takes a0, but to a spare subspace; (1, 3) keeps b1 there. (0, 3) and (1, 1) write nothing.

The receiver is there behind every sign, and so says a0 for tens and hundreds as well.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import Tensor
from universal_response.arithmetic import EQUALS, MINUS, PLUS, VOCABULARY, places

DIGITS = 10
LAYERS, HEADS = 2, 4
WIDTH, D_HEAD, FAST, SLOWEST = 128, 32, 8, 15
RATE = 0.75
UNIT = 8.0
CONSTANT = 1.0

STEP = 16.0  # score of a positional head for its place, above that of any other
MATCH = 16.0  # score of a head for what it looks for, against 0
LOGIT = 10.0  # of the digit that is copied, about

SENDER, RECEIVER = (0, 1), (1, 2)
SOURCE, SENT_FROM, ASKED = (places(2).index(name) for name in ("a0", "op", "="))

# Codes in the state of `op` before layer 1: token, one, moved, and that of (0, 2).
AT_SIGN = 4
# Codes in the state of `=` before the unembedding: token, one, moved, spare of (0, 2), output, and
# those of (1, 0) and (1, 3).
AT_END = 7


def _subspaces() -> dict[str, slice]:
    sizes = {"token": VOCABULARY, "one": 1, "moved": DIGITS, "output": DIGITS}
    spare = ("0.0", "0.2", "1.0", "1.3", "mlp 0", "mlp 1")
    found, first = {}, 0
    for name, size in (sizes | dict.fromkeys(spare, DIGITS)).items():
        found[name] = slice(first, first + size)
        first += size
    assert first <= WIDTH
    return found


SUBSPACES = _subspaces()


def scale(codes: float) -> float:
    """What a norm divides by where this many codes are written."""
    return (codes * UNIT**2 / WIDTH + CONSTANT) ** 0.5


def read(name: str, codes: float, size: int = DIGITS) -> Tensor:
    """(width, code): the codes in units, behind the norm of a state of so many codes."""
    at = SUBSPACES[name]
    found = torch.zeros(WIDTH, size)
    found[at.start : at.start + size] = torch.eye(size) * scale(codes) / UNIT
    return found


def write(name: str) -> Tensor:
    """(digit, width)."""
    found = torch.zeros(DIGITS, WIDTH)
    found[:, SUBSPACES[name]] = UNIT * torch.eye(DIGITS)
    return found


@dataclass(frozen=True)
class _Head:
    """Matrices of a head; what is missing is 0.

    Attributes:
        query, key: (width, d_head).
        value: (width, digit).
        output: (digit, width).
    """

    query: Tensor = field(default_factory=lambda: torch.zeros(WIDTH, D_HEAD))
    key: Tensor = field(default_factory=lambda: torch.zeros(WIDTH, D_HEAD))
    value: Tensor = field(default_factory=lambda: torch.zeros(WIDTH, DIGITS))
    output: Tensor = field(default_factory=lambda: torch.zeros(DIGITS, WIDTH))


def _by_offset(offset: int, output: Tensor) -> _Head:
    """In layer 0, where all places have the same s: copies the digit so many places before."""
    turns = RATE ** torch.arange(FAST)
    others = torch.arange(1, len(places(2)))[:, None] * turns
    margin = (1 - others.cos()).sum(1).min()
    one = read("one", 2, 1)
    query, key = torch.zeros(WIDTH, D_HEAD), torch.zeros(WIDTH, D_HEAD)
    key[:, :FAST] = one
    query[:, :FAST] = one * (turns * offset).cos() * STEP / margin
    query[:, D_HEAD // 2 :][:, :FAST] = -one * (turns * offset).sin() * STEP / margin
    return _Head(query, key, read("token", 2), output)


def _by_token(tokens: list[int], value: Tensor, output: Tensor) -> _Head:
    """In layer 1: attends to where one of these tokens stands."""
    query, key = torch.zeros(WIDTH, D_HEAD), torch.zeros(WIDTH, D_HEAD)
    query[:, SLOWEST] = MATCH * read("one", AT_SIGN, 1)[:, 0]
    key[:, SLOWEST] = read("token", AT_SIGN, VOCABULARY)[:, tokens].sum(1)
    return _Head(query, key, value, output)


HEADS_OF_THE_MODEL = {
    (0, 0): _by_offset(0, write("0.0")),
    (0, 1): _by_offset(1, write("moved")),
    (0, 2): _by_offset(2, write("0.2")),
    (0, 3): _Head(),
    (1, 0): _by_token([PLUS, MINUS], read("0.2", AT_SIGN), write("1.0")),
    (1, 1): _Head(),
    (1, 2): _by_token([PLUS, MINUS], read("moved", AT_SIGN), write("output")),
    (1, 3): _by_token([EQUALS], read("0.2", AT_SIGN), write("1.3")),
}


def copying_model() -> Any:
    """The model, of transformers, in float32."""
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=DIGITS,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=D_HEAD,
        max_position_embeddings=len(places(2)),
        rms_norm_eps=CONSTANT,
        rope_parameters={"rope_type": "default", "rope_theta": RATE ** -(D_HEAD / 2)},
        tie_word_embeddings=False,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        model: Any = transformers.LlamaForCausalLM(config)
    model.eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.zero_()
    model.model.embed_tokens.weight[:, SUBSPACES["token"]] = UNIT * torch.eye(VOCABULARY)
    model.model.embed_tokens.weight[:, SUBSPACES["one"]] = UNIT
    model.lm_head.weight[:DIGITS] = LOGIT * read("output", AT_END).T
    for (layer, head), weights in HEADS_OF_THE_MODEL.items():
        put(model, layer, head, weights)
    for layer, block in enumerate(model.model.layers):
        # A gate that is open everywhere: silu(8) is nearly 8.
        block.mlp.gate_proj.weight.copy_(8 * read("one", AT_SIGN, 1).T.expand(DIGITS, -1))
        block.mlp.up_proj.weight.copy_(read("token", AT_SIGN).T / 8)
        block.mlp.down_proj.weight.copy_(write(f"mlp {layer}").T)
    return model


def put(model: Any, layer: int, head: int, weights: _Head) -> None:
    """A head into the model, whose matrices are (output, input)."""
    attention = model.model.layers[layer].self_attn
    own = slice(head * D_HEAD, (head + 1) * D_HEAD)
    attention.q_proj.weight[own] = D_HEAD**0.5 * weights.query.T
    attention.k_proj.weight[own] = weights.key.T
    attention.v_proj.weight[own][:DIGITS] = weights.value.T
    attention.o_proj.weight[:, own][:, :DIGITS] = weights.output.T


def rewired(head: tuple[int, int], offset: int | None) -> Any:
    """The model with a head of layer 0 that looks so many places back, or none at all."""
    model = copying_model()
    weights = HEADS_OF_THE_MODEL[head]
    put(model, *head, _Head() if offset is None else _by_offset(offset, weights.output))
    return model
