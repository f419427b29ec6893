"""The model and its clamps once more: one run, one sequence, loops over heads and tokens."""

import cmath

import torch
from universal_response.training import Model, initial

HEADS = range(8)
TOKENS = range(5)


def random_model(seeds=(0, 1), epsilon=1e-5, labels=5):
    """In float64, with no parameter at 0 or 1, where a mistake could hide."""
    model = initial(seeds, labels, epsilon).to(torch.float64)
    generator = torch.Generator().manual_seed(7)
    moved = {
        name: each + 0.1 * torch.randn(each.shape, generator=generator, dtype=each.dtype)
        for name, each in model.parameters.items()
    }
    return Model(moved, model.exemplars, epsilon)


def of_run(model, run):
    """Its parameters, as a plain dictionary that gradients are taken of."""
    return {name: each[run].clone().requires_grad_() for name, each in model.parameters.items()}


def norm(x, gain, shift, epsilon):
    centred = x - x.sum() / 64
    variance = (centred @ centred) / 64
    return centred / (variance + epsilon) ** 0.5 * gain + shift


def turned(x, token):
    """Pairs of neighbours as complex numbers, times e^(i angle)."""
    angles = [token / 10_000 ** (2 * pair / 8) for pair in range(4)]
    factors = torch.tensor([cmath.exp(1j * angle) for angle in angles], dtype=torch.complex128)
    pairs = torch.complex(x[0::2], x[1::2]) * factors
    return torch.view_as_real(pairs).flatten()


def plain(p, features, classes, labels, answer, epsilon, **clamps):
    """All activations of one sequence.

    Clamps: silent {(layer, head)}, previous {head}, shifted (L1), match {head: strength}, copy
    (head), patterns and values {(layer, head): ...}, no_path, x1, x0.
    """
    e1, e2, query = (features[c] @ p["exemplar_map"] + p["exemplar_bias"] for c in classes)
    l1, l2 = (p["label_map"][label] for label in labels)
    x = clamps.get("x0") or [e1, l1, e2, l2, query]
    seen = {"x0": x, "patterns": {}, "values": {}}
    for layer in (1, 2):
        x = _layer(p, seen, layer, x, answer, epsilon, clamps)
        seen[f"x{layer}"] = x
    last = x[4]
    if clamps.get("no_path"):
        last = seen["x0"][4] + seen["out2"][4]
    seen["last"] = last
    seen["logits"] = norm(last, p["gain"], p["shift"], epsilon) @ p["unembed"] + p["unembed_bias"]
    if "copy" in clamps:
        logits = [torch.tensor(-1e9, dtype=last.dtype) for _ in seen["logits"]]
        for place, label in enumerate(labels):
            logits[label] = seen["scores"][2, clamps["copy"]][4][1 + 2 * place]
        seen["logits"] = torch.stack(logits)
    return seen


def _layer(p, seen, layer, x, answer, epsilon, clamps):
    x0 = seen["x0"]
    of_queries = of_keys = of_values = x
    if layer == 2 and clamps.get("shifted"):
        of_queries = of_keys = [x0[0], x0[0], x0[1], x0[2], x0[4]]
    queries, keys, values = (
        [norm(each, p[f"gain{layer}"], p[f"shift{layer}"], epsilon) for each in read]
        for read in (of_queries, of_keys, of_values)
    )
    out = [0.0 for _ in TOKENS]
    for head in HEADS:
        columns = slice(8 * head, 8 * head + 8)
        q = [turned(queries[t] @ p[f"w_q{layer}"][:, columns], t) for t in TOKENS]
        k = [turned(keys[t] @ p[f"w_k{layer}"][:, columns], t) for t in TOKENS]
        v = [values[t] @ p[f"w_v{layer}"][:, columns] for t in TOKENS]
        v = clamps.get("values", {}).get((layer, head), v)
        if (layer, head) in clamps.get("silent", ()):
            v = [torch.zeros_like(each) for each in v]
        scores = [[(q[t] @ k[s]) / 8**0.5 for s in range(t + 1)] for t in TOKENS]
        pattern = [_weights(row) for row in scores]
        pattern = clamps.get("patterns", {}).get((layer, head), pattern)
        if layer == 1 and head in clamps.get("previous", ()):
            pattern = [[1.0], *([0.0] * (t - 1) + [1.0, 0.0] for t in (1, 2, 3, 4))]
        if layer == 2 and head in clamps.get("match", {}):
            right = clamps["match"][head]
            looked = [0.0] * 5
            looked[1 + 2 * answer], looked[3 - 2 * answer] = right, 1 - right
            pattern = [*pattern[:4], looked]
        seen.setdefault("scores", {})[layer, head] = scores
        seen["patterns"][layer, head] = pattern
        seen["values"][layer, head] = v
        for t in TOKENS:
            z = sum(pattern[t][s] * v[s] for s in range(t + 1))
            out[t] = out[t] + z @ p[f"w_o{layer}"][columns]
    seen[f"out{layer}"] = out
    if layer == 1 and clamps.get("shifted"):
        return x0
    if layer == 1 and "x1" in clamps:
        return clamps["x1"]
    return [a + b for a, b in zip(x, out, strict=True)]


def _weights(scores):
    largest = max(float(score.detach()) for score in scores)
    weights = [(score - largest).exp() for score in scores]
    return [weight / sum(weights) for weight in weights]


def loss(logits, target):
    """Minus the log probability."""
    largest = logits.max()
    return (logits - largest).exp().sum().log() + largest - logits[target]
