"""A model and the sequences on which its heads are studied."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations.logits import Unembedding, unembedding_of
from universal_response.activations.outputs import Metric, Outputs, mean_by_position, outputs
from universal_response.activations.weights import LayerWeights, layer_weights
from universal_response.heads.behaviour import predictions
from universal_response.heads.replacing import Head
from universal_response.heads.scores import SCORES, attention_scores
from universal_response.heads.study.settings import HeadSettings
from universal_response.heads.summaries import CLASSES
from universal_response.measurement import numbers
from universal_response.response import above, holm, mean_and_error
from universal_response.sequences import repeated_random_tokens


def mean_and_sem(name: str, dims: tuple[str, ...], by_sequence: Tensor) -> dict[str, xr.DataArray]:
    """A variable and its standard error, over the last axis: sequences."""
    values = xr.DataArray(numbers(by_sequence), dims=(*dims, "any"))
    found = mean_and_error(values, "any")
    return {name: found["mean"], f"{name}_sem": found.error}


@dataclass(frozen=True)
class Material:
    """A model, and what the parts of its study share; each is computed when it is first needed.

    Attributes:
        model: a bridge whose attention can be opened.
        settings: of the study.
        done: parts that are finished, by name.
    """

    model: TransformerBridge
    settings: HeadSettings
    done: dict[str, xr.Dataset] = field(default_factory=dict)

    @cached_property
    def _tokens(self) -> list[Int[Tensor, "sequence token"]]:
        mine = self.settings
        sizes = (mine.chosen_on, mine.means_of, mine.evaluated_on)
        generator = np.random.default_rng(mine.seed)
        drawn = repeated_random_tokens(mine.t0, sum(sizes), self.model.cfg.d_vocab, generator)
        return list(torch.from_numpy(drawn).split(sizes))

    @property
    def chosen_on(self) -> Int[Tensor, "sequence token"]:
        return self._tokens[0]

    @property
    def means_of(self) -> Int[Tensor, "sequence token"]:
        return self._tokens[1]

    @property
    def evaluated_on(self) -> Int[Tensor, "sequence token"]:
        return self._tokens[2]

    def unrepeated(self, tokens: Int[Tensor, "sequence token"]) -> Int[Tensor, "sequence token"]:
        """The same first blocks, each followed by that of another sequence."""
        t0 = self.settings.t0
        return torch.cat([tokens[:, :t0], tokens[:, :t0].roll(1, 0)], 1)

    def gapped(self, tokens: Int[Tensor, "sequence token"]) -> Int[Tensor, "sequence longer"]:
        """The same blocks with other random tokens between them, of another number in each."""
        t0 = self.settings.t0
        generator = np.random.default_rng(self.settings.seed)
        widest = max(t0 // 2, 1)
        rows = []
        for row in tokens.numpy():
            gap = int(generator.integers(1, widest + 1))
            other = generator.integers(self.model.cfg.d_vocab, size=widest)
            rows.append(np.concatenate([row[:t0], other[:gap], row[t0:], other[gap:]]))
        return torch.from_numpy(np.stack(rows))

    @cached_property
    def sources(self) -> Int[Tensor, "sequence source"]:
        """Perturbed tokens of the first block, drawn anew for each sequence, one in each part."""
        mine = self.settings
        edges = np.arange(mine.sources + 1) * mine.t0 // mine.sources
        generators = np.random.default_rng(mine.seed).spawn(mine.evaluated_on)
        drawn = [one.integers(edges[:-1], edges[1:]) for one in generators]
        return torch.from_numpy(np.stack(drawn))

    @cached_property
    def weights(self) -> list[LayerWeights]:
        return layer_weights(self.model)

    @cached_property
    def unembedding(self) -> Unembedding:
        return unembedding_of(self.model)

    @cached_property
    def means(self) -> list[Float[Tensor, "1 token head d_head"]]:
        """Of every layer what its heads mix of repeated tokens, mean over sequences."""
        return mean_by_position(outputs(self.means_of, self.model))

    @cached_property
    def unrepeated_means(self) -> list[Float[Tensor, "1 token head d_head"]]:
        """The same of tokens that are not repeated."""
        return mean_by_position(outputs(self.unrepeated(self.means_of), self.model))

    @cached_property
    def zeros(self) -> list[Float[Tensor, "1 1 head d_head"]]:
        return [torch.zeros_like(each[:, :1]) for each in self.means]

    def evaluated(self, n: int) -> Outputs:
        """A run of the first n sequences that are evaluated."""
        return outputs(self.evaluated_on[:n], self.model)

    @cached_property
    def mapped(self) -> Outputs:
        return self.evaluated(self.settings.mapped_on)

    @cached_property
    def patched(self) -> Outputs:
        return self.evaluated(self.settings.patched_on)

    def logit_difference(self, tokens: Int[Tensor, "sequence token"]) -> Metric:
        """Mean over the queries of the second block, of every sequence."""

        def metric(normed: Tensor) -> Tensor:
            return predictions(normed, tokens, self.unembedding).logit_difference.mean(1)

        return metric

    @cached_property
    def scores(self) -> dict[str, Float[np.ndarray, "score sequence layer head"]]:
        """Attention scores by input: repeated tokens, and unrepeated ones as a null."""
        inputs = {"repeated": self.chosen_on, "unrepeated": self.unrepeated(self.chosen_on)}
        return {
            name: numbers(attention_scores(tokens, self.model)) for name, tokens in inputs.items()
        }

    @cached_property
    def classes(self) -> dict[str, list[Head]]:
        """Heads by what they look at, the strongest first.

        Called so are heads whose score is above that of unrepeated tokens (for heads that look at
        the token before: above that of the others' mean, since repetition does not matter to them),
        Holm-corrected at 1 %, and at least `least_score`.
        """
        found = {}
        for name in CLASSES:
            place = list(SCORES).index(name)
            score, null = (self.scores[kind][place] for kind in ("repeated", "unrepeated"))
            if name == "previous_token":
                null = np.broadcast_to(score.mean((1, 2), keepdims=True), score.shape)
            mean = score.mean(0)
            chosen = holm(above(score, null)) & (mean >= self.settings.least_score)
            ranked = np.argsort(-mean, axis=None)
            at = [divmod(int(k), mean.shape[1]) for k in ranked]
            found[name] = [head for head in at if chosen[head]]
        return found

    @property
    def induction_layers(self) -> list[int]:
        """Layers that have induction heads."""
        return sorted({layer for layer, _ in self.classes["induction"]})

    def same_layers(self, heads: list[Head], generator: np.random.Generator) -> list[Head]:
        """As many heads as there are of each layer, drawn from those that are not among them."""
        found = []
        for layer in sorted({layer for layer, _ in heads}):
            n = sum(at == layer for at, _ in heads)
            others = [h for h in range(self.weights[layer].n_heads) if (layer, h) not in heads]
            drawn = generator.choice(len(others), min(n, len(others)), replace=False)
            found += [(layer, others[k]) for k in sorted(drawn)]
        return found
