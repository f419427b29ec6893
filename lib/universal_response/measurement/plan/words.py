"""A plan in words."""

from typing import TYPE_CHECKING

from universal_response.measurement.plan.sample import ALIKE, Sample
from universal_response.measurement.units import in_bytes, in_time

if TYPE_CHECKING:
    from universal_response.measurement.plan.plan import Plan


def rows(plan: "Plan") -> list[tuple[str, str, str]]:
    """The plan in words: what, how much, and how that is known (measured, counted, assumed)."""
    low, high = plan.fraction
    shortest, longest = (in_time(seconds) for seconds in plan.seconds)
    unit = shortest.partition(" ")[2]
    same_unit = longest.endswith(f" {unit}")
    time = f"{shortest.removesuffix(f' {unit}') if same_unit else shortest} to {longest}"
    time = longest if shortest == longest else time
    assumed = "range: the fraction is assumed there"
    return [
        ("download", in_bytes(plan.download_bytes), plan.download_known),
        ("parameters", f"{plan.parameters:,}", "counted"),
        ("memory: weights", in_bytes(plan.weights_bytes), f"counted, in {plan.dtype}"),
        ("memory: measurement", in_bytes(plan.working_bytes), "counted, an upper estimate"),
        ("memory: in all", in_bytes(plan.memory_bytes), "with 0.5 GB for libraries (measured)"),
        ("memory: free", in_bytes(plan.free_bytes), f"measured now, on {plan.device}"),
        ("token-passes", f"{plan.token_passes:,}", "counted, as the progress bar does"),
        ("FLOPs", f"{plan.flops:.2e}", "counted"),
        (
            "matrix-product rate",
            f"{plan.rate / 1e9:,.3g} GFLOP/s",
            "measured now, beside other load",
        ),
        ("fraction of that rate", f"{low:.2f} to {high:.2f}", plan.fraction_known),
        ("expected time", time, assumed if "assumed" in plan.fraction_known else "from the above"),
        *([_proposal(plan.sample)] if plan.sample else []),
    ]


def _proposal(sample: Sample) -> tuple[str, str, str]:
    return (
        "same error at the peak",
        f"{sample.cost:.0%} of the passes",
        f"with --sources {sample.sources} --batch {sample.batch}, if pairs of a sequence are as "
        f"alike as in Gemma 3 (correlation {ALIKE:g}); it saves less where they are not",
    )
