"""Checkpoints of every architecture as users have them, loaded exactly; everything else refused in one sentence."""

import json
import math
import shutil
from pathlib import Path

import architectures
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import gengap
from gengap.errors import UserError
from gengap.models.loading import load_checkpoint
from gengap.models.spec import load_folder
from gengap.statistics.checks import check_model
from gengap.statistics.per_token import token_statistics

ROOT = Path(__file__).parents[2]
ROWS = np.random.default_rng(0).integers(0, architectures.VOCAB, (3, 41))
ALPHAS = (0.0, 0.1)


def plain_statistics(model, rows):
    """Losses and smoothed entropies from the model's own logits, in float64, without any of the library's code."""
    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(rows[:, :-1])).logits.double()
    logp = logits.log_softmax(-1)
    losses = -logp.gather(-1, torch.from_numpy(rows[:, 1:, None]))[..., 0]
    mixed = [(1 - alpha) * logp.exp() + alpha / logits.shape[-1] for alpha in ALPHAS]
    return losses.numpy(), np.stack([-(q * q.log()).sum(-1).numpy() for q in mixed])


def save(model, folder, dtype=torch.float32, **how):
    """As users have it: in the hub's layout, in some float format."""
    model.to(dtype).save_pretrained(folder, **how)
    return folder


def edit(folder, **fields):
    """Change config.json; None removes a field."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | fields
    kept = {name: value for name, value in config.items() if name not in fields or value is not None}
    (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")


def edit_weights(folder, change):
    """`change` a dictionary of the tensors in place."""
    weights = {name: weight.clone() for name, weight in load_file(folder / "model.safetensors").items()}
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


# --- what gets in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_every_architecture_is_loaded_and_read_as_its_own_forward_pass_reads_it(name, tmp_path):
    for dtype, how in ((torch.float32, {}), (torch.float16, {"max_shard_size": "30KB"}), (torch.bfloat16, {})):
        folder = save(architectures.model(name), tmp_path / str(dtype), dtype, **how)
        assert (len(list(folder.glob("*.safetensors"))) > 1) == bool(how), "sharded as asked"
        model = load_checkpoint(folder)
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
        assert not model.training
        check_model(model, ROWS)
        reference = architectures.model(name)
        with torch.no_grad():  # the same rounding, never on a disk; not of the buffers, which are no weights
            for weight in reference.parameters():
                weight.copy_(weight.to(dtype))
        reference.set_attn_implementation("eager")
        losses, entropies = plain_statistics(reference, ROWS)
        found = token_statistics(model, ROWS, ALPHAS)
        np.testing.assert_allclose(found.nll, losses, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(found.entropy, entropies, atol=1e-5, rtol=1e-5)
        assert np.abs(losses - math.log(architectures.VOCAB)).max() > 0.5, "predictions far from uniform"


@pytest.mark.parametrize("name", ["gpt2", "llama-tied", "gemma2", "bloom"])
def test_a_tied_head_may_be_stored_or_not(name, tmp_path):
    folder = save(architectures.model(name), tmp_path)
    embedding = architectures.model(name).get_input_embeddings().weight.detach()
    expected = load_checkpoint(folder)(torch.from_numpy(ROWS[:, :-1])).logits
    edit_weights(folder, lambda weights: weights.update({"lm_head.weight": embedding.clone()}))
    assert torch.equal(load_checkpoint(folder)(torch.from_numpy(ROWS[:, :-1])).logits, expected)


def test_older_layouts_are_read(tmp_path):
    """GPT-2's names without their prefix and with masks among the weights; Llama's rotary frequencies."""

    def as_released(weights):
        named = {name.removeprefix("transformer."): weight for name, weight in weights.items()}
        weights.clear()
        weights |= named | {
            f"h.{layer}.attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.uint8).tril() for layer in range(2)
        }

    gpt2, llama = save(architectures.model("gpt2"), tmp_path / "a"), save(architectures.model("llama"), tmp_path / "b")
    edit_weights(gpt2, as_released)
    edit_weights(llama, lambda weights: weights.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))
    for name, folder in (("gpt2", gpt2), ("llama", llama)):
        losses, _ = plain_statistics(architectures.model(name), ROWS)
        np.testing.assert_allclose(token_statistics(load_checkpoint(folder), ROWS).nll, losses, atol=1e-5, rtol=1e-5)


def test_what_a_configuration_says_about_outputs_and_usual_attention_is_of_no_account(tmp_path):
    folder = save(architectures.model("llama"), tmp_path)
    expected = load_checkpoint(folder)(torch.from_numpy(ROWS[:, :-1])).logits
    edit(
        folder,
        return_dict=False,
        output_attentions=True,
        output_hidden_states=True,
        use_cache=True,
        attn_implementation="eager",
    )
    edit(
        folder,
        auto_map={"AutoModelForCausalLM": "own_code.Model"},
        architectures=None,
        _attn_implementation="flash_attention_2",
    )
    (folder / "own_code.py").write_text("raise SystemExit('run')\n", encoding="utf-8")
    model = load_checkpoint(folder)
    assert torch.equal(model(torch.from_numpy(ROWS[:, :-1])).logits, expected)
    assert model.config._attn_implementation == "sdpa"


def test_a_revision_of_the_hub_is_read_from_its_cache(tmp_path, monkeypatch):
    """Two revisions in the layout of the hub's cache, without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    for seed, revision in enumerate(("main", "step1000")):
        commit = f"{seed}" * 40
        (repository / "refs" / revision).write_text(commit, encoding="utf-8")
        save(architectures.model("llama", seed=seed), repository / "snapshots" / commit)
    for seed, revision in enumerate((None, "step1000")):
        losses, _ = plain_statistics(architectures.model("llama", seed=seed), ROWS)
        found = token_statistics(load_checkpoint("some/model", revision), ROWS).nll
        np.testing.assert_allclose(found, losses, atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match=r"^cannot load some/model step7: .* check the network"):
        load_checkpoint("some/model", "step7")


# --- what does not --------------------------------------------------------------------------------------------------


def shard(folder):
    weights = load_file(folder / "model.safetensors")
    parts = (dict(list(weights.items())[::2]), dict(list(weights.items())[1::2]))
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / name, {"format": "pt"})
    index = {"weight_map": {key: name for name, part in zip(names, parts, strict=True) for key in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.safetensors").unlink()
    return folder / names[1]


def lacks_a_shard(folder):
    shard(folder).unlink()


def shard_is_another(folder):
    part = shard(folder)
    save_file(load_file(part) | {"more": torch.ones(2)}, part, {"format": "pt"})


def index_is_damaged(folder):
    shard(folder)
    (folder / "model.safetensors.index.json").write_text("{}", encoding="utf-8")


def index_leads_elsewhere(folder):
    shard(folder)
    index = {"weight_map": {"lm_head.weight": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def holds_two(folder):
    kept = (folder / "model.safetensors").read_bytes()
    shard(folder)
    (folder / "model.safetensors").write_bytes(kept)


def cut(n_bytes):
    def damage(folder):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:n_bytes])

    return damage


def pickled(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def text(content, file="config.json"):
    return lambda folder: (folder / file).write_bytes(content)


def fields(**change):
    return lambda folder: edit(folder, **change)


def weights(change):
    return lambda folder: edit_weights(folder, change)


def drop(name):
    return weights(lambda found: found.pop(name))


def put(name, value):
    return weights(lambda found: found[name].view(-1).__setitem__(3, value))


def another(shape):
    """The configuration of another model, without any weights: it is refused before they are looked for."""

    def damage(folder):
        shape.save_pretrained(folder)
        (folder / "model.safetensors").unlink()

    return damage


NORM = "model.layers.1.input_layernorm.weight"
UP = "model.layers.0.mlp.up_proj.weight"
MOE = architectures._LLAMA | {"num_local_experts": 4, "num_experts": 4, "moe_intermediate_size": 16}
REFUSALS = {
    "no config.json": (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
    "config.json is not JSON": (text(b"{"), "config.json cannot be read"),
    "config.json is not UTF-8": (text(b'{"model_type": "\xff"}'), "config.json cannot be read"),
    "config.json is a list": (text(b"[]"), "not an object of fields"),
    "config.json is empty": (text(b"{}"), "model_type None"),
    "unknown architecture": (fields(model_type="llama9"), "model_type 'llama9'"),
    "architecture with code of its own": (
        fields(model_type="new", auto_map={"AutoModel": "a.B"}),
        "code of its own, which is not run",
    ),
    "attention by a kernel of the hub": (
        fields(_attn_implementation="kernels-community/flash-attn2"),
        "chooses the code of attention",
    ),
    "attention by a kernel, other name": (
        fields(attn_implementation="someone/attention"),
        "chooses the code of attention",
    ),
    "attention by part": (fields(attn_implementation={"": "someone/attention"}), "chooses the code of attention"),
    "paged attention": (fields(_attn_implementation_internal="paged|sdpa"), "chooses the code of attention"),
    "quantized": (fields(quantization_config={"quant_method": "gptq", "bits": 4}), "quantized already"),
    "names its file": (fields(transformers_weights="evil.bin"), "transformers_weights"),
    "fused code": (fields(fusion_config={"a": 1}), "fusion_config"),
    "kernels": (fields(kernel_config={"RMSNorm": "someone/norm"}), "kernel_config"),
    "adapter": (text(b"{}", "adapter_config.json"), "holds an adapter"),
    "classifier": (fields(architectures=["LlamaForSequenceClassification"]), "names LlamaForSequenceClassification"),
    "trunk alone": (fields(architectures=["LlamaModel"]), "names LlamaModel"),
    "encoder": (another(transformers.BertConfig()), "bert is an encoder"),
    "encoder that says it decodes": (another(transformers.RobertaConfig(is_decoder=True)), "roberta is an encoder"),
    "encoder and decoder": (another(transformers.T5Config()), "t5 is an encoder with a decoder"),
    "half of an encoder-decoder": (another(transformers.BartConfig()), "bart is an encoder with a decoder"),
    "picture model": (another(transformers.ViTConfig()), "vit is no causal language model"),
    "several models": (another(transformers.Gemma3Config()), "gemma3 is made of several models"),
    "state space": (another(transformers.MambaConfig(num_hidden_layers=2)), "mamba carries a state"),
    "recurrent": (another(transformers.RwkvConfig(num_hidden_layers=2)), "rwkv carries a state"),
    "experts": (another(transformers.MixtralConfig(**MOE)), "mixture of experts"),
    "experts of another kind": (another(transformers.Qwen3MoeConfig(**MOE)), "mixture of experts"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
    "pickle only": (pickled, r"not safetensors \(pytorch_model.bin\).* has to be converted first"),
    "cut in the weights": (cut(-1000), "model.safetensors is damaged or cut short"),
    "cut in the header": (cut(100), "model.safetensors is damaged or cut short"),
    "empty file": (cut(0), "model.safetensors is damaged or cut short"),
    "matrix missing": (drop(UP), f"1 weights are missing or misshapen, such as {UP}"),
    "norm missing": (drop(NORM), f"1 weights are missing or misshapen, such as {NORM}"),
    "untied head missing": (drop("lm_head.weight"), "1 weights are missing or misshapen, such as lm_head.weight"),
    "surplus weight": (
        weights(lambda found: found.update(more=torch.ones(3))),
        "1 weights that its config.json does not name, such as more",
    ),
    "surplus bias": (
        weights(lambda found: found.update({UP.replace("weight", "bias"): torch.ones(48)})),
        "does not name",
    ),
    "fewer layers": (
        fields(num_hidden_layers=1),
        r"weights that its config.json does not name, such as model.layers.1",
    ),
    "more layers": (fields(num_hidden_layers=3), "missing or misshapen, such as model.layers.2"),
    "a thousand million layers": (fields(num_hidden_layers=10**9), "1000000000 layers"),
    "no layers": (fields(num_hidden_layers=0), "names 0 layers"),
    "wider": (fields(intermediate_size=64), "missing or misshapen, such as model.layers.0.mlp"),
    "narrower": (fields(intermediate_size=24), "missing or misshapen, such as model.layers.0.mlp"),
    "other vocabulary": (fields(vocab_size=97), "missing or misshapen, such as lm_head.weight"),
    "vocabulary for which no memory suffices": (
        fields(vocab_size=10**12),
        "names 64,000,.* weights, and its files hold 21,664",
    ),
    "other grouping of heads": (
        fields(num_key_value_heads=4),
        "misshapen, such as model.layers.0.self_attn.k_proj.weight",
    ),
    "no heads": (fields(num_attention_heads=0), "no model that can be built"),
    "layers in words": (fields(num_hidden_layers="two"), "no model that can be built"),
    "unknown activation": (fields(hidden_act="sine"), "no model that can be built"),
    "biases that the file lacks": (
        fields(attention_bias=True),
        "missing or misshapen, such as model.layers.0.self_attn",
    ),
    "tied, with a head of its own": (fields(tie_word_embeddings=True), "ties the output head"),
    "transposed": (weights(lambda found: found.update({UP: found[UP].T.contiguous()})), f"misshapen, such as {UP}"),
    "integers": (weights(lambda found: found.update({UP: found[UP].to(torch.int8)})), f"{UP} is stored as I8"),
    "eight-bit floats": (
        weights(lambda found: found.update({UP: found[UP].to(torch.float8_e4m3fn)})),
        f"{UP} is stored as F8_E4M3",
    ),
    "NaN": (put(UP, math.nan), f"{UP} holds NaN or infinite weights"),
    "infinity": (put("lm_head.weight", math.inf), "lm_head.weight holds NaN or infinite weights"),
    "minus infinity in a norm": (put(NORM, -math.inf), f"{NORM} holds NaN or infinite weights"),
    "missing shard": (lacks_a_shard, "model-00002-of-00002.safetensors is missing, one of 2 files"),
    "shard of another": (shard_is_another, "do not agree about more"),
    "damaged index": (index_is_damaged, "model.safetensors.index.json cannot be read"),
    "index that leads out of the folder": (
        index_leads_elsewhere,
        r"names '../other.safetensors', which is no file of this checkpoint",
    ),
    "two checkpoints": (holds_two, "holds two checkpoints"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return save(architectures.model("llama"), tmp_path_factory.mktemp("sound"))


@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")  # safetensors leaves a truncated file to the collector
@pytest.mark.parametrize(("damage", "said"), REFUSALS.values(), ids=REFUSALS.keys())
def test_everything_else_is_refused_in_one_sentence(damage, said, sound, tmp_path, capfd):
    folder = tmp_path / "checkpoint"
    shutil.copytree(sound, folder)
    load_checkpoint(folder)
    damage(folder)
    with pytest.raises(UserError, match=said) as error:
        load_checkpoint(folder)
    assert str(error.value).startswith(f"cannot load {folder}: ")
    assert "\n" not in str(error.value)
    assert not capfd.readouterr().err, "nothing beside the sentence"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "no checkpoint is named"),
        ("~nobody-here/model", "cannot load ~nobody-here/model: "),
        ("a\0b", "cannot load a.b: "),
        ("a/b/c", "there is no such folder"),
        ("../nowhere", "there is no such folder"),
        ("nowhere", "there is no such folder, and the hub cannot be read"),
        (__file__, "it is a file"),
    ],
)
def test_what_is_neither_a_folder_nor_a_repository(source, said, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=said):
        load_checkpoint(source)


def test_a_folder_has_no_revisions(sound):
    with pytest.raises(UserError, match="a folder has no revisions"):
        load_checkpoint(sound, "step1000")


# --- a model that is known beforehand -------------------------------------------------------------------------------


@pytest.fixture
def rung(empty_project):
    """A copy of the published checkpoint of a rung, the one that the registry finds."""
    folder = empty_project / "results" / "ladder" / "50k" / "checkpoint"
    shutil.copytree(ROOT / "results" / "ladder" / "50k" / "checkpoint", folder)
    return folder


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "relu"),
        ("layer_norm_eps", 1e-6),
        ("use_parallel_residual", False),
        ("num_attention_heads", 2),
        ("num_hidden_layers", 1),
        ("num_hidden_layers", 3),
        ("max_position_embeddings", 512),
        ("tie_word_embeddings", True),
        ("attention_bias", False),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.25}),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}),
        (
            "rope_parameters",
            {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
        ),
    ],
)
def test_a_rung_whose_file_says_otherwise_is_refused_by_the_name_of_the_field(field, value, rung):
    edit(rung, **{field: value})
    with pytest.raises(UserError, match=rf"it is not ladder-50k: it has .*{field} .* and not"):
        gengap.get("ladder-50k").load()


def test_what_changes_no_prediction_of_a_rung_may_differ(rung):
    ids = torch.arange(64)[None]
    expected = load_folder(rung)(ids).logits
    edit(
        rung,
        initializer_range=1.0,
        bos_token_id=3,
        hidden_dropout=0.5,
        dtype="float32",
        architectures=None,
        use_cache=True,
    )
    model = gengap.get("ladder-50k").load()
    assert torch.equal(model(ids).logits, expected)
    assert model.config.to_dict()["hidden_dropout"] == 0.0, "built as the registry says"
