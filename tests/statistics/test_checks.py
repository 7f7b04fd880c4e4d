"""A model that is not what it seems is refused before any long work; one that is passes, at little cost."""

import time

import architectures
import numpy as np
import pytest
import torch
import transformers

from gengap.errors import UserError
from gengap.statistics.checks import check_model
from gengap.statistics.per_token import token_statistics

ROWS = np.random.default_rng(0).integers(0, architectures.VOCAB, (3, 61))
LLAMA = architectures._LLAMA


def built(kind, **fields):
    """A model of transformers with larger random weights, so that all its parts matter."""
    torch.manual_seed(0)
    model = kind(kind.config_class(**LLAMA | fields)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5) if weight.ndim > 1 else weight.add_(0.1 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sound_models_pass_and_keep_their_mode(name, dtype):
    model = architectures.model(name).to(dtype).train()
    check_model(model, ROWS)
    assert model.training
    check_model(model, ROWS[:, :2])
    check_model(model, ROWS[:, :3])


class DoublesItsLogits(transformers.LlamaForCausalLM):
    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = 2 * output.logits
        return output


class ReadsItsTargets(transformers.LlamaForCausalLM):
    """Every prediction adds a little of the token that comes next: a leak of one place."""

    def forward(self, input_ids, **kwargs):
        output = super().forward(input_ids, **kwargs)
        ahead = torch.nn.functional.one_hot(input_ids[:, 1:], output.logits.shape[-1])
        output.logits[:, :-1] += 0.01 * ahead
        return output


class DrawsNumbers(transformers.LlamaForCausalLM):
    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits + 0.01 * torch.randn_like(output.logits)
        return output


class SpeaksOfBlocks(transformers.LlamaModel):
    """Each block of `size` tokens sees its own mean: causal between blocks, not within."""

    size = 4

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        hidden = output.last_hidden_state
        n = hidden.shape[1] // self.size * self.size
        blocks = hidden[:, :n].reshape(len(hidden), -1, self.size, hidden.shape[-1])
        mixed = (blocks + 0.1 * blocks.mean(2, keepdim=True)).reshape(len(hidden), n, -1)
        output.last_hidden_state = torch.cat([mixed, hidden[:, n:]], 1)
        return output


def in_blocks(size):
    model = built(transformers.LlamaForCausalLM)
    model.model.__class__ = type("Blocks", (SpeaksOfBlocks,), {"size": size})
    return model


def sees_a_prefix(length):
    """A prefix-LM: the first `length` tokens see each other."""
    model = built(transformers.LlamaForCausalLM)
    plain = model.model.forward

    def forward(input_ids=None, **kwargs):
        n = input_ids.shape[1]
        seen = torch.ones(n, n).tril().bool()
        seen[:length, :length] = True
        mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None].expand(len(input_ids), 1, n, n)
        return plain(input_ids=input_ids, **kwargs | {"attention_mask": mask})

    model.model.forward = forward
    return model


def overridden():
    model = built(transformers.LlamaForCausalLM)
    model.forward = lambda **kwargs: torch.ones(1, 2, 3)  # no `logits`
    return model


def without_a_scale_of_its_own():
    """A field that this class does not heed: the losses would be those of another model."""
    model = built(transformers.LlamaForCausalLM)
    model.config.final_logit_softcapping = 3.0
    return model


def fused_soft_cap():
    return transformers.Gemma2ForCausalLM._from_config(
        architectures.config("gemma2"), attn_implementation="sdpa"
    ).eval()


BERT = {"pad_token_id": 0, "is_decoder": False}
REFUSED = {
    "BERT": (
        lambda: built(transformers.BertLMHeadModel, **BERT),
        "not what its output head makes of its hidden states",
    ),
    "masked language model": (lambda: built(transformers.RobertaForMaskedLM, **BERT), "not what its output head makes"),
    "bidirectional Gemma": (
        lambda: architectures.model("gemma3", use_bidirectional_attention=True),
        "depend on later tokens",
    ),
    "prefix of 2": (lambda: sees_a_prefix(2), "depend on later tokens"),
    "prefix of 20": (lambda: sees_a_prefix(20), "depend on later tokens"),
    "blocks of 2": (lambda: in_blocks(2), "depend on later tokens"),
    "blocks of 3": (lambda: in_blocks(3), "depend on later tokens"),
    "blocks of 4": (lambda: in_blocks(4), "depend on later tokens"),
    "blocks of 8": (lambda: in_blocks(8), "depend on later tokens"),
    "blocks of 30": (lambda: in_blocks(30), "depend on later tokens"),
    "other logits": (lambda: built(DoublesItsLogits), "not what its output head makes"),
    "reads its targets": (lambda: built(ReadsItsTargets), "not what its output head makes"),
    "random numbers": (lambda: built(DrawsNumbers), "change from one reading to the next"),
    "unknown field": (without_a_scale_of_its_own, "final_logit_softcapping"),
    "soft cap left out": (fused_soft_cap, "leaves out the soft cap"),
    "classifier": (lambda: built(transformers.LlamaForSequenceClassification), "has no output head"),
    "trunk alone": (lambda: built(transformers.LlamaModel), "no causal language model"),
    "no model of transformers": (lambda: torch.nn.Linear(2, 2), "no causal language model"),
    "encoder and decoder": (
        lambda: transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=96, d_model=16, num_layers=1, d_ff=16, num_heads=2, d_kv=8, decoder_start_token_id=0
            )
        ),
        "no causal language model",
    ),
    "forward pass replaced": (overridden, "cannot be run on rows of tokens alone"),
}


@pytest.mark.parametrize(("make", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_models_that_are_not_what_they_seem_are_refused(make, said):
    with pytest.raises(UserError, match=said):
        check_model(make(), ROWS)


def test_a_sliding_window_and_grouped_heads_are_causal_and_prefixes_of_one_token_too():
    check_model(architectures.model("mistral"), ROWS)
    check_model(sees_a_prefix(1), ROWS)
    check_model(in_blocks(1), ROWS)


def test_rows_are_checked_first():
    with pytest.raises(UserError, match="token 96"):
        check_model(architectures.model("gpt2"), np.full((1, 9), 96))


def test_weights_that_give_no_predictions():
    model = architectures.model("gpt2")
    model.transformer.h[0].attn.c_attn.weight.data[0, 0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        check_model(model, ROWS)


def test_it_costs_less_than_a_few_dozen_rows():
    model, rows = architectures.model("llama"), np.tile(ROWS, (200, 1))
    check_model(model, rows)
    started = time.process_time()
    check_model(model, rows)
    checked = time.process_time() - started
    started = time.process_time()
    token_statistics(model, rows)
    assert checked < time.process_time() - started
