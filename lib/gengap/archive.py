"""Code lengths of a quantized model, and the file that proves one of them (T8).

Three accountings of L(h), in bits: `nominal_bits` (the paper's b N), `honest_bits` (every parameter counted)
and the length of a real file, which holds the whole model: its architecture, every code, scale and zero
point, norms and biases. The file is read back by this module alone, bit for bit; every choice made on the
data is inside.

Layout: magic, version, checksum (BLAKE2b, 8 bytes) of the rest, architecture, settings of the matrices,
compressed symbols. A flipped byte, a truncated file, another version or another architecture is refused with
a `UserError`.
"""

import hashlib
import math
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gengap.errors import UserError
from gengap.paths import atomic_path
from gengap.quantization import QuantizedModel, QuantizedTensor
from gengap.quantizers import block_shape
from gengap.symbols import Float16Model, MatrixModel, SymbolReader, SymbolWriter, code_adaptive

if TYPE_CHECKING:
    from transformers import GPTNeoXConfig

MAGIC = b"GGQ"
VERSION = 2
_CHECKSUM_BYTES = 8
_HEADER_BYTES = len(MAGIC) + 1 + _CHECKSUM_BYTES
_MAX_WEIGHTS_PER_BYTE = (
    64  # refuse files that claim more: no model is that compressible, and memory stays bounded
)
_KEPT_BITS = 16  # float16 norms, biases and scales


def nominal_bits(n_params: int, bits: int) -> int:
    """The paper's code length, b N bits: scales, zero points and what is not quantized are not counted."""
    return bits * n_params


def honest_bits(model: QuantizedModel) -> int:
    """Codes at b bits, a float16 scale (and b bits of zero point unless symmetric) per block, 16 bits for the
    rest.
    """
    total = _KEPT_BITS * sum(values.size for values in model.kept.values())
    for tensor in model.tensors.values():
        zero_point_bits = 0 if tensor.symmetric else tensor.bits
        total += tensor.bits * tensor.codes.size + (_KEPT_BITS + zero_point_bits) * tensor.scales.size
        total += 0 if tensor.column_scales is None else _KEPT_BITS * tensor.column_scales.size
    return total


def prefix_free_bits(n_bytes: int) -> int:
    """Bits of a file of `n_bytes`, preceded by its length in an Elias-style code: 2 ceil(log2 bits) + 1 more
    (T8).
    """
    bits = 8 * n_bytes
    return bits + 2 * math.ceil(math.log2(bits)) + 1


@dataclass(frozen=True)
class Architecture:
    """What a decoder must know of a GPT-NeoX model to name and shape its weights, and to rebuild it."""

    vocab_size: int  # V
    hidden_size: int
    n_layers: int
    n_heads: int
    intermediate_size: int
    seq_len: int  # longest context, tokens
    rotary_permille: int  # rotary fraction x 1000
    rope_theta: int
    parallel_residual: int  # 0 or 1

    @classmethod
    def of(cls, config: "GPTNeoXConfig") -> "Architecture":
        """Raises `UserError` for settings that the file format has no field for."""
        plain = (config.hidden_act, config.layer_norm_eps, config.attention_bias, config.tie_word_embeddings)
        if plain != ("gelu", 1e-5, True, False):
            raise UserError(
                "archives hold GPT-NeoX models with gelu, biases, untied embeddings and epsilon 1e-5 only"
            )
        rope = config.rope_parameters
        return cls(
            config.vocab_size,
            config.hidden_size,
            config.num_hidden_layers,
            config.num_attention_heads,
            config.intermediate_size,
            config.max_position_embeddings,
            round(1000 * rope.get("partial_rotary_factor", 1.0)),
            round(rope["rope_theta"]),
            int(config.use_parallel_residual),
        )

    def config(self) -> "GPTNeoXConfig":
        """The transformers configuration."""
        from transformers import GPTNeoXConfig

        return GPTNeoXConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.n_heads,
            intermediate_size=self.intermediate_size,
            max_position_embeddings=self.seq_len,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": float(self.rope_theta),
                "partial_rotary_factor": self.rotary_permille / 1000,
            },
            use_parallel_residual=bool(self.parallel_residual),
            tie_word_embeddings=False,
            use_cache=False,
        )

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Names and shapes of the matrices, in the order in which they are stored."""
        hidden, inner = self.hidden_size, self.intermediate_size
        shapes = {"gpt_neox.embed_in.weight": (self.vocab_size, hidden)}
        for layer in range(self.n_layers):
            prefix = f"gpt_neox.layers.{layer}"
            shapes[f"{prefix}.attention.query_key_value.weight"] = (3 * hidden, hidden)
            shapes[f"{prefix}.attention.dense.weight"] = (hidden, hidden)
            shapes[f"{prefix}.mlp.dense_h_to_4h.weight"] = (inner, hidden)
            shapes[f"{prefix}.mlp.dense_4h_to_h.weight"] = (hidden, inner)
        return shapes | {"lm_head.weight": (self.vocab_size, hidden)}

    def vectors(self) -> dict[str, int]:
        """Names and sizes of norms and biases in the order of storage: weights of norms first."""
        norms = [f"gpt_neox.layers.{i}.{n}" for i in range(self.n_layers) for n in _LAYER_NORMS]
        norms.append("gpt_neox.final_layer_norm")
        sizes = {f"{norm}.{part}": self.hidden_size for part in ("weight", "bias") for norm in norms}
        for name, (rows, _) in self.matrices().items():
            if name.startswith("gpt_neox.layers."):
                sizes[name.removesuffix("weight") + "bias"] = rows
        return sizes

    @property
    def n_params(self) -> int:
        """N, without forming anything of that size."""
        per_layer = 4 * self.hidden_size**2 + 2 * self.hidden_size * self.intermediate_size
        per_layer += 9 * self.hidden_size + self.intermediate_size  # biases 3h + h + inner + h, two norms 4h
        return 2 * self.vocab_size * self.hidden_size + self.n_layers * per_layer + 2 * self.hidden_size


_LAYER_NORMS = ("input_layernorm", "post_attention_layernorm")


def write(model: QuantizedModel, config: "GPTNeoXConfig", path: Path | str) -> int:
    """Write the archive atomically and return its prefix-free length in bits: the archive accounting."""
    content = encode(model, Architecture.of(config))
    with atomic_path(Path(path)) as part:
        part.write_bytes(content)
    return prefix_free_bits(len(content))


def read(path: Path | str, config: "GPTNeoXConfig | None" = None) -> QuantizedModel:
    """Read an archive back: codes, scales, zero points, norms and biases are bit for bit those that were
    written.

    Raises `UserError` for a missing, damaged or foreign file, and for one of another architecture than
    `config`.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the archive {path}: {error.strerror}") from error
    model, architecture = decode(content)
    if config is not None and architecture != Architecture.of(config):
        raise UserError(f"{path} holds another architecture ({architecture}) than the one asked for")
    return model


def encode(model: QuantizedModel, architecture: Architecture) -> bytes:
    """The bytes of the archive. Raises `UserError` if the tensors are not those of the architecture."""
    if {name: t.codes.shape for name, t in model.tensors.items()} != architecture.matrices() or {
        name: values.size for name, values in model.kept.items()
    } != architecture.vectors():
        raise UserError("these quantized weights belong to another architecture than the given configuration")
    settings = {name: _Settings.of(tensor) for name, tensor in model.tensors.items()}
    table = sorted(set(settings.values()))
    body = b"".join(map(_varint, astuple(architecture))) + _varint(len(table))
    body += b"".join(_varint(number) for entry in table for number in astuple(entry))
    writer = SymbolWriter()
    _code_model(writer, model, architecture, table)
    body += writer.finish()
    return MAGIC + bytes([VERSION]) + _checksum(body) + body


def decode(content: bytes) -> tuple[QuantizedModel, Architecture]:
    """The inverse of `encode`. Raises `UserError` for anything that `encode` cannot have written."""
    if content[: len(MAGIC)] != MAGIC or len(content) <= _HEADER_BYTES:
        raise UserError("this is not an archive of a quantized model, or it is cut short")
    if content[len(MAGIC)] != VERSION:
        raise UserError(
            f"archive version {content[len(MAGIC)]}, this program reads version {VERSION}: update it"
        )
    body = content[_HEADER_BYTES:]
    if content[len(MAGIC) + 1 : _HEADER_BYTES] != _checksum(body):
        raise UserError("the archive is damaged (its checksum does not match): make or fetch it again")
    numbers = _VarintReader(body)
    architecture = Architecture(*(numbers.next() for _ in Architecture.__dataclass_fields__))
    if architecture.n_params > _MAX_WEIGHTS_PER_BYTE * len(body):
        raise UserError("the archive is corrupt: it claims more weights than its length can hold")
    n_settings = numbers.next()
    if not 1 <= n_settings <= len(architecture.matrices()):
        raise UserError("the archive is corrupt: impossible settings")
    table = [_Settings(*(numbers.next() for _ in _Settings.__dataclass_fields__)) for _ in range(n_settings)]
    for entry in table:
        entry.check()
    return _code_model(SymbolReader(numbers.rest()), None, architecture, table), architecture


@dataclass(frozen=True, order=True)
class _Settings:
    """How a matrix was quantized, apart from its arrays."""

    bits: int
    group_size: int
    symmetric: int  # 0 or 1
    rotation: int  # 0, or 1 + the seed of the rotation
    column_scaled: int  # 0 or 1

    @classmethod
    def of(cls, tensor: QuantizedTensor) -> "_Settings":
        rotation = 0 if tensor.rotation_seed is None else 1 + tensor.rotation_seed
        return cls(
            tensor.bits,
            tensor.group_size,
            int(tensor.symmetric),
            rotation,
            int(tensor.column_scales is not None),
        )

    def check(self) -> None:
        if not 1 <= self.bits <= 8 or self.symmetric > 1 or self.column_scaled > 1:
            raise UserError("the archive is corrupt: impossible settings")


def _code_model(coder, model: QuantizedModel | None, architecture: Architecture, table: list[_Settings]):
    """Write `model` (or read one, if None) with `coder`; the two directions share every line."""
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
        n_blocks = blocks[0] * blocks[1]
        guide = _scale_guide(name, n_blocks, tensors)
        scales = scale_model.code(coder, tensor.scales.ravel() if model else None, n_blocks, guide)
        column_scales = None
        if entry.column_scaled:
            column_scales = column_model.code(coder, tensor.column_scales if model else None, cols)
        if entry.symmetric:
            zero_points = np.full(blocks, 2 ** (entry.bits - 1))
        else:
            zeros = tensor.zero_points.ravel() if model else None
            zero_points = code_adaptive(coder, zeros, n_blocks, zero_counts[entry.bits])
        codes = code_models[entry.bits].code(coder, tensor.codes if model else None, (rows, cols))
        tensors[name] = QuantizedTensor(
            codes=codes.astype(np.uint8),
            scales=scales.reshape(blocks),
            zero_points=zero_points.astype(np.uint8).reshape(blocks),
            bits=entry.bits,
            group_size=entry.group_size,
            symmetric=bool(entry.symmetric),
            rotation_seed=entry.rotation - 1 if entry.rotation else None,
            column_scales=column_scales,
        )
    vectors = architecture.vectors()
    stored = np.concatenate([model.kept[name] for name in vectors]) if model else None
    values = kept_model.code(coder, stored, sum(vectors.values()))
    parts = np.split(values, np.cumsum(list(vectors.values()))[:-1])
    return QuantizedModel(tensors, dict(zip(vectors, parts, strict=True)))


def _scale_guide(name: str, n_blocks: int, earlier: dict[str, QuantizedTensor]) -> np.ndarray:
    """What the decoder already knows of a matrix's scales, (n_blocks,) uint8: scales of frequent tokens are
    small.

    Tokens come in the order of the tokenizer's merges, roughly by frequency, so the place of a block in the
    matrix is a guide; for the output head the scales of the same tokens' embeddings are a better one.
    """
    embedding = earlier.get("gpt_neox.embed_in.weight")
    if name == "lm_head.weight" and embedding is not None and embedding.scales.size == n_blocks:
        return (32 + (embedding.scales.view(np.uint16) >> 10).ravel() % 32).astype(np.uint8)
    if name == "gpt_neox.embed_in.weight":
        return (np.arange(n_blocks) * 16 // n_blocks).astype(np.uint8)
    return np.full(n_blocks, 255, np.uint8)


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()


def _varint(number: int) -> bytes:
    """LEB128: seven bits a byte, low bits first."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class _VarintReader:
    def __init__(self, content: bytes):
        self._content, self._position = content, 0

    def next(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            if self._position >= len(self._content):
                break
            byte = self._content[self._position]
            self._position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise UserError("the archive is corrupt: bad number in its header")

    def rest(self) -> bytes:
        return self._content[self._position :]
