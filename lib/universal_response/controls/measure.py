"""Controls measured, each in a file of its own, as small as what is asked of it allows."""

from pathlib import Path

import xarray as xr
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge

from universal_response.controls.catalogue import CONTROLS, Control
from universal_response.controls.find import control_file
from universal_response.measurement import load_results, measure, save_results
from universal_response.measurement.description import answer
from universal_response.measurement.subject import bos_token
from universal_response.models import SUFFIX, load_model

KEPT = ("delta", "phi")
# Of every sequence what is at the end of the model, beside the averages and the witness.
_VARIABLES = (
    "tokens", "sources", "n_pairs", "linear", "linear_sem", "linear_geometric",
    "linear_geometric_sem", "linear_witness", "linear_last_sum", "linear_last_log_sum",
    "linear_last_log_n", "state_length",
)  # fmt: skip


def measure_control(model: TransformerBridge, control: Control) -> xr.Dataset:
    """A control, with the growing metrics alone and without maps.

    Args:
        model: with random weights, if the control asks for them.
        control: of `CONTROLS`.

    Raises:
        ValueError: the model has no BOS token, or too few tokens or positions.
    """
    found = measure(model, control.settings).sel(metric=list(KEPT))
    return found.drop_vars(set(found.data_vars) - set(_VARIABLES))


def measure_controls(model: str, folder: str | Path, progress: bool = False) -> list[Path]:
    """Measure all controls of a model that are not in a folder yet.

    Args:
        model: a registered name.
        folder: for control-NAME-MODEL.nc.
        progress: show a progress bar.

    Returns:
        The files of all that the model can have.
    """
    trained = load_model(model, tokenizer=False)
    has_bos = bos_token(trained) is not None
    asked = [each for each in CONTROLS if has_bos or not each.needs_bos]
    paths = []
    for control in tqdm(asked, disable=not progress, unit="control"):
        path = control_file(folder, control.name, model)
        named = model + SUFFIX * control.random_weights
        if not (path.exists() and answer(load_results(path), named, control.settings) is not None):
            used = load_model(named, tokenizer=False) if control.random_weights else trained
            save_results(measure_control(used, control), path)
        paths.append(path)
    return paths
