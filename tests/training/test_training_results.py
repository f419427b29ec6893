"""The shipped study of training and the films: verdicts follow from what the files hold.

Bounds that are hard are those of which no seed may miss one: the order of the clamps that leave
least and most to learn, ranks of heads, the silence of norms, and all that makes the GPT-2's
ability induction and no shortcut.
"""

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr
from shipped import RESULTS, shipped_results
from stored_notebooks import printed
from universal_response import claims, training
from universal_response.companion.notebooks import run_notebook
from universal_response.training import StudySettings, summaries
from universal_response.training.gpt2 import Gpt2Settings, settings_of_film, verify_film
from universal_response.training.study import experiments
from universal_response.training.study import study as making

FILMS = ("film-gpt2-induction", *(f"film-gpt2-induction-seed{seed}" for seed in (1, 2, 3, 4)))
PAGES = RESULTS.parent / "notebooks"


@pytest.fixture(scope="module")
def study():
    return shipped_results("training-letters")


@pytest.fixture(scope="module")
def films():
    return [shipped_results(name) for name in FILMS]


def learned(study, name):
    """Sequences to a loss of .35 by a plain loop, of every seed."""
    found = []
    for run in np.flatnonzero(study.experiment.values == name):
        loss = study.loss.sel(split="training").values[run]
        when = study.sequences.values[run]
        for k in range(1, len(loss)):
            if loss[k] < 0.35:
                part = (loss[k - 1] - 0.35) / (loss[k - 1] - loss[k])
                found.append(when[k - 1] + part * (when[k] - when[k - 1]))
                break
        else:
            found.append(np.inf)
    return np.array(found)


# the study ---------------------------------------------------------------------------------------


def test_it_is_that_of_the_default_settings(study):
    assert training.study_settings_of(study) == StudySettings()
    assert study.sizes["trained"] == 5
    assert (RESULTS / "training-letters.nc").stat().st_size < 4e6
    assert len(study.attrs["git_commit"]) == 40


@pytest.mark.parametrize("name", ["L1 + copy", "L1", "none", "PT", "grafted", "10 labels"])
def test_times_to_learn_are_those_of_a_plain_loop(study, name):
    np.testing.assert_allclose(summaries.learned(study, name), learned(study, name), rtol=1e-6)


def test_both_given_wait_less_than_layer_1_given_and_that_less_than_nothing_given(study):
    both, layer, nothing = (learned(study, name) for name in ("L1 + copy", "L1", "none"))
    assert both.max() < layer.min()
    assert layer.max() < nothing.min()


def test_heads_serve_as_well_as_they_are_strong(study):
    for seed in range(5):
        found = spearmanr(study.keep_one_accuracy[seed], study.strength[seed]).statistic
        assert found > 0.8, seed


def test_norms_do_not_notice_a_scaled_label(study):
    assert float(study.leak.max()) < 1e-6


def test_orders_are_judged_by_all_pairs_of_seeds(study):
    """Of every claim about an order, the verdict by hand."""
    judged = {one.claim.quantity: one.verdict for one in claims.evaluate_training_claims(study)}
    for first, second in (
        ("L1 + copy", "copy"), ("L1 + copy", "match"), ("copy", "L1"), ("match", "L1"),
        ("L1", "PT"), ("PT", "none"), ("PT", "all PT"), ("grafted", "full"),
    ):  # fmt: skip
        one, other = learned(study, first), learned(study, second)
        later = {bool(b > a) for a in one for b in other}
        expected = (
            claims.UNDECIDED if len(later) == 2 else claims.HOLDS if True in later else claims.FAILS
        )
        said = f"sequences to a loss of .35, {second} over {first}, all pairs of seeds"
        assert judged[said] == expected, said


def test_the_page_shows_the_verdicts_of_the_file(study):
    told = "\n".join(printed(PAGES / "training_claims.ipynb"))
    for one in claims.evaluate_training_claims(study):
        if one.verdict in (claims.FAILS, claims.UNDECIDED):
            assert f"{one.verdict}: {one.claim.statement}" in told


# the films ---------------------------------------------------------------------------------------


def test_films_are_of_five_seeds_of_one_training(films):
    seeds = [settings_of_film(film)[0].seed for film in films]
    assert seeds == [0, 1, 2, 3, 4]
    for seed, film in zip(seeds, films, strict=True):
        assert settings_of_film(film)[0] == Gpt2Settings(seed=seed, device="cpu")
        assert settings_of_film(film)[1] == settings_of_film(films[0])[1]
        assert "/" not in film.attrs["model"]


@pytest.mark.parametrize("number", range(5))
def test_every_seed_does_induction_and_no_shortcut(films, number):
    film = films[number]
    assert float(film.accuracy[-1]) > 0.95
    assert float(film.gap_accuracy) > 0.9
    last, gap = film.linear[-1, -1], film.gap_linear[-1]
    for response, peak in ((last, 63), (gap, 63 + 16)):
        near = response.sel(delta_j=range(peak - 4, peak + 7)).values
        others = np.delete(near, 4)
        assert near[4] > 2 * others.max()
        assert near[4] / (near[4] + near[5]) > 0.6
    # Where it stood without a gap.
    assert float(gap.sel(delta_j=63)) < 0.5 * float(gap.sel(delta_j=79))


@pytest.mark.parametrize("number", [1, 4])
def test_films_of_other_seeds_are_verified_by_their_random_weights(films, number):
    outcome = verify_film(films[number])
    assert outcome.agrees
    assert outcome.where["step"] == 0


# a small study -----------------------------------------------------------------------------------


def shortened(experiment):
    return dataclasses.replace(experiment, sequences=2 * experiment.every)


@pytest.mark.slow
def test_pages_draw_a_small_study_made_anew(tmp_path, monkeypatch):
    """Every experiment, too short to learn anything."""
    few = {name: shortened(each) for name, each in experiments.EXPERIMENTS.items()}
    grafting = experiments.grafting
    monkeypatch.setattr(making, "EXPERIMENTS", few)
    monkeypatch.setattr(making, "grafting", lambda donor: shortened(grafting(donor)))
    asked = {"seeds": [0, 1], "length": 0.01, "learning_rate": 1e-4, "evaluated_on": 16}
    settings = StudySettings(**asked | {"seeds": (0, 1)})
    training.study_training_into(tmp_path / "training-letters.nc", settings)
    values = asked | {"results": "nowhere", "runs": str(tmp_path), "output": str(tmp_path)}
    for page in ("learning", "clamping"):
        out = run_notebook(PAGES / f"{page}.ipynb", tmp_path / f"{page}.ipynb", values)
        assert (tmp_path / f"{page}.svg").stat().st_size > 10_000
        told = "\n".join(printed(out))
        assert "seeds 0 1, evaluated on 16 sequences" in told
        assert "never" in told or "nan" in told
