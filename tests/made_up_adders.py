"""Studies of models that add made up to keep each claim about them, with answers known by hand."""

import numpy as np
import xarray as xr

OPERATIONS = ["sums", "differences"]
LABELS = ["a0", "a1", "b0", "b1", "carry", "r0", "r1", "r2"]
PLACES = ["a1", "a0", "op", "b1", "b0", "=", "r0", "r1"]
READ = [*PLACES, "r2"]
PARTS = [
    "embedding",
    *(f"{layer}.{head}" for layer in (0, 1) for head in range(4)),
    "mlp 0",
    "mlp 1",
]
KEPT = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256]
NEURONS = 256
KINDS = [
    "training", "held_out", "withheld", "operator first", "operator last", "negative difference"
]  # fmt: skip
RESCUE = {
    "circuit, same answer": 1.0,
    "circuit, same answer, its place withheld": 0.5,
    "circuit, another answer": 0.75,
    "random nodes, same answer": 0.25,
    "other nodes, same answer": 0.0,
    "all nodes, same answer": 1.0,
    "circuit, corrected output": 1.0,
    "circuit, corrected output, its place withheld": 0.75,
    "circuit, corrected output, one place later": 0.0,
    "none, after the error": 0.5,
}
FAILING = 4
CHANGED = ["operand, result as before", "operand, result as after", "result alone"]
# By how much each answer moves with each digit, and the response in its order, squared.
MOVED = np.array(
    [[0.0, 0.9, 0.1], [0.8, 0.2, 0.02], [0.01, 0.7, 0.15], [0.85, 0.25, 0.03],
     [0.0, 0.6, 0.05], [0.0, 0.0, 0.4]]
)  # fmt: skip


def studies(withheld=("nothing", "cascades", "block"), seeds=(0, 1, 2)):
    """Of several trainings and seeds."""
    return [study(kind, seed) for kind in withheld for seed in seeds]


def study(withheld="nothing", seed=0):
    """A study that keeps every claim; a part of them asks for one training alone."""
    found = _solved() | _circuit() | _inside() | _neurons() | _outside() | _responses()
    coordinates = {
        "part_of_split": ["training", "held_out", "withheld"], "kind_of_problem": KINDS,
        "operation": OPERATIONS, "place": PLACES, "circuit_size": [0, 4, 8, 60, 80],
        "ranking": ["by effect", "random 0", "random 1"], "followed": [
            "right", "first", "second", "other"
        ], "part": PARTS, "label": LABELS, "place_read": READ, "ranked_on": [*OPERATIONS, "random"],
        "kept": KEPT, "rescue": list(RESCUE), "source": ["a1", "a0", "b1", "b0"],
        "unit_sum": np.arange(18), "behind": ["before", "after"], "changed": CHANGED,
        "changed_digit": ["a1", "a0", "b1", "b0", "r0", "r1"],
    }  # fmt: skip
    return xr.Dataset(
        found, coordinates, {"kind": "arithmetic", "withheld": withheld, "training_seed": seed}
    )


def put(dataset, name, value, **at):
    """A copy in which a variable has another value there."""
    changed = dataset.copy(deep=True)
    changed[name] = changed[name].astype(float)
    changed[name].loc[at] = value
    return changed


def _solved():
    likely = np.tile(np.linspace(-1.0, -2.0, 6), (6, 1))
    right = np.ones((6, 6))
    # A withheld problem is less likely, and of them one that fails.
    likely[2], right[2] = [-5, -5.5, -6, -7, -7.5, -8], [1, 1, 1, 0, 0, 0]
    likely[3] = -9.0
    return {
        "accuracy": ("part_of_split", [1.0, 1.0, 0.3]),
        "log_likelihood": (("kind_of_problem", "asked"), likely),
        "solved": (("kind_of_problem", "asked"), right),
    }


def _circuit():
    # At an operand's own place one node alone matters, in the order of what the answer does.
    effect = np.zeros((2, 3, 2, 5, 8))
    for row, place in enumerate(("a1", "a0", "b1", "b0")):
        effect[0, :, 0, 4, PLACES.index(place)] = -MOVED[row]
    rank = np.tile(np.arange(80.0), (3, 1)).reshape(3, 2, 5, 8)
    # Behind the place that answers nothing matters to units and tens.
    rank[0, ..., 6:], rank[1, ..., 7:] = np.nan, np.nan
    accuracy = np.empty((3, 3, 5))
    accuracy[:, 0], accuracy[:, 1], accuracy[:, 2] = (
        [0, 0.5, 0.96, 1, 1],
        0.1,
        [0, 0.1, 0.2, 0.4, 1],
    )
    return {
        "logit_effect": (("operation", "answer", "layer", "component", "place"), effect),
        "node_rank": (("answer", "layer", "component", "place"), rank),
        "circuit_nodes": ("answer", [4, 8, 8]),
        "circuit_accuracy": (("answer", "ranking", "circuit_size"), accuracy),
    }


def _inside():
    read = np.full((8, 5, 9), 0.1)
    equals = READ.index("=")
    for label in ("a0", "b0"):
        read[LABELS.index(label), 1:, equals] = 0.9
    read[LABELS.index("r0"), -1, equals] = 0.9
    written = np.zeros((4, len(PARTS), 3))
    written[0, -1], written[0, 1], written[1:3, -1], written[3, -1] = 9.0, 1.0, -2.0, 0.25
    lens = np.arange(4 * 5 * 3, dtype=float).reshape(4, 5, 3)
    return {
        "probe_accuracy": (("label", "position", "place_read"), read),
        "probe_shuffled": (("label", "position", "place_read"), np.full((8, 5, 9), 0.1)),
        "written": (("followed", "part", "answer"), written),
        "lens": (("followed", "position", "answer"), lens),
        "lens_sem": (("followed", "position", "answer"), lens / 10),
    }


def _neurons():
    right = np.zeros((2, 3, 2, len(KEPT)))
    right[:, :, :, -1] = 1
    for ranked in range(2):
        right[1, ranked, ranked] = [0, 0, 0, 0, 0.5, 0.95, 0.95, 1, 1, 1]
    orders = np.stack([np.arange(NEURONS), np.roll(np.arange(NEURONS), 24)])
    return {
        "neuron_accuracy": (("layer", "ranked_on", "operation", "kept"), right),
        "neuron_order": (("layer", "operation", "rank"), np.tile(orders, (2, 1, 1))),
    }


def _outside():
    rescued = np.array([np.arange(FAILING) < part * FAILING for part in RESCUE.values()], float)
    donors = rescued.copy()
    donors[2] = 1.0
    return {
        "rescued": (("rescue", "failing"), rescued),
        "as_donor": (("rescue", "failing"), donors),
        "failing_problems": ((), FAILING),
    }


def _responses():
    response = np.zeros((4, 5, 3, 18))
    response += 2 * np.log(0.01 + MOVED[:4])[:, None, :, None]
    raised = np.zeros((2, 5, 3, 18))
    raised[0, -1, 1, 9] = np.log(2.0)
    flips = np.zeros((3, 3, 18))
    flips[2, 1, 9] = 1.0
    return {
        "scaled_response": (("source", "position", "answer", "unit_sum"), response),
        "raised_response": (("behind", "position", "answer", "unit_sum"), raised),
        "answer_flips": (("changed", "answer", "unit_sum"), flips),
        "answer_distance": (("changed_digit", "answer"), MOVED),
    }
