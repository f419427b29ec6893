"""Results made up to keep or break each claim, with answers known by hand."""

import json

import numpy as np
import xarray as xr
from universal_response import metrics, response

METRICS = list(metrics.METRICS)
EPSILONS = np.array([3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.05, 0.1, 0.3])
POWERS = np.array([float(metric.power) for metric in metrics.METRICS.values()])
T0, LAYERS, SEQUENCES = 10, 10, 12
POSITIONS = 2 * LAYERS + 1


def results(peak=T0 - 1, power=POWERS, tilt=0.0, onset=11, curvature=0.0, sequences=SEQUENCES):
    """Results of a model that keeps every claim, or breaks one.

    C = scale(sequence) epsilon^power profile(delta_j) growth(position) (1 + curvature epsilon)
        (1 + tilt delta_j epsilon); before `onset` the peak of the window is at T0.
    """
    rng = np.random.default_rng(1)
    delta_j = np.arange(2 * T0)
    late, early = 0.01 + 0.1 * (delta_j == peak), 0.01 + 0.1 * (delta_j == T0)
    way = np.clip((np.arange(POSITIONS) - onset + 3.5) / 7, 0, 1)[:, None]
    profile = way * late + (1 - way) * early
    growth = np.clip((np.arange(POSITIONS) - 1) / 10, 0.05, 1)[:, None]
    scale = rng.uniform(0.8, 1.2, sequences)
    epsilon = EPSILONS[:, None]
    law = (
        epsilon ** np.array(power)[:, None, None]
        * (1 + curvature * epsilon)
        * (1 + tilt * delta_j * epsilon)
    )
    full = np.einsum(
        "s,med,pd,pd->mespd", scale, law, profile, np.broadcast_to(growth, profile.shape)
    )
    full[POWERS == 0] = 0.3
    limit = np.einsum("s,pd,pd->spd", scale, profile, np.broadcast_to(growth, profile.shape))
    linear = np.where((POWERS == 0)[:, None, None, None], 0.3, limit)
    shown, n = response.window(T0), 2 * T0 - delta_j
    reference = list(EPSILONS).index(0.05)
    dims = ("metric", "epsilon", "position", "delta_j")
    sem = (
        full.std(2, ddof=1) / np.sqrt(sequences)
        if sequences > 1
        else np.full_like(full[:, :, 0], np.nan)
    )
    of_sequences = {
        "last": (("metric", "epsilon", "sequence", "delta_j"), full[:, :, :, -1], n),
        "peak": (("metric", "epsilon", "sequence", "position"), full[..., T0 - 1], n[T0 - 1]),
        "window": (("metric", "sequence", "position", "window"), full[:, reference][..., shown],
                   n[shown]),
    }  # fmt: skip
    return xr.Dataset(
        {
            **by_sequence(of_sequences),
            "tokens": (("sequence", "token"), np.zeros((sequences, 2 * T0), dtype=int)),
            "response": (dims, full.mean(2)),
            "response_sem": (dims, sem),
            "linear": (("metric", "position", "delta_j"), linear.mean(1)),
            "n_pairs": (("sequence", "delta_j"), np.tile(n, (sequences, 1))),
            "linear_sem": (("metric", "position", "delta_j"), sem[:, 0]),
            "matrix": (
                ("metric", "source", "target"),
                np.triu(np.full((len(METRICS), 2 * T0, 2 * T0), 0.1)),
            ),
            "linear_last_sum": (("metric", "sequence", "delta_j"), linear[:, :, -1] * n),
        },
        {
            "metric": METRICS,
            "epsilon": EPSILONS,
            "position": range(POSITIONS),
            "sublayer": ("position", ["input", *["attention", "mlp"] * LAYERS]),
            "delta_j": delta_j,
            "window": shown,
        },
        {
            "t0": T0,
            "distance": T0 - 1,
            "epsilon0": 0.05,
            "model": "made up",
            "architecture": json.dumps({"layers": LAYERS}),
        },
    )


def by_sequence(places):
    """Sums over the pairs of a sequence, all alike, and of logarithms; none of cosines."""
    found = {}
    for place, (dims, values, n) in places.items():
        known = np.broadcast_to((POWERS > 0).reshape(-1, *[1] * (values.ndim - 1)), values.shape)
        found[f"{place}_sum"] = dims, values * n
        found[f"{place}_log_sum"] = dims, np.where(known, np.log(values) * n, 0)
        found[f"{place}_log_n"] = dims, known * n
    return found
