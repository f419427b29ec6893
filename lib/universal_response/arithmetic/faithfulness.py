"""How much of a model's answers some nodes give, all others at their mean."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations import Outputs, Unembedding
from universal_response.arithmetic.answers import Answers, answers
from universal_response.arithmetic.nodes import Node, replaced
from universal_response.propagation import forward


@dataclass(frozen=True)
class Judge:
    """Runs circuits: some nodes as they are, all others at their mean.

    Attributes:
        model: a bridge.
        of: a run of the problems that are asked.
        means: a run that gives the mean over other problems, `nodes.mean_over_problems`.
        nodes: all that a circuit may consist of.
        unembedding: of the model.
    """

    model: TransformerBridge
    of: Outputs
    means: Outputs
    nodes: Sequence[Node]
    unembedding: Unembedding

    def answers(self, circuit: Iterable[Node]) -> Answers:
        """Of a circuit alone."""
        kept = set(circuit)
        edits = replaced([node for node in self.nodes if node not in kept], self.means)
        tokens = self.of.tokens
        return answers(forward(tokens, self.model, edits=edits), tokens, self.unembedding)


def smallest(
    judge: Judge, ranked: Sequence[Node], sizes: Sequence[int], answer: int, part: float
) -> int:
    """The smallest size at which the first nodes are right as often as this part of the model.

    Args:
        judge: of problems on which the circuit is chosen.
        ranked: nodes, the most important first.
        sizes: that are tried, in rising order.
        answer: digit of the result, 0 for the units.
        part: of the problems that all nodes solve.
    """

    def right(nodes: Iterable[Node]) -> float:
        return float(judge.answers(nodes).is_right[:, answer].double().mean())

    whole = right(judge.nodes)
    fits = (size for size in sizes if right(ranked[:size]) >= part * whole)
    return min(next(fits, len(ranked)), len(ranked))
