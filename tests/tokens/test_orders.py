"""Orders that are rules or indices: OLMo's against a shuffle written out, Megatron's against its builder written out."""

import numpy as np
import pytest
from token_files import write_index_maps, write_megatron

from gengap.errors import UserError
from gengap.tokens.orders import megatron_rows, olmo_order, olmo_rows


def plain_shuffle(n, seed):
    """Fisher and Yates, with the bounded numbers that numpy draws from the halves of PCG64's words, the lower one first."""
    source = np.random.PCG64(seed)

    def halves():
        while True:
            word = int(source.random_raw())
            yield word & 0xFFFFFFFF
            yield word >> 32

    stream, order = halves(), list(range(n))
    for i in range(n - 1, 0, -1):
        mask = (1 << i.bit_length()) - 1
        j = next(draw for half in stream if (draw := half & mask) <= i)
        order[i], order[j] = order[j], order[i]
    return order


@pytest.mark.parametrize(("n", "seed", "epoch"), [(1, 6198, 0), (2, 34521, 1), (1000, 6198, 0), (1000, 34521, 1)])
def test_olmos_order_is_a_shuffle_by_pcg64_of_seed_and_epoch(n, seed, epoch):
    order = olmo_order(n, seed, epoch)
    assert order.dtype == np.uint32
    assert order.tolist() == plain_shuffle(n, seed + epoch)
    if n == 1000:
        assert order.tolist() != olmo_order(n, seed, epoch + 1).tolist()
        assert order.tolist() == olmo_order(n, seed + 1, epoch - 1).tolist()


def test_olmos_rows_are_instances_of_its_files_without_the_tail(tmp_path):
    rng, paths, instances = np.random.default_rng(0), [], []
    for i, n_tokens in enumerate((100, 7, 33, 64)):
        tokens = rng.integers(0, 100_278, n_tokens).astype("<u4")
        paths.append(tmp_path / f"part-{i}.npy")
        tokens.tofile(paths[-1])  # as OLMo's tokenizer tool writes them: without numpy's header
        instances += [tokens[k : k + 16] for k in range(0, n_tokens - 15, 16)]
    assert len(instances) == 12
    rows = olmo_rows(paths, 16, seed=6198, epoch=0, batch_rows=5)
    expected = np.array(instances)[plain_shuffle(12, 6198)[:10]]
    np.testing.assert_array_equal(rows[:], expected)
    np.testing.assert_array_equal(rows[np.array([9, 2])], expected[[9, 2]])
    assert rows.n_train_tokens == 10 * 15
    assert rows.sha256 != olmo_rows(paths, 16, seed=6198, epoch=1, batch_rows=5).sha256


def test_an_order_without_data_is_refused(tmp_path):
    np.zeros(31, "<u4").tofile(tmp_path / "a.npy")
    for paths, message in (
        ([], "0 files hold 0"),
        ([tmp_path / "a.npy"], "1 files hold 1 .* less than a batch"),
        ([tmp_path / "b"], "cannot read"),
    ):
        with pytest.raises(UserError, match=message):
            olmo_rows(paths, 16, seed=1, epoch=0, batch_rows=2)
    with pytest.raises(UserError, match="have no order"):
        olmo_order(0, 1, 0)


def make_documents(n=40, vocab_size=500):
    rng = np.random.default_rng(7)
    return [rng.integers(0, vocab_size, size).astype(np.uint16) for size in rng.integers(1, 90, n)]


def test_megatrons_rows_in_the_order_of_its_maps(tmp_path):
    documents = make_documents()
    data = write_megatron(tmp_path / "pile", documents)
    expected = write_index_maps(tmp_path / "seed3", documents, 16, 3)
    rows = megatron_rows(data, tmp_path / "seed3", 16)
    assert len(rows) == len(expected) > 50
    np.testing.assert_array_equal(rows[:], expected)
    np.testing.assert_array_equal(rows[np.array([5, 0])], expected[[5, 0]])
    write_index_maps(tmp_path / "seed4", documents, 16, 4)
    assert megatron_rows(data, tmp_path / "seed4", 16).sha256 != rows.sha256


def change(folder, name, function):
    (path,) = folder.glob(f"*_{name}_idx.npy")
    np.save(path, function(np.load(path)))


def zeroed(index):
    index[len(index) // 12 :] = 0
    return index


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("shuffle", zeroed, "shuffle index names .* more than once: it is damaged"),
        ("shuffle", lambda index: index + 1, "names what is not there"),
        ("shuffle", lambda index: index[:-1], "sample index has the shape"),
        ("doc", lambda index: np.concatenate([index, index]), "document index names 40 of 80 .* more than once"),
        ("doc", lambda index: index + 1, "names what is not there"),
        ("doc", lambda index: index[:2], "ends before it begins, or after the last document"),
        ("sample", lambda index: index[::-1].copy(), "row 0 ends before it begins"),
        ("sample", lambda index: index + np.array([0, 1]) * np.arange(len(index))[:, None], "tokens, not 17"),
    ],
)  # fmt: skip
def test_broken_maps_are_one_sentence(tmp_path, name, function, message):
    documents = make_documents()
    data = write_megatron(tmp_path / "pile", documents)
    write_index_maps(tmp_path / "seed2", documents, 16, 2)
    change(tmp_path / "seed2", name, function)
    with pytest.raises(UserError, match=message):
        megatron_rows(data, tmp_path / "seed2", 16)[:]


def test_missing_maps_are_one_sentence(tmp_path):
    data = write_megatron(tmp_path / "pile", make_documents())
    with pytest.raises(UserError, match=r"holds 0 files \*_doc_idx.npy"):
        megatron_rows(data, tmp_path / "seed1", 16)
