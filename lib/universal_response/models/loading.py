"""Names -> loaded models (TransformerBridge) and tokenizers, on a device."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import transformers
from safetensors import SafetensorError
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

from universal_response.models.conversion import converted
from universal_response.models.device import resolve_device
from universal_response.models.messages import first_line, quiet
from universal_response.models.registry import REGISTRY
from universal_response.models.weights import (
    Provenance,
    WeightsUnavailable,
    locate,
    weights_sha256,
)
from universal_response.number_types import torch_dtype


def load_model(
    name_or_path: str,
    device: str = "auto",
    dtype: str = "float32",
    tokenizer: bool = True,
    progress: bool = False,
) -> TransformerBridge:
    """Load a pretrained model as a TransformerBridge, ready to be measured.

    Hugging Face norms and rotary embeddings compute in float32 inside, whatever the dtype: run as
    it is, a float64 model gives about seven digits. `measure` leaves these casts out.

    Args:
        name_or_path: a registered name (see `REGISTRY`), a local folder with a Hugging Face
            checkpoint in safetensors or a single GGUF file, or a hub id of the form `owner/name`.
        device: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: `float32`, `float64`, `bfloat16` or `float16`.
        tokenizer: load the tokenizer as well; random-token measurements do not need it.
        progress: show the progress bars of the download and of the loading.

    Raises:
        ValueError: unknown model, dtype or device, or a folder without usable weights.
        WeightsUnavailable: the weights cannot be fetched.
    """
    resolved_device = resolve_device(device)
    number_type = torch_dtype(dtype)
    source, options, provenance = locate(name_or_path, progress)
    with nullcontext() if progress else quiet():
        source, options = _readable(source, options, provenance)
    try:
        with nullcontext() if progress else quiet():
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                source,
                dtype=number_type,
                use_safetensors=True,
                trust_remote_code=False,
                **options,
            )
            loaded = _load_tokenizer(source, options) if tokenizer else None
            bridge = bridged(model.to(resolved_device), provenance.model, loaded)
    except SafetensorError as error:
        raise ValueError(
            f"model={name_or_path}: the weights are damaged ({error}); fetch or copy them again"
        ) from error
    except OSError as error:
        if provenance.weights_sha256 != "unknown":
            raise ValueError(
                f"model={name_or_path}: the weights in {source} cannot be read "
                f"({first_line(error)}); check the folder"
            ) from error
        raise WeightsUnavailable(
            f"model={name_or_path}: the weights cannot be loaded ({first_line(error)}); check the "
            "network, the licence and your hub token, or give a local folder"
        ) from error
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"model={name_or_path}: cannot be loaded as a decoder-only model "
            f"({first_line(error)}); use an architecture that TransformerLens can bridge"
        ) from error
    if provenance.weights_sha256 == "unknown":
        provenance = replace(provenance, weights_sha256=weights_sha256(name_or_path))
    bridge.provenance = provenance
    return bridge


def bridged(model: Any, name: str = "unknown", tokenizer: Any = None) -> TransformerBridge:
    """A model of transformers as a TransformerBridge, ready to be measured.

    Args:
        model: becomes part of the bridge, and learns no more.
        name: of the model.
        tokenizer: its own, if it has one.
    """
    model = model.eval().requires_grad_(False)
    return build_bridge_from_module(
        model,
        type(model).__name__,
        hf_config=model.config,
        tokenizer=tokenizer,
        model_name=name,
    )


def load_tokenizer(name_or_path: str) -> Any:
    """The tokenizer beside a model's weights as it was published; None if there is none.

    A bridge carries a tokenizer too, but one that was changed: it always puts a BOS token first,
    and where there is none it takes another token for it.

    Args:
        name_or_path: as for `load_model`.

    Raises:
        ValueError: unknown model, or a folder without usable weights.
        WeightsUnavailable: the file that holds the tokenizer cannot be fetched.
    """
    source, options, provenance = locate(name_or_path, progress=False)
    with quiet():
        return _load_tokenizer(*_readable(source, options, provenance))


def _readable(
    source: str, options: dict[str, str], provenance: Provenance
) -> tuple[str, dict[str, str]]:
    """What `locate` found, but for a registered GGUF file its conversion, which loads sooner."""
    if not options or provenance.model not in REGISTRY:
        return source, options
    try:
        return str(converted(Path(source) / options["gguf_file"])), {}
    except OSError as error:
        raise ValueError(
            f"model={provenance.model}: its copy in float32 cannot be written to {source} "
            f"({first_line(error)}); make room there, or set UNIVERSAL_RESPONSE_CACHE"
        ) from error


def _load_tokenizer(source: str, options: dict[str, str]) -> Any:
    """The tokenizer beside the weights, or None: no measurement of token ids depends on it."""
    try:
        found = transformers.AutoTokenizer.from_pretrained(
            source, trust_remote_code=False, **options
        )
    except (OSError, ValueError, ImportError):
        return None
    # For some families transformers makes up one that knows no word.
    return found if found.vocab_size else None
