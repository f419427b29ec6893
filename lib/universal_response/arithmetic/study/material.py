"""A model that adds, and the problems on which it is studied."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations import (
    Outputs,
    Unembedding,
    neuron_activations,
    outputs,
    unembedding_of,
)
from universal_response.arithmetic.answers import answers, tokens_of
from universal_response.arithmetic.effects import Effects, each_patched
from universal_response.arithmetic.faithfulness import Judge
from universal_response.arithmetic.nodes import Node, all_nodes, mean_over_problems
from universal_response.arithmetic.problems import Problems, answer_places, joined, places
from universal_response.arithmetic.settings import AdderSettings
from universal_response.arithmetic.splits import Split, split
from universal_response.arithmetic.study.settings import ArithmeticSettings
from universal_response.propagation import forward
from universal_response.response import mean_and_error

OPERATIONS = ("sums", "differences")


def mean_and_sem(
    name: str, dims: tuple[str, ...], values: np.ndarray, over: str = "problem"
) -> dict[str, xr.DataArray]:
    """A variable and its standard error over one of its dimensions, nan left out."""
    found = mean_and_error(xr.DataArray(values, dims=dims), over)
    return {name: found["mean"], f"{name}_sem": found.error}


@dataclass(frozen=True)
class Material:
    """A model, and what the parts of its study share; each is computed when it is first needed.

    Attributes:
        model: a bridge.
        trained: how it was trained: what it has seen.
        settings: of the study.
        done: parts that are finished, by name.
    """

    model: TransformerBridge
    trained: AdderSettings
    settings: ArithmeticSettings
    done: dict[str, xr.Dataset] = field(default_factory=dict)

    @cached_property
    def split(self) -> Split:
        return split(self.trained.withheld, self.trained.seed, self.trained.digits)

    @cached_property
    def known(self) -> Problems:
        """Problems of the kinds that training has, those held out among them, in random order."""
        every = joined([self.split.training, self.split.held_out])
        return every[np.random.default_rng(self.settings.seed).permutation(len(every))]

    @cached_property
    def _drawn(self) -> dict[str, Problems]:
        """Disjoint parts of the known problems, half of each sums."""
        mine, found, first = self.settings, {}, 0
        kinds = [self.known[self.known.minus == minus] for minus in (False, True)]
        sizes = {
            "chosen_on": mine.chosen_on,
            "chosen donors": mine.chosen_on,
            "means_of": mine.means_of,
            "evaluated_on": mine.evaluated_on,
            "donors": mine.evaluated_on,
            "probed_on": mine.probed_on,
        }
        least = min(map(len, kinds))
        for name, size in sizes.items():
            # From the beginning again where there are too few, as of one digit.
            rows = (first + np.arange(size // 2)) % least
            first += size // 2
            found[name] = joined([kind[rows] for kind in kinds])
        return found

    def problems(self, name: str) -> Problems:
        """Of one of the parts; its first half are sums."""
        return self._drawn[name]

    def run(self, name: str) -> Outputs:
        """A run of one of the parts."""
        if name not in self._runs:
            self._runs[name] = outputs(tokens_of(self.problems(name), self.model), self.model)
        return self._runs[name]

    @cached_property
    def _runs(self) -> dict[str, Outputs]:
        return {}

    def is_minus(self, name: str) -> np.ndarray:
        """Which problems of a part are differences."""
        return self.problems(name).minus

    @property
    def places(self) -> list[str]:
        return places(self.trained.digits)

    @cached_property
    def nodes(self) -> list[Node]:
        """All that can matter: at the last place nothing is predicted."""
        cfg = self.model.cfg
        return all_nodes(cfg.n_layers, cfg.n_heads, range(len(self.places) - 1))

    @cached_property
    def unembedding(self) -> Unembedding:
        return unembedding_of(self.model)

    @cached_property
    def means(self) -> Outputs:
        return mean_over_problems(self.run("means_of"))

    @cached_property
    def neuron_means(self) -> list[Tensor]:
        """Of every layer, (1, place, neuron)."""
        every = neuron_activations(self.run("means_of"), self.model)
        return [each.mean(0, keepdim=True) for each in every]

    def judge(self, name: str) -> Judge:
        return Judge(self.model, self.run(name), self.means, self.nodes, self.unembedding)

    @cached_property
    def chosen_effects(self) -> Effects:
        """Of every node, on problems on which nodes are chosen."""
        of, by = self.run("chosen_on"), self.run("chosen donors")
        return each_patched(self.nodes, of, by, self.model, self.unembedding)

    def ranked(self, answer: int) -> list[Node]:
        """Nodes that can matter to a digit of the result, those of largest effect on it first.

        By the size of the mean effect on its logit difference, mean over operations.
        """
        effect, minus = self.chosen_effects.logit, torch.from_numpy(self.is_minus("chosen_on"))
        by_operation = [
            effect[:, minus == each, answer].nanmean(1).nan_to_num() for each in (False, True)
        ]
        size = torch.stack(by_operation).abs().mean(0)
        order = [self.nodes[k] for k in size.argsort(descending=True, stable=True).tolist()]
        return [node for node in order if node.place <= self.answering(answer)]

    def answering(self, answer: int) -> int:
        """The place at which a digit of the result is predicted."""
        return answer_places(len(self.places)).start + answer

    def is_right(self, problems: Problems) -> np.ndarray:
        """Whether each digit of the result is right, bool (problem, answer)."""
        return self.right_behind(tokens_of(problems, self.model))

    def right_behind(self, tokens: Tensor) -> np.ndarray:
        """Whether each digit that ends a sequence of tokens is the most likely digit there."""
        normed = forward(tokens, self.model)
        return answers(normed, tokens, self.unembedding).is_right.cpu().numpy()
