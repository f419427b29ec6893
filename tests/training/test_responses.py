"""Responses to labels: carried against finite differences in float64, and what norms leak."""

import pytest
import torch
from universal_response import training
from universal_response.training import LabelResponse

# Of the carried change there is no rounding error to speak of; a difference at 1e-6 of central
# finite differences is good to about 1e-9.
STEP = 1e-6


def model(epsilon, seeds=(0, 1)):
    return training.initial(seeds, norm_epsilon=epsilon).to(torch.float64)


def sequences(n=4, seeds=(0, 1)):
    split = training.Task().split("training")
    return training.stacked(
        [split.drawn(n, training.generator_of(seed, "responses")) for seed in seeds]
    )


def subtracted(of, read, token, epsilon, name="x2", clamps=()):
    """Of two passes, the second with one token scaled by 1 - epsilon."""
    x = training.forward(of, read, clamps)["x0"]
    scaled = x.clone()
    scaled[:, :, token] *= 1 - epsilon
    first, second = (
        training.forward(of, read, (*clamps, training.Clamp("x0", each)))[name]
        for each in (x, scaled)
    )
    return first, second - first


def by_hand(of, read, clamps=(), epsilon=None):
    """S of every run, sequence by sequence."""
    found = []
    for run in range(2):
        strength = {"correct": 0.0, "wrong": 0.0}
        for place in range(4):
            for pair, token in enumerate((1, 3)):
                if epsilon is None:
                    x, up = subtracted(of, read, token, STEP, clamps=clamps)
                    _, down = subtracted(of, read, token, -STEP, clamps=clamps)
                    d = (up - down) / (2 * STEP)
                else:
                    x, d = subtracted(of, read, token, epsilon, clamps=clamps)
                chi = float(d[run, place, 4].norm() / x[run, place, 4].norm())
                right = pair == int(read.answer[run, place])
                strength["correct" if right else "wrong"] += chi
        a, b = strength.values()
        found.append((a - b) / (a + b))
    return found


# With L1 nothing but the leak of the norm is left.
CASES = [(1e-5, "nothing"), (1e-12, "nothing"), (1e-5, "L1"), (1e-12, "match"), (1e-5, "PT")]


@pytest.mark.parametrize("epsilon", [None, 0.05])
@pytest.mark.parametrize(("norm_epsilon", "clamps"), CASES)
def test_the_contrast_is_that_of_finite_differences(norm_epsilon, clamps, epsilon):
    of, read = model(norm_epsilon), sequences()
    clamps = training.CLAMPS.get(clamps, ())
    found = training.label_response(of, read, epsilon, clamps).contrast
    expected = by_hand(of, read, clamps, epsilon)
    # S of order 1e-2 and more; 1e-5 of the chi is what a difference can tell.
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert max(abs(each) for each in expected) > 1e-3


def test_the_contrast_is_one_where_only_the_right_label_matters():
    one, none = torch.ones(2, 3), torch.zeros(2, 3)
    assert LabelResponse(one, none).contrast.tolist() == [1, 1]
    assert LabelResponse(none, one).contrast.tolist() == [-1, -1]
    assert LabelResponse(one, one).contrast.tolist() == [0, 0]
    # Of means, not the mean of contrasts.
    mixed = LabelResponse(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert mixed.contrast.tolist() == [0.5]


def test_a_head_that_matches_responds_to_the_right_label():
    of, read = model(1e-12), sequences()
    found = training.label_response(of, read, clamps=training.CLAMPS["match"])
    assert (found.contrast > 0.5).all()
    # Through layer 1 nothing comes, and of layer 2 but one head.
    other = training.label_response(of, read, clamps=training.matched(0.0) + training.kept(2, [3]))
    assert (other.contrast < -0.5).all()


@pytest.mark.parametrize("token", [1, 3])
def test_without_the_constant_of_the_norm_the_first_layer_passes_nothing_on(token):
    """A norm takes a scaling away, so that no later token hears of it before layer 2."""
    for norm_epsilon, leaks in ((1e-12, False), (1e-5, True)):
        value, change = training.carried(model(norm_epsilon), sequences(), token, "x1")
        chi = change.norm(dim=-1) / value.norm(dim=-1)
        later = chi[:, :, token + 1 :] / chi[:, :, [token]]
        assert (chi[:, :, :token] == 0).all()
        assert (later > 0).all()
        assert (later > 1e-4).all() if leaks else (later < 1e-6).all()


def test_with_the_first_layer_clamped_no_label_matters():
    """The query hears of a label through one norm alone, which takes its scaling away."""
    of, read = model(1e-12), sequences()
    plainly = training.label_response(of, read)
    found = training.label_response(of, read, clamps=training.CLAMPS["L1"])
    assert (plainly.correct > 1e-5).all()
    assert (found.correct < 1e-8).all()


def test_an_exemplar_is_carried_as_well():
    value, change = training.carried(model(1e-5), sequences(), 0, "pattern2")
    up, down = (subtracted(model(1e-5), sequences(), 0, s, "pattern2")[1] for s in (STEP, -STEP))
    expected = (up - down) / (2 * STEP)
    torch.testing.assert_close(change, expected, rtol=0, atol=1e-8)
    assert value.shape == (2, 4, 8, 5, 5)
