"""Whether some heads are the circuit of a behaviour: faithful, complete and minimal.

m(C) is the metric with all heads but those of C replaced by their means, m(M) that of the whole
model, m() that without any head; MLPs are always there. (Faithfulness, completeness and minimality
as in the study of indirect object identification in GPT-2.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations.outputs import Metric, Outputs
from universal_response.heads.replacing import By, Head, kept, replaced, run


@dataclass(frozen=True)
class Judge:
    """A run, and how it is judged with heads replaced.

    Attributes:
        of: the run.
        model: the same model.
        by: of every layer what heads mix when they are replaced.
        metric: of the run.
    """

    of: Outputs
    model: TransformerBridge
    by: By
    metric: Metric

    def alone(self, circuit: Iterable[Head]) -> Float[Tensor, " sequence"]:
        """m(C)."""
        return run(self.of, self.model, kept(self.of, circuit, self.by), self.metric)

    def without(self, heads: Iterable[Head]) -> Float[Tensor, " sequence"]:
        """m(M without K)."""
        return run(self.of, self.model, replaced(heads, self.by), self.metric)


def faithfulness(
    judge: Judge, ranked: Sequence[Head], sizes: Sequence[int]
) -> Float[Tensor, "size sequence"]:
    """m of the first k heads, for every size k; size 0 has none of them."""
    return torch.stack([judge.alone(ranked[:size]) for size in sizes])


def share_recovered(
    of_circuit: Float[np.ndarray, "... sequence"],
    of_none: Float[np.ndarray, " sequence"],
    of_model: Float[np.ndarray, " sequence"],
) -> Float[np.ndarray, "..."]:
    """(m(C) - m()) / (m(M) - m()), means over sequences before the ratio."""
    none, whole = of_none.mean(), of_model.mean()
    return (of_circuit.mean(-1) - none) / (whole - none)


@dataclass(frozen=True)
class Removal:
    """Some heads taken out of a circuit, and out of the model.

    Attributes:
        heads: K.
        circuit: m(C without K), (sequence,).
        model: m(M without K), (sequence,).
    """

    heads: tuple[Head, ...]
    circuit: Float[Tensor, " sequence"]
    model: Float[Tensor, " sequence"]

    @property
    def incompleteness(self) -> float:
        """|m(C without K) - m(M without K)|: near 0 for every K of a complete circuit."""
        return float((self.circuit.mean() - self.model.mean()).abs())


def removal(judge: Judge, circuit: Sequence[Head], heads: Iterable[Head]) -> Removal:
    """Take heads out of a circuit and out of the model."""
    out = tuple(sorted(heads))
    return Removal(out, judge.alone(set(circuit) - set(out)), judge.without(out))


def greedy_removals(judge: Judge, circuit: Sequence[Head], steps: int) -> list[Removal]:
    """Take out, step by step, the head that makes the circuit least complete."""
    found = [removal(judge, circuit, ())]
    for _ in range(min(steps, len(circuit))):
        taken = set(found[-1].heads)
        tried = [removal(judge, circuit, taken | {head}) for head in circuit if head not in taken]
        found.append(max(tried, key=lambda each: each.incompleteness))
    return found


def minimality(
    judge: Judge, circuit: Sequence[Head], others: Sequence[Sequence[Head]]
) -> dict[Head, float]:
    """Of every head v the largest |m(C without (K + v)) - m(C without K)| over some K.

    Near 0 for a head that the circuit does not need.

    Args:
        judge: how it is judged.
        circuit: C.
        others: every K that is tried beside the empty one; v itself is left out of it.
    """
    found = {}
    for head in circuit:
        tried = {tuple(sorted(set(each) - {head})) for each in ((), *others)}
        found[head] = max(
            abs(float((_alone(judge, circuit, {*k, head}) - _alone(judge, circuit, k)).mean()))
            for k in tried
        )
    return found


def _alone(judge: Judge, circuit: Sequence[Head], without: Iterable[Head]) -> Tensor:
    return judge.alone(set(circuit) - set(without))
