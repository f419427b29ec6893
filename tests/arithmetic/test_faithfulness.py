"""Circuits: nodes as they are, all others at their mean."""

from dataclasses import dataclass

import plain_adder
import pytest
import torch
from universal_response.arithmetic.faithfulness import Judge, smallest
from universal_response.arithmetic.nodes import Node, all_nodes, mean_over_problems

PROBLEMS, OTHERS = plain_adder.problems(5), plain_adder.problems(7, seed=1)
TOKENS, MEANS_OF = (torch.from_numpy(each.tokens()) for each in (PROBLEMS, OTHERS))
NODES = all_nodes(plain_adder.LAYERS, plain_adder.HEADS, range(plain_adder.PLACES - 1))


@pytest.fixture(scope="module")
def judge():
    means = mean_over_problems(plain_adder.of(OTHERS))
    return Judge(
        plain_adder.bridge(), plain_adder.of(PROBLEMS), means, NODES, plain_adder.unembedding()
    )


def test_all_nodes_are_the_model(judge):
    expected = plain_adder.digit_logits(plain_adder.passed(TOKENS))
    found = judge.answers(NODES)
    plain_adder.assert_close(found.logits, expected)
    assert found.right.tolist() == plain_adder.results(PROBLEMS)


@pytest.mark.parametrize("kept", [[], NODES[::2], NODES[5:30], NODES[-3:]], ids=len)
def test_all_others_are_at_their_mean(judge, kept):
    left_out = [node for node in NODES if node not in kept]
    means = plain_adder.mean_of(plain_adder.passed(MEANS_OF))
    changed = plain_adder.passed(TOKENS, plain_adder.putting(left_out, means))
    found = judge.answers(iter(kept)).logits
    plain_adder.assert_close(found, plain_adder.digit_logits(changed))
    assert not torch.allclose(found, plain_adder.digit_logits(plain_adder.passed(TOKENS)))


@dataclass
class Said:
    is_right: torch.Tensor


class MadeUp:
    """Of eight problems so many are right in the tens as the table says, and in the units none."""

    nodes = tuple(Node(0, head, 0) for head in range(10))

    def __init__(self, *right):
        self.right, self.asked = right, []

    def answers(self, circuit):
        circuit = list(circuit)
        assert circuit == list(self.nodes[::-1][: len(circuit)]) or circuit == list(self.nodes)
        self.asked.append(len(circuit))
        right = torch.zeros(8, 2, dtype=torch.bool)
        right[: self.right[len(circuit)], 1] = True
        return Said(right)


@pytest.mark.parametrize(
    ("part", "sizes", "expected"),
    [
        (0.5, range(11), 3),  # 4 of 8
        (0.51, range(11), 5),  # 5 of 8
        (0.95, range(11), 10),  # 8 of 8: it was 7 before
        (0.5, [0, 2, 4, 6], 5 + 1),  # at 4 it is worse than at 3
        (0.5, [4, 5, 10], 5),
        (0.5, [0, 1, 2], 10),  # none of those tried
        (0.95, [0, 64], 10),  # more than there are
    ],
)
def test_the_smallest_circuit_that_suffices(part, sizes, expected):
    judge = MadeUp(0, 1, 2, 4, 3, 5, 5, 6, 7, 7, 8)
    assert smallest(judge, judge.nodes[::-1], sizes, 1, part) == expected


def test_a_part_is_of_what_the_model_solves_itself():
    judge = MadeUp(0, 1, 2, 2, 3, 3, 3, 3, 3, 3, 4)
    assert smallest(judge, judge.nodes[::-1], range(11), 1, 0.5) == 2
    assert smallest(judge, judge.nodes[::-1], range(11), 0, 1.0) == 0
