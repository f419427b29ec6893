"""The parts of the study of adders find a circuit that was put there by hand, and nothing else.

`copying_model` says what the model does. Everything that is expected here follows from its weights.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from copying_model import (
    ASKED,
    AT_SIGN,
    CONSTANT,
    HEADS,
    LAYERS,
    RECEIVER,
    SENDER,
    SENT_FROM,
    SOURCE,
    UNIT,
    WIDTH,
    copying_model,
    rewired,
    scale,
)
from universal_response.activations import unembedding_of
from universal_response.arithmetic import (
    AdderSettings,
    ArithmeticSettings,
    Problems,
    all_problems,
    places,
)
from universal_response.arithmetic.answers import answers
from universal_response.arithmetic.effects import each_patched
from universal_response.arithmetic.lens import lens, written
from universal_response.arithmetic.nodes import Node, all_nodes
from universal_response.arithmetic.responding import raised, scaled
from universal_response.arithmetic.study import causes
from universal_response.arithmetic.study.material import Material
from universal_response.models import bridged
from universal_response.propagation import positions

KNOWN = {Node(*SENDER, SENT_FROM), Node(*RECEIVER, ASKED)}
NODES = all_nodes(LAYERS, HEADS, range(len(places(2)) - 1))
SETTINGS = ArithmeticSettings(
    chosen_on=64, means_of=128, evaluated_on=64, probed_on=16, draws=6, dtype="float32"
)


class Copied(Material):
    """A study's material, of those problems alone whose result ends as the first operand does."""

    @property
    def known(self) -> Problems:
        every = all_problems(2)
        every = every[every.second % 10 == 0]
        return every[np.random.default_rng(0).permutation(len(every))]


def measured(hf_model):
    """What several tests ask of a model: runs of problems and of donors, and effects of nodes."""
    model = bridged(hf_model)
    material = Copied(model, AdderSettings(), SETTINGS)
    of, by = material.run("evaluated_on"), material.run("donors")
    unembedding = unembedding_of(model)
    return SimpleNamespace(
        model=model,
        material=material,
        of=of,
        by=by,
        unembedding=unembedding,
        said=answers(of.normed, of.tokens, unembedding),
        effects=each_patched(NODES, of, by, model, unembedding).logit[..., 0],
    )


@pytest.fixture(scope="module")
def copying():
    return measured(copying_model())


def accuracy(one, nodes) -> float:
    """Of the units, all other nodes at their mean."""
    return one.material.judge("evaluated_on").answers(nodes).is_right[:, 0].double().mean().item()


def chance(one) -> float:
    """The largest share that is right where the same digit is said whatever is asked."""
    digits = one.of.tokens[:, SOURCE]
    return digits.bincount(minlength=10).max().item() / len(digits)


def test_it_copies_the_units_of_the_first_operand_whatever_the_problem():
    tokens = torch.from_numpy(all_problems(2).tokens())
    logits = copying_model()(tokens).logits[:, ASKED]
    assert torch.equal(logits.argmax(-1), tokens[:, SOURCE])
    best = logits.topk(2).values
    assert (best[:, 0] - best[:, 1]).min() > 8


def test_its_answers_are_right_where_the_second_operand_ends_with_zero(copying):
    assert copying.said.is_right[:, 0].all()
    assert copying.material.is_right(copying.material.known)[:, 0].all()


def test_idle_parts_are_not_silent(copying):
    """They hold digits, too: that they have no effect says something."""
    for layer, head, place in ((0, 0, SOURCE), (0, 2, ASKED), (1, 0, ASKED), (1, 3, ASKED)):
        assert copying.of.z[layer][:, place, head].std(0).max() > 0.2
    for added in copying.of.mlps:
        assert added[:, SOURCE].std(0).max() > 1


def test_patching_finds_both_nodes_and_no_other(copying):
    # With a patch the digits change places: half the change of their difference is all of it.
    right, donor = (each.tokens[:, SOURCE] for each in (copying.of, copying.by))
    rows, log_probability = torch.arange(len(right)), copying.said.log_probability[:, 0]
    gap = log_probability[rows, right] - log_probability[rows, donor]
    different = right != donor
    assert different.sum() > 40
    for node, effect in zip(NODES, copying.effects, strict=True):
        expected = gap if node in KNOWN else torch.zeros_like(gap)
        torch.testing.assert_close(
            effect[different], expected[different], rtol=1e-4, atol=1e-4, msg=str(node)
        )
        assert effect[~different].isnan().all()


def test_the_study_draws_its_map_of_effects_so(copying):
    found = causes.indirect_effects(copying.material).logit_effect.isel(answer=0)
    for node in NODES:
        component = "mlp" if node.head is None else f"head {node.head}"
        of_node = found.sel(component=component, place=places(2)[node.place])[:, node.layer]
        assert set(of_node.operation.values) == {"sums", "differences"}
        for effect in of_node.values:
            assert effect > 8 if node in KNOWN else abs(effect) < 1e-4, str(node)


def test_they_are_ranked_first(copying):
    ranked = copying.material.ranked(0)
    assert set(ranked[:2]) == KNOWN
    assert all(node.place <= ASKED for node in ranked)


def test_the_circuit_that_suffices_consists_of_both(copying):
    found = causes.circuit(copying.material).isel(answer=0)
    assert int(found.circuit_nodes) == 2
    by_effect = found.circuit_accuracy.sel(ranking="by effect")
    assert float(by_effect.sel(circuit_size=2)) == 1
    assert (by_effect.sel(circuit_size=[0, 1]) <= chance(copying)).all()
    # Random nodes have both or have not: nothing lies between.
    drawn = found.circuit_accuracy.isel(ranking=slice(1, None)).values
    assert ((drawn == 1) | (drawn <= chance(copying))).all()
    assert (drawn[:, 0] <= chance(copying)).all()
    assert (drawn[:, -1] == 1).all()
    ranks = found.node_rank.values
    assert {ranks[*SENDER, SENT_FROM], ranks[*RECEIVER, ASKED]} == {0, 1}


def test_nodes_without_one_of_them_are_at_chance(copying):
    assert accuracy(copying, KNOWN) == 1
    assert accuracy(copying, NODES) == 1
    for missing in KNOWN:
        others = [node for node in NODES if node != missing]
        assert accuracy(copying, others) <= chance(copying) < 0.3
    generator = np.random.default_rng(0)
    others = [node for node in NODES if node not in KNOWN]
    for size in (2, 8, 32):
        drawn = [others[k] for k in generator.choice(len(others), size, replace=False)]
        assert accuracy(copying, drawn) <= chance(copying)
        assert accuracy(copying, [*drawn, *KNOWN]) == 1


def test_the_receiver_alone_writes_the_digit(copying):
    parts = written(copying.of, copying.model, copying.unembedding)
    digit = copying.of.tokens[:, SOURCE]

    def along(logits):
        return logits[:, 0].gather(1, digit[:, None])[:, 0]

    said = along(copying.said.logits - copying.said.logits.mean(-1, keepdim=True))
    torch.testing.assert_close(along(parts.heads[RECEIVER]), said, rtol=1e-5, atol=1e-5)
    assert said.min() > 8
    for layer in range(LAYERS):
        for head in range(HEADS):
            if (layer, head) != RECEIVER:
                assert parts.heads[layer, head, :, 0].abs().max() < 1e-5
        assert parts.mlps[layer, :, 0].abs().max() < 1e-5
    assert parts.embedding[:, 0].abs().max() < 1e-5


def test_the_lens_sees_the_digit_behind_the_second_attention_only(copying):
    seen = lens(copying.of, copying.unembedding)[:, :, 0]
    digit = copying.of.tokens[:, SOURCE]
    after = after_second_attention(copying.model)
    assert seen[:after].abs().max() < 1e-5
    assert (seen[after:].argmax(-1) == digit).all()


def after_second_attention(model) -> int:
    """l behind the attention of layer 1."""
    (found,) = (at.index for at in positions(model) if (at.layer, at.sublayer) == (1, "attention"))
    return found


def test_the_answer_responds_behind_the_second_attention_only(copying):
    problems = copying.material.problems("evaluated_on")
    found = scaled(problems, copying.model, [SOURCE])[:, :, 0, 0]
    after = after_second_attention(copying.model)
    assert found[:after].max() < 1e-8
    # Half of the change gets through the norm of layer 0, and `moved` loses as much at `op`. There
    # the norm of layer 1 divides by less, for the receiver and for (1, 0) that reads a1 beside it.
    through = CONSTANT / scale(2) ** 2
    more = (UNIT**2 / WIDTH) / scale(AT_SIGN) ** 2
    change = through * UNIT * math.hypot(1 - more, more)
    length = copying.of.states[after][:, ASKED].norm(dim=-1)
    torch.testing.assert_close(found[after], change / length, rtol=1e-3, atol=0)
    assert found[after + 1 :].min() > 0.05


def test_a_digit_that_becomes_the_next_one_moves_the_answer_there_alone(copying):
    tokens = copying.of.tokens[copying.of.tokens[:, SOURCE] < 9]
    found = raised(tokens, copying.model, SOURCE)[..., 0]
    after = after_second_attention(copying.model)
    assert found[:after].max() < 1e-5
    assert found[after:].min() > 0.1


def test_with_a_wire_cut_nothing_is_found():
    cut = measured(rewired(SENDER, None))
    assert cut.effects.nan_to_num().abs().max() < 1e-4
    assert accuracy(cut, NODES) <= chance(cut) < 0.3
    problems = cut.material.problems("evaluated_on")
    response = scaled(problems, cut.model, [SOURCE])[..., 0]
    assert response.max() < 1e-5


def test_a_wire_from_elsewhere_shows():
    """Of a1, two places before the sign: the same nodes, but they bring the wrong digit."""
    other = measured(rewired(SENDER, 2))
    said = other.said.logits[:, 0].argmax(-1)
    assert torch.equal(said, other.of.tokens[:, 0])
    response = scaled(other.material.problems("evaluated_on"), other.model, [0, SOURCE])[..., 0]
    after = after_second_attention(other.model)
    assert response[after:, :, 0].min() > 0.05
    assert response[after:, :, 1].max() < 1e-5
