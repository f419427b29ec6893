"""Numbers of a benchmark as JSON and as a table, with machine, versions and commit."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from universal_response.measurement import git_commit

from benchmarks.compare import Comparison

PACKAGES = ("torch", "transformers", "transformer-lens", "nnsight", "numpy", "universal-response")


def header(device: torch.device, **case: Any) -> dict[str, Any]:
    """What was measured, on which machine, with which versions and commit, and when."""
    return {
        "case": case,
        "machine": machine(device),
        "versions": {"python": platform.python_version()} | {n: _version(n) for n in PACKAGES},
        "git_commit": git_commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def machine(device: torch.device) -> dict[str, Any]:
    """What the times were measured on."""
    cpu = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
    }
    if device.type != "cuda":
        return {"device": str(device)} | cpu
    properties = torch.cuda.get_device_properties(device)
    return {
        "device": properties.name,
        "device_memory_gb": round(properties.total_memory / 1e9, 1),
        "cuda": torch.version.cuda,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    } | cpu


def as_json(comparison: Comparison) -> dict[str, Any]:
    """All of a comparison, as JSON has it."""
    limit = comparison.limit
    of_linear = (
        {"linear_passes": round(comparison.linear_passes, 3)}
        if "linear" in comparison.timings
        else {}
    )
    return of_linear | {
        "contenders": {
            name: {
                "seconds": [round(seconds, 3) for seconds in timing.seconds],
                "median_s": round(timing.median, 3),
                "peak_bytes": timing.peak_bytes,
                "times_engine": round(comparison.ratio(name), 3),
                "worst_difference": comparison.worst.get(name),
            }
            for name, timing in comparison.timings.items()
        },
        "limit": {
            "products": [
                {
                    "inputs": product.inputs,
                    "outputs": product.outputs,
                    "count": product.count,
                    "gflop_per_s": round(product.rate / 1e9, 1),
                }
                for product in limit.products
            ],
            "flops_per_token": limit.flops_per_token,
            "gflop_per_s": round(limit.rate / 1e9, 1),
            "seconds": round(comparison.limit_seconds, 3),
            "reached": round(comparison.limit_seconds / comparison.timings["engine"].median, 4),
            "moments_gflop_per_s": [round(rate / 1e9, 1) for rate in comparison.rates],
            "reached_of_median": round(comparison.reached_of_median, 4),
        },
    }


def table(result: dict[str, Any]) -> str:
    """A comparison in Markdown."""
    lines = [
        "| way | median s | spread s | times the engine | peak memory MB | worst difference |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result["contenders"].items():
        low, high = min(row["seconds"]), max(row["seconds"])
        worst = row["worst_difference"]
        lines.append(
            f"| {name} | {row['median_s']:.2f} | {low:.2f} .. {high:.2f} | "
            f"{row['times_engine']:.2f} | {row['peak_bytes'] / 1e6:.0f} | "
            f"{'' if worst is None else f'{worst:.2f}'} |"
        )
    limit = result["limit"]
    lines.append(
        f"| limit | {limit['seconds']:.2f} | | {limit['reached']:.2f} | | |\n\n"
        f"limit: {limit['flops_per_token'] / 1e6:.1f} MFLOP a token at "
        f"{limit['gflop_per_s']:.0f} GFLOP/s, the fastest of every product; the engine reaches "
        f"{limit['reached_of_median']:.2f} of the median rate between the runs; worst difference "
        "in units of what is allowed"
    )
    if "linear_passes" in result:
        lines.append(f"\nthe linear limit costs {result['linear_passes']:.2f} strengths")
    return "\n".join(lines)


def write(folder: Path, name: str, result: dict[str, Any], text: str = "") -> Path:
    """Write NAME.json and, where there is one, the table NAME.md; return the former."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if text:
        about = {**result["case"], **result["machine"], "commit": result["git_commit"]}
        lines = [f"{key}: {value}" for key, value in {**about, **result["versions"]}.items()]
        path.with_suffix(".md").write_text(
            text + "\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"
        )
    return path


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
