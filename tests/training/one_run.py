"""The model once more, in numpy: one run, all its sequences, head by head, no clamps."""

from dataclasses import dataclass

import numpy as np

HEADS = range(8)


@dataclass
class OneRun:
    """Parameters of a run and what it reads; x is (sequence, token, width) everywhere."""

    p: dict
    features: np.ndarray
    classes: np.ndarray
    labels: np.ndarray
    answer: np.ndarray
    epsilon: float

    @property
    def x0(self):
        e1, e2, query = np.moveaxis(
            self.features[self.classes] @ self.p["exemplar_map"] + self.p["exemplar_bias"], 1, 0
        )
        l1, l2 = np.moveaxis(self.p["label_map"][self.labels], 1, 0)
        return np.stack([e1, l1, e2, l2, query], 1)

    @property
    def target(self):
        return self.labels[np.arange(len(self.labels)), self.answer]

    @property
    def other(self):
        return self.labels[np.arange(len(self.labels)), 1 - self.answer]

    def normed(self, which, x):
        centred = x - x.mean(-1, keepdims=True)
        centred = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.epsilon)
        return centred * self.p[f"gain{which}"] + self.p[f"shift{which}"]

    def weights(self, layer, name, head):
        own = slice(8 * head, 8 * head + 8)
        weight = self.p[f"w_{name}{layer}"]
        return weight[own] if name == "o" else weight[:, own]

    def patterns(self, layer, queries, keys):
        """A list of (sequence, query, key), one for each head."""
        q, k = self.normed(layer, queries), self.normed(layer, keys)
        return [
            attention(q @ self.weights(layer, "q", head), k @ self.weights(layer, "k", head))
            for head in HEADS
        ]

    def values(self, layer, x):
        return [self.normed(layer, x) @ self.weights(layer, "v", head) for head in HEADS]

    def added(self, layer, patterns, values):
        """What each head adds, a list."""
        return [patterns[head] @ values[head] @ self.weights(layer, "o", head) for head in range(8)]

    def layer(self, layer, x):
        """Patterns, values, and what each head adds, where all is as ever."""
        patterns, values = self.patterns(layer, x, x), self.values(layer, x)
        return patterns, values, self.added(layer, patterns, values)

    def logits(self, x):
        return self.normed("", x[:, -1]) @ self.p["unembed"] + self.p["unembed_bias"]

    def strength(self, pattern):
        """Attention of the query to the right label less that to the wrong one."""
        rows = np.arange(len(pattern))
        right, wrong = 1 + 2 * self.answer, 3 - 2 * self.answer
        return (pattern[rows, 4, right] - pattern[rows, 4, wrong]).mean()

    def scores(self, x):
        """Accuracy, loss, difference of logits."""
        logits, rows = self.logits(x), np.arange(len(x))
        right, wrong = logits[rows, self.target], logits[rows, self.other]
        losses = np.log(np.exp(logits).sum(-1)) - right
        accuracy = (logits.argmax(-1) == self.target).mean()
        return np.array([accuracy, losses.mean(), (right - wrong).mean()])


def attention(q, k):
    """(sequence, query, key), of queries and keys (sequence, token, 8) before they are turned."""
    scores = np.einsum("std,sud->stu", turned(q), turned(k)) / np.sqrt(8)
    scores[:, np.triu(np.ones((5, 5)), 1) == 1] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def turned(x):
    """(sequence, token, 8): pairs of neighbours turned by angles that grow with the token."""
    rates = 10_000.0 ** (-np.arange(4) / 4)
    factors = np.exp(1j * np.arange(x.shape[1])[:, None] * rates)
    pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * factors
    return np.stack([pairs.real, pairs.imag], -1).reshape(x.shape)


def runs_of(model, sequences):
    """Every run of a model by itself."""
    for run in range(model.n_runs):
        p = {name: each[run].double().numpy() for name, each in model.parameters.items()}
        one = sequences[run]
        read = (each.numpy() for each in (one.classes, one.labels, one.answer))
        yield OneRun(p, model.exemplars.double().numpy(), *read, model.norm_epsilon)
