"""Random-weight models of every architecture family the method is used on, built in memory."""

import functools

import torch
import transformers
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

VOCABULARY = 101
LAYERS = 3
CONTEXT = 64

_NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_GROUPED = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
} | _NO_TOKENS
# A window shorter than the sequences: a cache that forgets what stands left of it would show.
_GEMMA = _GROUPED | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 5}
# Gemma has a norm after attention as well, inside the branch: the one before the MLP comes first.
_NORMS_BEFORE_MLP = ("ln_2", "pre_feedforward_layernorm", "post_attention_layernorm")
_LAYER_TYPES = ["sliding_attention", "full_attention", "sliding_attention"]


def _gpt2() -> transformers.PretrainedConfig:
    return transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=LAYERS,
        n_head=4,
        n_positions=CONTEXT,
        **_NO_TOKENS,
    )


def _gpt_neox() -> transformers.PretrainedConfig:
    return transformers.GPTNeoXConfig(
        **{name: value for name, value in _GROUPED.items() if name != "num_key_value_heads"},
        use_parallel_residual=True,
    )


_CONFIGS = {
    "gpt2": _gpt2,
    "llama": lambda: transformers.LlamaConfig(**_GROUPED),
    "gemma2": lambda: transformers.Gemma2Config(
        **_GEMMA, layer_types=_LAYER_TYPES, attn_logit_softcapping=0.5
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(**_GEMMA, layer_types=_LAYER_TYPES),
    "qwen2": lambda: transformers.Qwen2Config(**_GROUPED),
    "gpt_neox": _gpt_neox,
}
ARCHITECTURES = tuple(_CONFIGS)
_CONFIGS |= {
    "gpt_neo": lambda: transformers.GPTNeoConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_layers=LAYERS,
        num_heads=4,
        max_position_embeddings=CONTEXT,
        attention_types=[[["global", "local", "local"], 1]],
        window_size=5,
        **_NO_TOKENS,
    ),
    "gptj": lambda: transformers.GPTJConfig(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=LAYERS,
        n_head=4,
        n_positions=CONTEXT,
        rotary_dim=4,
        **_NO_TOKENS,
    ),
    "bloom": lambda: transformers.BloomConfig(
        vocab_size=VOCABULARY, hidden_size=32, n_layer=LAYERS, n_head=4, **_NO_TOKENS
    ),
    "falcon": lambda: transformers.FalconConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        alibi=True,
        parallel_attn=True,
        bias=True,
        **_NO_TOKENS,
    ),
    "phi": lambda: transformers.PhiConfig(**_GROUPED, partial_rotary_factor=0.5),
    "phi3": lambda: transformers.Phi3Config(**_GROUPED, sliding_window=5),
    "stablelm": lambda: transformers.StableLmConfig(
        **_GROUPED, partial_rotary_factor=0.5, use_qkv_bias=True, qk_layernorm=True
    ),
    "starcoder2": lambda: transformers.Starcoder2Config(**_GROUPED, sliding_window=5),
    "smollm3": lambda: transformers.SmolLM3Config(
        **_GROUPED, no_rope_layers=[1, 0, 1], use_sliding_window=True, sliding_window=5
    ),
    "mistral": lambda: transformers.MistralConfig(**_GROUPED, sliding_window=5),
    "granite": lambda: transformers.GraniteConfig(
        **_GROUPED, embedding_multiplier=3.0, residual_multiplier=0.7, attention_multiplier=0.5
    ),
    "cohere": lambda: transformers.CohereConfig(**_GROUPED, use_qk_norm=True),
    "olmo": lambda: transformers.OlmoConfig(**_GROUPED, clip_qkv=1.0),
    "olmo2": lambda: transformers.Olmo2Config(**_GROUPED),
    "qwen3": lambda: transformers.Qwen3Config(
        **_GROUPED, head_dim=8, use_sliding_window=True, sliding_window=5, max_window_layers=1
    ),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(
        **_GROUPED,
        head_dim=8,
        use_sliding_window=True,
        sliding_window=5,
        moe_intermediate_size=24,
        num_experts=4,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        experts_implementation="eager",
    ),
    "gemma": lambda: transformers.GemmaConfig(**_GROUPED, head_dim=8),
    "opt": lambda: transformers.OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        **_NO_TOKENS,
    ),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **_GROUPED,
        head_dim=8,
        sliding_window=5,
        layer_types=_LAYER_TYPES,
        num_local_experts=4,
        num_experts_per_tok=2,
        swiglu_limit=1.0,
        experts_implementation="eager",
    ),
}
FAMILIES = tuple(_CONFIGS)


def tiny_hf_model(architecture: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """The Hugging Face model, with weights large enough that the response is not trivial."""
    return random_weights(_CONFIGS[architecture](), dtype)


def random_weights(
    config: transformers.PretrainedConfig, dtype: torch.dtype = torch.float32
) -> torch.nn.Module:
    """A Hugging Face model of this configuration; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                # Biases of experts and norms of heads have several dimensions, but no spread yet.
                if parameter.ndim > 1 and parameter.std() > 0:
                    parameter *= 5
                else:
                    parameter += 0.1 * torch.randn_like(parameter)
    return model.to(dtype).eval().requires_grad_(False)


@functools.cache
def tiny_model(architecture: str, dtype: torch.dtype = torch.float32) -> TransformerBridge:
    """The same as a bridge, with no tokenizer.

    One for all tests: what changes a model takes one of its own, `bridged(tiny_hf_model(...))`.
    """
    return bridged(tiny_hf_model(architecture, dtype))


def bridged(model: torch.nn.Module) -> TransformerBridge:
    """A Hugging Face model as a bridge."""
    return build_bridge_from_module(model, type(model).__name__, hf_config=model.config).eval()


def random_tokens(sequences: int, t: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (sequences, t), generator=generator)


def residual_streams(
    model: torch.nn.Module, tokens: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Residual vectors of a Hugging Face model's full pass, with its own hooks only.

    Args:
        model: without a bridge.
        tokens: (sequence, token).
        weights: factor on the transformer input at each token, shape (token).

    Returns:
        (position, sequence, token, d_model).
    """
    base = model.base_model
    blocks = base.h if hasattr(base, "h") else base.layers
    states = []

    def weaken(module, args):
        weakened = args[0] * weights[None, :, None]
        states.append(weakened)
        return (weakened, *args[1:])

    def before_mlp(module, args):
        states.append(args[0])

    def after_block(module, args, output):
        states.append(output[0] if isinstance(output, tuple) else output)

    handles = [blocks[0].register_forward_pre_hook(weaken)]
    for block in blocks:
        norms = (getattr(block, name, None) for name in _NORMS_BEFORE_MLP)
        norm = next((norm for norm in norms if norm is not None), None)
        if norm is not None and not getattr(block, "use_parallel_residual", False):
            handles.append(norm.register_forward_pre_hook(before_mlp))
        handles.append(block.register_forward_hook(after_block))
    try:
        base(tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(states)
