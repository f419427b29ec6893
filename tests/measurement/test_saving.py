"""Results files: round trip, damage, failures."""

import h5py
import numpy as np
import pytest
import xarray as xr
from measured import numbers
from messages import one_line
from universal_response import load_results, save_results
from universal_response.measurement import SCHEMA_VERSIONS

VARIABLES = [
    "tokens",
    "sources",
    "n_pairs",
    "response",
    "fraction",
    "map",
    "peak_log_n",
    "pairs",
    "state_length",
]


def test_round_trip(dataset, tmp_path):
    before = dataset.copy(deep=True)
    path = save_results(dataset, tmp_path / "new" / "folder" / "results.nc")
    assert path == tmp_path / "new" / "folder" / "results.nc"
    loaded = load_results(path)
    # Errors are rounded; all other numbers of a double-precision model are as they were.
    errors = ["response_sem", "linear_sem", "geometric_sem", "linear_geometric_sem"]
    exact = [numbers(array.drop_vars(errors)) for array in (loaded, dataset)]
    xr.testing.assert_identical(*exact)
    assert list(loaded.data_vars) == list(dataset.data_vars)
    assert loaded.attrs.items() >= dataset.attrs.items()
    assert set(loaded.attrs) - set(dataset.attrs) == {"content_sha256"}
    xr.testing.assert_identical(dataset, before)
    assert [file.name for file in path.parent.iterdir()] == ["results.nc"]
    # What was read can be written again.
    assert load_results(save_results(loaded, path)).identical(loaded)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=one_line("results=[^\n]*no such file")):
        load_results(tmp_path / "nothing.nc")


@pytest.fixture(scope="module")
def few(dataset):
    """Some of the variables, since each takes its time to be written and to be read."""
    return dataset[VARIABLES]


@pytest.fixture(scope="module")
def file_bytes(few, tmp_path_factory):
    return save_results(few, tmp_path_factory.mktemp("saved") / "results.nc").read_bytes()


@pytest.fixture
def saved(file_bytes, tmp_path):
    """A results file of one's own."""
    path = tmp_path / "results.nc"
    path.write_bytes(file_bytes)
    return path


@pytest.mark.parametrize("name", VARIABLES)
def test_changed_number(saved, name):
    with h5py.File(saved, "r+") as file:
        values = file[name][...]
        values[np.isfinite(values)] += 1
        file[name][...] = values
    with pytest.raises(ValueError, match=one_line("results=[^\n]*digest")):
        load_results(saved)


@pytest.mark.parametrize(("name", "value"), [("seed", 8), ("epsilon0", 0.01), ("model", "gpt2-xl")])
def test_changed_attribute(saved, name, value):
    with h5py.File(saved, "r+") as file:
        file.attrs[name] = value
    with pytest.raises(ValueError, match=one_line("results=[^\n]*digest")):
        load_results(saved)


@pytest.mark.parametrize("fraction", [0, 0.001, 0.3, 0.5, 0.9, 0.99])
def test_truncated_file(saved, fraction):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(ValueError, match=one_line(f"results={saved}: ")):
        load_results(saved)


def test_flipped_byte_is_never_taken_for_a_result(dataset, tmp_path):
    path = save_results(dataset[["tokens", "response", "matrix"]], tmp_path / "results.nc")
    whole, expected, refused = path.read_bytes(), load_results(path), 0
    for place in range(0, len(whole), len(whole) // 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            xr.testing.assert_identical(load_results(path), expected)
        except ValueError:
            refused += 1
    assert refused > 20


def test_text_file(tmp_path):
    path = tmp_path / "text.nc"
    path.write_text("C(i, j)\n1.0\n")
    with pytest.raises(ValueError, match=one_line(f"results={path}: ")):
        load_results(path)


@pytest.mark.parametrize("schema_version", [0, 1, SCHEMA_VERSIONS["response"] + 1, "2b"])
def test_other_schema_version(few, tmp_path, schema_version):
    other = few.assign_attrs(schema_version=schema_version)
    path = save_results(other, tmp_path / "other.nc")
    with pytest.raises(ValueError, match=one_line(f"results=[^\n]*version {schema_version}")):
        load_results(path)


def test_netcdf_file_of_something_else(tmp_path):
    path = tmp_path / "weather.nc"
    xr.Dataset({"rain": ("day", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(ValueError, match=one_line("results=[^\n]*version none")):
        load_results(path)


@pytest.mark.parametrize("exists", [False, True])
def test_failed_save_leaves_nothing_and_harms_nothing(few, tmp_path, monkeypatch, exists):
    path = tmp_path / "results.nc"
    before = load_results(save_results(few, path))
    if not exists:
        path.unlink()

    def fail(self, target, **options):
        with open(target, "wb") as file:
            file.write(b"half of it")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(xr.Dataset, "to_netcdf", fail)
        with pytest.raises(OSError, match="no space"):
            save_results(2 * few, path)
    assert [file.name for file in tmp_path.iterdir()] == (["results.nc"] if exists else [])
    if exists:
        xr.testing.assert_equal(load_results(path), before)
