"""Training a small GPT-2: optimizers, steps, settings, and going on after a kill."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from killing import counted, kill
from messages import one_line
from small_gpt2 import NETWORK, PHASES, SMALL
from universal_response.training import gpt2
from universal_response.training.gpt2 import Gpt2Settings, Network, learning
from universal_response.training.gpt2.blocks import generator_of_step
from universal_response.training.gpt2.network import SCALE, sinusoids
from universal_response.training.gpt2.optimizer import part_of_rate
from universal_response.training.gpt2.state import begun


def bits(state):
    """All that decides how a training goes on, without the time it took."""
    return {
        name: (each.dtype, each.detach().numpy().tobytes())
        for name, each in state.tensors().items()
        if name != "times"
    }


@pytest.fixture(scope="module")
def trained():
    return bits(gpt2.train(SMALL))


# network -----------------------------------------------------------------------------------------


def test_the_network_is_that_of_the_settings():
    model = gpt2.initial(Network(), 0)
    assert sum(each.numel() for each in model.parameters()) == 628_480
    assert model.lm_head.weight is model.transformer.wte.weight
    assert {each.p for each in model.modules() if isinstance(each, torch.nn.Dropout)} == {0.0}
    norms = [each.eps for each in model.modules() if isinstance(each, torch.nn.LayerNorm)]
    assert norms == [1e-8] * 9


def test_random_weights_are_those_of_the_seed_and_of_nothing_else():
    before = torch.get_rng_state()
    model = gpt2.initial(NETWORK, 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(17)
    again, other = gpt2.initial(NETWORK, 3), gpt2.initial(NETWORK, 4)
    for name, each in model.named_parameters():
        assert torch.equal(each, again.get_parameter(name))
        if each.ndim == 2 and "wpe" not in name:
            assert not torch.equal(each, other.get_parameter(name))


def test_scales_of_random_weights():
    model = gpt2.initial(Network(), 0).transformer
    scales = {"wte": SCALE, "h.1.attn.c_attn": 0.02, "h.1.mlp.c_proj": 0.02 / math.sqrt(8)}
    for name, scale in scales.items():
        assert model.get_parameter(f"{name}.weight").std().item() == pytest.approx(scale, rel=0.03)


def test_positions_are_sinusoids():
    found = sinusoids(7, 6)
    for position in range(7):
        for k in range(3):
            angle = position / 1e4 ** (2 * k / 6)
            expected = [SCALE * math.sin(angle), SCALE * math.cos(angle)]
            assert found[position, 2 * k : 2 * k + 2].tolist() == pytest.approx(expected, abs=1e-7)
    assert torch.equal(gpt2.initial(NETWORK, 0).transformer.wpe.weight, sinusoids(40, 16))


# optimizers --------------------------------------------------------------------------------------


def test_every_parameter_is_of_one_optimizer():
    model = gpt2.initial(NETWORK, 0)
    matrices, others = gpt2.grouped(model)
    named = dict(model.named_parameters())
    assert matrices.keys() | others.keys() == named.keys()
    assert not matrices.keys() & others.keys()
    assert all(each is named[name] for name, each in (matrices | others).items())
    inside = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert set(matrices) == {f"transformer.h.{k}.{name}.weight" for k in (0, 1) for name in inside}
    muon, adam = gpt2.optimizers(model, SMALL)
    owned = [
        [id(each) for group in one.param_groups for each in group["params"]] for one in (muon, adam)
    ]
    assert owned == [[id(each) for each in group.values()] for group in (matrices, others)]
    assert (type(muon).__name__, type(adam).__name__) == ("Muon", "AdamW")


def test_muon_makes_the_singular_values_of_a_step_alike():
    """Whatever the shape; where a matrix of GPT-2 has more inputs, its step is the longer."""
    model = gpt2.initial(Network(), 0)
    state = replace(begun(replace(SMALL, network=Network())), model=model)
    settings = replace(SMALL, network=Network(), weight_decay=0.0, warm_up=1)
    state.optimizers = gpt2.optimizers(model, settings)
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    learning.step(state, settings, gpt2.drawn(PHASES[1], 40, generator_of_step(0, 0)))
    for name, each in gpt2.grouped(model)[0].items():
        inputs, outputs = each.shape
        length = 0.03 * math.sqrt(max(1, inputs / outputs))
        values = torch.linalg.svdvals((each.detach() - before[name]).double()) / length
        # What five steps of Newton-Schulz in bfloat16 leave; of few sequences few are not small.
        assert 0.9 < float(values[0]) < 1.3, name
        assert float(values[7]) > 0.7, name


def test_rates_rise_stay_and_fall():
    settings = replace(SMALL, phases=(replace(PHASES[0], steps=20),), warm_up=4, decay=0.25)
    parts = [part_of_rate(done, settings) for done in range(20)]
    assert parts[:4] == [0.25, 0.5, 0.75, 1.0]
    assert parts[4:16] == [1.0] * 12
    assert parts[16:] == [0.8, 0.6, 0.4, 0.2]


def test_a_step_is_that_of_a_loop():
    """Loss token by token; the gradient clipped by hand; each optimizer with its rate."""
    settings = replace(SMALL, clip=0.1, warm_up=4)
    state, model = begun(settings), gpt2.initial(NETWORK, 0)
    matrices, others = gpt2.grouped(model)
    both = (
        torch.optim.Muon(matrices.values(), weight_decay=0.01),
        torch.optim.AdamW(others.values(), betas=(0.9, 0.95), weight_decay=0.01),
    )
    for done in range(3):
        blocks = gpt2.drawn(PHASES[0], 40, generator_of_step(5, done))
        found = learning.step(state, settings, blocks)
        expected = plain_loss(model, blocks)
        assert found == pytest.approx(float(expected.detach()), rel=1e-5)
        model.zero_grad()
        expected.backward()
        length = math.sqrt(sum(float(each.grad.square().sum()) for each in model.parameters()))
        assert length > 0.1
        for each in model.parameters():
            each.grad *= 0.1 / length
        for optimizer, rate in zip(both, (0.03, 3e-3), strict=True):
            optimizer.param_groups[0]["lr"] = rate * (done + 1) / 4
            optimizer.step()
    for name, each in model.named_parameters():
        # Of steps of 1e-3; where a gradient is small its rounding counts in AdamW and Muon.
        tolerance = 2e-4 if name in matrices else 2e-5
        torch.testing.assert_close(
            state.model.get_parameter(name), each, rtol=0, atol=tolerance, msg=name
        )


def plain_loss(model, blocks):
    """Token by token."""
    lost = []
    for tokens, positions, scored in zip(
        blocks.tokens, blocks.positions, blocks.scored, strict=True
    ):
        logits = model(tokens[None], position_ids=positions[None]).logits[0]
        for place in range(1, len(tokens)):
            if scored[place]:
                lost.append(-logits[place - 1].log_softmax(0)[tokens[place]])
    return torch.stack(lost).mean()


# training ----------------------------------------------------------------------------------------


def test_the_same_settings_give_the_same_bits(trained):
    assert bits(gpt2.train(SMALL)) == trained
    assert bits(gpt2.train(replace(SMALL, seed=1))) != trained


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 6])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, monkeypatch, trained, steps):
    kill(lambda: gpt2.train(SMALL, tmp_path), learning, monkeypatch, steps)
    done = counted(learning, monkeypatch)
    state = gpt2.train(SMALL, tmp_path)
    assert bits(state) == trained
    assert len(done) == 7 - steps // 2 * 2
    # What is finished is not trained again, and its time is kept.
    again = gpt2.train(SMALL, tmp_path)
    assert bits(again) == trained
    assert len(done) == 7 - steps // 2 * 2
    assert (again.wall_time_s, again.processor_time_s) == pytest.approx(
        (state.wall_time_s, state.processor_time_s)
    )
    assert again.wall_time_s > 0


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    gpt2.train(SMALL, tmp_path)
    for name, changed in {"seed": 1, "phases": PHASES[:1], "clip": 2.0}.items():
        with pytest.raises(ValueError, match=one_line(rf"checkpoint=\S+: of {name}=.*, not ")):
            gpt2.train(replace(SMALL, **{name: changed}), tmp_path)


def test_a_training_is_observed_at_every_step():
    seen = []

    def observe(step, phase, model):
        seen.append((step, phase, model.transformer.wte.weight.sum().item()))

    gpt2.train(SMALL, observe=observe)
    assert [each[:2] for each in seen] == [(0, 0), *((k, int(k > 4)) for k in range(1, 8))]
    assert len({each[2] for each in seen}) == 8
    assert seen[0][2] == gpt2.initial(NETWORK, 0).transformer.wte.weight.sum().item()


def test_phases_are_trained_in_order(monkeypatch):
    shapes, step = [], learning.step

    def seen(state, settings, blocks):
        shapes.append(blocks.tokens.shape)
        return step(state, settings, blocks)

    monkeypatch.setattr(learning, "step", seen)
    gpt2.train(SMALL)
    assert shapes == [(4, 10)] * 4 + [(3, 16)] * 3
    assert SMALL.ends == [4, 7]
    assert [SMALL.phase_of(k) for k in (1, 4, 5, 7)] == [0, 0, 1, 1]


def test_a_repeated_pattern_is_learned():
    """Five tokens in blocks of two: after 60 steps most of a second block is known."""
    phase = replace(PHASES[0], tokens=5, longest=2, t0=2, batch=16, steps=60)
    settings = replace(SMALL, phases=(phase,), network=replace(NETWORK, width=32))
    before, after = gpt2.initial(settings.network, 0), gpt2.train(settings).model
    blocks = gpt2.drawn(replace(phase, batch=64), 40, np.random.default_rng(9))
    first, last = (float(learning.loss(model, blocks)) for model in (before, after))
    assert last < 0.5 * first


# settings ----------------------------------------------------------------------------------------

WRONG = {
    "seed": ({"seed": -1}, "seed=-1: use a seed >= 0"),
    "phases": ({"phases": ()}, r"phases=\(\): give at least one"),
    "tokens": ({"network": replace(NETWORK, context=300)}, "tokens=24: use no more than vocab"),
    "length": ({"network": Network(context=100)}, "length=144: use no more than context = 100"),
    "matrix_rate": ({"matrix_rate": 0}, "matrix_rate=0: use a number > 0"),
    "rate": ({"rate": -1}, "rate=-1: use a number > 0"),
    "clip": ({"clip": 0}, "clip=0: use a number > 0"),
    "weight_decay": ({"weight_decay": -0.1}, "weight_decay=-0.1: use a number >= 0"),
    "decay": ({"decay": 0}, "decay=0: use 0 < decay <= 1"),
    "warm_up": ({"warm_up": 0}, "warm_up=0: use at least 1"),
    "every": ({"every": 0}, "every=0: use at least 1"),
    "device": ({"device": "tpu"}, "device=tpu: choose auto"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_refused_in_one_line(name):
    changed, start = WRONG[name]
    with pytest.raises(ValueError, match=one_line(start)):
        Gpt2Settings(**changed)


@pytest.mark.parametrize(
    ("changed", "start"),
    [
        ({"layers": 0}, "layers=0: use a number > 0"),
        ({"norm_epsilon": 0.0}, "norm_epsilon=0.0: use a number > 0"),
        ({"width": 36, "heads": 4}, r"width=36: use a multiple of 2 \* heads = 8"),
    ],
)
def test_a_network_that_cannot_be_is_refused_in_one_line(changed, start):
    with pytest.raises(ValueError, match=one_line(start)):
        Network(**changed)


def test_settings_are_read_back_from_their_words():
    words = json.loads(json.dumps(gpt2.described(SMALL)))
    assert gpt2.settings_from(words) == SMALL


def test_the_command_that_trains_so_again():
    default = Gpt2Settings()
    longer = replace(default.phases[-1], steps=9)
    assert gpt2.command(default) == "universal-response train gpt2-induction --out FOLDER"
    chosen = replace(default, seed=2, phases=(*default.phases[:-1], longer), device="cpu")
    assert gpt2.command(chosen, film=True) == (
        "universal-response train gpt2-induction --out FOLDER --film FILE --seed 2 --steps 9"
    )
    assert gpt2.command(SMALL) == "ur.training.gpt2.train_into(FOLDER, settings)"
