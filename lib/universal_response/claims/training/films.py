"""What the films of a GPT-2 say, with the test of each statement: a number for every film."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from universal_response.claims.statements import Claim
from universal_response.claims.training.statements import BEYOND
from universal_response.training import film_summaries as summaries

# Distances on either side of T0.
WINDOW = 5
SHORT_WINDOW = 3  # in the first phase blocks are short
HALF = 0.5  # of an accuracy

Films = list[xr.Dataset]


def _of_each(number: Callable[[xr.Dataset], float | xr.DataArray]) -> Callable[[Films], np.ndarray]:
    def quantity(films: Films) -> np.ndarray:
        return np.array([float(number(film)) for film in films])

    return quantity


def _formation(film: xr.Dataset) -> xr.Dataset:
    return film.isel(frame=(film.frame_phase == 0).values)


def _last(film: xr.Dataset) -> xr.Dataset:
    return film.isel(frame=[-1])


def _at_end(response: xr.DataArray) -> float:
    return float(response.isel(frame=-1, position=-1))


def _at_fixed_distance(film: xr.Dataset) -> float:
    """With a gap: C at T0 - 1 + gap over C at the distance that was T0 - 1 without it."""
    gap, t0 = summaries.behind_gap(film), int(film.t0[-1])
    last = gap.linear.isel(frame=0, position=-1)
    return float(last.sel(delta_j=int(gap.t0[0]) - 1) / last.sel(delta_j=t0 - 1))


def _since_half_learned(film: xr.Dataset) -> np.ndarray:
    """Share of T0 - 1 in the first phase, from where accuracy first exceeds one half; or nan."""
    formation = _formation(film)
    share = summaries.share(formation).isel(position=-1).values
    since = (formation.accuracy > HALF).values.cumsum() > 0
    return share[since] if since.any() else np.array([np.nan])


def _announced(film: xr.Dataset) -> float:
    """Steps by which accuracy leaves a guess before T0 - 1 leads for good; nan if it never does."""
    formation = _formation(film)
    leads = summaries.leads_for_good(formation, SHORT_WINDOW)
    guess = summaries.beyond_a_guess(formation)
    there = max(leads, guess) < formation.sizes["frame"]
    return float(formation.step[leads] - formation.step[guess]) if there else np.nan


FILM_CLAIMS = (
    Claim(
        "The GPT-2 completes repeated blocks.",
        BEYOND,
        "accuracy on the second block of distinct tokens, T₀ = 64",
        _of_each(lambda film: film.accuracy[-1]),
        lambda accuracy: accuracy > 0.95,
    ),
    Claim(
        "And blocks that come again behind unseen tokens.",
        BEYOND,
        "the same with a gap of 16",
        _of_each(lambda film: film.gap_accuracy),
        lambda accuracy: accuracy > 0.9,
    ),
    Claim(
        "At its end the response is that of induction.",
        BEYOND,
        "C_Δ(T₀-1) / [C_Δ(T₀-1) + C_Δ(T₀)] at l = 2L, limit",
        _of_each(lambda film: _at_end(summaries.share(_last(film)))),
        lambda share: share > 0.6,
    ),
    Claim(
        "No other distance comes near it.",
        BEYOND,
        "C_Δ(T₀-1) over the largest other dj within T₀ ± 5 at l = 2L, limit",
        _of_each(lambda film: _at_end(summaries.above_rest(_last(film), WINDOW))),
        lambda ratio: ratio > 2,
    ),
    Claim(
        "With a gap the peak stands where induction has it.",
        BEYOND,
        "the same with a gap of 16: T₀-1+16 over the largest other dj",
        _of_each(lambda film: _at_end(summaries.above_rest(summaries.behind_gap(film), WINDOW))),
        lambda ratio: ratio > 2,
    ),
    Claim(
        "And not at the distance that it had without.",
        BEYOND,
        "with a gap of 16: C_Δ(T₀-1+16) over C_Δ(T₀-1) at l = 2L, limit",
        _of_each(_at_fixed_distance),
        lambda ratio: ratio > 2,
    ),
    Claim(
        "While induction forms T₀-1 leads from the start.",
        BEYOND,
        "share of T₀-1 at l = 2L where accuracy first exceeds one half",
        _of_each(lambda film: _since_half_learned(film)[0]),
        lambda share: share > 0.5,
    ),
    Claim(
        "And stays ahead of T₀ through the first phase.",
        BEYOND,
        "lowest share of T₀-1 from there to the end of the phase",
        _of_each(lambda film: _since_half_learned(film).min()),
        lambda share: share > 0.5,
    ),
    Claim(
        "The response does not announce induction.",
        BEYOND,
        "step from which T₀-1 is the largest within T₀ ± 3, less that at which accuracy leaves a "
        "guess",
        _of_each(_announced),
        lambda steps: steps >= 0,
    ),
)
