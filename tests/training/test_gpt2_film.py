"""A training in a folder, filmed: what is written, how it is verified, and after a kill."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from command_line import run
from messages import one_line
from small_gpt2 import FILM, SMALL
from universal_response import Settings, load_model, load_results, measure, models, save_results
from universal_response.sequences import Arrangement, arranged_random_tokens, repeated_random_tokens
from universal_response.training import gpt2
from universal_response.training.gpt2 import FilmSettings, frames, learning, verify_film
from universal_response.training.gpt2 import folder as into_folder

pytestmark = pytest.mark.slow

STEPS = [0, 2, 4, 7]


def filmed(folder, **changed):
    return gpt2.train_into(folder / "model", replace(SMALL, **changed), folder / "film.nc", FILM)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filmed")
    filmed(folder)
    return folder


@pytest.fixture(scope="module")
def film(folder):
    return load_results(folder / "film.nc", kind="film")


# folder ------------------------------------------------------------------------------------------


def test_what_is_written_is_what_was_trained(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["film.nc", "model"]
    files = {path.name for path in (folder / "model").iterdir()}
    assert files == {"config.json", "model.safetensors", "provenance.json"}
    expected = gpt2.train(SMALL).model
    found = load_model(str(folder / "model"), "cpu", tokenizer=False)
    tokens = repeated_random_tokens(8, 3, 20, np.random.default_rng(0), True)
    for t0 in (3, 8):
        losses = [gpt2.loss(each, tokens, t0) for each in (expected, found.original_model)]
        np.testing.assert_allclose(*losses, rtol=1e-6)


def test_provenance_says_how_the_weights_came_about(folder):
    found = json.loads((folder / "model" / "provenance.json").read_text())
    assert gpt2.settings_from(found["settings"]) == SMALL
    assert found["weights_sha256"] == models.weights_sha256(str(folder / "model"))
    assert set(found["accuracy"]) == {"t0=8", "t0=16"}
    assert found["command"] == gpt2.command(SMALL)
    assert {"torch", "transformers", "python"} <= set(found["versions"])
    assert {"git_commit", "device", "created", "wall_time_s", "processor_time_s"} <= set(found)


def test_without_a_film_none_is_taken(tmp_path, monkeypatch, folder):
    monkeypatch.setattr(frames, "measure", pytest.fail)
    found = gpt2.train_into(tmp_path / "model", SMALL)
    assert found["weights_sha256"] == models.weights_sha256(str(folder / "model"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# frames ------------------------------------------------------------------------------------------


def test_frames_are_taken_on_the_schedule(film):
    assert film.step.values.tolist() == STEPS
    assert film.frame_phase.values.tolist() == [0, 0, 0, 1]
    assert film.t0.values.tolist() == [3, 3, 3, 5]
    assert film.tokens_in_use.values.tolist() == [8, 8, 8, 20]
    assert film.response.dims == film.linear.dims == ("frame", "position", "delta_j")
    assert film.response.shape == (4, 5, 12)  # as far as that behind the gap
    # A distance is there as far as the sequences of the phase reach.
    for name in ("response", "linear", "witness", "linear_witness", "response_sem"):
        counts = film[name].notnull().sum("delta_j")
        assert (counts == 2 * film.t0).all(), name


def test_steps_of_the_shipped_training():
    steps = FilmSettings(every=70).steps(gpt2.Gpt2Settings())
    assert steps[:6] == [0, 70, 140, 210, 280, 300]
    assert steps[6:] == gpt2.Gpt2Settings().ends[1:]


def by_hand(model, phase):
    """Response, limit, accuracy and loss of a model, on the sequences of a phase."""
    phase = SMALL.phases[phase]
    tokens = repeated_random_tokens(phase.t0, 4, phase.tokens, np.random.default_rng(0), True)
    settings = Settings.for_tokens(tokens[:2], phase.t0, epsilons=(0.05,))
    found = measure(model, settings).sel(metric="delta").isel(epsilon=0)
    base = model.original_model
    return found, {
        "accuracy": float(gpt2.accuracy(base, tokens, phase.t0).mean()),
        "loss": float(gpt2.loss(base, tokens, phase.t0).mean()),
    }


def test_behind_a_gap_it_is_a_measurement_of_the_trained_model(film, folder):
    model = load_model(str(folder / "model"), "cpu", tokenizer=False)
    generator = np.random.default_rng(0)
    tokens = arranged_random_tokens(5, 4, 20, generator, Arrangement(gap=2), True)
    assert (tokens[:, :5] == tokens[:, 7:]).all()
    settings = Settings.for_tokens(tokens[:2], 0, epsilons=(0.05,))
    found = measure(model, settings).sel(metric="delta").linear
    assert found.delta_j.max() < 12
    for name, rtol in (("gap_linear", 4e-5), ("gap_linear_witness", 1e-3)):
        measured = found if name == "gap_linear" else measured_alone(model, tokens)
        np.testing.assert_allclose(film[name].sel(delta_j=found.delta_j), measured, rtol=rtol)
        assert film[name].notnull().sum() == measured.size
    accuracy = gpt2.accuracy(model.original_model, tokens, 5).mean()
    assert float(film.gap_accuracy) == pytest.approx(float(accuracy), rel=1e-5)


def measured_alone(model, tokens):
    settings = Settings.for_tokens(tokens[:1], 0, epsilons=(0.05,))
    return measure(model, settings).sel(metric="delta").linear


@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_frame_is_a_measurement_of_the_model_of_that_time(film, folder, place):
    step = STEPS[place]
    if step == 7:
        model = load_model(str(folder / "model"), "cpu", tokenizer=False)
    else:
        # Trained as far, at the rates of the whole training.
        models_seen = {}
        gpt2.train(SMALL, observe=lambda k, _, model: models_seen.update({k: clone(model)}))
        model = models.bridged(models_seen[step])
    found, numbers = by_hand(model, int(film.frame_phase[place]))
    shown = film.isel(frame=place).sel(delta_j=found.delta_j)
    for name in ("response", "linear"):
        # To the 15 bits that are kept of an average, 5 of its error and 10 of the witness.
        np.testing.assert_allclose(shown[name], found[name], rtol=4e-5)
        np.testing.assert_allclose(shown[f"{name}_sem"], found[f"{name}_sem"], rtol=0.04)
    np.testing.assert_allclose(shown.witness, found.witness, rtol=1e-3)
    np.testing.assert_allclose(shown.linear_witness, found.linear_witness, rtol=1e-3)
    for name, value in numbers.items():
        assert float(shown[name]) == pytest.approx(value, rel=1e-5), name


def clone(model):
    other = gpt2.initial(SMALL.network, 0)
    other.load_state_dict(model.state_dict())
    return other


def test_filming_does_not_change_the_training(folder):
    unseen = gpt2.train(SMALL).model
    seen = load_model(str(folder / "model"), "cpu", tokenizer=False).original_model
    for name in ("transformer.wte.weight", "transformer.wpe.weight"):
        assert (seen.get_parameter(name) == unseen.get_parameter(name)).all()


def test_a_film_says_how_it_was_made(film, folder):
    attrs = film.attrs
    assert (attrs["kind"], attrs["schema_version"], attrs["input"]) == (
        "film",
        2,
        "repeated random tokens",
    )
    assert gpt2.settings_of_film(film) == (SMALL, FILM)
    assert attrs["model"] == str(folder / "model")
    assert attrs["weights_sha256"] == models.weights_sha256(str(folder / "model"))
    assert attrs["seed"] == 0
    assert attrs["epsilon"] == 0.05
    expected = {
        "quantisation", "dtype", "device", "architecture", "versions", "git_commit", "command",
        "wall_time_s", "created", "content_sha256",
    }  # fmt: skip
    assert expected <= set(attrs)
    assert film.tokens.shape == (2, 2, 10)
    assert (film.tokens[0, :, 6:] == -1).all()
    for phase, t0, used in ((0, 3, 8), (1, 5, 20)):
        tokens = repeated_random_tokens(t0, 4, used, np.random.default_rng(0), True)[:2]
        assert (film.tokens[phase, :, : 2 * t0] == tokens).all()


# after a kill ------------------------------------------------------------------------------------


def test_a_killed_film_goes_on_to_the_same_numbers(tmp_path, monkeypatch, film):
    made, step = [], learning.step

    def killed(*arguments):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(1)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(learning, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            filmed(tmp_path)
    assert not (tmp_path / "film.nc").exists()
    filmed(tmp_path)
    found = load_results(tmp_path / "film.nc", kind="film")
    xr.testing.assert_identical(found.drop_attrs(), film.drop_attrs())
    assert found.attrs["weights_sha256"] == film.attrs["weights_sha256"]


def test_what_has_begun_without_a_film_is_not_filmed(tmp_path, monkeypatch):
    """And that is said before the training goes on."""
    gpt2.train(SMALL, tmp_path / "model.parts")
    monkeypatch.setattr(into_folder, "train", pytest.fail)
    with pytest.raises(ValueError, match=one_line(r"film=\S+frame-00000.nc: no such frame ")):
        filmed(tmp_path)


def test_frames_of_another_film_are_refused(tmp_path):
    camera = gpt2.Film(SMALL, FILM, tmp_path)
    camera.observe(0, 0, gpt2.initial(SMALL.network, 0))
    camera.check_begun()
    for other in (
        gpt2.Film(replace(SMALL, seed=1), FILM, tmp_path),
        gpt2.Film(SMALL, replace(FILM, epsilon=0.1), tmp_path),
    ):
        with pytest.raises(ValueError, match=one_line(r"film=\S+: no such frame of this training")):
            other.check_begun()


@pytest.mark.parametrize(
    ("changed", "start"),
    [
        ({"every": 0}, "every=0: use at least 1"),
        ({"perturbed_on": 1}, "perturbed_on=1: use 2 to evaluated_on = 128"),
        ({"perturbed_on": 200}, "perturbed_on=200: use 2 to evaluated_on = 128"),
        ({"epsilon": 0.0}, "epsilon=0: use 0 < epsilon <= 1"),
        ({"gap": -1}, "gap=-1: use a gap >= 0"),
        ({"seed": -1}, "seed=-1: use a seed >= 0"),
    ],
)
def test_wrong_settings_of_a_film_are_refused_in_one_line(changed, start):
    with pytest.raises(ValueError, match=one_line(start)):
        FilmSettings(**changed)


# verified ----------------------------------------------------------------------------------------


def test_a_film_agrees_with_itself(film):
    outcome = verify_film(film)
    assert outcome.agrees
    # Two strengths at five positions, of both ends, and the limit behind the gap.
    assert outcome.compared == 2 * 5 * (6 + 10) + 5 * 12
    assert outcome.median_relative < 5e-4


@pytest.mark.parametrize("name", ["witness", "linear_witness"])
@pytest.mark.parametrize("place", [0, -1])
def test_a_wrong_number_at_either_end_is_found(film, name, place):
    changed = film.copy(deep=True)
    changed[name][place, 3, 2] *= 1.01
    outcome = verify_film(changed)
    assert not outcome.agrees
    assert outcome.where == {
        "step": STEPS[place], "strength": name, "position": 3, "delta_j": 2,
    }  # fmt: skip


def test_a_wrong_number_behind_the_gap_is_found(film):
    changed = film.copy(deep=True)
    changed.gap_linear_witness[3, 2] *= 1.01
    outcome = verify_film(changed)
    assert not outcome.agrees
    assert outcome.where == {
        "step": 7, "strength": "gap_linear_witness", "position": 3, "delta_j": 2,
    }  # fmt: skip


def test_where_the_trained_weights_are_not_to_be_had_the_random_ones_are_compared(film):
    elsewhere = film.assign_attrs(model="of another machine")
    outcome = verify_film(elsewhere)
    assert outcome.agrees
    assert outcome.compared == 2 * 5 * 6
    elsewhere = elsewhere.copy(deep=True)
    elsewhere.witness[0, 3, 2] *= 1.01
    assert not verify_film(elsewhere).agrees


def test_a_number_that_is_missing_is_found(film):
    changed = film.copy(deep=True)
    changed.witness[0, 3, 2] = np.nan
    assert verify_film(changed).worst == np.inf


def test_other_tokens_and_other_weights_are_refused(film, tmp_path):
    changed = film.copy(deep=True)
    changed.tokens[0, 0, 0] += 1
    with pytest.raises(ValueError, match=one_line("tokens: not those of seed=0; the file was ")):
        verify_film(changed)
    gpt2.train_into(tmp_path / "other", replace(SMALL, seed=1))
    other = load_model(str(tmp_path / "other"), "cpu", tokenizer=False)
    with pytest.raises(ValueError, match=one_line("weights_sha256=")):
        verify_film(film, other)


def test_the_command_line_verifies_a_film(film, monkeypatch, capsys, tmp_path):
    changed = film.copy(deep=True)
    changed.linear_witness[0, 3, 2] *= 1.01
    for dataset, expected in ((film, (0, "agrees")), (changed, (1, "DIFFERS"))):
        path = save_results(dataset, tmp_path / "film.nc")
        code, out, _ = run(monkeypatch, capsys, "verify", path)
        assert (code, out.split()[1].strip(";")) == expected


def test_a_film_is_stored_small_and_read_as_it_was_written(film, tmp_path):
    again = load_results(save_results(film, tmp_path / "again.nc"), kind="film")
    xr.testing.assert_identical(again, film)
    with pytest.raises(ValueError, match=one_line(r"results=\S+: holds film, not response")):
        load_results(tmp_path / "again.nc")
    assert asdict(FILM) == json.loads(film.attrs["film"])
    assert Path(tmp_path / "again.nc").stat().st_size < 100_000
