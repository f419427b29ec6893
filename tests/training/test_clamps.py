"""Clamps: of nothing, of a value, of a rule, of some runs, and what is refused."""

import plain_training as plain
import pytest
import torch
from messages import one_line
from universal_response import training
from universal_response.training import CLAMPS, Clamp, progress

LAST = 4


def sequences(n=3, runs=2):
    split = training.Task().split("training")
    return training.stacked(
        [split.drawn(n, training.generator_of(run, "clamps")) for run in range(runs)]
    )


def logits_and_gradients(model, clamps):
    parameters = [each.detach().requires_grad_() for each in model.parameters.values()]
    named = dict(zip(model.parameters, parameters, strict=True))
    done = training.forward(
        training.Model(named, model.exemplars, model.norm_epsilon), sequences(), clamps
    )
    found = torch.autograd.grad(progress.loss(done).sum(), parameters, materialize_grads=True)
    return [done["logits"], *found]


NOTHING = {
    "no clamps": (),
    "itself": tuple(Clamp(name, lambda value, done: value) for name in training.ACTIVATIONS),
    "no heads": (
        *training.dropped(1, []),
        *training.kept(2, range(8)),
        *training.previous_token([]),
        *training.matched(heads=[]),
    ),
    "as before": training.pattern_preserving(1, []) + training.value_preserving(2, []),
    "some runs": training.of_runs([(), (Clamp("z1", lambda value, done: value),)]),
    "of no run": training.of_runs([(), ()]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NOTHING)
def test_a_clamp_of_nothing_is_no_clamp_bit_for_bit(name, dtype):
    model = plain.random_model().to(dtype)
    expected = training.forward(model, sequences())
    found = training.forward(model, sequences(), NOTHING[name])
    for each in training.ACTIVATIONS:
        assert torch.equal(found[each], expected[each]), each


def test_gradients_without_a_clamp_are_those_of_a_clamp_of_nothing():
    model = plain.random_model().to(torch.float32)
    plainly = logits_and_gradients(model, ())
    for name in ("itself", "no heads", "some runs"):
        for a, b in zip(logits_and_gradients(model, NOTHING[name]), plainly, strict=True):
            assert torch.equal(a, b), name


@pytest.mark.parametrize("name", training.ACTIVATIONS)
def test_the_clamped_activation_is_what_it_was_set_to(name):
    model, read = plain.random_model(), sequences()
    generator = torch.Generator().manual_seed(1)
    base = training.forward(model, read)
    value = torch.rand(base[name].shape, generator=generator, dtype=torch.float64)
    found = training.forward(model, read, [Clamp(name, value)])
    assert torch.equal(found[name], value)
    place = training.ACTIVATIONS.index(name)
    for before in training.ACTIVATIONS[:place]:
        assert torch.equal(found[before], base[before]), before
    if name != "logits":
        assert not torch.equal(found["logits"], base["logits"])


def test_the_clamps_of_the_source_set_what_they_say():
    model, read = plain.random_model(), sequences()
    done = {name: training.forward(model, read, clamps) for name, clamps in CLAMPS.items()}
    assert (done["none"]["v2"][:, :, [0, 1, 2, 4, 5, 6, 7]] == 0).all()
    assert (done["none"]["v2"][:, :, 3] != 0).all()
    looked = done["PT"]["pattern1"][:, :, 2]
    assert (looked[..., 0, 0] == 1).all()
    assert (looked.diagonal(-1, 2, 3) == 1).all()
    assert (looked.sum((-1, -2)) == 5).all()
    x = done["L1"]["x0"]
    assert torch.equal(done["L1"]["x1"], x)
    for token, before in enumerate((0, 0, 1, 2, 4)):
        assert torch.equal(done["L1"]["key_input2"][:, :, token], x[:, :, before])
        assert torch.equal(done["L1"]["query_input2"][:, :, token], x[:, :, before])
    assert torch.equal(done["L1"]["value_input2"], x)
    assert (progress.induction_strength(done["match"])[:, 3] == 1).all()
    assert (done["match"]["pattern2"][:, :, 3, LAST, [0, 2, 4]] == 0).all()
    logits = done["copy"]["logits"]
    assert torch.equal((logits > -1e8).sum(-1), torch.full((2, 3), 2))
    found = logits.gather(-1, read.labels)
    assert torch.equal(found, done["copy"]["scores2"][:, :, 3, LAST, [1, 3]])


def test_the_strength_of_a_match_is_exact():
    done = training.forward(plain.random_model(), sequences(), training.matched(0.3))
    seen = progress.attention_to_labels(done)[:, :, 3]
    assert torch.equal(seen, torch.tensor([0.3, 0.7], dtype=torch.float64).expand(2, 3, 2))


def test_gradients_flow_through_what_is_not_clamped():
    """The pattern of head 2 is fixed: its queries and keys learn nothing, its values do."""
    model = plain.random_model()
    found = dict(
        zip(
            ["logits", *model.parameters],
            logits_and_gradients(model, training.previous_token()),
            strict=True,
        )
    )
    columns = slice(16, 24)
    assert (found["w_q1"][..., columns] == 0).all()
    assert (found["w_k1"][..., columns] == 0).all()
    assert (found["w_v1"][..., columns] != 0).any()
    assert (found["w_q1"][..., 24:] != 0).any()


def test_every_run_has_its_own_clamps():
    names = list(CLAMPS)
    model, read = plain.random_model(range(6)), sequences(runs=6)
    mixed = training.forward(model, read, training.of_runs([CLAMPS[name] for name in names]))
    for run, name in enumerate(names):
        alone = training.forward(model.of([run]), read[[run]], CLAMPS[name])
        torch.testing.assert_close(mixed["logits"][[run]], alone["logits"], rtol=1e-12, atol=0)


def test_clamps_of_one_activation_go_in_order_in_every_run():
    one = Clamp("logits", lambda value, done: value * 0 + 1)
    twice = Clamp("logits", lambda value, done: value * 2)
    model, read = plain.random_model(), sequences()
    found = training.forward(model, read, training.of_runs([(one, twice), (twice, one)]))
    assert (found["logits"][0] == 2).all()
    assert (found["logits"][1] == 1).all()


def test_a_clamp_that_runs_share_is_computed_once():
    assert len(training.of_runs([CLAMPS["none"], CLAMPS["PT"], CLAMPS["L1"]])) == 5


def test_wrong_clamps_are_refused():
    model, read = plain.random_model(), sequences()
    with pytest.raises(ValueError, match=one_line("clamp=mlp1: no such activation; choose one of")):
        Clamp("mlp1", torch.zeros(1))
    for to in (torch.zeros(2, 3, 8, 5, 4), lambda value, done: value[:, :1], torch.zeros(())):
        with pytest.raises(ValueError, match=one_line(r"clamp=pattern2: its shape \(.*\) is not")):
            training.forward(model, read, [Clamp("pattern2", to)])
    with pytest.raises(ValueError, match=one_line("clamps: of 3 runs, the model has 2")):
        training.forward(model, read, training.of_runs([CLAMPS["none"], (), ()]))
    with pytest.raises(ValueError, match=one_line("model: of 1 runs; graft one of 2")):
        training.forward(model, read, training.grafted(model.of([0])))
    with pytest.raises(ValueError, match=one_line("heads: there is no head 8; use 0 to 7")):
        training.kept(2, [8])


def test_clamps_are_told_apart_in_words():
    words = {repr(clamps) for clamps in CLAMPS.values()}
    words |= {repr(training.matched(s)) for s in (0.5, 0.7)}
    words |= {repr(training.kept(2, [head])) for head in range(8) if head != 3}
    words |= {repr(training.kept(1, [3])), repr(training.dropped(2, [3]))}
    words |= {repr(training.grafted(plain.random_model(seeds))) for seeds in ((0,), (1,))}
    assert len(words) == len(CLAMPS) + 2 + 7 + 2 + 2
