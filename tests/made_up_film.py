"""A film of a GPT-2 made up so that what it says is known."""

import json

import numpy as np
import xarray as xr

POSITIONS, T0, LATER, GAP = 9, 8, 16, 4
STEPS = [0, 10, 20, 30, 40, 100]  # the last is the end of a later phase
ACCURACY = [0.0, 0.1, 0.3, 0.7, 0.95, 0.99]
# Of dj = T0 - 1 and T0 at every position, by frame.
BEFORE = [0.1, 0.1, 0.2, 0.6, 0.9, 0.9]
SAME = [0.3, 0.3, 0.2, 0.2, 0.1, 0.1]
# Behind the gap: where induction has its peak, at T0, and where it was without a gap.
BEHIND, SAME_BEHIND, FIXED = 0.8, 0.2, 0.1
ELSEWHERE, SOURCE = 0.01, 2.0


def film() -> xr.Dataset:
    """Six frames, five of a first phase with T0 = 8 and one of a later with T0 = 16."""
    t0 = np.array([T0] * 5 + [LATER])
    distances = 2 * LATER + GAP
    linear = np.full((len(STEPS), POSITIONS, distances), np.nan)
    for frame, length in enumerate(t0):
        linear[frame, :, : 2 * length] = ELSEWHERE
        linear[frame, :, 0] = SOURCE
        linear[frame, :, length - 1] = BEFORE[frame]
        linear[frame, :, length] = SAME[frame]
    linear[:, 0, 1:] = 0
    gap = np.full((POSITIONS, distances), ELSEWHERE)
    gap[:, [LATER + GAP - 1, LATER + GAP, LATER - 1]] = BEHIND, SAME_BEHIND, FIXED
    dims = ("frame", "position", "delta_j")
    return xr.Dataset(
        {"linear": (dims, linear), "response": (dims, 0.05 * linear),
         "accuracy": ("frame", ACCURACY), "gap_linear": (dims[1:], gap), "gap_accuracy": 0.97},
        {"step": ("frame", STEPS), "frame_phase": ("frame", [0] * 5 + [1]), "t0": ("frame", t0),
         "delta_j": range(distances)},
        {"film": json.dumps({"gap": GAP})},
    )  # fmt: skip
