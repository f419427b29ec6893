"""What the shipped results must show, asserted from them and from a small fresh measurement."""

import re

import numpy as np
import pytest
from shipped import RESULTS, shipped_results
from universal_response import (
    DEFAULT,
    REGISTRY,
    Settings,
    load_model,
    measure,
    measurement,
    response,
    settings_of,
)
from universal_response.measurement.results import attributes_in
from universal_response.measurement.schema import kind_in
from universal_response.sequences import Arrangement, arranged_random_tokens

FILES = [
    path for path in sorted(RESULTS.glob("*.nc")) if kind_in(attributes_in(path)) == "response"
]
# One file a model at the scale of the paper; those on text are smaller.
MODELS = [path for path in FILES if path.stem in REGISTRY]
BOS = {"smollm2-135m": 1, "gemma-3-270m": 2}  # as their tokenizers have it
SMALL = (3e-4, 0.05)  # the range over which chi_delta follows epsilon / epsilon0


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def any_file(request):
    return shipped_results(request.param.stem)


@pytest.fixture(scope="module", params=MODELS, ids=lambda path: path.stem)
def shipped(request):
    return shipped_results(request.param.stem)


@pytest.fixture(scope="module")
def smollm2():
    return shipped_results("smollm2-135m")


@pytest.fixture(scope="module")
def fresh():
    """A sequence at T0 = 32, half of the shipped ones, with another seed."""
    model = load_model("smollm2-135m", tokenizer=False)
    settings = Settings(t0=32, batch=1, epsilons=(0.003, 0.03, 0.05), seed=1, linear=False)
    return measure(model, settings)


def induction_peak(dataset):
    """C_delta at T0 - 1 over every other dj in the window, and over the window's median."""
    at = {
        "metric": "delta",
        "position": response.last(dataset),
        "delta_j": dataset.window.values,
    }
    near = response.at_epsilon(dataset.response.sel(at), 0.05)
    t0 = dataset.attrs["t0"]
    peak = float(near.sel(delta_j=t0 - 1))
    return peak / float(near.drop_sel(delta_j=t0 - 1).max()), peak / float(near.median())


def test_at_least_two_models_are_shipped():
    assert {"smollm2-135m", "gemma-3-270m"} <= {path.stem for path in MODELS}


def test_shipped_scale_is_that_of_the_paper(shipped):
    attrs, epsilons = shipped.attrs, shipped.epsilon.values
    assert (attrs["t0"], attrs["batch"], attrs["epsilon0"]) == (64, 32, 0.05)
    assert (shipped.sizes["token"], shipped.sizes["sequence"]) == (128, 32)
    assert attrs["dtype"] == "float32"
    assert attrs["input"] == "repeated random tokens"
    assert set(DEFAULT.epsilons) <= set(epsilons)
    assert {"linear", "linear_sem", "linear_last_sum"} <= set(shipped.data_vars)
    settings = measurement.settings_of(shipped)
    assert (settings.sources, settings.linear) == (None, True)
    assert np.isfinite(shipped.response_sem).all()
    assert float(shipped.response_sem.max()) > 0


def test_shipped_files_are_named_after_their_models():
    for path in MODELS:
        assert shipped_results(path.stem).attrs["model"] == path.stem


def test_shipped_provenance_is_complete(any_file):
    attrs = any_file.attrs
    expected = {
        "schema_version", "model", "weights_sha256", "quantisation", "t0", "batch", "epsilon0",
        "distance", "sources", "perturbation", "products",
        "seed", "input", "dtype", "device", "architecture", "versions",
        "git_commit", "wall_time_s", "created", "content_sha256",
    }  # fmt: skip
    assert expected <= set(attrs)
    assert all(str(value) not in ("", "unknown") for value in attrs.values())
    # Measured with a committed state of the library, which `-dirty` would deny.
    assert re.fullmatch("([^ ]+-g)?[0-9a-f]{40}", attrs["git_commit"])
    assert re.fullmatch("[0-9a-f]{64}", attrs["weights_sha256"])
    assert attrs["schema_version"] == measurement.SCHEMA_VERSIONS["response"]
    assert attrs["wall_time_s"] > 0


def test_shipped_files_are_small():
    assert max(path.stat().st_size for path in FILES) <= 4e6


def test_shipped_tokens_are_those_of_the_seed(any_file):
    if any_file.attrs["input"] == "text":
        assert any_file.attrs["seed"] == "none"
        assert re.fullmatch("[0-9a-f]{64}", any_file.attrs["text_sha256"])
        assert (any_file.token_label.str.len() > 0).all()
        return
    batch, t = any_file.tokens.shape
    model = any_file.attrs["model"].removesuffix("@random")
    vocabulary = REGISTRY[model].config["vocab_size"]
    if any_file.attrs["input"] == "tokens":  # with a gap, as `distance` says
        t0 = t - int(any_file.attrs["distance"]) - 1
        generator = np.random.default_rng(0)
        gap = Arrangement(gap=t - 2 * t0)
        expected = arranged_random_tokens(t0, batch, vocabulary, generator, gap, True)
    else:
        generator, asked = np.random.default_rng(any_file.attrs["seed"]), settings_of(any_file)
        expected = arranged_random_tokens(
            asked.t0,
            batch,
            vocabulary,
            generator,
            asked.arrangement,
            asked.distinct,
            BOS.get(model),
        )
    np.testing.assert_array_equal(any_file.tokens, expected)


def test_matrix_and_response_tell_the_same(any_file):
    if "matrix" not in any_file:
        assert any_file.attrs["sources"] != "all"  # a control
        return
    at = {"position": response.last(any_file)}
    function = response.at_epsilon(any_file.response.sel(at), any_file.attrs["epsilon0"])
    # As a matrix is stored: relative, of a cosine absolute.
    last_bit = 2.0 ** -measurement.stored_bits("matrix")
    for metric in any_file.metric.values:
        matrix = any_file.matrix.sel(metric=metric).values
        diagonals = [np.diagonal(matrix, k).mean() for k in range(len(matrix))]
        bounds = (0, last_bit) if metric.startswith("theta") else (last_bit, 0)
        np.testing.assert_allclose(diagonals, function.sel(metric=metric), *bounds)


def of_sequences(dataset, place):
    """Sums of each sequence, numbers of pairs, and where to find their average."""
    sums = dataset[f"{place}_sum"]
    average = dataset.linear if place.startswith("linear") else dataset.response
    at = {
        "last": {"position": response.last(dataset)},
        "peak": {"delta_j": dataset.attrs["t0"] - 1},
    }
    short = place.removeprefix("linear_")
    return sums, response.pairs_at(dataset, short), average.sel(at[short]), at[short]


@pytest.mark.parametrize("place", ["last", "peak", "linear_last"])
def test_sequences_and_response_tell_the_same(shipped, place):
    """The mean of what is kept of each sequence is the response, to the bits that are kept."""
    sums, n, expected, _ = of_sequences(shipped, place)
    mean = response.mean_over_pairs(sums, n).transpose(*expected.dims)
    # Of single precision numbers the leading bits are kept, of cosines parts of 1.
    size = np.maximum(abs(sums / n).max("sequence"), expected.metric.str.startswith("theta"))
    allowed = size * (half_a_unit(f"{place}_sum") + half_a_unit("response"))
    assert (abs(mean - expected) <= allowed).all()


@pytest.mark.parametrize("place", ["last", "peak"])
def test_first_sequence_and_witness_tell_the_same(shipped, place):
    sums, n, _, at = of_sequences(shipped, place)
    witness = shipped.witness.sel(at)
    off = abs((sums / n).isel(sequence=0) - witness)
    size = np.maximum(abs(witness), witness.metric.str.startswith("theta"))
    assert (off <= size * (half_a_unit(f"{place}_sum") + half_a_unit("witness"))).all()


@pytest.mark.parametrize("place", ["last", "peak", "linear_last"])
def test_standard_errors_are_those_of_the_sequences(shipped, place):
    """Halves of the sequences differ as the stored standard errors say."""
    sums, n, _, at = of_sequences(shipped, place)
    stored = (shipped.linear_sem if "linear" in place else shipped.response_sem).sel(at)
    expected = response.error_over_pairs(sums, n).transpose(*stored.dims)
    # What rounding each sequence may do to the spread of all; of cosines parts of 1 are kept.
    size = np.maximum(abs(sums / n).max("sequence"), sums.metric.str.startswith("theta"))
    rounding = half_a_unit(f"{place}_sum") * size / np.sqrt(sums.sizes["sequence"] - 1)
    allowed = (2 * half_a_unit("response_sem") * expected + rounding).transpose(*stored.dims)
    assert (abs(expected - stored) <= allowed).all()

    half = sums.sizes["sequence"] // 2
    halves = [slice(half), slice(half, None)]
    means, errors = (
        [of(sums.isel(sequence=part), n.isel(sequence=part)) for part in halves]
        for of in (response.mean_over_pairs, response.error_over_pairs)
    )
    combined = np.hypot(*errors)
    # Where only rounding differs, there is no spread to compare with.
    known = combined > rounding
    beyond = ((abs(means[0] - means[1]) > 3 * combined) & known).sum() / known.sum()
    # At l = 0 only the perturbed token responds, always alike.
    assert float(known.sum() / (combined > 0).sum()) > 0.9
    assert float(beyond) < 0.03


def half_a_unit(name):
    """Largest relative error of a stored number; a little more for those of another rounding."""
    return 1.01 * 2.0 ** -(measurement.stored_bits(name) + 1)


def test_weak_perturbations_reach_the_exact_limit(shipped):
    """C_delta(epsilon, dj) / (epsilon linear(dj)) at l = 2L, averaged over dj."""
    at = {"metric": "delta", "position": response.last(shipped)}
    limit = shipped.linear.sel(at)
    assert float(limit.min()) > 0
    weak, strong = (
        abs(float((shipped.response.sel(at | {"epsilon": epsilon}) / (epsilon * limit)).mean()) - 1)
        for epsilon in (0.003, 0.5)
    )
    assert weak < 0.01
    # Stronger perturbations depart from it, little where the embedding is soon outgrown.
    assert strong > 10 * weak


@pytest.mark.weights
def test_peak_before_the_repeated_token(smollm2, fresh):
    for dataset in (smollm2, fresh):
        over_next, over_median = induction_peak(dataset)
        assert over_next > 1
        assert over_median > 3


@pytest.mark.weights
def test_early_layers_answer_at_the_same_token(smollm2, fresh):
    for dataset in (smollm2, fresh):
        early = dataset.response.sel(metric="delta", delta_j=dataset.window.values)
        early = response.at_epsilon(early, 0.05).isel(position=slice(6, 19))
        assert set(early.idxmax("delta_j").values) == {dataset.attrs["t0"]}


@pytest.mark.weights
def test_scaling_function_is_linear_for_small_epsilon(smollm2, fresh):
    for dataset in (smollm2, fresh):
        deviation = response.relative_deviation(dataset, "delta", 0.03)["mean"]
        assert abs(deviation.sel(epsilon=slice(*SMALL))).max() < 0.06


def test_onset_lies_inside_every_model(shipped):
    onset = response.induction_onset(shipped, 0.05)
    assert onset.position is not None
    assert 0.1 < onset.position / response.last(shipped) < 0.9
