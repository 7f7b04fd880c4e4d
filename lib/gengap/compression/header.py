"""The beginning of an archive: which model it holds, so that the file alone rebuilds it.

Version 3 writes GPT-NeoX as nine numbers. Version 4 writes any model, as the deflated JSON of its configuration and of the
names and shapes of its tensors, with layers of one kind written once: a few hundred bytes, paid for like the rest.
"""

import io
import json
import math
import zlib
from dataclasses import astuple, fields
from itertools import groupby

from gengap.compression.settings import check_whole
from gengap.errors import UserError
from gengap.models.architecture import Architecture, Blueprint
from gengap.models.configuration import canonical

_LONGEST_TEXT = 2**20  # bytes of JSON: a hundred layers of different kinds take a tenth of it
_MAX_WEIGHTS_PER_BYTE = 16  # a file that claims more is refused, so that memory stays bounded


def version_of(architecture: Architecture | Blueprint) -> int:
    """Of the archive that holds such a model."""
    return 3 if isinstance(architecture, Architecture) else 4


def write_header(architecture: Architecture | Blueprint) -> bytes:
    if isinstance(architecture, Architecture):
        return b"".join(map(varint, astuple(architecture)))
    deflate = zlib.compressobj(9, wbits=-15)
    packed = deflate.compress(_text(architecture).encode()) + deflate.flush()
    return varint(len(packed)) + packed


def read_header(stream: io.BytesIO, version: int, n_bytes: int) -> Architecture | Blueprint:
    """What `write_header` wrote into a file of `n_bytes`. Raises `UserError` for anything else, before much memory is taken."""
    if version == 3:
        architecture = Architecture(*(read_varint(stream) for _ in fields(Architecture)))
        if min(astuple(architecture)[:6]) >= 1:
            require_room(architecture.n_params, n_bytes)
            return architecture
        raise UserError("the archive is corrupt: it claims a model without size")
    packed, inflate = stream.read(read_varint(stream)), zlib.decompressobj(wbits=-15)
    try:
        text = inflate.decompress(packed, _LONGEST_TEXT).decode()
        if inflate.eof and not inflate.unused_data:
            blueprint = _blueprint(json.loads(text), n_bytes)
            if _text(blueprint) == text:
                return blueprint
    except (zlib.error, ValueError, TypeError, LookupError, RecursionError) as error:
        raise UserError("the archive is corrupt: its description of the model cannot be read") from error
    raise UserError("the archive is corrupt: its description of the model is not as it is written here")


def require_room(n_params: int, n_bytes: int) -> None:
    """Raise `UserError` if a file of `n_bytes` cannot hold `n_params` parameters."""
    if n_params > _MAX_WEIGHTS_PER_BYTE * n_bytes:
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
    require_room(sum(n * math.prod(entry[1:3]) for n, entries in sizes for entry in entries), n_bytes)
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
    check_whole("as a number in an archive", number, 0)
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + varint(number >> 7)


def read_varint(stream: io.BytesIO) -> int:
    value = 0
    for shift in range(0, 35, 7):
        byte = int.from_bytes(stream.read(1) or b"\x80")  # at the end there is always one more to come
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise UserError("the archive is corrupt: bad number in its header")
