"""Every architecture that a user may bring, at toy size: transformers' own configurations with random weights.

>>> sorted(ARCHITECTURES)[:3]
['bloom', 'cohere', 'cohere2']
"""

import torch
import transformers

VOCAB, WIDTH, LAYERS, HEADS, INNER, CONTEXT = 96, 32, 2, 4, 48, 64

_LLAMA = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "intermediate_size": INNER,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
_GPT2 = {
    "vocab_size": VOCAB,
    "n_embd": WIDTH,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_positions": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
_NEOX = {name: value for name, value in _LLAMA.items() if name != "num_key_value_heads"}
_GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}
_SOFT_CAPS = {"attn_logit_softcapping": 1.0, "final_logit_softcapping": 2.0}  # so low that they show
_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}

# Name -> class and keywords of a dense causal language model that can be certified.
_SUPPORTED: dict[str, tuple[str, dict]] = {
    "gpt2": ("GPT2Config", _GPT2),  # Conv1D, tied
    "gpt2-untied": ("GPT2Config", _GPT2 | {"tie_word_embeddings": False}),
    "gpt-neo": (
        "GPTNeoConfig",
        {
            "vocab_size": VOCAB,
            "hidden_size": WIDTH,
            "num_layers": 2,
            "num_heads": HEADS,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 16,
            "max_position_embeddings": CONTEXT,
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
    ),
    "gptj": ("GPTJConfig", _GPT2 | {"rotary_dim": 4}),  # untied, bias in the head
    "gpt-neox": ("GPTNeoXConfig", _NEOX),
    "gpt-neox-tied": ("GPTNeoXConfig", _NEOX | {"tie_word_embeddings": True, "use_parallel_residual": False}),
    "opt": (
        "OPTConfig",
        {
            "vocab_size": VOCAB,
            "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "ffn_dim": INNER,
            "max_position_embeddings": CONTEXT,
            "word_embed_proj_dim": WIDTH,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        },
    ),
    "bloom": (
        "BloomConfig",
        {
            "vocab_size": VOCAB,
            "hidden_size": WIDTH,
            "n_layer": LAYERS,
            "n_head": HEADS,
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
    ),
    "llama": ("LlamaConfig", _LLAMA),  # grouped heads, untied
    "llama-tied": ("LlamaConfig", _LLAMA | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "mistral": ("MistralConfig", _LLAMA | {"sliding_window": 16}),
    "qwen2": ("Qwen2Config", _LLAMA),  # biases of queries, keys and values
    "qwen3": ("Qwen3Config", _LLAMA | {"head_dim": 8}),  # norms of queries and keys
    "gemma": ("GemmaConfig", _LLAMA | {"head_dim": 8}),  # tied, embeddings scaled
    "gemma2": (
        "Gemma2Config",
        _LLAMA | _GEMMA | _SOFT_CAPS,
    ),  # soft caps of scores and logits, windows in every other layer
    "gemma3": ("Gemma3TextConfig", _LLAMA | _GEMMA | {"sliding_window_pattern": 2}),
    "olmo": ("OlmoConfig", _LLAMA),  # norms without weights
    "olmo2": ("Olmo2Config", _LLAMA),  # norms after the blocks
    "phi": ("PhiConfig", _LLAMA | {"num_key_value_heads": HEADS, "partial_rotary_factor": 0.5}),  # bias in the head
    "phi3": ("Phi3Config", _LLAMA),  # fused projections
    "stablelm": ("StableLmConfig", _LLAMA | {"use_qkv_bias": True}),
    "starcoder2": ("Starcoder2Config", _LLAMA),
    "cohere": ("CohereConfig", _LLAMA | {"logit_scale": 0.25}),
    "cohere2": ("Cohere2Config", _LLAMA | {"sliding_window": 16, "logit_scale": 0.25}),
    "granite": (
        "GraniteConfig",
        _LLAMA | {"logits_scaling": 4.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5},
    ),
    "smollm3": ("SmolLM3Config", _LLAMA),  # no rotation in some layers
    "apertus": ("ApertusConfig", _LLAMA | {"rope_parameters": _ROPE}),
}

ARCHITECTURES: tuple[str, ...] = tuple(_SUPPORTED)


def config(name: str, **changes) -> "transformers.PretrainedConfig":
    """A fresh configuration of `name`, one of `ARCHITECTURES`, with `changes` to its fields."""
    kind, fields = _SUPPORTED[name]
    return getattr(transformers, kind)(**fields | changes)


def model(name: str, seed: int = 0, spread: float = 10.0, **changes) -> "transformers.PreTrainedModel":
    """`config(name)` with random float32 weights in evaluation mode.

    Matrices are `spread` times the usual size, so that predictions are far from uniform and a fault of any layer shows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = config(name, **changes)
        # the fused kernel of torch knows no soft caps: transformers' own choice would leave them out without a word
        attention = {"attn_implementation": "eager"} if getattr(shape, "attn_logit_softcapping", None) else {}
        built = transformers.AutoModelForCausalLM.from_config(shape, **attention)
        with torch.no_grad():
            for weight in built.parameters():
                weight.mul_(spread) if weight.ndim > 1 else weight.add_(0.1 * torch.randn_like(weight))
    return built.eval()
