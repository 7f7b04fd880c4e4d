"""Untrained GPT-NeoX models of a few thousand parameters, with inputs that make their layers unequal."""

import copy

import numpy as np
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from gengap.statistics.companion import Companion


def tiny_config(hidden_size: int = 12, vocab_size: int = 96, n_layers: int = 2) -> GPTNeoXConfig:
    return GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        intermediate_size=4 * hidden_size,
        max_position_embeddings=32,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        tie_word_embeddings=False,
        use_cache=False,
    )


def tiny_model(config: GPTNeoXConfig, seed: int = 0) -> GPTNeoXForCausalLM:
    """Weights ten times larger than at initialization, so that predictions are not uniform; nonzero biases."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        model = GPTNeoXForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.2 * noise if parameter.ndim == 2 else parameter + 0.1 * noise)
    return model


def token_rows(n_rows: int, vocab_size: int = 96, seq_len: int = 32, seed: int = 0) -> np.ndarray:
    """(n_rows, seq_len) uint16, low ids far more frequent than high ones."""
    draws = np.random.default_rng(seed).geometric(0.08, (n_rows, seq_len)) - 1
    return np.minimum(draws, vocab_size - 1).astype(np.uint16)


def tiny_companion(model: torch.nn.Module, starts: tuple[int, ...] = (0, 10, 30), floor: float = 0.01) -> Companion:
    """What `model` may have been before: its weights at a third, two thirds and all of their size."""
    earlier = []
    for i in range(len(starts)):
        earlier.append(copy.deepcopy(model))
        with torch.no_grad():
            for parameter in earlier[i].parameters():
                parameter.mul_((i + 1) / len(starts))
    return Companion("smaller-weights", starts, earlier.__getitem__, floor)
