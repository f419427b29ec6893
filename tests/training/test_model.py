"""Initial weights: how many, how large, of which seed."""

import torch
from universal_response import training


def test_as_many_parameters_as_the_source():
    parameters = training.initial([0]).parameters
    assert sum(each.numel() for each in parameters.values()) == 66_629


def test_weights_are_cut_normal_of_the_scale_of_their_inputs():
    parameters = training.initial(range(40)).parameters
    scales = {"exemplar_map": 512**-0.5, "w_q1": 1 / 8, "w_o2": 1 / 8, "unembed": 1 / 8}
    for name, scale in scales.items():
        each = parameters[name]
        # 13,000 numbers and more: their standard deviation is known to 1 %.
        assert abs(float(each.std()) / scale - 1) < 0.02, name
        assert abs(float(each.abs().max()) / (2 * scale / 0.87962566) - 1) < 0.01, name
    # Not corrected for the cut.
    labels = parameters["label_map"]
    assert abs(float(labels.std()) / (0.02 * 0.87962566) - 1) < 0.02
    for name in ("exemplar_bias", "shift1", "unembed_bias"):
        assert (parameters[name] == 0).all()
    assert (parameters["gain"] == 1).all()


def test_a_run_has_its_seed_wherever_it_stands():
    one, several = training.initial([4]), training.initial([0, 4])
    assert one.sha256 == several.of([1]).sha256 == training.initial([4]).sha256
    assert several.of([0]).sha256 != one.sha256
    assert (several.n_runs, several.n_labels) == (2, 5)


def test_no_two_matrices_are_the_same():
    parameters = training.initial([0]).parameters
    square = [each for name, each in parameters.items() if name.startswith("w_")]
    assert len({each.numpy().tobytes() for each in square}) == len(square) == 8
    assert not torch.equal(parameters["w_q1"], parameters["w_q2"])
