"""The architecture of a model without its weights: configuration, size, what Table 1 says."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_config_from_hf

from universal_response.models.messages import first_line, quiet
from universal_response.models.random_weights import base_of
from universal_response.models.registry import REGISTRY, title
from universal_response.models.weights import WeightsUnavailable, locate


def reference_config(name: str) -> transformers.PretrainedConfig:
    """Architecture of a registered model, without a download."""
    config = dict(REGISTRY[name].config)
    return transformers.AutoConfig.for_model(config.pop("model_type"), **config)


def config_of(name_or_path: str) -> transformers.PretrainedConfig:
    """Architecture of any model that `load_model` takes, without its weights.

    Of a registered model from the registry, of a folder from its GGUF file or config.json, of
    another hub id from the config.json there, a file of a few kB.

    Raises:
        ValueError: unknown model, or a folder without a usable configuration.
        WeightsUnavailable: the configuration of a hub id cannot be fetched.
    """
    name_or_path = base_of(name_or_path)
    if name_or_path in REGISTRY:
        return reference_config(name_or_path)
    folder = Path(name_or_path)
    gguf = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
    if folder.is_dir() and len(gguf) != 1 and not (folder / "config.json").exists():
        raise ValueError(f"model={folder}: the folder needs config.json or one *.gguf file")
    options = {"gguf_file": gguf[0].name} if len(gguf) == 1 else {}
    source = str(folder) if folder.is_dir() else locate(name_or_path, progress=False)[0]
    try:
        with quiet():
            return transformers.AutoConfig.from_pretrained(
                source, trust_remote_code=False, **options
            )
    except (OSError, ValueError, KeyError) as error:
        on_hub = isinstance(error, OSError) and not folder.is_dir()
        raise (WeightsUnavailable if on_hub else ValueError)(
            f"model={name_or_path}: its configuration cannot be read ({first_line(error)}); check "
            "config.json, or the network, the licence and your hub token"
        ) from error


def architecture(model: TransformerBridge) -> dict[str, str | int]:
    """What Table 1 says of a model, read from the model itself; tied weights are counted once."""
    # Not counted in the bridged model: that holds a fused QKV matrix and its parts.
    original: Any = model.original_model
    return described(model.cfg, without_weights(original.config))


def without_weights(config: transformers.PretrainedConfig) -> Any:
    """The Hugging Face model of a configuration, on the device that holds no numbers."""
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def bridge_config(name: str, model: Any) -> Any:
    """The `cfg` that a bridge of a Hugging Face model would have."""
    cfg = build_bridge_config_from_hf(model.config, type(model).__name__, name, torch.float32)
    return ArchitectureAdapterFactory.select_architecture_adapter(cfg).cfg


def described(cfg: Any, model: torch.nn.Module) -> dict[str, str | int]:
    """What Table 1 says of a model, from the `cfg` of its bridge and its parameters."""
    name, base = cfg.model_name, base_of(cfg.model_name)
    n_key_value = cfg.n_key_value_heads or cfg.n_heads
    heads = f"{cfg.n_heads}" + (f" ({n_key_value} key/value)" if n_key_value < cfg.n_heads else "")
    positional = {"rotary": "rotary", "standard": "learned", "alibi": "ALiBi"}
    return {
        "model": title(name),
        "family": REGISTRY[base].family if base in REGISTRY else cfg.architecture,
        "layers": cfg.n_layers,
        "width": cfg.d_model,
        "heads": heads,
        "vocabulary": cfg.d_vocab,
        "normalisation": "RMSNorm" if cfg.uses_rms_norm else "LayerNorm",
        "positions": positional.get(cfg.positional_embedding_type, cfg.positional_embedding_type),
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }
