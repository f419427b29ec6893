"""Parameters set by hand, so that it is known which head feeds which.

Of layer 1, head 2 looks at the token before and writes what it shows; head 6 looks at its own token
and writes which label it is. Of layer 2, head 5 finds the letter of the query in the keys that head
2 has written, and carries to the output the labels that head 6 has written. Heads 4 of both layers
are of random weights, head 4 of layer 1 writing where nothing reads; the others have none.
"""

import math

import torch
from universal_response import training
from universal_response.training import Model, features

BEFORE, COPIER, INDUCTION, IDLE = 2, 6, 5, 4
# Directions are orthogonal, to each other and to the mean that a norm takes off.
CONSTANT, LETTER, LABEL, WRITTEN_LETTER, WRITTEN_LABEL, ANSWER, UNREAD = (
    slice(1, 2),
    *(slice(8 * n, 8 * n + 8) for n in range(1, 7)),
)
# How much larger scores are where a head looks.
SHARP, FINDS = 12.0, 60.0


def directions():
    """(64, 64): Hadamard's matrix, rows of unit length."""
    found = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(6):
        found = torch.cat([torch.cat([found, found], 1), torch.cat([found, -found], 1)])
    return found / 8


def model():
    """One run, in float64."""
    d = directions()
    blank = training.initial([0], labels=5).to(torch.float64)
    p = {name: torch.zeros_like(each[0]) for name, each in blank.parameters.items()}
    generator = torch.Generator().manual_seed(3)
    for name in ("gain1", "gain2", "gain"):
        p[name] += 1
    _embed(p, d, generator)
    # A constant for queries and keys of layer 1, whose turns alone then tell tokens apart.
    p["shift1"] += 8 * d[CONSTANT][0]
    for head, distance in ((BEFORE, 1), (COPIER, 0)):
        _at_distance(p, d, head, distance)
    _carry(p, 1, BEFORE, d[LETTER], d[WRITTEN_LETTER], 3)
    _carry(p, 1, COPIER, d[LABEL], d[WRITTEN_LABEL], 3)
    _carry(p, 2, INDUCTION, d[WRITTEN_LABEL], d[ANSWER], 3)
    # Of slow turns only: the last three pairs of the eight numbers. One is for labels alone: the
    # first token, which looks at itself, shows its own letter too.
    p["shift2"] += 8 * d[CONSTANT][0]
    query, key = _own(p["w_q2"], INDUCTION), _own(p["w_k2"], INDUCTION)
    query[:, 2:7], key[:, 2:7] = FINDS * d[LETTER][:5].T, d[WRITTEN_LETTER][:5].T
    query[:, 7], key[:, 7] = FINDS * d[CONSTANT][0], d[LABEL][:5].sum(0)
    p["unembed"] += d[ANSWER][:5].T
    _idle(p, d, generator)
    parameters = {name: each[None] for name, each in p.items()}
    return Model(parameters, blank.exemplars, 1e-5)


def sequences(n=30):
    split = training.Task().split("training")
    return training.stacked([split.drawn(n, training.generator_of(0, "hand set"))])


def _embed(p, d, generator):
    """Letters at random in their directions, about equally long; labels one direction each."""
    shown = torch.from_numpy(features()).double()
    placed = torch.randn(512, 8, generator=generator, dtype=torch.float64) / math.sqrt(512)
    p["exemplar_map"] += 6 * placed @ d[LETTER]
    p["exemplar_bias"] -= 6 * shown.mean(0) @ placed @ d[LETTER]
    p["label_map"] += 5 * d[LABEL][:5]


def _at_distance(p, d, head, distance):
    """Looks back so far: the first pair turns by 1 a token, and is compared at its own angle."""
    score = torch.tensor([math.cos(distance), math.sin(distance)], dtype=torch.float64)
    key = torch.tensor([1.0, 0.0], dtype=torch.float64)
    _own(p["w_q1"], head)[:, :2] = SHARP * d[CONSTANT].T * (score * torch.tensor([1.0, -1.0]))
    _own(p["w_k1"], head)[:, :2] = d[CONSTANT].T * key


def _carry(p, layer, head, read, written, scale):
    _own(p[f"w_v{layer}"], head)[:] = read.T
    p[f"w_o{layer}"][8 * head : 8 * head + 8] = scale * written


def _idle(p, d, generator):
    for layer in (1, 2):
        for name in ("w_q", "w_k", "w_v"):
            own = _own(p[f"{name}{layer}"], IDLE)
            own[:] = torch.randn(own.shape, generator=generator, dtype=own.dtype) / 8
        own = p[f"w_o{layer}"][8 * IDLE : 8 * IDLE + 8]
        own[:] = torch.randn(8, 8, generator=generator, dtype=own.dtype) @ d[UNREAD] / 8
    # Nor does head 4 of layer 2 read what others write.
    for name in ("w_q2", "w_k2", "w_v2"):
        own = _own(p[name], IDLE)
        own -= d[16:].T @ (d[16:] @ own)


def _own(weight, head):
    return weight[:, 8 * head : 8 * head + 8]
