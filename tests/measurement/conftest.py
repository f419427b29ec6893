"""Small measurements that the tests of this room share: none of them may change one."""

import sys

import plain
import pytest
import torch
from measured import SETTINGS, measured
from tiny_models import tiny_model
from universal_response import load_results, save_results, verify


@pytest.fixture(scope="module", autouse=True)
def witnesses_are_measured_again_once():
    """Of one file `verify` measures the same each time, whatever was changed in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[verify.__module__], "measure", measured)
        yield


@pytest.fixture(scope="session")
def dataset(gpt2):
    return measured(gpt2, SETTINGS)


@pytest.fixture(scope="session")
def single():
    """A model in single precision, where rounding shows."""
    return tiny_model("llama")


@pytest.fixture(scope="session")
def shipped(single):
    return measured(single, SETTINGS)


@pytest.fixture(scope="session")
def stored(shipped, tmp_path_factory):
    """The same, written and read again."""
    return load_results(save_results(shipped, tmp_path_factory.mktemp("stored") / "results.nc"))


@pytest.fixture(scope="session")
def plain_matrices(gpt2, dataset):
    """Metrics of the plain loop on the same tokens."""
    tokens = torch.from_numpy(dataset.tokens.values)
    return plain.metrics(plain.streams(gpt2, tokens, list(SETTINGS.epsilons)))
