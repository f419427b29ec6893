"""Small measurements that the tests of this room share."""

import plain
import pytest
import torch
from measured import SETTINGS
from tiny_models import tiny_model
from universal_response import load_results, measure, save_results


@pytest.fixture(scope="module")
def dataset(gpt2):
    return measure(gpt2, SETTINGS)


@pytest.fixture(scope="module")
def single():
    """A model in single precision, where rounding shows."""
    return tiny_model("llama")


@pytest.fixture(scope="module")
def shipped(single):
    return measure(single, SETTINGS)


@pytest.fixture(scope="module")
def stored(shipped, tmp_path_factory):
    """The same, written and read again."""
    return load_results(save_results(shipped, tmp_path_factory.mktemp("stored") / "results.nc"))


@pytest.fixture(scope="module")
def plain_matrices(gpt2, dataset):
    """Metrics of the plain loop on the same tokens."""
    tokens = torch.from_numpy(dataset.tokens.values)
    return plain.metrics(plain.streams(gpt2, tokens, list(SETTINGS.epsilons)))


@pytest.fixture(scope="module")
def file_bytes(dataset, tmp_path_factory):
    return save_results(dataset, tmp_path_factory.mktemp("saved") / "results.nc").read_bytes()


@pytest.fixture
def saved(file_bytes, tmp_path):
    """A results file of one's own."""
    path = tmp_path / "results.nc"
    path.write_bytes(file_bytes)
    return path
