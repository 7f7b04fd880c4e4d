import contextlib
import copy
import hashlib
import math
import tracemalloc
from dataclasses import replace

import architectures
import numpy as np
import pytest
import torch
from tiny_models import tiny_config, tiny_model, token_rows

from gengap.compression import archive, header
from gengap.compression.layerwise import quantize
from gengap.compression.quantized import QuantizedModel, QuantizedTensor
from gengap.compression.rate_distortion import fisher_factors, quantize_for_entropy
from gengap.compression.symbols import Float16Model, MatrixModel, SymbolReader, SymbolWriter, TextModel, code_adaptive
from gengap.errors import UserError
from gengap.models.architecture import Architecture, Blueprint, architecture_of
from gengap.paths import file_sha256, published_results_dir

CONFIG = tiny_config()
SHAPE = Architecture.of(CONFIG)
WHERE_CHECKSUM = slice(len(archive.MAGIC) + 1, len(archive.MAGIC) + 9)


@pytest.fixture(scope="module")
def model():
    return tiny_model(CONFIG)


@pytest.fixture(scope="module")
def rows():
    return token_rows(8)


@pytest.fixture(scope="module")
def quantized(model, rows):
    return quantize(model, "gptq", 3, 64, rows, symmetric=False)


def entropy_bits(codes):
    counts = np.bincount(codes.ravel())
    shares = counts[counts > 0] / codes.size
    return -codes.size * np.sum(shares * np.log2(shares))


def assert_same(left: QuantizedModel, right: QuantizedModel):
    assert list(left.tensors) == list(right.tensors)
    for name, a in left.tensors.items():
        b = right.tensors[name]
        for field in ("codes", "scales", "zero_points", "column_scales"):
            x, y = getattr(a, field), getattr(b, field)
            assert (x is None) == (y is None)
            if x is not None:
                assert (x.dtype, x.shape) == (y.dtype, y.shape)
                assert x.tobytes() == y.tobytes(), (name, field)
        assert replace(a, codes=0, scales=0, zero_points=0, column_scales=0) == replace(
            b, codes=0, scales=0, zero_points=0, column_scales=0
        )
    assert {n: k.tobytes() for n, k in left.kept.items()} == {n: k.tobytes() for n, k in right.kept.items()}


@pytest.mark.parametrize("method", ["gptq", "quip", "rtn"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_round_trip_is_bit_identical(model, rows, tmp_path, method, bits):
    quantized = quantize(model, method, bits, 64, rows, seed=1234567, symmetric=bits % 2 == 0)
    path = tmp_path / "model.ggq"
    bits_written = archive.write(quantized, CONFIG, path)
    assert bits_written == archive.prefix_free_bits(path.stat().st_size)
    back = archive.read(path, CONFIG)
    assert_same(quantized, back)
    ids = torch.as_tensor(rows[:2].astype(np.int64))
    with torch.no_grad():
        assert torch.equal(quantized.build(CONFIG)(ids).logits, back.build(CONFIG)(ids).logits)


def test_round_trip_of_column_scales_and_mixed_settings(model, rows):
    quantized = quantize_for_entropy(model, fisher_factors(model, rows), gap_nats=0.1)
    other = quantize(model, "quip", 5, 0, rows)
    mixed = {n: t if i % 2 else other.tensors[n] for i, (n, t) in enumerate(quantized.tensors.items())}
    for tensors in (quantized.tensors, mixed):
        one = QuantizedModel(tensors, quantized.kept)
        back, shape = archive.decode(archive.encode(one, SHAPE))
        assert_same(one, back)
        assert shape == SHAPE


def test_the_file_alone_rebuilds_the_model(quantized, rows):
    back, shape = archive.decode(archive.encode(quantized, SHAPE))
    ids = torch.as_tensor(rows[:2].astype(np.int64))
    with torch.no_grad():
        assert torch.equal(back.build(shape.config())(ids).logits, quantized.build(CONFIG)(ids).logits)


@pytest.mark.parametrize("special", [0.0, -0.0, np.inf, -np.inf, np.nan, 6e-8, 65504.0])
def test_every_float16_survives(quantized, special):
    kept = copy.deepcopy(quantized.kept)
    kept["gpt_neox.final_layer_norm.bias"][:] = special
    back, _ = archive.decode(archive.encode(QuantizedModel(quantized.tensors, kept), SHAPE))
    assert_same(QuantizedModel(quantized.tensors, kept), back)


def test_encoding_is_deterministic(quantized):
    assert archive.encode(quantized, SHAPE) == archive.encode(copy.deepcopy(quantized), SHAPE)


@pytest.mark.parametrize("name", ["ladder/50k/main-gptq-4bit", "ladder/50k/main-qat-2bit", "llama/50k/main-gptq-4bit"])
def test_a_published_archive_is_written_again_byte_for_byte(name):
    """The format is what it was: other counts at the start or other contexts would give other bytes."""
    content = (published_results_dir() / f"{name}.ggq").read_bytes()
    model, architecture = archive.decode(content)
    assert archive.encode(model, architecture) == content


#: Of the archive of `every_setting`: the format is what it was, zero points included, which no published archive has.
EVERY_SETTING_SHA256 = "d39d09426a765b5d14d2759704a4b9b80016548fb0f2c712245783f122e784cf"


def every_setting(model):
    """No two matrices alike: bits from 1 to 8, blocks of several sizes, with and without zero points, rotation, column scales."""
    rng, tensors = np.random.default_rng(0), {}
    for i, (name, parameter) in enumerate((n, p) for n, p in model.named_parameters() if p.ndim == 2):
        bits, (rows, cols), symmetric = 1 + i % 8, parameter.shape, i % 3 == 0
        tensor = QuantizedTensor(np.zeros((rows, cols), np.uint8), None, None, bits, 16 + i, symmetric)
        height, width = tensor.block
        blocks = math.ceil(rows / height), math.ceil(cols / width)
        zeros = np.full(blocks, 2 ** (bits - 1)) if symmetric else rng.integers(2**bits, size=blocks)
        tensors[name] = replace(
            tensor,
            codes=rng.integers(2**bits, size=(rows, cols)).astype(np.uint8),
            scales=rng.uniform(0.1, 1, blocks).astype(np.float16),
            zero_points=zeros.astype(np.uint8),
            rotation_seed=i if i % 2 else None,
            column_scales=rng.uniform(0.5, 2, cols).astype(np.float16) if i % 5 == 1 else None,
        )
    kept = {n: rng.normal(size=p.shape).astype(np.float16) for n, p in model.named_parameters() if p.ndim < 2}
    return QuantizedModel(tensors, kept)


def test_every_matrix_may_have_settings_of_its_own(model):
    every = every_setting(model)
    assert len({(t.bits, t.group_size, t.symmetric, t.rotation_seed) for t in every.tensors.values()}) == len(
        every.tensors
    )
    content = archive.encode(every, SHAPE)
    assert hashlib.sha256(content).hexdigest() == EVERY_SETTING_SHA256
    assert_same(every, archive.decode(content)[0])
    total = 16 * sum(k.size for k in every.kept.values())
    for t in every.tensors.values():
        total += t.bits * t.codes.size + (16 + (0 if t.symmetric else t.bits)) * t.scales.size
        total += 0 if t.column_scales is None else 16 * t.codes.shape[1]
    assert archive.honest_bits(every) == total


def test_a_hypothesis_is_its_archive(model, tmp_path):
    every = every_setting(model)
    made = archive.Hypothesis.of(every, SHAPE, "some", 4)
    path = tmp_path / "model.ggq"
    written = archive.write(every, CONFIG, path)
    read = archive.Hypothesis.read(path, "some", 4, CONFIG)
    for found in (made, read):
        assert_same(found.quantized, every)
        assert (found.method, found.bits, found.n_bytes, found.sha256) == (
            "some",
            4,
            path.stat().st_size,
            file_sha256(path),
        )
        n_params = sum(p.numel() for p in model.parameters())
        assert found.code_length_bits == {
            "nominal": 4 * n_params,
            "honest": archive.honest_bits(every),
            "archive": written,
        }
    with pytest.raises(UserError, match=r"model.ggq holds another architecture \(.*\) than the one asked for"):
        archive.Hypothesis.read(path, "some", 4, tiny_config(n_layers=1))
    longest = max(len(t.codes) for t in every.tensors.values())
    last = [t for t in every.tensors.values() if len(t.codes) == longest][-1]
    assert made.group_size == last.group_size  # the output head's, not the embedding's
    built = made.build(model)
    assert not built.training
    weight = dict(built.named_parameters())[SHAPE.head]
    np.testing.assert_array_equal(weight.numpy(force=True), every.tensors[SHAPE.head].dequantize())
    assert {p.device.type for p in made.build(copy.deepcopy(model).to("meta")).parameters()} == {"meta"}
    with pytest.raises(UserError, match=r"model.ggq holds another architecture"):
        archive.read(path, tiny_config(n_layers=1))
    assert archive.write(every, CONFIG, str(path)) == written  # a path as text
    assert_same(archive.read(str(path)), every)


def test_turned_matrices_are_read_back_turned(rows):
    turned = architectures.model("gpt2")
    one = quantize(turned, "rtn", 4, 16, rows)
    assert any(tensor.transposed for tensor in one.tensors.values())
    assert_same(one, archive.decode(archive.encode(one, architecture_of(turned)))[0])


def forged(settings, architecture=SHAPE, n_settings=None):
    """An archive with a table of settings that nobody writes."""
    numbers = b"".join(header.varint(number) for entry in settings for number in entry)
    n_settings = len(settings) if n_settings is None else n_settings
    body = header.write_header(architecture) + header.varint(n_settings) + numbers + bytes(20_000)
    return archive.MAGIC + bytes([3]) + archive._checksum(body) + body


@pytest.mark.parametrize(
    "settings",
    [[], [(0, 64, 1, 0, 0)], [(9, 64, 1, 0, 0)], [(4, 64, 2, 0, 0)], [(4, 64, 1, 0, 2)], [(4, i, 1, 0, 0) for i in range(11)],
     [(4, 64, 1, 0, 0), (0, 64, 1, 0, 0)]],
)  # fmt: skip
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UserError, match=r"^the archive is corrupt: impossible settings$"):
        archive.decode(forged(settings))
    with pytest.raises(UserError, match=r"^the archive is corrupt: impossible settings$"):
        archive.decode(forged(settings, n_settings=10**9))


def test_what_is_refused_and_why(quantized):
    content = archive.encode(quantized, SHAPE)
    tensors = {name: replace(t, transposed=True) for name, t in quantized.tensors.items()}
    equal = {
        name: replace(t, codes=t.codes * 0, scales=t.scales * 0, zero_points=t.zero_points * 0)
        for name, t in quantized.tensors.items()
    }
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    said = "these quantized weights belong to another architecture than the given configuration"
    for call, message in (
        (lambda: archive.encode(QuantizedModel(tensors, quantized.kept), SHAPE), said),
        (lambda: archive.encode(QuantizedModel(quantized.tensors, {}), SHAPE), said),
        (lambda: archive.encode(QuantizedModel(equal, {n: k * 0 for n, k in quantized.kept.items()}), SHAPE),
         "these weights are almost all equal: no archive is made of less than half a bit a weight"),
        (lambda: archive.decode(content[:12]), "this is not an archive of a quantized model, or it is cut short"),
        (lambda: archive.decode(b"GGX" + content[3:]), "this is not an archive of a quantized model, or it is cut short"),
        (lambda: archive.decode(content[:3] + b"\x02" + content[4:]), "archive version 2, this program reads versions 3 to 4: update it"),
        (lambda: archive.decode(flipped), r"the archive is damaged \(its checksum does not match\): make or fetch it again"),
        (lambda: archive.decode(resealed(content + b"x")),
         "the archive is not what is written here for the model that it holds: make or fetch it again"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"^{message}$"):
            call()


def test_a_file_that_is_too_long_is_not_read(quantized, tmp_path, monkeypatch):
    archive.write(quantized, CONFIG, path := tmp_path / "model.ggq")
    monkeypatch.setattr(archive, "MOST", path.stat().st_size)
    assert_same(archive.read(path), quantized)
    monkeypatch.setattr(archive, "MOST", path.stat().st_size - 1)
    with pytest.raises(UserError, match=r": make or fetch it again$"):
        archive.read(path)


def test_accountings_by_hand(quantized, model):
    n_params = sum(p.numel() for p in model.parameters())
    assert archive.nominal_bits(n_params, 3) == 3 * n_params
    n_codes = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    embedding_blocks = math.ceil(96 / 5)  # 12 columns, 64 / 12 rows share a scale
    trunk_blocks = 2 * (math.ceil(36 / 5) + math.ceil(12 / 5) + math.ceil(48 / 5) + math.ceil(12 / 1))
    scales = 2 * embedding_blocks + trunk_blocks
    assert archive.honest_bits(quantized) == 3 * n_codes + (16 + 3) * scales + 16 * (n_params - n_codes)


@pytest.mark.parametrize(("n_bytes", "bits"), [(1, 8 + 6 + 1), (16, 128 + 14 + 1), (17, 136 + 16 + 1)])
def test_prefix_free_length(n_bytes, bits):
    assert archive.prefix_free_bits(n_bytes) == bits


def larger_model(seed=0):
    """Codes of about 300,000 weights with unequal rows and columns, as after training."""
    config = tiny_config(hidden_size=64, vocab_size=2048, n_layers=1)
    model = tiny_model(config)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                rows, cols = parameter.shape
                parameter.mul_(torch.from_numpy(np.exp(0.5 * rng.normal(size=(rows, 1)))))
                parameter.mul_(torch.from_numpy(np.exp(0.3 * rng.normal(size=(1, cols)))))
    return config, model


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("group_size", [0, 128])
def test_archive_is_at_most_one_percent_above_the_entropy(bits, group_size):
    """And below the honest accounting; where rows differ, contexts bring it below the order-0 entropy."""
    config, model = larger_model()
    quantized = quantize(model, "rtn", bits, group_size, token_rows(2, 2048))
    length = 8 * len(archive.encode(quantized, Architecture.of(config)))
    codes = sum(entropy_bits(t.codes) for t in quantized.tensors.values())
    rest = 16 * (sum(t.scales.size for t in quantized.tensors.values()) + sum(k.size for k in quantized.kept.values()))
    assert length < 1.01 * (codes + rest)
    assert length < archive.honest_bits(quantized)
    if group_size == 0 and bits > 2:
        assert length < 0.97 * (codes + rest)


def test_matrix_model_on_stationary_symbols():
    """Independent symbols of known entropy are coded within one percent of it."""
    rng = np.random.default_rng(0)
    shares = np.array([1, 2, 5, 9, 6, 3, 1, 1]) / 28
    values = rng.choice(8, size=(500, 300), p=shares)
    writer = SymbolWriter()
    MatrixModel(8).code(writer, values, values.shape)
    entropy = -np.sum(shares * np.log2(shares))
    assert 8 * len(writer.finish()) / values.size < 1.01 * entropy


def test_symbols_read_what_was_written():
    rng = np.random.default_rng(1)
    values, matrix = rng.integers(0, 5, 777), rng.integers(0, 16, (31, 17))
    floats = rng.normal(size=301).astype(np.float16)
    guide = rng.integers(0, 3, 301).astype(np.uint8)

    def code(coder, writing):
        return (
            code_adaptive(coder, values if writing else None, 777, np.full(5, 0.5)),
            Float16Model().code(coder, floats if writing else None, 301, guide),
            MatrixModel(16).code(coder, matrix if writing else None, (31, 17)),
            code_adaptive(coder, values[:0] if writing else None, 0, np.full(5, 0.5)),
        )

    writer = SymbolWriter()
    code(writer, writing=True)
    back = code(SymbolReader(writer.finish()), writing=False)
    np.testing.assert_array_equal(back[0], values)
    np.testing.assert_array_equal(back[1], floats)
    np.testing.assert_array_equal(back[2], matrix)


def test_wrong_architecture_is_refused(quantized, tmp_path):
    other = tiny_config(hidden_size=16)
    with pytest.raises(UserError, match="another architecture"):
        archive.write(quantized, other, tmp_path / "model.ggq")
    archive.write(quantized, CONFIG, tmp_path / "model.ggq")
    with pytest.raises(UserError, match="another architecture"):
        archive.read(tmp_path / "model.ggq", other)


def test_wrong_version_is_refused(quantized):
    content = bytearray(archive.encode(quantized, SHAPE))
    content[len(archive.MAGIC)] = archive.VERSIONS[-1] + 1
    with pytest.raises(UserError, match=f"version {archive.VERSIONS[-1] + 1}"):
        archive.decode(bytes(content))


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        archive.read(tmp_path / "nothing.ggq")
    (tmp_path / "foreign.ggq").write_bytes(b"PK\x03\x04 something else entirely")
    with pytest.raises(UserError, match="not an archive"):
        archive.read(tmp_path / "foreign.ggq")


def test_every_flipped_bit_and_every_truncation_is_refused(quantized):
    content = archive.encode(quantized, SHAPE)
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        with pytest.raises(UserError):
            archive.decode(bytes(flipped))
        with pytest.raises(UserError):
            archive.decode(content[:position])


def test_a_killed_write_leaves_the_old_file(quantized, tmp_path, monkeypatch):
    path = tmp_path / "model.ggq"
    path.write_bytes(b"old")
    monkeypatch.setattr(archive, "encode", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        archive.write(quantized, CONFIG, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def resealed(content: bytes) -> bytes:
    """The content with a checksum that matches: what a malicious file would have."""
    body = content[WHERE_CHECKSUM.stop :]
    return content[: WHERE_CHECKSUM.start] + archive._checksum(body) + body


def claimed_parameters(content: bytes) -> int:
    """N of the model in the header, 0 if the decoder refuses it before it allocates anything."""
    try:
        return archive._open(content)[0].n_params
    except UserError:
        return 0


def small_archive(kind: str) -> bytes:
    if kind == "version 3":
        model = tiny_model(tiny_config(hidden_size=8, vocab_size=64, n_layers=1))
    else:
        model = architectures.model("llama", vocab_size=64, hidden_size=8, intermediate_size=16)
    quantized = quantize(model, "rtn", 4, 32, token_rows(2, 64), symmetric=False)
    return archive.encode(quantized, architecture_of(model))


@pytest.mark.parametrize(
    ("kind", "n_trials"), [("version 3", 1500), ("version 4", 120)]
)  # a description takes longer to read
def test_fuzzed_files_never_crash_or_grow(kind, n_trials):
    """Mutated files with a valid checksum are refused, in bounded memory and time, or are what is written for their model."""
    content = small_archive(kind)
    assert content[len(archive.MAGIC)] == int(kind[-1])
    rng = np.random.default_rng(0)
    refused, by_reason = 0, set()
    overhead = 3_000_000  # bytes: the longest description that is read, histograms and the coder's own tables
    for trial in range(n_trials):
        watched = trial % 10 == 0  # watching memory is slow
        if watched:
            tracemalloc.start()
        mutated = bytearray(content)
        if trial % 3 == 0:  # a third of the mutations hit the architecture and the settings
            low, high = WHERE_CHECKSUM.stop, WHERE_CHECKSUM.stop + 20
        else:
            low, high = WHERE_CHECKSUM.stop, len(content)
        for _ in range(rng.integers(1, 5)):
            mutated[rng.integers(low, high)] = rng.integers(256)
        if trial % 5 == 0:
            mutated = mutated[: rng.integers(WHERE_CHECKSUM.stop, len(content))]
        mutated = resealed(bytes(mutated))
        try:
            decoded, shape = archive.decode(mutated)
            assert archive.encode(decoded, shape) == mutated
        except UserError as error:
            refused += 1
            by_reason.add(str(error)[:40])
        if watched:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 4 * 4 * claimed_parameters(mutated) + overhead, f"trial {trial}: {peak} bytes"
    assert refused > 0.9 * n_trials
    assert len(by_reason) >= 3, by_reason


@pytest.mark.parametrize("kind", ["version 3", "version 4"])
@pytest.mark.parametrize(
    "change", [lambda b: b + b"x" * 1000, lambda b: b + bytes(4), lambda b: b[:-16], lambda b: b + b"x"]
)
def test_files_that_encode_never_writes_are_refused(kind, change):
    """Garbage behind the last symbol or symbols cut off, under a checksum that matches.

    A stream cut short is sometimes that of other weights, since zeros at its end are not written.
    """
    content = small_archive(kind)
    forged = resealed(content[: WHERE_CHECKSUM.stop] + change(content[WHERE_CHECKSUM.stop :]))
    if len(forged) > len(content):
        with pytest.raises(UserError):
            archive.decode(forged)
    else:
        with contextlib.suppress(UserError):
            assert archive.encode(*archive.decode(forged)) == forged


def test_a_foreign_architecture_is_refused_before_the_file_is_decoded(tmp_path, monkeypatch, quantized):
    """A file of many tiny layers could otherwise keep the decoder busy for seconds."""
    path = tmp_path / "model.ggq"
    archive.write(quantized, CONFIG, path)
    monkeypatch.setattr(archive, "SymbolReader", lambda _: pytest.fail("decoded"))
    with pytest.raises(UserError, match="another architecture"):
        archive.read(path, tiny_config(n_layers=1))
    with pytest.raises(UserError, match="another architecture"):
        archive.read(path, architectures.config("llama"))


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_act": "relu"},
        {"layer_norm_eps": 1e-6},
        {"attention_bias": False},
        {
            "rope_parameters": {
                "rope_type": "linear",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.5,
                "factor": 2.0,
            }
        },
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.5, "partial_rotary_factor": 0.5}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.3337}},
    ],
)
def test_what_nine_integers_do_not_hold_goes_into_version_4(change):
    config = tiny_config(hidden_size=12)
    for name, value in change.items():
        setattr(config, name, value)
    with pytest.raises(UserError, match="nine integers"):
        Architecture.of(config)
    shape = architecture_of(config)
    assert isinstance(shape, Blueprint)
    assert shape.matches(config)
    assert not shape.matches(tiny_config(hidden_size=12))


@pytest.mark.parametrize("number", [-1, 2**35, 20251126123456])
def test_numbers_that_the_reader_does_not_take_are_not_written(quantized, number):
    tensors = {name: replace(tensor, group_size=number) for name, tensor in quantized.tensors.items()}
    with pytest.raises(UserError, match="number in an archive"):
        archive.encode(QuantizedModel(tensors, quantized.kept), SHAPE)


@pytest.mark.parametrize(
    "said",
    [
        "[" * 20_000,
        "{}",
        '{"config":{},"embedding":"a","head":"a","tensors":[["a",1000000000,1000000000]]}',
        '{"config":{},"embedding":"a","head":"a","tensors":[["a",1000000000,[["b",1]]]]}',
        '{"config":{},"embedding":"a","head":"a","tensors":[["a",2,3],["a",2,3]]}',
        '{"config":{},"embedding":"a","head":"b","tensors":[["a",2,3]]}',
        '{"config":{},"embedding":"a","head":"a","tensors":[["a",-2,3]]}',
        '{"config":{"x":NaN},"embedding":"a","head":"a","tensors":[["a",2,3]]}',
        '{"config":{}, "embedding":"a","head":"a","tensors":[["a",2,3]]}',  # a space
    ],
)
def test_descriptions_that_are_never_written_are_refused(said):
    writer = SymbolWriter()
    TextModel(header._TYPICAL).code(writer, said, len(said))
    packed = writer.finish()
    sizes = header.varint(len(said)) + header.varint(len(packed))
    content = archive.MAGIC + bytes([4]) + bytes(8) + sizes + packed + bytes(100)
    tracemalloc.start()
    with pytest.raises(UserError, match="archive"):
        archive.decode(resealed(content))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
