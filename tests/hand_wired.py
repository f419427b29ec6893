"""Induction circuits set by hand into real Hugging Face models: what every head does is known.

Four models of two layers with four heads each, whose MLPs contribute exactly nothing:

| function | family | the head of layer 1 that answers | composition |
|---|---|---|---|
| `gpt2_through_keys` | GPT-2 | induction | (0, 2), previous token, through the keys |
| `llama_through_keys` | Llama | induction | (0, 2), previous token, through the keys |
| `gpt2_through_queries` | GPT-2 | induction | (0, 1), duplicate token, through the queries |
| `gpt2_off_by_one` | GPT-2 | duplicate token | none |

**Codes.** A residual vector is a sum of codes. A code is one of 255 orthonormal vectors of R^256,
the rows but the first of a Hadamard matrix: all entries are +1/16 or -1/16, half of each, so that
every code has mean 0. They are dealt out to subspaces, one code a token or a position each:

- `token`: which token stands here (embedding);
- `position`: where (GPT-2's embedding of positions), or in Llama `one`, the same code everywhere;
- `previous`: which token stood one before (written by (0, 2) of the models through keys);
- `earlier`: where this token stood before (written by (0, 1) of the model through queries);
- `output`: what comes next, read by the unembedding alone;
- `spare`: written by idle heads and read by none.

**Units.** A code counts as 1 when its coefficient is `UNIT`. Lengths below are in units.

**Values.** Every head of layer 1 copies the `token` that it finds to `output`: the receiver with
length 1, the idle ones with length `LITTLE`, as do heads of layer 0 that attend uniformly. The
logits are `LOGIT` times what has been written to `output`, at the scale of the final norm below.

**Norms.** The mean is 0, so LayerNorm and RMSNorm both divide by the length: x -> 16 x / |x|, but
for the norm's epsilon, which changes a scale by less than 2e-5. Matrices that read a code divide by
`squared_lengths`, the |x|^2 that every token has at the inputs of layers 0 and 1 and of the final
norm. At layer 0 it is exact. At layer 1 two remainders change the scale by less than .2 %: what a
uniform head writes of the mean token, and softmax tails. The final norm only scales all logits; its
number holds where the receiver has found one token, up to what idle heads have written.

**The first position.** It has no predecessor: a previous-token head can only attend to position 0
itself, and writes there that its own token stands before it. The keys of the induction heads
through keys read `previous` minus `token`, which is 0 there.

**Rest.** Where its token has not been seen, the induction head of GPT-2 attends to position 0, as
heads of trained models do; that of Llama, which has no code of a position, to all earlier keys.

**Responses.** A norm sees nothing of x -> (1 - e) x, and no head of layer 0 responds. At layer 1
the source has lost e of two units squared out of N, `squared_lengths[1]`: behind the norm its
`token` and `position` have lost e (1 - 2 / N), and what was written there has gained e 2 / N. So
the receiver's values change by -e (1 - 2 / N), at its offset. Its pattern A changes little, as it
is nearly 1, by (1 - A) `MATCH` times 2 e / N through keys (they read what was written), and times
-e (1 - 2 / N) in the model through queries (its keys read `position`).
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import transformers
from tiny_models import bridged
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

Head = tuple[int, int]
Role = Literal["previous", "two back", "duplicate", "induction", "first", "uniform"]

VOCABULARY = 40
CONTEXT = 64
LAYERS, HEADS = 2, 4
D_MODEL = 256
UNIT = 8.0

MATCH = 16.0  # score of an induction head for what it looks for, against 0 or less elsewhere
REST = 8.0  # score of position 0 for GPT-2's induction heads
STEP = 12.0  # score of previous-token heads for the token before, against 0, or less in Llama
SLOPE = 0.5  # by which a duplicate-token head of GPT-2 prefers a key to the next one
DUPLICATE = SLOPE * CONTEXT + STEP  # its score for the same token, above that of any other
LITTLE = 0.1  # length of the writes of idle heads to `output`
LOGIT = 15.0  # of a code of length 1 in `output`

_NO_TOKENS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


@dataclass(frozen=True, eq=False)
class HandWired:
    """A model and what is known of it.

    Attributes:
        bridge: in float32, in evaluation mode, with eager attention.
        model: the Hugging Face model with the same weights, of which the bridge knows nothing.
        codes: of every subspace, orthonormal, (number, d_model).
        squared_lengths: of the residual vectors at the inputs of layer 0, layer 1 and the final
            norm, in squared units.
        roles: where every head (layer, head) attends, idle ones too: see `offset`. "first" is
            position 0, "uniform" all keys equally.
        receiver: the head of layer 1 that writes the prediction.
        sender: the head of layer 0 without which the receiver finds nothing; None if it needs none.
        composition: what of the receiver is made of what the sender writes; None without a sender.
        vocabulary: number of tokens.
    """

    bridge: TransformerBridge = field(repr=False)
    model: nn.Module = field(repr=False)
    codes: Mapping[str, Tensor] = field(repr=False)
    squared_lengths: tuple[float, float, float]
    roles: Mapping[Head, Role]
    receiver: Head
    sender: Head | None = None
    composition: Literal["keys", "queries"] | None = None
    vocabulary: int = VOCABULARY

    @property
    def induction(self) -> Head | None:
        """The induction head, if there is one."""
        return self.receiver if self.roles[self.receiver] == "induction" else None

    @property
    def previous_token(self) -> Head:
        """The previous-token head of layer 0. It is the sender in the models through keys alone."""
        (head,) = (head for head in self.heads("previous") if head[0] == 0)
        return head

    @property
    def idle(self) -> tuple[Head, ...]:
        """All heads but the sender and the receiver: without them the prediction is the same."""
        return tuple(head for head in self.roles if head not in (self.sender, self.receiver))

    def heads(self, role: Role) -> tuple[Head, ...]:
        """The heads of a role, in order."""
        return tuple(head for head, each in self.roles.items() if each == role)

    def offset(self, head: Head, t0: int) -> int | None:
        """The q - k at which a head attends in the second of two equal blocks of t0 tokens.

        None for "first" and "uniform". The tokens of a block have to be distinct.
        """
        offsets: dict[Role, int] = {
            "previous": 1,
            "two back": 2,
            "duplicate": t0,
            "induction": t0 - 1,
        }
        return offsets.get(self.roles[head])


def gpt2_through_keys() -> HandWired:
    """GPT-2, K-composition: "the token before you is the one that I am".

    - (0, 2), the sender, attends from q to q - 1: its queries read `position`, its keys `position`
      moved on by one. It copies `token` to `previous`.
    - (1, 1), the receiver: queries read `token`, keys `previous` minus `token`, and position 0 gets
      `REST`. It attends to the key whose predecessor is the present token, q - (T0 - 1).

    Idle: (0, 0) attends to the same token T0 back and copies half of `token` to `spare`. (0, 1) and
    (1, 3) attend uniformly, (1, 0) to the token before and (1, 2) to the same token T0 back. (0, 3)
    attends to position 0 and writes nothing.
    """
    codes = _codes(token=VOCABULARY, position=CONTEXT, previous=VOCABULARY, spare=VOCABULARY)
    before, after, last = norms = _norms(codes, 3.25)
    model = _gpt2(codes, last)
    _put_idle_heads(model, before, after)
    _put(model, (0, 2), _previous_token(before, after.write("previous")))
    _put(model, (1, 1), _previous_is_token(after))
    return _wired(model, norms, _GPT2_ROLES, (1, 1), (0, 2), "keys")


def gpt2_off_by_one() -> HandWired:
    """GPT-2 with a duplicate-token head, q - T0, where `gpt2_through_keys` has its induction head.

    (1, 1): queries and keys read `token`. On a repeated block the model predicts the token that it
    has just read. The previous-token head (0, 2) is there and writes, but none reads it.
    """
    codes = _codes(token=VOCABULARY, position=CONTEXT, previous=VOCABULARY, spare=VOCABULARY)
    before, after, last = norms = _norms(codes, 3.25)
    model = _gpt2(codes, last)
    _put_idle_heads(model, before, after)
    _put(model, (0, 2), _previous_token(before, after.write("previous")))
    _put(model, (1, 1), _duplicate_token(after, "token", after.write("output")))
    return _wired(model, norms, _GPT2_ROLES | {(1, 1): "duplicate"}, (1, 1))


def gpt2_through_queries() -> HandWired:
    """GPT-2, Q-composition: "I have stood at p before; what is at p + 1?"

    - (0, 1), the sender, attends to the first key with the same token, T0 back, and copies its
      `position` to `earlier`. In the first block it finds the token itself.
    - (1, 3), the receiver: queries read `earlier` moved on by one, keys `position`, and position 0
      gets `REST`. It attends to q - T0 + 1. In the first block the key it looks for is to come.

    Idle: (0, 2) attends to the token before and copies half of `token` to `spare`: a previous-token
    head that has no part in it. (0, 0) and (1, 0) attend uniformly, (1, 1) to the same token T0
    back, (1, 2) to the token before. (0, 3) attends to position 0 and writes nothing.
    """
    codes = _codes(token=VOCABULARY, position=CONTEXT, earlier=CONTEXT, spare=VOCABULARY)
    before, after, last = norms = _norms(codes, 3.25)
    model = _gpt2(codes, last)
    output = LITTLE * after.write("output")
    _put(model, (0, 0), _uniform(before, output))
    _put(model, (0, 1), _duplicate_token(before, "position", after.write("earlier")))
    _put(model, (0, 2), _previous_token(before, 0.5 * after.write("spare")))
    _put(model, (0, 3), _first(before))
    _put(model, (1, 0), _uniform(after, output))
    _put(model, (1, 1), _duplicate_token(after, "token", output))
    _put(model, (1, 2), _previous_token(after, output))
    _put(model, (1, 3), _earlier_moved_on(after))
    roles: dict[Head, Role] = {
        (0, 0): "uniform",
        (0, 1): "duplicate",
        (0, 2): "previous",
        (0, 3): "first",
        (1, 0): "uniform",
        (1, 1): "duplicate",
        (1, 2): "previous",
        (1, 3): "induction",
    }
    return _wired(model, norms, roles, (1, 3), (0, 1), "queries")


# Rotary frequencies are 1, 3/4, 9/16, ... of 64 pairs of dimensions (f, f + 64) of a head.
_D_HEAD = 128
_THETA = 0.75**-64.0
_FAST = 8
_LLAMA_DUPLICATE = 240.0  # phases alone can differ by 115
_SLOW = slice(_D_HEAD // 2 - VOCABULARY, _D_HEAD // 2)


def llama_through_keys() -> HandWired:
    """Llama, K-composition: rotary phases for codes of positions, two heads to a key-value head.

    A head has 64 pairs of dimensions, turned by w_f = (3/4)^f radians a token. The fast ones,
    f < 8, hold phases: of all keys the same, from `one`. Queries that are also constant, with the
    phases -w_f o, make the score sum_f cos(w_f (q - k - o)), largest at the offset o. The slow
    ones, f >= 24, hold codes of tokens in the first dimension of each pair: w_f < .0011, so that
    within 64 tokens a score changes by the factor cos(w_f (q - k)) > .997.

    - (0, 2), the sender: phases for the offset 1, copies `token` to `previous`. (0, 3), idle,
      shares its keys and values: phases for the offset 2, copies half of `token` to `spare`.
    - (1, 1), the receiver: slow queries read `token`, slow keys `previous` minus `token`. (1, 0),
      idle, shares keys and values, but has fast queries alone, for the token before.

    Idle, too: (0, 0) and (1, 2) attend to the same token T0 back: slow queries and keys read
    `token`, phases make the offset 0 the *last* choice. (0, 0) copies half of it to `spare`. (0, 1)
    and (1, 3), which share their keys, have no queries and attend uniformly.
    """
    codes = _codes(token=VOCABULARY, one=1, previous=VOCABULARY, spare=2 * VOCABULARY)
    before, after, last = norms = _norms(codes, 3.5)
    model = _llama(codes, last)
    half, other_half = (0.5 * each for each in after.write("spare").chunk(2))
    little = LITTLE * after.write("output")

    alike, phases = _slow(before.read("token")), _constant_keys(before)
    same = _LLAMA_DUPLICATE * alike - _constant_queries(before, 0)
    _put_group(model, 0, 0, alike + phases, before.read("token"))
    _put_member(model, (0, 0), same, half)
    _put_member(model, (0, 1), torch.zeros_like(same), little)
    _put_group(model, 0, 1, phases, before.read("token"))
    _put_member(model, (0, 2), _constant_queries(before, 1), after.write("previous"))
    _put_member(model, (0, 3), _constant_queries(before, 2), other_half)

    alike, phases = _slow(after.read("token")), _constant_keys(after)
    follows = _slow(after.read("previous") - after.read("token"))
    same = _LLAMA_DUPLICATE * alike - _constant_queries(after, 0)
    _put_group(model, 1, 0, follows + phases, after.read("token"))
    _put_member(model, (1, 0), _constant_queries(after, 1), little)
    _put_member(model, (1, 1), MATCH * alike, after.write("output"))
    _put_group(model, 1, 1, alike + phases, after.read("token"))
    _put_member(model, (1, 2), same, little)
    _put_member(model, (1, 3), torch.zeros_like(same), little)
    roles: dict[Head, Role] = {
        (0, 0): "duplicate",
        (0, 1): "uniform",
        (0, 2): "previous",
        (0, 3): "two back",
        (1, 0): "previous",
        (1, 1): "induction",
        (1, 2): "duplicate",
        (1, 3): "uniform",
    }
    return _wired(model, norms, roles, (1, 1), (0, 2), "keys")


INDUCTION: tuple[Callable[[], HandWired], ...] = (
    gpt2_through_keys,
    llama_through_keys,
    gpt2_through_queries,
)
ALL = (*INDUCTION, gpt2_off_by_one)

_Codes = Mapping[str, Tensor]


def _codes(**sizes: int) -> _Codes:
    """Orthonormal codes of mean 0 for every subspace, and for `output`: each (number, d_model)."""
    hadamard = torch.ones(1, 1)
    while len(hadamard) < D_MODEL:
        top = torch.cat([hadamard, hadamard], dim=1)
        hadamard = torch.cat([top, torch.cat([hadamard, -hadamard], dim=1)])
    rows = hadamard[1:] / math.sqrt(D_MODEL)
    sizes = sizes | {"output": VOCABULARY}
    unused = len(rows) - sum(sizes.values())
    return dict(zip(sizes, rows.split([*sizes.values(), unused]), strict=False))


@dataclass(frozen=True)
class _Norm:
    """What reads behind a norm and what writes beside it.

    Attributes:
        codes: of every subspace.
        squared_length: of the vectors at its input, in units.
    """

    codes: _Codes
    squared_length: float

    def read(self, name: str) -> Tensor:
        """(d_model, code): applied to what the norm gives, the codes in units."""
        return self.codes[name].T * math.sqrt(self.squared_length / D_MODEL)

    def write(self, name: str) -> Tensor:
        """(code, d_model)."""
        return UNIT * self.codes[name]


def _norms(codes: _Codes, squared_length: float) -> tuple[_Norm, _Norm, _Norm]:
    """Of layers 0 (a token and its position or `one`) and 1, and the last (one token found)."""
    return _Norm(codes, 2.0), _Norm(codes, squared_length), _Norm(codes, squared_length + 1)


@dataclass(frozen=True)
class _Weights:
    """Of a head of GPT-2; what is missing up to its dimension is 0.

    Attributes:
        query: (d_model, at most d_head).
        key: the same.
        value: (d_model, at most d_head).
        output: (at most d_head, d_model).
        bias: of the queries, (at most d_head).
    """

    query: Tensor = field(default_factory=lambda: torch.zeros(D_MODEL, 0))
    key: Tensor = field(default_factory=lambda: torch.zeros(D_MODEL, 0))
    value: Tensor = field(default_factory=lambda: torch.zeros(D_MODEL, 0))
    output: Tensor = field(default_factory=lambda: torch.zeros(0, D_MODEL))
    bias: Tensor = field(default_factory=lambda: torch.zeros(0))


def _moved_on(codes: Tensor) -> Tensor:
    """Column p + 1 of the result is column p; column 0 is empty and the last is lost."""
    return torch.cat([torch.zeros(len(codes), 1), codes[:, :-1]], dim=1)


def _previous_token(norm: _Norm, output: Tensor) -> _Weights:
    position = norm.read("position")
    return _Weights(STEP * position, _moved_on(position), norm.read("token"), output)


def _duplicate_token(norm: _Norm, copied: str, output: Tensor) -> _Weights:
    """Of all keys with the same token the first: later ones score less by `SLOPE` a token."""
    places = norm.read("position") @ torch.arange(float(CONTEXT))[:, None]
    query = torch.cat([DUPLICATE * norm.read("token"), torch.zeros(D_MODEL, 1)], dim=1)
    key = torch.cat([norm.read("token"), places], dim=1)
    bias = torch.cat([torch.zeros(VOCABULARY), torch.tensor([-SLOPE])])
    return _Weights(query, key, norm.read(copied), output, bias)


def _uniform(norm: _Norm, output: Tensor) -> _Weights:
    return _Weights(value=norm.read("token"), output=output)


def _first(norm: _Norm) -> _Weights:
    """Attends to position 0, and writes nothing."""
    return _Weights(
        torch.zeros(D_MODEL, 1), norm.read("position")[:, :1], bias=torch.tensor([STEP])
    )


def _previous_is_token(norm: _Norm) -> _Weights:
    first = norm.read("position")[:, :1]
    query = torch.cat([MATCH * norm.read("token"), torch.zeros(D_MODEL, 1)], dim=1)
    key = torch.cat([norm.read("previous") - norm.read("token"), first], dim=1)
    bias = torch.cat([torch.zeros(VOCABULARY), torch.tensor([REST])])
    return _Weights(query, key, norm.read("token"), norm.write("output"), bias)


def _earlier_moved_on(norm: _Norm) -> _Weights:
    query = MATCH * _moved_on(norm.read("earlier"))
    bias = REST * torch.eye(CONTEXT)[0]
    return _Weights(query, norm.read("position"), norm.read("token"), norm.write("output"), bias)


_GPT2_ROLES: dict[Head, Role] = {
    (0, 0): "duplicate",
    (0, 1): "uniform",
    (0, 2): "previous",
    (0, 3): "first",
    (1, 0): "previous",
    (1, 1): "induction",
    (1, 2): "duplicate",
    (1, 3): "uniform",
}


def _put_idle_heads(model: Any, before: _Norm, after: _Norm) -> None:
    """Those of the two models of `_GPT2_ROLES`."""
    little = LITTLE * after.write("output")
    _put(model, (0, 0), _duplicate_token(before, "token", 0.5 * after.write("spare")))
    _put(model, (0, 1), _uniform(before, little))
    _put(model, (0, 3), _first(before))
    _put(model, (1, 0), _previous_token(after, little))
    _put(model, (1, 2), _duplicate_token(after, "token", little))
    _put(model, (1, 3), _uniform(after, little))


def _put(model: Any, head: Head, weights: _Weights) -> None:
    """Into GPT-2, whose matrices are (input, output), queries, keys and values side by side."""
    layer, number = head
    attention = model.transformer.h[layer].attn
    d_head = D_MODEL // HEADS
    own = slice(number * d_head, (number + 1) * d_head)
    queries, keys, values = attention.c_attn.weight.split(D_MODEL, dim=1)
    # The model divides scores by the root of d_head.
    _fill(queries[:, own], math.sqrt(d_head) * weights.query)
    _fill(keys[:, own], weights.key)
    _fill(values[:, own], weights.value)
    _fill(attention.c_attn.bias[:D_MODEL][own], math.sqrt(d_head) * weights.bias)
    _fill(attention.c_proj.weight[own], weights.output)


def _put_group(model: Any, layer: int, number: int, key: Tensor, value: Tensor) -> None:
    """Keys and values of a group of heads into Llama, whose matrices are (output, input)."""
    attention = model.model.layers[layer].self_attn
    own = slice(number * _D_HEAD, (number + 1) * _D_HEAD)
    _fill(attention.k_proj.weight[own], key.T)
    _fill(attention.v_proj.weight[own], value.T)


def _put_member(model: Any, head: Head, query: Tensor, output: Tensor) -> None:
    layer, number = head
    attention = model.model.layers[layer].self_attn
    own = slice(number * _D_HEAD, (number + 1) * _D_HEAD)
    _fill(attention.q_proj.weight[own], math.sqrt(_D_HEAD) * query.T)
    _fill(attention.o_proj.weight[:, own], output.T)


def _fill(whole: Tensor, part: Tensor) -> None:
    """The part goes where the whole begins."""
    whole[tuple(slice(size) for size in part.shape)] = part


def _slow(codes: Tensor) -> Tensor:
    """Codes of tokens in the dimensions of a head that turn slowly."""
    placed = torch.zeros(D_MODEL, _D_HEAD)
    placed[:, _SLOW] = codes
    return placed


def _constant_keys(norm: _Norm) -> Tensor:
    placed = torch.zeros(D_MODEL, _D_HEAD)
    placed[:, :_FAST] = norm.read("one")
    return placed


def _constant_queries(norm: _Norm, offset: int) -> Tensor:
    """Score larger by `STEP` at the offset than at any other."""
    turns = 0.75 ** torch.arange(_FAST)
    others = torch.arange(1, CONTEXT)[:, None] * turns
    margin = (1 - others.cos()).sum(1).min()
    placed = torch.zeros(D_MODEL, _D_HEAD)
    placed[:, :_FAST] = norm.read("one") * (turns * offset).cos()
    placed[:, _D_HEAD // 2 :][:, :_FAST] = norm.read("one") * -(turns * offset).sin()
    return STEP / margin * placed


def _gpt2(codes: _Codes, last: _Norm) -> Any:
    """With embeddings and unembedding, and nothing between."""
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=CONTEXT,
        n_embd=D_MODEL,
        n_layer=LAYERS,
        n_head=HEADS,
        n_inner=HEADS,
        tie_word_embeddings=False,
        **_NO_TOKENS,
    )
    model = _empty(config, last)
    model.transformer.wte.weight.copy_(UNIT * codes["token"])
    model.transformer.wpe.weight.copy_(UNIT * codes["position"])
    return model


def _llama(codes: _Codes, last: _Norm) -> Any:
    """The same, with the code `one` at every token."""
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=CONTEXT,
        hidden_size=D_MODEL,
        intermediate_size=HEADS,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
        head_dim=_D_HEAD,
        rope_parameters={"rope_type": "default", "rope_theta": _THETA},
        tie_word_embeddings=False,
        **_NO_TOKENS,
    )
    model = _empty(config, last)
    model.model.embed_tokens.weight.copy_(UNIT * (codes["token"] + codes["one"]))
    return model


def _empty(config: transformers.PretrainedConfig, last: _Norm) -> Any:
    """All weights 0 but those of norms and of the unembedding."""
    with torch.random.fork_rng(devices=[]):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation="eager"
        )
    model.eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.zero_()
    model.lm_head.weight.copy_(LOGIT * last.read("output").T)
    return model


def _wired(
    model: nn.Module,
    norms: tuple[_Norm, _Norm, _Norm],
    roles: Mapping[Head, Role],
    receiver: Head,
    sender: Head | None = None,
    composition: Literal["keys", "queries"] | None = None,
) -> HandWired:
    bridge = bridged(copy.deepcopy(model))
    first, second, last = (norm.squared_length for norm in norms)
    lengths = first, second, last
    return HandWired(bridge, model, norms[0].codes, lengths, roles, receiver, sender, composition)
