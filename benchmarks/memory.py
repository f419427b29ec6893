"""Peak memory of a measurement, against sequences and strengths."""

from dataclasses import replace
from typing import Any

from transformer_lens.model_bridge import TransformerBridge
from universal_response.measurement import Settings, measure

from benchmarks.timing import PeakMemory


def memory(
    model: TransformerBridge, sizes: list[tuple[int, int]], t0: int = 64
) -> list[dict[str, Any]]:
    """Most memory of the process beside the weights while a model is measured.

    On a CPU that counts everything: Python, its packages, clean states, activations, inner
    products and the averages kept. On a GPU only what PyTorch allocated there.

    Args:
        model: on the device whose memory counts.
        sizes: (sequences, strengths) to be measured, one after the other.
        t0: length of the repeated block.
    """
    weights = {weight.data_ptr(): weight for weight in model.original_model.parameters()}
    device = next(iter(weights.values())).device
    weights_bytes = sum(weight.nbytes for weight in weights.values())
    base = Settings(t0=t0, linear=False)
    measure(model, replace(base, t0=2, batch=1))
    found = []
    for sequences, strengths in sizes:
        epsilons = tuple(round(0.01 * (n + 1), 2) for n in range(strengths))
        settings = replace(base, batch=sequences, epsilons=epsilons, epsilon0=epsilons[0])
        with PeakMemory(device) as peak:
            measure(model, settings, progress=True)
        found.append(
            {
                "t0": t0,
                "sequences": sequences,
                "epsilons": strengths,
                "weights_bytes": weights_bytes,
                "beside_weights_bytes": peak.start + peak.bytes - weights_bytes,
            }
        )
    return found
