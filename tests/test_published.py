"""Released models: counted from their shapes, and what the paper's gap would be at their tokens a parameter."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, LlamaConfig, Olmo2Config, Qwen2Config

from gengap import published
from gengap.bounds import CodedModel, closed_form_gap

MODELS = {model.name: model for model in published.released_models()}


def shape(width, layers, heads, inner, key_heads=None, **more):
    names = "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "num_key_value_heads"
    return dict(zip(names, (width, layers, heads, inner, key_heads or heads), strict=True)) | more


TIED = {"tie_word_embeddings": True}
# The released config.json files, as far as a count of parameters needs them.
SHAPES = {
    "Cerebras-GPT 111M": (GPT2Config, {"n_embd": 768, "n_layer": 10, "n_head": 12, "n_positions": 2048}),
    "Cerebras-GPT 1.3B": (GPT2Config, {"n_embd": 2048, "n_layer": 24, "n_head": 16, "n_positions": 2048}),
    "Llama 2 7B": (LlamaConfig, shape(4096, 32, 32, 11008)),
    "TinyLlama 1.1B": (LlamaConfig, shape(2048, 22, 32, 5632, 4)),
    "Gemma 2 2B": (Gemma2Config, shape(2304, 26, 8, 9216, 4, head_dim=256)),
    "Llama 3 8B": (LlamaConfig, shape(4096, 32, 32, 14336, 8)),
    "OLMo 2 1B": (Olmo2Config, shape(2048, 16, 16, 8192)),
    "OLMo 2 7B": (Olmo2Config, shape(4096, 32, 32, 11008)),
    "SmolLM2 135M": (LlamaConfig, shape(576, 30, 9, 1536, 3) | TIED),
    "SmolLM2 1.7B": (LlamaConfig, shape(2048, 24, 32, 8192) | TIED),
    "Qwen2.5 0.5B": (Qwen2Config, shape(896, 24, 14, 4864, 2) | TIED),
    "Qwen2.5 7B": (Qwen2Config, shape(3584, 28, 28, 18944, 4)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_of_released_models_are_those_of_their_configuration(name):
    config, settings = SHAPES[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config(vocab_size=MODELS[name].vocab_size, **settings))
    assert sum(p.numel() for p in model.parameters()) == MODELS[name].n_params


def test_every_released_model_is_named_once_with_its_source():
    assert len(MODELS) == len(published.released_models()) >= 25
    for model in MODELS.values():
        assert "arXiv" in model.source or "model card" in model.source
        assert 1 <= model.n_train_tokens / model.n_params < 40_000
        assert model.passes is None or model.passes >= 1
    pythia = published.pythia_n_params()
    assert {f"Pythia {size}" for size in pythia} >= {name for name in MODELS if name.startswith("Pythia")}
    assert all(model.n_params == pythia[name.split()[1]] for name, model in MODELS.items() if "Pythia" in name)
    assert MODELS["Pythia 12b"].n_train_tokens == 143_000 * published.facts("pythia")["tokens_per_step"]


def test_tokens_that_were_read_again_count_once():
    tiny = MODELS["TinyLlama 1.1B"]
    assert tiny.n_first_read == tiny.n_train_tokens // 3
    assert MODELS["Qwen2.5 7B"].n_first_read == MODELS["Qwen2.5 7B"].n_train_tokens


@pytest.mark.parametrize(("ratio", "gap"), [(20, 2.21), (100, 0.62), (1000, 0.13), (15_000, 0.03)])
def test_the_gap_falls_with_tokens_a_parameter_as_the_closed_form_says(ratio, gap):
    n, v, sigma = 10**9, 50304, 0.5
    found = closed_form_gap(CodedModel(4 * n, ratio * n, v), sigma)
    assert found == pytest.approx(gap, abs=0.005)
    c = 4 * math.log(2) / ratio
    assert found == pytest.approx(c * math.log(v) + (sigma + math.sqrt(2)) * math.sqrt(c), rel=1e-6)
