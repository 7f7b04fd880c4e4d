"""In which numbers a rung is computed, and how a processor core does it fast.

Small rungs: float32. Large ones: bfloat16 products under autocast with float32 weights, and attention a row at a time.
What was measured: `benchmarks/bench_training.py`.
"""

import contextlib

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv

from gengap.training.run import Device, Precision

# Of a training: sums in the same order everywhere, and two cores do more as two runs side by side than as one.
N_THREADS = 1
CAUSAL_ATTENTION = "gengap_causal"  # the name of `CausalAttention` in a transformers configuration


def autocast(kind: Precision, device: Device = "cpu") -> contextlib.AbstractContextManager:
    """The context in which a loss is computed (its gradients follow)."""
    return torch.autocast(device, torch.bfloat16, enabled=kind == "bfloat16")


class CausalAttention(torch.autograd.Function):
    """softmax(scale * q k' + mask) v, one row of the batch at a time; the probabilities are kept for the gradient.

    A row's (heads, seq, seq) scores stay in the core's cache. PyTorch's own kernel, which keeps nothing quadratic in
    `seq`, takes twice as long at heads of 16 channels in bfloat16.
    """

    @staticmethod
    def forward(ctx, query, key, value, scale):
        """All (batch, heads, seq, channels) and of one dtype; returns the same shape."""
        n = query.shape[2]
        mask = torch.full((n, n), -torch.inf, dtype=query.dtype).triu_(1)  # (seq, seq): 0 where a position may look
        out = torch.empty_like(value)
        probs = query.new_empty(*query.shape[:3], key.shape[2])  # (batch, heads, seq, seq)
        for q, k, v, p, o in zip(query, key, value, probs, out, strict=True):
            torch.softmax(torch.baddbmm(mask, q, k.mT, alpha=scale), -1, out=p)
            torch.bmm(p, v, out=o)
        ctx.save_for_backward(query, key, value, probs)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx, grad_out):
        query, key, value, probs = ctx.saved_tensors
        grads = [torch.empty_like(x) for x in (query, key, value)]
        for q, k, v, p, g, grad_q, grad_k, grad_v in zip(query, key, value, probs, grad_out, *grads, strict=True):
            torch.bmm(p.mT, g, out=grad_v)
            grad_probs = torch.bmm(g, v.mT)  # (heads, seq, seq)
            grad_scores = torch.ops.aten._softmax_backward_data(grad_probs, p, -1, p.dtype)
            torch.bmm(grad_scores, k, out=grad_q)
            torch.bmm(grad_scores.mT, q, out=grad_k)
        grads[0].mul_(ctx.scale)
        grads[1].mul_(ctx.scale)
        return *grads, None


def _causal_attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **_):
    """`CausalAttention` in the form that transformers calls. Rows have no padding, so the mask given is the causal one."""
    key, value = (repeat_kv(x, query.shape[1] // x.shape[1]) for x in (key, value))  # grouped heads, as the queries
    q, k, v = (x.to(value.dtype).contiguous() for x in (query, key, value))
    return CausalAttention.apply(q, k, v, scaling).transpose(1, 2), None


AttentionInterface.register(CAUSAL_ATTENTION, _causal_attention)
