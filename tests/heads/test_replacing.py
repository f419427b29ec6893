"""Ablation and patching, against Hugging Face models with hooks, and on circuits set by hand."""

import hand_wired
import plain
import pytest
import raw
import runs
import torch
from runs import TOKENS, close
from tiny_models import LAYERS
from universal_response import activations, heads
from universal_response.propagation import PatchEdge, ReplaceHeads

FAMILIES = ("gpt2", "gemma3", "gpt_neox")
OTHERS = runs.blocks(seed=1, sequences=3)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


def mean_difference(family):
    return runs.difference(runs.hf_run(family).logits).mean(1)


# outputs -----------------------------------------------------------------------------------------


def test_outputs_are_those_of_the_model(family):
    of, hf = runs.outputs(family), runs.hf_model(family)
    with plain.uncast(), plain._exact(hf), torch.no_grad():
        attended = raw.attended(hf, TOKENS)
    states = plain.plain_streams(hf, TOKENS, [0.0]).clean
    close(torch.stack(of.states), states)
    close(of.normed, runs.last(family)[0])
    for z, seen in zip(of.z, attended, strict=True):
        close(z, seen.z.transpose(1, 2))
    step = (len(states) - 1) // LAYERS
    assert of.inputs == [0, step, 2 * step]
    for layer in range(LAYERS):
        assert (of.start(layer).layer, of.start(layer).state is of.states[layer * step]) == (
            layer,
            True,
        )


def test_means_by_position():
    of = runs.outputs("gpt2", OTHERS)
    found = activations.mean_by_position(of)
    for mean, z in zip(found, of.z, strict=True):
        close(mean, ((z[0] + z[1] + z[2]) / 3)[None])


# heads -------------------------------------------------------------------------------------------


def replacements(family):
    of = runs.outputs(family, OTHERS)
    return {
        "means": activations.mean_by_position(of),
        "zeros": [torch.zeros_like(z[:1, :1]) for z in of.z],
        "another run": [z[:2] for z in of.z],
    }


@pytest.mark.parametrize(
    ("family", "by"), [("gpt2", "means"), ("gemma3", "zeros"), ("gpt_neox", "another run")]
)
def test_each_replaced(family, by):
    hf, of, other = runs.hf_model(family), runs.outputs(family), replacements(family)[by]
    model = runs.bridge(family)
    with plain.uncast():
        found = heads.each_replaced(of, model, other, runs.metric_of(family))
    expected = torch.empty(LAYERS, 4, runs.SEQUENCES, dtype=torch.float64)
    for layer, head in heads.all_heads(of):
        with raw.heads_replaced(hf, layer, [head], other[layer][:, :, [head]]):
            expected[layer, head] = mean_difference(family)
    close(found, expected)
    assert float((expected - mean_difference(family)).abs().min()) > 0


def test_a_circuit_alone(family):
    hf, of, by = runs.hf_model(family), runs.outputs(family), replacements(family)["means"]
    circuit, model = [(1, 2), (0, 3), (2, 0)], runs.bridge(family)
    with plain.uncast():
        found = heads.run(of, model, heads.kept(of, circuit, by), runs.metric_of(family))
    rest = [(0, [0, 1, 2]), (1, [0, 1, 3]), (2, [1, 2, 3])]
    with raw.all_of(*(raw.heads_replaced(hf, n, each, by[n][:, :, each]) for n, each in rest)):
        close(found, mean_difference(family))


def test_nothing_replaced_and_everything_of_another_run(family):
    """Patched with the same run nothing changes; with all of another run only embeddings differ."""
    of, metric, model = runs.outputs(family), runs.metric_of(family), runs.bridge(family)
    every = heads.all_heads(of)
    with plain.uncast():
        for edits in ([], heads.replaced(every, of.z), heads.kept(of, every, of.z)):
            close(heads.run(of, model, edits, metric), metric(of.normed))


def test_edits_by_layer():
    of = runs.outputs("gpt2")
    edits = heads.replaced([(2, 1), (0, 3), (2, 0)], of.z)
    assert all(isinstance(each, ReplaceHeads) for each in edits)
    assert {each.layer: list(each.heads) for each in edits} == {2: [1, 0], 0: [3]}
    assert torch.equal(edits[0].by, of.z[2][:, :, [1, 0]])
    edges = heads.edges((0, 2), [(1, 1), (2, 3), (1, 0)], "keys", of.z)
    assert all(isinstance(each, PatchEdge) for each in edges)
    assert {each.layer: list(each.heads) for each in edges} == {1: [1, 0], 2: [3]}
    for each in edges:
        assert (each.sender, each.through) == ((0, 2), "keys")
        assert torch.equal(each.by, of.z[0][:, :, 2])


# circuits set by hand ----------------------------------------------------------------------------

N = 12
THROUGH = ("queries", "keys", "values")


def distinct(sequences, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = [
        torch.randperm(hand_wired.VOCABULARY, generator=generator)[:N] for _ in range(sequences)
    ]
    return torch.stack(rows).repeat(1, 2)


class Circuit:
    """A model set by hand, a run of it, and how far the right token stands out."""

    def __init__(self, make):
        self.wired = make()
        self.tokens = distinct(2, seed=0)
        self.of = activations.outputs(self.tokens, self.wired.bridge)
        others = activations.outputs(distinct(24, seed=1), self.wired.bridge)
        self.by = {
            "means": activations.mean_by_position(others),
            "zeros": [torch.zeros_like(z[:1, :1]) for z in others.z],
        }
        self.unembedding = activations.unembedding_of(self.wired.bridge)

    def metric(self, normed):
        return heads.predictions(normed, self.tokens, self.unembedding).logit_difference.mean(1)

    @property
    def clean(self):
        return float(self.metric(self.of.normed).mean())

    def cut(self, sender, through, by):
        """The share of the logit difference that is left."""
        receivers = [self.wired.receiver]
        if through != "queries" and self.wired.bridge.cfg.n_key_value_heads is not None:
            layer, head = self.wired.receiver
            receivers = [(layer, head - head % 2), (layer, head - head % 2 + 1)]
        model = self.wired.bridge
        found = heads.edge_patched(
            self.of, model, sender, receivers, through, self.by[by], self.metric
        )
        return float(found.mean()) / self.clean


@pytest.fixture(scope="module", params=hand_wired.INDUCTION, ids=lambda make: make.__name__)
def circuit(request):
    return Circuit(request.param)


def test_one_edge_carries_the_composition(circuit):
    """Keys for two models and queries for the third; no other edge, and no other sender."""
    assert circuit.clean > 10
    for head in range(4):
        for through in THROUGH:
            left = circuit.cut((0, head), through, "zeros")
            carries = (0, head) == circuit.wired.sender and through == circuit.wired.composition
            if carries:
                assert left < 0.2, (head, through)
            else:
                # The scale of the norm before the receiver changes.
                assert 0.9 < left < 1.2, (head, through)


def test_a_mean_by_position_leaves_codes_of_positions(circuit):
    """Where a token stood before is the same in all sequences, as in them all it is T0 back.

    So the model through queries does not lose what its sender writes, while of tokens, which the
    models through keys read, only the mean is left.
    """
    wired = circuit.wired
    left = circuit.cut(wired.sender, wired.composition, "means")
    if wired.composition == "keys":
        assert left < 0.3
    else:
        assert left > 0.95
    assert (circuit.cut(wired.sender, wired.composition, "zeros") < 0.2) is True


def test_heads_of_the_circuit_are_needed(circuit):
    found = heads.each_replaced(
        circuit.of, circuit.wired.bridge, circuit.by["zeros"], circuit.metric
    )
    left = found.mean(2) / circuit.clean
    for layer, head in circuit.wired.roles:
        if (layer, head) in (circuit.wired.sender, circuit.wired.receiver):
            assert float(left[layer, head]) < 0.2
        else:
            assert float(left[layer, head]) > 0.9
