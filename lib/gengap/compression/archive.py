"""Code lengths of a quantized model, and the file that proves one of them (statement T8).

Three accountings of L(h), in bits: `nominal_bits` (the paper's b N), `honest_bits` (every parameter counted) and the
length of a real file, which holds the whole model and every choice made on the data, and is read back bit for bit.

Layout: magic, version, checksum (BLAKE2b, 8 bytes) of the rest, architecture, settings of the matrices, compressed
symbols. A flipped byte, a truncated file, another version or another architecture is refused with a `UserError`, and so is
a file that `encode` would not have written for the model that it holds.
"""

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gengap import files
from gengap.compression.engine import block_shape
from gengap.compression.header import has_room, read_header, read_varint, varint, version_of, write_header
from gengap.compression.quantized import QuantizedModel, QuantizedTensor
from gengap.compression.symbols import Float16Model, MatrixModel, SymbolReader, SymbolWriter, code_adaptive
from gengap.errors import UserError
from gengap.models.architecture import Architecture, Blueprint, architecture_of
from gengap.paths import atomic_path

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

MAGIC = b"GGQ"
MOST = 2**34  # bytes of an archive
VERSIONS = 3, 4  # GPT-NeoX, any model
_CHECKSUM_BYTES = 8
_HEADER_BYTES = len(MAGIC) + 1 + _CHECKSUM_BYTES
_KEPT_BITS = 16  # float16 norms, biases and scales


def nominal_bits(n_params: int, bits: int) -> int:
    """The paper's code length, b N bits: scales, zero points and what is not quantized are not counted."""
    return bits * n_params


def honest_bits(model: QuantizedModel) -> int:
    """Codes at b bits, a float16 scale (and b bits of zero point unless symmetric) per block, 16 bits for the rest."""
    total = _KEPT_BITS * sum(values.size for values in model.kept.values())
    for tensor in model.tensors.values():
        zero_point_bits = 0 if tensor.symmetric else tensor.bits
        total += tensor.bits * tensor.codes.size + (_KEPT_BITS + zero_point_bits) * tensor.scales.size
        total += 0 if tensor.column_scales is None else _KEPT_BITS * tensor.column_scales.size
    return total


def prefix_free_bits(n_bytes: int) -> int:
    """Bits of a file of `n_bytes`, preceded by its length in an Elias-style code: 2 ceil(log2 bits) + 1 more."""
    return 8 * n_bytes + 2 * math.ceil(math.log2(8 * n_bytes)) + 1


@dataclass(frozen=True)
class Hypothesis:
    """A quantized model with the code that a bound pays for."""

    quantized: QuantizedModel
    method: str  # that made it
    bits: int  # that were asked for: of a weight, or of the file, a parameter
    n_bytes: int  # of its archive
    sha256: str = ""  # of its archive

    @classmethod
    def read(cls, path: Path, method: str, bits: int, config: "PreTrainedConfig | None" = None) -> "Hypothesis":
        """What an archive decodes to; raises as `read`."""
        content = _content(path)
        digest = hashlib.sha256(content).hexdigest()
        return cls(_read(path, content, config), method, bits, len(content), digest)

    @classmethod
    def of(
        cls, quantized: QuantizedModel, architecture: Architecture | Blueprint, method: str, bits: int
    ) -> "Hypothesis":
        """With the archive that `encode` makes; raises as `encode`."""
        content = encode(quantized, architecture)
        return cls(quantized, method, bits, len(content), hashlib.sha256(content).hexdigest())

    @property
    def code_length_bits(self) -> dict[str, int]:
        """L(h) under the three accountings."""
        return {
            "nominal": nominal_bits(self.quantized.n_params, self.bits),
            "honest": honest_bits(self.quantized),
            "archive": prefix_free_bits(self.n_bytes),
        }

    @property
    def group_size(self) -> int:
        """Weights that share a scale, of the matrix with most rows: the output head."""
        return max(reversed(self.quantized.tensors.values()), key=lambda tensor: len(tensor.codes)).group_size

    def build(self, like: "PreTrainedModel") -> "PreTrainedModel":
        """The dense model that it stands for, with the configuration and on the device of `like`, its checkpoint."""
        return self.quantized.build(architecture_of(like).config()).to(like.device)


def write(model: QuantizedModel, config: "PreTrainedConfig", path: Path | str) -> int:
    """Write the archive atomically and return its prefix-free length in bits: the archive accounting."""
    content = encode(model, architecture_of(config))
    with atomic_path(Path(path)) as part:
        part.write_bytes(content)
    return prefix_free_bits(len(content))


def read(path: Path | str, config: "PreTrainedConfig | None" = None) -> QuantizedModel:
    """Read an archive; `UserError` if it is missing, damaged, foreign or of another architecture than `config`."""
    return _read(path, _content(Path(path)), config)


def _content(path: Path) -> bytes:
    return files.read(path, MOST, "make or fetch it again")


def _read(path: Path | str, content: bytes, config: "PreTrainedConfig | None") -> QuantizedModel:
    architecture, rest = _open(content)
    if config is not None and not architecture.matches(config):
        raise UserError(f"{path} holds another architecture ({architecture}) than the one asked for")
    return _decode(architecture, rest)


def encode(model: QuantizedModel, architecture: Architecture | Blueprint) -> bytes:
    """The bytes of the archive. Raises `UserError` if the tensors are not those of the architecture."""
    shapes = {name: tensor.codes.shape for name, tensor in model.tensors.items()}
    shapes |= {name: values.shape for name, values in model.kept.items()}
    turned = {name for name, tensor in model.tensors.items() if tensor.transposed}
    if shapes != architecture.shapes() or turned != architecture.transposed:
        raise UserError("these quantized weights belong to another architecture than the given configuration")
    body = write_header(architecture) + _encode(model, architecture)
    if not has_room(architecture.n_params, len(body)):
        raise UserError("these weights are almost all equal: no archive is made of less than half a bit a weight")
    return MAGIC + bytes([version_of(architecture)]) + _checksum(body) + body


def decode(content: bytes) -> tuple[QuantizedModel, Architecture | Blueprint]:
    """The inverse of `encode`. Raises `UserError` for anything that `encode` cannot have written."""
    architecture, rest = _open(content)
    return _decode(architecture, rest), architecture


def _open(content: bytes) -> tuple[Architecture | Blueprint, bytes]:
    """What model an archive holds, and all that follows, yet to be decoded."""
    if content[: len(MAGIC)] != MAGIC or len(content) <= _HEADER_BYTES:
        raise UserError("this is not an archive of a quantized model, or it is cut short")
    if (version := content[len(MAGIC)]) not in VERSIONS:
        raise UserError(
            f"archive version {version}, this program reads versions {VERSIONS[0]} to {VERSIONS[-1]}: update it"
        )
    body = content[_HEADER_BYTES:]
    if content[len(MAGIC) + 1 : _HEADER_BYTES] != _checksum(body):
        raise UserError("the archive is damaged (its checksum does not match): make or fetch it again")
    stream = io.BytesIO(body)
    return read_header(stream, version, len(body)), stream.read()


def _encode(model: QuantizedModel, architecture: Architecture | Blueprint) -> bytes:
    """What follows the header: settings, then symbols."""
    table = sorted(set(map(_Settings.of, model.tensors.values())))
    settings = varint(len(table)) + b"".join(varint(number) for entry in table for number in entry)
    writer = SymbolWriter()
    _code_model(writer, model, architecture, table)
    return settings + writer.finish()


def _decode(architecture: Architecture | Blueprint, rest: bytes) -> QuantizedModel:
    stream = io.BytesIO(rest)
    n_settings = read_varint(stream)
    possible = 1 <= n_settings <= len(architecture.matrices())
    table = [_Settings(*(read_varint(stream) for _ in _Settings._fields)) for _ in range(n_settings if possible else 0)]
    if not possible or any(not 1 <= s.bits <= 8 or s.symmetric > 1 or s.column_scaled > 1 for s in table):
        raise UserError("the archive is corrupt: impossible settings")
    model = _code_model(SymbolReader(stream.read()), None, architecture, table)
    if _encode(model, architecture) != rest:  # such as bytes behind the last symbol
        raise UserError("the archive is not what is written here for the model that it holds: make or fetch it again")
    return model


class _Settings(NamedTuple):
    """How a matrix was quantized, apart from its arrays."""

    bits: int
    group_size: int
    symmetric: int  # 0 or 1
    rotation: int  # 0, or 1 + the seed of the rotation
    column_scaled: int  # 0 or 1

    @classmethod
    def of(cls, tensor: QuantizedTensor) -> "_Settings":
        rotation = 0 if tensor.rotation_seed is None else 1 + tensor.rotation_seed
        column_scaled = int(tensor.column_scales is not None)
        return cls(tensor.bits, tensor.group_size, int(tensor.symmetric), rotation, column_scaled)


def _code_model(coder, model: QuantizedModel | None, architecture, table: list[_Settings]):
    """Write `model` (or read one, if None) with `coder`."""
    chosen = np.full(len(table), 0.5)
    code_models = {entry.bits: MatrixModel(2**entry.bits) for entry in table}
    zero_counts = {entry.bits: np.full(2**entry.bits, 0.5) for entry in table}
    scale_model, column_model, kept_model = Float16Model(), Float16Model(), Float16Model()
    tensors: dict[str, QuantizedTensor] = {}
    for name, (rows, cols) in architecture.matrices().items():
        tensor = model.tensors[name] if model else None
        index = np.array([table.index(_Settings.of(tensor))]) if model else None
        entry = table[int(code_adaptive(coder, index, 1, chosen)[0])]
        height, width = block_shape(rows, cols, entry.group_size)
        blocks = (math.ceil(rows / height), math.ceil(cols / width))
        n_blocks = math.prod(blocks)
        guide = _scale_guide(architecture, name, n_blocks, tensors)
        scales = scale_model.code(coder, tensor.scales.ravel() if model else None, n_blocks, guide).reshape(blocks)
        column_scales = None
        if entry.column_scaled:
            column_scales = column_model.code(coder, tensor.column_scales if model else None, cols)
        zero_points = np.full(n_blocks, 2 ** (entry.bits - 1))
        if not entry.symmetric:
            zeros = tensor.zero_points.ravel() if model else None
            zero_points = code_adaptive(coder, zeros, n_blocks, zero_counts[entry.bits])
        zero_points = zero_points.astype(np.uint8).reshape(blocks)
        codes = code_models[entry.bits].code(coder, tensor.codes if model else None, (rows, cols)).astype(np.uint8)
        rotation_seed = entry.rotation - 1 if entry.rotation else None
        settings = (entry.bits, entry.group_size, bool(entry.symmetric), rotation_seed)
        turned = name in architecture.transposed
        tensors[name] = QuantizedTensor(codes, scales, zero_points, *settings, column_scales, turned)
    vectors = architecture.vectors()
    stored = np.concatenate([[], *(model.kept[name] for name in vectors)], dtype=np.float16) if model else None
    values = kept_model.code(coder, stored, sum(vectors.values()))
    parts = np.split(values, np.cumsum(list(vectors.values()), dtype=int))  # and nothing after the last
    return QuantizedModel(tensors, dict(zip(vectors, parts, strict=False)))


def _scale_guide(architecture, name: str, n_blocks: int, earlier: dict[str, QuantizedTensor]) -> np.ndarray:
    """What the decoder already knows of a matrix's scales, (n_blocks,) uint8: scales of frequent tokens are small.

    Tokens come roughly by frequency (in the order of the tokenizer's merges), so the place of a block in the matrix is a
    guide; for the output head the scales of the same tokens' embeddings are a better one.
    """
    embedding = earlier.get(architecture.embedding)
    if name == architecture.head and embedding is not None and embedding.scales.size == n_blocks:
        return (32 + (embedding.scales.view(np.uint16) >> 10).ravel() % 32).astype(np.uint8)
    if name == architecture.embedding:
        return (np.arange(n_blocks) * 16 // n_blocks).astype(np.uint8)
    return np.full(n_blocks, 255, np.uint8)


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()
