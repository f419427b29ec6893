"""Controls: the catalogue, files as small as asked, and verdicts on responses made up."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from command_line import run
from scipy import stats
from universal_response import controls, load_model, load_results, measure, settings_of, verify
from universal_response.controls import ABSENT, CONTROLS, FACTOR, LEVEL, OPEN, PRESENT
from universal_response.measurement import Settings

NAME = "gpt2-induction"
BY_NAME = {each.name: each for each in CONTROLS}


def small(control):
    """The same with little to measure."""
    settings = control.settings
    t0, distance = min(settings.t0, 12), settings.distance
    asked = dataclasses.replace(
        settings, t0=t0, batch=3, distance=None if distance is None else t0 - 1
    )
    return dataclasses.replace(control, settings=asked)


@pytest.fixture(scope="module")
def model():
    return load_model(NAME, "cpu", tokenizer=False)


# the catalogue -----------------------------------------------------------------------------------


def test_one_thing_is_changed_in_each():
    (usual,) = [each for each in CONTROLS if each.name == "repeated"]
    for control in CONTROLS:
        changed = {
            name
            for name, value in vars(control.settings).items()
            if value != getattr(usual.settings, name)
        }
        if control.random_weights:
            assert not changed
        # A shorter batch of long blocks; where nothing repeats, where to look.
        assert len(changed - {"batch", "distance"}) <= 1 + (control.name == "unrepeated"), control
        assert control.settings.epsilons == ()
        assert control.settings.sources == 8


def test_names_and_words_differ():
    for attribute in ("name", "words"):
        assert len({getattr(each, attribute) for each in CONTROLS}) == len(CONTROLS)


def test_the_signature_is_expected_where_blocks_repeat_and_weights_are_trained():
    for control in CONTROLS:
        repeats = control.settings.arrangement.later == "same"
        assert control.expected == (PRESENT if repeats and not control.random_weights else ABSENT)
        assert control.settings.peak is not None


# measured ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shuffled", "gap", "direction"])
def test_a_file_holds_what_is_needed_of_the_whole_measurement(model, name, tmp_path):
    control = small(BY_NAME[name])
    found = controls.measure_control(model, control)
    whole = measure(model, control.settings)
    assert found.metric.values.tolist() == ["delta", "phi"]
    for variable in found.data_vars:
        expected = whole[variable]
        if "metric" in expected.dims:
            expected = expected.sel(metric=["delta", "phi"])
        np.testing.assert_array_equal(found[variable], expected)
    assert "linear_matrix" not in found
    assert settings_of(found).arrangement == control.settings.arrangement
    assert verify(found, model).agrees


def test_those_that_are_there_are_kept(tmp_path, monkeypatch):
    few = tuple(small(BY_NAME[name]) for name in ("repeated", "random-weights", "bos"))
    monkeypatch.setattr(controls.measure, "CONTROLS", few)
    first = controls.measure_controls(NAME, tmp_path)
    # It has no BOS token.
    assert [path.name for path in first] == [
        f"control-repeated-{NAME}.nc", f"control-random-weights-{NAME}.nc",
    ]  # fmt: skip
    assert load_results(first[1]).attrs["model"] == f"{NAME}@random"
    monkeypatch.setattr(controls.measure, "measure_control", refused)
    assert controls.measure_controls(NAME, tmp_path) == first
    other = (dataclasses.replace(few[0], settings=Settings(t0=8, batch=2, epsilons=())),)
    monkeypatch.setattr(controls.measure, "CONTROLS", other)
    with pytest.raises(RuntimeError, match="measured"):
        controls.measure_controls(NAME, tmp_path)


def refused(*arguments):
    raise RuntimeError("measured")


def test_the_command_line_measures_them(monkeypatch, capsys, tmp_path):
    few = (small(BY_NAME["distinct"]),)
    monkeypatch.setattr(controls.measure, "CONTROLS", few)
    code, said, err = run(monkeypatch, capsys, "controls", "--out", tmp_path, "--model", NAME)
    assert code == 0, err
    assert f"1 controls of {NAME}" in said
    code, said, _ = run(monkeypatch, capsys, "verify", tmp_path / f"control-distinct-{NAME}.nc")
    assert (code, "agrees" in said) == (0, True)


def test_they_are_found_where_they_are_and_else_measured(tmp_path, monkeypatch):
    few = tuple(small(BY_NAME[name]) for name in ("repeated", "seed-1"))
    for module in (controls.measure, controls.find):
        monkeypatch.setattr(module, "CONTROLS", few)
    made = controls.controls_for(NAME, tmp_path / "runs", also=[tmp_path])
    assert list(made) == ["repeated", "seed-1"]
    assert made["seed-1"].attrs["seed"] == 1
    monkeypatch.setattr(controls.measure, "measure_control", refused)
    found = controls.controls_for(NAME, tmp_path / "other", also=[tmp_path / "runs"])
    xr.testing.assert_identical(found["seed-1"], made["seed-1"])


def test_a_quick_check_takes_every_fourth_of_each_model_and_all_other_files():
    models = ("a", "gemma-3-270m", "z")
    files = [controls.control_file("r", each.name, one) for each in CONTROLS for one in models]
    others = [Path("r/a.nc"), Path("r/propagator-a.nc")]
    found = controls.in_rotation([*others, *files])
    assert found[:2] == others
    names = {one: [] for one in models}
    for path in found[2:]:
        (one,) = [one for one in models if path.stem.endswith(f"-{one}")]
        names[one].append(path.stem.removeprefix("control-").removesuffix(f"-{one}"))
    assert names["a"] == [each.name for each in CONTROLS][::4]
    assert names["z"] == [each.name for each in CONTROLS][2::4]
    assert len(set().union(*names.values())) == len(found) - 2


# verdicts ----------------------------------------------------------------------------------------


def made(ratios, distance=15, t=32):
    """A response that is 1 near `distance` and, in each sequence, this ratio times that at it."""
    logs = np.zeros((1, len(ratios), t))
    logs[0, :, distance] = np.log(ratios)
    n = np.full((1, len(ratios), t), 2)
    dims = ("metric", "sequence", "delta_j")
    return xr.Dataset(
        {"linear_last_log_sum": (dims, 2 * logs), "linear_last_log_n": (dims, n),
         "tokens": (("sequence", "token"), np.zeros((len(ratios), t)))},
        {"metric": ["delta"], "delta_j": range(t)},
        {"distance": distance},
    )  # fmt: skip


RATIOS = np.exp(np.random.default_rng(0).normal(0.8, 0.3, 32))


def test_the_ratio_is_the_geometric_mean_over_sequences():
    found = controls.signature(made(RATIOS))
    logs = np.log(RATIOS)
    assert found.ratio == pytest.approx(np.exp(logs.mean()))
    low, high = stats.t.interval(0.95, 31, logs.mean(), stats.sem(logs))
    assert (found.low, found.high) == pytest.approx((np.exp(low), np.exp(high)))
    expected = stats.ttest_1samp(logs, np.log(FACTOR), alternative="greater").pvalue
    assert found.p_present == pytest.approx(expected)
    assert found.p_absent == pytest.approx(1 - expected)


def test_sequences_without_such_a_pair_are_left_out():
    data = made(RATIOS)
    data["linear_last_log_n"][0, :5, 15] = 0
    assert controls.signature(data).n == 27
    np.testing.assert_allclose(controls.log_ratios(data), np.log(RATIOS[5:]))


def test_only_neighbours_count():
    far = made(RATIOS)
    far["linear_last_log_sum"][0, :, 30] = 99
    assert controls.signature(far) == controls.signature(made(RATIOS))
    near = made(RATIOS)
    near["linear_last_log_sum"][0, :, 16] += 2.0
    assert controls.signature(near).ratio == pytest.approx(
        controls.signature(made(RATIOS)).ratio * np.exp(-0.1)
    )


def test_a_peak_is_present_its_absence_is_shown_and_what_is_between_stays_open():
    spread = np.exp(np.random.default_rng(1).normal(0, 0.3, 32))
    found = {
        ("peak", "m"): controls.signature(made(3 * spread)),
        ("none", "m"): controls.signature(made(0.9 * spread)),
        ("between", "m"): controls.signature(made(FACTOR * spread)),
    }
    assert list(controls.verdicts(found).values()) == [PRESENT, ABSENT, OPEN]


def test_any_false_verdict_among_many_is_rarer_than_the_level():
    """All ratios at the bound: whatever is said is wrong; simulated."""
    generator, wrong, runs = np.random.default_rng(2), 0, 300
    for _ in range(runs):
        logs = np.log(FACTOR) + generator.normal(0, 0.4, (30, 16))
        t = (logs.mean(1) - np.log(FACTOR)) / (logs.std(1, ddof=1) / 4)
        found = {
            (str(k), "m"): controls.Signature(
                1, 1, 1, float(stats.t.sf(one, 15)), float(stats.t.cdf(one, 15)), 16
            )
            for k, one in enumerate(t)
        }
        wrong += any(verdict != OPEN for verdict in controls.verdicts(found).values())
    # Binomial with LEVEL, three standard deviations.
    assert wrong / runs < LEVEL + 3 * np.sqrt(LEVEL / runs)


def test_the_table_says_what_is_expected_and_what_open_ones_need():
    found = {
        ("gap", "a"): controls.Signature(9.0, 8.0, 10.0, 1e-20, 1.0, 32),
        ("shuffled", "a"): controls.Signature(1.2, 1.0, 1.4, 0.9, stats.norm.sf(1.0), 32),
    }
    table = controls.table(found, controls.verdicts(found))
    assert table.control.tolist() == [BY_NAME[name].words for name in ("gap", "shuffled")]
    assert table.expected.tolist() == [PRESENT, ABSENT]
    assert table.verdict.tolist() == [PRESENT, OPEN]
    assert table.ratio.tolist() == [9.0, 1.2]
    # Of four questions one is answered: of the three left the first is accepted at 5/3 %.
    needed = stats.norm.isf(0.05 / 3) ** 2
    assert table.sequences.tolist() == ["", str(int(np.ceil(32 * needed)))]
