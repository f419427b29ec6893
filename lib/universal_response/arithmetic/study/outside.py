"""Failing problems of a kind that training had none of, patched from solved ones and corrected."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from universal_response.activations import Outputs, outputs
from universal_response.arithmetic.answers import answers, tokens_of
from universal_response.arithmetic.nodes import Node, moved
from universal_response.arithmetic.problems import Problems
from universal_response.arithmetic.rescue import donors_for, patched, rescued
from universal_response.arithmetic.study.causes import chosen_circuit
from universal_response.arithmetic.study.material import Material

ROWS = (
    "circuit, same answer",
    "circuit, same answer, its place withheld",
    "circuit, another answer",
    "random nodes, same answer",
    "other nodes, same answer",
    "all nodes, same answer",
    "circuit, corrected output",
    "circuit, corrected output, its place withheld",
    "circuit, corrected output, one place later",
    "none, after the error",
)


@dataclass(frozen=True)
class Failing:
    """Problems of which one digit alone is wrong.

    Attributes:
        problems: those.
        answer: the digit that fails most, 0 for the units.
    """

    problems: Problems
    answer: int


def rescue(material: Material) -> xr.Dataset:
    """Share of failing problems whose digit is right, and of those that give the donor's.

    All rows but three ask for the digit that fails. `corrected output` patches a problem that goes
    on behind its own wrong digit from the one with the right one, and asks for what comes next;
    `none, after the error` is the same unpatched. A withheld place is that at which the donor's
    answer is predicted, or that at which the corrected digit stands. `one place later` puts what
    the corrected problem has behind its right digit in the place that gives the wrong one, and asks
    for that digit, where it is not the same as the next. Random nodes are as many of those that can
    matter, other nodes all of them that are not in the circuit. Without failing problems, or a next
    digit, all are nan.
    """
    failing = _failing(material)
    n = len(failing.problems)
    found = {row: np.full((2, max(n, 1)), np.nan) for row in ROWS}
    if n:
        found |= _from_solved(material, failing)
        if failing.answer < material.trained.digits:
            found |= _corrected(material, failing)
    return xr.Dataset(
        {
            "rescued": (("rescue", "failing"), [found[row][0] for row in ROWS]),
            "as_donor": (("rescue", "failing"), [found[row][1] for row in ROWS]),
            "failing_problems": ((), n),
            "failing_answer": ((), failing.answer),
        },
        {"rescue": list(ROWS)},
    )


def _failing(material: Material) -> Failing:
    """Withheld problems whose digits are right but for one, that which fails most."""
    problems = material.split.withheld
    if not len(problems):
        return Failing(problems, 0)
    right = material.is_right(problems)
    alone = ~right & (right.sum(1, keepdims=True) == right.shape[1] - 1)
    answer = int(alone.sum(0).argmax())
    return Failing(problems[alone[:, answer]], answer)


def _from_solved(material: Material, failing: Failing) -> dict[str, np.ndarray]:
    """From problems that are solved, with the same result or with another digit."""
    generator = np.random.default_rng([material.settings.seed, 3])
    training = material.split.training
    solved, answer = training[material.is_right(training).all(1)], failing.answer
    circuit, every = chosen_circuit(material, answer), material.ranked(answer)
    before = [node for node in circuit if node.place < material.answering(answer)]

    def tried(nodes: Iterable[Node], same: bool = True) -> np.ndarray:
        chosen = donors_for(failing.problems, solved, answer, same, generator)
        there, values = chosen >= 0, np.full((2, len(chosen)), np.nan)
        if there.any():
            pair = failing.problems[there], solved[chosen[there]]
            found = rescued(*pair, nodes, answer, material.model, material.unembedding)
            values[:, there] = found.right, found.donors
        return values

    def drawn() -> list[Node]:
        return [every[k] for k in generator.permutation(len(every))[: len(circuit)]]

    found = (
        tried(circuit),
        tried(before),
        tried(circuit, same=False),
        np.mean([tried(drawn()) for _ in range(material.settings.draws)], axis=0),
        tried([node for node in every if node not in circuit]),
        tried(every),
    )
    return dict(zip(ROWS[:6], found, strict=True))


def _corrected(material: Material, failing: Failing) -> dict[str, np.ndarray]:
    """From the same problem whose own output is corrected where it is wrong."""
    model, unembedding, answer = material.model, material.unembedding, failing.answer
    tokens = tokens_of(failing.problems, model)
    corrected, place = outputs(tokens, model), material.answering(answer)
    said = answers(corrected.normed, tokens, unembedding).logits[:, answer].argmax(-1)
    wrong = tokens.clone()
    wrong[:, place + 1] = said.cpu()
    of, later = outputs(wrong, model), moved(corrected, place + 1, place)
    alike = (tokens[:, place + 1] == tokens[:, place + 2]).numpy()
    following = chosen_circuit(material, answer + 1)
    before = [node for node in following if node.place <= place]
    here = [node for node in chosen_circuit(material, answer) if node.place == place]

    def tried(nodes: list[Node], of: Outputs, by: Outputs, asked: int) -> np.ndarray:
        found = patched(of, by, nodes, asked, model, unembedding)
        return np.stack([found.right, found.donors]).astype(float)

    found = (
        tried(following, of, corrected, answer + 1),
        tried(before, of, corrected, answer + 1),
        np.where(alike, np.nan, tried(here, corrected, later, answer)),
        tried([], of, corrected, answer + 1),
    )
    return dict(zip(ROWS[6:], found, strict=True))
