"""Every architecture of the table: quantized by each method, written, read back and rebuilt from the file alone."""

import copy

import architectures
import numpy as np
import pytest
import torch
from tiny_models import token_rows

from gengap.compression import archive, curvature
from gengap.compression.archive import Hypothesis
from gengap.compression.layerwise import quantize
from gengap.compression.methods import METHODS, Compressor, compress
from gengap.compression.rate_distortion import fisher_factors
from gengap.errors import UserError
from gengap.models.architecture import Architecture, Blueprint, architecture_of, build
from gengap.statistics.evaluation import weights_sha256
from gengap.statistics.per_token import token_statistics

ROWS = token_rows(40, seq_len=25)


def logits(model, rows=ROWS[:4, :-1]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.as_tensor(rows.astype(np.int64))).logits


def divergence(model, other) -> float:
    """Mean KL(model || other) per token, nats."""
    log_p, log_q = (logits(m).log_softmax(-1) for m in (model, other))
    return float((log_p.exp() * (log_p - log_q)).sum(-1).mean())


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_quantized_written_and_rebuilt_from_the_file_alone(name):
    """Identical logits; every parameter is in the file once; eight bits are close, four are not, and GPTQ is no worse than rounding."""
    model = architectures.model(name)
    shape = architecture_of(model)
    assert shape == architecture_of(model.config)
    assert shape.n_params == sum(p.numel() for p in model.parameters())
    found = {}
    for method, bits in (("gptq", 4), ("rtn", 4), ("gptq", 8)):
        quantized = quantize(model, method, bits, 64, ROWS[:, :-1])
        content = archive.encode(quantized, shape)
        decoded, read_shape = archive.decode(content)
        assert read_shape == shape
        rebuilt, built = decoded.build(read_shape.config()), quantized.build(model.config)
        assert torch.equal(logits(rebuilt), logits(built))
        assert weights_sha256(rebuilt) == weights_sha256(built)
        found[method, bits] = divergence(model, built)
        assert len(content) < archive.honest_bits(quantized) / 8 + 300  # the description of the model
    assert found["gptq", 4] < 1.02 * found["rtn", 4]  # mostly 0.8; Granite hardly listens to its layers
    assert 0 < found["gptq", 8] < found["gptq", 4] / 30
    assert found["gptq", 8] < 1e-3


@pytest.mark.parametrize("name", ["gpt2", "opt", "llama", "gemma2", "bloom"])
def test_methods_that_aim_at_a_length(name):
    model = architectures.model(name)
    rows = token_rows(200, seq_len=17, seed=1)
    compressor = Compressor(model, rows)
    shape, found = compressor.architecture, []
    for bits in (3, 5):
        quantized = compressor.quantize("entropy", bits)
        length = archive.prefix_free_bits(len(archive.encode(quantized, shape))) / shape.n_params
        assert bits - 0.2 < length <= bits
        found.append(divergence(model, quantized.build(model.config)))
    assert found[1] < found[0] / 5
    rounded = compressor.quantize("entropy", 3).build(model.config)
    retrained = compressor.quantize("qat", 3)
    decoded, _ = archive.decode(archive.encode(retrained, shape))
    assert torch.equal(logits(decoded.build(shape.config())), logits(retrained.build(model.config)))
    losses = [token_statistics(m, rows).nll.mean() for m in (rounded, retrained.build(model.config))]
    assert losses[1] < losses[0]


def test_the_information_of_a_tied_matrix_is_the_sum_of_its_two_uses():
    """Traces of the same weights, tied and untied: the head's and the embedding's add up, row by row."""
    rows = token_rows(200, seq_len=16, seed=2)
    tied = architectures.model("llama-tied", spread=2.0)
    untied = architectures.model("llama-tied", spread=2.0, tie_word_embeddings=False)
    with torch.no_grad():
        for name, parameter in untied.named_parameters():
            parameter.copy_(tied.state_dict()[name])
    both, apart = fisher_factors(tied, rows), fisher_factors(untied, rows)
    head, embedding = apart["lm_head.weight"], apart["model.embed_tokens.weight"]
    expected = head.outputs * head.inputs.diagonal().sum() + embedding.outputs * embedding.inputs.sum()
    found = both["model.embed_tokens.weight"]
    np.testing.assert_allclose(found.outputs * found.inputs.diagonal().sum(), expected, rtol=1e-3)


@pytest.mark.parametrize(
    "name", ["gpt2", "gptj", "opt", "bloom", "llama-tied", "qwen3", "gemma2", "gemma3", "olmo2", "phi3"]
)
def test_curvature_is_the_second_derivative(name):
    model, rows = architectures.model(name, num_hidden_layers=1), token_rows(2, seq_len=9)
    ids = torch.as_tensor(rows.astype(np.int64))
    exact = copy.deepcopy(model).double()
    parameters = list(exact.parameters())
    start = torch.nn.utils.parameters_to_vector(parameters).detach()
    v = torch.randn(len(start), generator=torch.Generator().manual_seed(0))

    def gradient(step: float) -> torch.Tensor:
        torch.nn.utils.vector_to_parameters(start + step * v.double(), parameters)
        loss = torch.nn.functional.cross_entropy(exact(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])

    expected = (gradient(1e-4) - gradient(-1e-4)) / 2e-4  # norms are in float32 whatever is asked for: no smaller steps
    product = curvature.hessian(model, rows).matmul(v[:, None])[:, 0]
    assert float((product - expected).norm() / expected.norm()) < 5e-3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
@pytest.mark.parametrize("method", METHODS)
def test_a_weight_that_no_file_holds_is_named_before_any_work(value, method, monkeypatch):
    model = architectures.model("llama")
    name = "model.layers.1.mlp.up_proj.weight"
    model.state_dict()[name].view(-1)[5] = value
    with pytest.raises(UserError, match=name):
        compress(model, ROWS, method, 4, n_calibration_rows=2)
    with pytest.raises(UserError, match=name):
        curvature.gauss_newton(model, ROWS)


@pytest.mark.parametrize("method", ["gptq", "entropy"])
def test_dropout_is_off_and_the_mode_of_the_caller_is_restored(method):
    quiet = architectures.model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    loud = copy.deepcopy(quiet).train()
    loud.transformer.h[0].eval()
    modes = [module.training for module in loud.modules()]
    expected, found = (Compressor(m, ROWS, n_calibration_rows=8).quantize(method, 4) for m in (quiet, loud))
    assert [module.training for module in loud.modules()] == modes
    for tensor, other in zip(expected.tensors.values(), found.tensors.values(), strict=True):
        np.testing.assert_array_equal(tensor.codes, other.codes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_exactly(dtype):
    half = architectures.model("llama").to(dtype)
    whole = copy.deepcopy(half).float()
    for method in ("gptq", "entropy"):
        one, other = (Compressor(m, ROWS, n_calibration_rows=8).quantize(method, 4) for m in (half, whole))
        for name, tensor in one.tensors.items():
            np.testing.assert_array_equal(tensor.codes, other.tensors[name].codes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": -1}, "seed = "),
        ({"seed": 2**35}, "seed = "),
        ({"group_size": -1}, "group_size = "),
        ({"group_size": 2**36}, "group_size = "),
        ({"n_calibration_rows": 0}, "n_calibration_rows = 0"),
        ({"bits": 1}, "choose 2 to 8"),
        ({"bits": 4.5}, "choose 2 to 8"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_numeric_options_are_checked_before_any_work(change, said, method):
    with pytest.raises(UserError, match=said):
        compress(None, ROWS, **{"method": method, "bits": 4} | change)


@pytest.mark.parametrize(
    "name", ["mixtral", "gpt2 in a class of its own", "shared layers", "a matrix of its own", "state"]
)
def test_models_that_are_not_dense_are_refused(name):
    import transformers

    if name == "mixtral":
        shape = {"hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.MixtralConfig(vocab_size=96, num_local_experts=2, num_key_value_heads=2, **shape)
        model = transformers.MixtralForCausalLM(config)
    else:
        model = architectures.model("gpt2")
    if name == "gpt2 in a class of its own":
        model.__class__ = type("MyGPT2", (transformers.GPT2LMHeadModel,), {})
    elif name == "shared layers":
        model.transformer.h[1].mlp.c_fc.weight = model.transformer.h[0].mlp.c_fc.weight
    elif name == "a matrix of its own":
        model.transformer.h[0].gate = torch.nn.Parameter(torch.zeros(3, 3))
    elif name == "state":
        model.transformer.h[0].register_buffer("scale", torch.ones(3))
    with pytest.raises(UserError):
        compress(model, ROWS, "rtn")


def test_a_configuration_that_a_file_does_not_hold_is_refused():
    model = architectures.model("llama")
    model.config.rope_parameters["factor"] = torch.ones(2)
    with pytest.raises(UserError, match="rope_parameters"):
        architecture_of(model)
    model = architectures.model("llama")
    model.config.rms_norm_eps = float("nan")
    with pytest.raises(UserError, match="rms_norm_eps"):
        architecture_of(model)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("llama", "rms_norm_eps", 0.1),
        ("gpt2", "activation_function", "relu"),
        ("gemma2", "final_logit_softcapping", 1.0),
        ("mistral", "sliding_window", 2),
        ("granite", "residual_multiplier", 2.0),
    ],
)
def test_every_field_that_changes_the_function_is_in_the_file(name, field, value):
    usual, unusual = architectures.model(name), architectures.model(name, **{field: value})
    assert not torch.equal(logits(usual), logits(unusual))
    shape = architecture_of(unusual)
    assert not shape.matches(usual.config)
    decoded, read_shape = archive.decode(archive.encode(quantize(unusual, "rtn", 8, 64, ROWS[:1]), shape))
    assert divergence(unusual, decoded.build(read_shape.config())) < 1e-3


def test_nine_integers_where_they_suffice_and_a_blueprint_elsewhere():
    kinds = {name: type(architecture_of(architectures.config(name))) for name in architectures.ARCHITECTURES}
    assert {name for name, kind in kinds.items() if kind is Architecture} == {"gpt-neox"}
    assert set(kinds.values()) == {Architecture, Blueprint}


def test_a_file_of_another_model_is_refused_before_memory_is_taken():
    quantized = quantize(architectures.model("llama"), "rtn", 4, 64, ROWS[:1])
    for change in ({"vocab_size": 10**9}, {"num_hidden_layers": 10**9}, {"hidden_size": 64}):
        with pytest.raises(UserError, match="another architecture"):
            quantized.build(architectures.config("llama", **change))


def test_an_archive_knows_its_model(tmp_path):
    model = architectures.model("gpt2")
    path = tmp_path / "model.ggq"
    quantized = quantize(model, "rtn", 4, 64, ROWS[:1])
    length = archive.write(quantized, model.config, path)
    assert length == archive.prefix_free_bits(path.stat().st_size)
    hypothesis = Hypothesis.read(path, "rtn", 4, model.config)
    assert hypothesis.group_size == 64
    assert torch.equal(logits(hypothesis.build(model)), logits(quantized.build(model.config)))
    assert build(model.config).state_dict().keys() == model.state_dict().keys()
    with pytest.raises(UserError, match="another architecture"):
        archive.read(path, architectures.config("gpt2", n_head=2))
