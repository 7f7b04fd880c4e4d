"""The parts of any causal language model in turn, each with what its linear maps read (statement T8).

A skeleton of the model holds everything but its layers; in their places stand stubs, which note how each layer is called
(masks, rotations, windows of attention) and hand its input on. One cheap pass thus tells how to run every layer by itself,
whatever the architecture, and a layer is copied only while its turn lasts.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from gengap.errors import UserError
from gengap.models.architecture import attention_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LINEAR = nn.Linear | Conv1D
ROWS_PER_BATCH = 16


class Part(NamedTuple):
    """Some parameters, private copies in float32 that the caller overwrites, and what their maps read."""

    parameters: dict[str, nn.Parameter]
    hessians: dict[str, torch.Tensor]  # by the name of a linear map's weight: mean of x x' over its inputs x


@torch.no_grad()
def calibrated_parts(model: "PreTrainedModel", rows: torch.Tensor, device: str) -> Iterator[Part]:
    """Yield embeddings and norms, then each layer, then the output head unless it is the embedding.

    `rows` (m, seq) are token ids. The caller overwrites the parameters of a part before it asks for the next one, which is
    then calibrated on the outputs of what came before. Norms and biases of a part are already rounded to float16. The model
    stays as it is, its copies are in evaluation mode. Raises `UserError` for layers that are not called one after the other.
    """
    prefix, layers = decoder_layers(model)
    skeleton = copy.deepcopy(model, {id(layer): layer for layer in layers})  # layers are shared, and give way to stubs
    skeleton.config._attn_implementation = attention_of(model, model.config)

    def copy_of(index: int) -> nn.Module:
        return _prepare(copy.deepcopy(layers[index], {id(model.config): skeleton.config}), device)

    tape = _Tape(lambda: copy_of(0))
    stubs = [_Stub(layer, tape) for layer in layers]
    skeleton.set_submodule(prefix, nn.ModuleList(stubs))
    _prepare(skeleton, device)
    outer = dict(skeleton.named_parameters())
    maps = {name: linear for name, linear in _linear_maps(skeleton).items() if name in outer}  # without a tied head
    yield Part({name: p for name, p in outer.items() if name not in maps}, {})

    batches = [batch.to(device) for batch in rows.split(ROWS_PER_BATCH)]

    def read(module: nn.Module) -> None:
        for stub in stubs:
            stub.calls.clear()
        for batch in batches:
            tape.last = None
            module(input_ids=batch, use_cache=False)

    with _inputs(maps, lambda: tape.last is None) as early:
        read(skeleton.base_model)
    if early:  # OPT's projection of embeddings
        yield Part({name: outer[name] for name in early}, early)
        read(skeleton.base_model)
    if tape.altered or any(len(stub.calls) != len(batches) for stub in stubs):
        raise UserError(f"{type(model).__name__} does more than call its layers in turn: it is not quantized here")
    hidden = [call.hidden for call in stubs[0].calls]  # (batch, seq, hidden) each
    for index, stub in enumerate(stubs):
        part, name = copy_of(index), f"{prefix}.{index}"

        with _inputs(_linear_maps(part, name)) as found:
            stub.answer(part, hidden)
        yield Part(dict(part.named_parameters(name)), found)
        hidden = stub.answer(part, hidden)
    stubs[-1].answers = hidden
    for name in [name for name in maps if name not in early]:  # a projection of the last states; the head
        is_head = maps[name] is skeleton.get_output_embeddings()
        with _inputs({name: maps[name]}, last_only=is_head) as found:  # no logits but a row's last are wanted
            read(skeleton)
        yield Part({name: outer[name]}, found)


def decoder_layers(model: "PreTrainedModel") -> tuple[str, nn.ModuleList]:
    """The list of the model's layers after its name; `UserError` if there is none."""
    n_layers = model.config.num_hidden_layers
    lists = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    if not lists:
        raise UserError(f"{type(model).__name__} has no list of {n_layers} layers: it is not quantized here")
    return lists[0]


class _Call(NamedTuple):
    """How a layer was called."""

    hidden: torch.Tensor  # (batch, seq, hidden)
    arguments: tuple
    keywords: dict

    def of(self, layer: nn.Module, hidden: torch.Tensor):
        """What `layer` makes of other states."""
        return layer(hidden, *self.arguments, **self.keywords)


class _Tape:
    """What the stubs of a model know in common."""

    def __init__(self, first_layer: Callable[[], nn.Module]):
        self.first_layer = first_layer
        self.last: torch.Tensor | None = None  # states that a stub gave last; None before the first layer
        self.altered = False  # a layer was given other states than those before it gave
        self.example = None  # what a layer returns


class _Stub(nn.Module):
    """In the place of a layer: notes how it is called and hands its input on, or what it has in `answers`."""

    def __init__(self, layer: nn.Module, tape: _Tape):
        super().__init__()
        self.__dict__["layer"] = layer  # unregistered: its parameters are not the skeleton's
        self.tape, self.calls, self.answers = tape, [], None

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["layer"], name)  # such as its kind of attention

    def answer(self, layer: nn.Module, hidden: list[torch.Tensor]) -> list[torch.Tensor]:
        """What `layer` makes of the states of each batch, called as this stub was."""
        outputs = (call.of(layer, states) for call, states in zip(self.calls, hidden, strict=True))
        return [output[0] if isinstance(output, tuple) else output for output in outputs]

    def forward(self, hidden_states, *arguments, **keywords):
        call, tape = _Call(hidden_states, arguments, keywords), self.tape
        if tape.example is None:
            tape.example = call.of(tape.first_layer(), hidden_states)
        tape.altered |= tape.last is not None and hidden_states is not tape.last
        tape.last = hidden_states if self.answers is None else self.answers[len(self.calls)]
        self.calls.append(call)
        return (tape.last, *tape.example[1:]) if isinstance(tape.example, tuple) else tape.last


def _prepare(module: nn.Module, device: str) -> nn.Module:
    module.to(device).float().eval()
    for parameter in module.parameters():
        if parameter.ndim < 2:
            parameter.data.copy_(parameter.data.half().float())
    return module


def _linear_maps(module: nn.Module, prefix: str = "") -> dict[str, nn.Module]:
    """By the names of their weights."""
    named = module.named_modules(prefix=prefix)
    return {f"{name}.weight": linear for name, linear in named if isinstance(linear, LINEAR)}


@contextmanager
def _inputs(maps: dict[str, nn.Module], wanted: Callable[[], bool] = lambda: True, last_only: bool = False):
    """Mean of x x' over the inputs x of those maps that are called, (inputs, inputs) float32: a dict, filled on leaving.

    Calls count while `wanted()`; with `last_only` a map is given the last place of each row alone.
    """
    sums, counts, found = {}, dict.fromkeys(maps, 0), {}

    def watch(name: str):
        def accumulate(_module, arguments):
            if wanted():
                x = arguments[0].flatten(0, -2)
                if name not in sums:
                    sums[name] = torch.zeros(x.shape[1], x.shape[1], device=x.device)
                sums[name].addmm_(x.T, x)
                counts[name] += len(x)
            return (arguments[0][:, -1:],) if last_only else None

        return accumulate

    handles = [linear.register_forward_pre_hook(watch(name)) for name, linear in maps.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    found.update({name: total / counts[name] for name, total in sums.items()})
