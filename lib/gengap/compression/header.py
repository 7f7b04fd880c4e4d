"""The beginning of an archive: which model it holds, so that the file alone rebuilds it.

Version 3 writes GPT-NeoX as nine numbers. Version 4 writes any model, as the JSON of its configuration and of the names and
shapes of its tensors, with layers of one kind written once, compressed to one or two hundred bytes: paid for like the rest.
"""

import io
import json
import math
from dataclasses import astuple, fields
from itertools import groupby

from gengap.compression.settings import LARGEST_SETTING
from gengap.compression.symbols import SymbolReader, SymbolWriter, TextModel
from gengap.errors import UserError, check_whole
from gengap.models.architecture import Architecture, Blueprint
from gengap.models.configuration import canonical

_LONGEST_TEXT = 2**16  # characters of JSON: sixty layers, each of its own kind
_MOST_PER_BYTE = 32  # characters that a byte may stand for
# What descriptions look like (part of the format): a Llama and a GPT-2.
_TYPICAL = (
    '{"config":{"attention_bias":false,"head_dim":64,"hidden_act":"silu","hidden_size":64,"intermediate_size":192,"layer_types":'
    '["full_attention","full_attention"],"max_position_embeddings":256,"mlp_bias":false,"model_type":"llama",'
    '"num_attention_heads":4,"num_hidden_layers":4,"num_key_value_heads":2,"pad_token_id":null,"pretraining_tp":1,'
    '"rms_norm_eps":1e-06,"rope_parameters":{"rope_theta":10000.0,"rope_type":"default"},"sliding_window":null,'
    '"tie_word_embeddings":false,"vocab_size":2048},"embedding":"model.embed_tokens.weight","head":"lm_head.weight","tensors":'
    '[["model.embed_tokens.weight",2048,64],["model.layers",4,[["self_attn.q_proj.weight",64,64],["self_attn.q_proj.bias",64],'
    '["self_attn.k_proj.weight",32,64],["self_attn.k_proj.bias",32],["self_attn.v_proj.weight",32,64],'
    '["self_attn.v_proj.bias",32],["self_attn.o_proj.weight",64,64],["mlp.gate_proj.weight",192,64],'
    '["mlp.up_proj.weight",192,64],["mlp.down_proj.weight",64,192],["input_layernorm.weight",64],'
    '["post_attention_layernorm.weight",64]]],["model.norm.weight",64],["lm_head.weight",2048,64]]}'
    '{"config":{"activation_function":"gelu_new","add_cross_attention":false,"layer_norm_epsilon":1e-05,"model_type":"gpt2",'
    '"n_embd":64,"n_head":4,"n_inner":null,"n_layer":4,"n_positions":256,"pad_token_id":null,"reorder_and_upcast_attn":false,'
    '"scale_attn_by_inverse_layer_idx":false,"scale_attn_weights":true,"summary_activation":null,"summary_proj_to_labels":true,'
    '"summary_type":"cls_index","summary_use_proj":true,"tie_word_embeddings":true,"vocab_size":2048},'
    '"embedding":"transformer.wte.weight","head":"transformer.wte.weight","tensors":[["transformer.wte.weight",2048,64],'
    '["transformer.wpe.weight",256,64],["transformer.h",4,[["ln_1.weight",64],["ln_1.bias",64],'
    '["attn.c_attn.weight",192,64,1],["attn.c_attn.bias",192],["attn.c_proj.weight",64,64,1],["attn.c_proj.bias",64],'
    '["ln_2.weight",64],["ln_2.bias",64],["mlp.c_fc.weight",256,64,1],["mlp.c_fc.bias",256],["mlp.c_proj.weight",64,256,1],'
    '["mlp.c_proj.bias",64]]],["transformer.ln_f.weight",64],["transformer.ln_f.bias",64]]}'
)
_MAX_WEIGHTS_PER_BYTE = 16  # a file that claims more is refused, so that memory stays bounded


def version_of(architecture: Architecture | Blueprint) -> int:
    """Of the archive that holds such a model."""
    return 3 if isinstance(architecture, Architecture) else 4


def write_header(architecture: Architecture | Blueprint) -> bytes:
    if isinstance(architecture, Architecture):
        return b"".join(map(varint, astuple(architecture)))
    writer, text = SymbolWriter(), _text(architecture)
    TextModel(_TYPICAL).code(writer, text, len(text))
    packed = writer.finish()
    return varint(len(text)) + varint(len(packed)) + packed


def read_header(stream: io.BytesIO, version: int, n_bytes: int) -> Architecture | Blueprint:
    """What `write_header` wrote into a file of `n_bytes`. Raises `UserError` for anything else, before much memory is taken."""
    if version == 3:
        start = stream.tell()
        architecture = Architecture(*(read_varint(stream) for _ in fields(Architecture)))
        if min(astuple(architecture)[:6]) >= 1 and stream.tell() - start == len(write_header(architecture)):
            _require_room(architecture.n_params, n_bytes)
            return architecture
        raise UserError("the archive is corrupt: it claims a model that there is not")
    size, packed = read_varint(stream), stream.read(read_varint(stream))
    if size > min(_LONGEST_TEXT, _MOST_PER_BYTE * len(packed)):
        raise UserError("the archive is corrupt: its description of the model is longer than its length can hold")
    text = TextModel(_TYPICAL).code(SymbolReader(packed), None, size)
    try:
        blueprint = _blueprint(json.loads(text), n_bytes)
        if write_header(blueprint)[-len(packed) :] == packed and _text(blueprint) == text:
            return blueprint
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise UserError("the archive is corrupt: its description of the model cannot be read") from error
    raise UserError("the archive is corrupt: its description of the model is not as it is written here")


def has_room(n_params: int, n_bytes: int) -> bool:
    """Whether a file of `n_bytes` may hold `n_params` parameters."""
    return n_params <= _MAX_WEIGHTS_PER_BYTE * n_bytes


def _require_room(n_params: int, n_bytes: int) -> None:
    if not has_room(n_params, n_bytes):
        raise UserError("the archive claims a model that its length cannot hold: half a bit a weight is the least")


def _text(blueprint: Blueprint) -> str:
    entries = [[name, *shape, *[1] * (name in blueprint.transposed)] for name, shape in blueprint.tensors]
    said = {"tensors": _fold(entries), "embedding": blueprint.embedding, "head": blueprint.head}
    return canonical({"config": json.loads(blueprint.configuration)} | said)


def _blueprint(said: dict, n_bytes: int) -> Blueprint:
    """Raises ValueError, TypeError or LookupError for what `_text` cannot have said."""
    sizes = [(g[1], g[2]) if isinstance(g[-1], list) else (1, [g]) for g in said["tensors"]]
    if not all(
        type(n) is int and n > 0 and e[1:] and all(type(k) is int and k > 0 for k in e[1:])
        for n, es in sizes
        for e in es
    ):
        raise ValueError("shapes")
    _require_room(sum(n * math.prod(entry[1:3]) for n, entries in sizes for entry in entries), n_bytes)
    entries = _unfold(said["tensors"])
    shapes = {name: tuple(shape[:2]) for name, *shape in entries}
    transposed = frozenset(name for name, *shape in entries if len(shape) == 3)
    ends = said["embedding"], said["head"]
    if len(shapes) < len(entries) or not all(len(shapes[end]) == 2 for end in ends):
        raise ValueError("names")
    return Blueprint(canonical(said["config"]), tuple(shapes.items()), transposed, *ends)


def _fold(entries: list[list]) -> list[list]:
    """Entries [name, sizes...], with those of a list of equal layers as [its name, how many, entries of one]."""

    def layer_of(entry: list) -> tuple[str, str]:
        parts = entry[0].split(".")
        at = next((i for i, part in enumerate(parts) if part.isdecimal()), 0)
        return ".".join(parts[:at]), parts[at] if at else ""

    folded = []
    for name, group in groupby(entries, lambda entry: layer_of(entry)[0]):
        members = list(group)
        layers = [list(layer) for _, layer in groupby(members, layer_of)]
        inner = [[[e[0].removeprefix(f"{name}.{i}."), *e[1:]] for e in layer] for i, layer in enumerate(layers)]
        alike = name and _unfold([[name, len(layers), inner[0]]]) == members
        folded += [[name, len(layers), inner[0]]] if alike else members
    return folded


def _unfold(folded: list[list]) -> list[list]:
    entries = []
    for group in folded:
        if isinstance(group[-1], list):
            name, n, inner = group
            entries += [[f"{name}.{i}.{e[0]}", *e[1:]] for i in range(n) for e in inner]
        else:
            entries.append(group)
    return entries


def varint(number: int) -> bytes:
    """LEB128: seven bits a byte, low bits first; `UserError` for more than the reader takes."""
    check_whole("a number in an archive", number, 0, LARGEST_SETTING)
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + varint(number >> 7)


def read_varint(stream: io.BytesIO) -> int:
    value = 0
    for shift in range(0, 35, 7):
        byte = int.from_bytes(stream.read(1) or b"\x80")  # at the end there is always one more to come
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise UserError("the archive is corrupt: bad number in its header")
