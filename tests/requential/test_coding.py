"""The real code: it has the teacher's law, is as short as proved, and its file decodes to the same student, bit by bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from projects import SMALL
from tiny_models import token_rows

from gengap.bounds.requential import certain_length, elias_delta_bits, expected_length
from gengap.errors import UserError
from gengap.requential.coding import CHUNK, arrival_times, choose, read_file, write_file
from gengap.requential.recipe import Requential
from gengap.requential.transmission import decode, encode

TINY = replace(SMALL, size="1k", hidden_size=4, seq_len=16)
ROWS = token_rows(400, TINY.vocab_size, TINY.seq_len + 1)


def coded(q, p, n, seed, most_proposals=2**40):
    """n draws of the representation on a small alphabet: (tokens, indices)."""
    rng, log_r = np.random.default_rng(seed), np.log(np.maximum(q, 1e-300)) - np.log(p)
    tokens, indices = [], []
    for _ in range(n):
        drawn = []

        def ratios(_, drawn=drawn):
            drawn.append(rng.choice(len(p), CHUNK, p=p))
            return log_r[drawn[-1]]

        sent = choose(ratios, arrival_times(rng), log_r.max(), most_proposals)
        indices.append(sent.index)
        tokens.append(np.concatenate(drawn)[sent.index - 1])
    return np.array(tokens), np.array(indices)


LAWS = [
    (np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.25, 0.25, 0.25, 0.25])),
    (np.array([0.9, 0.05, 0.05, 0.0]), np.array([0.01, 0.09, 0.4, 0.5])),
    (np.full(8, 1 / 8), np.full(8, 1 / 8)),
    (np.array([0.001, 0.999]), np.array([0.5, 0.5])),
]


@pytest.mark.parametrize(("q", "p"), LAWS)
def test_what_is_decoded_has_the_teachers_law_and_the_index_is_as_short_as_proved(q, p):
    n = 4000
    tokens, indices = coded(q, p, n, seed=len(q))
    counts = np.bincount(tokens, minlength=len(q))
    assert counts[q == 0].sum() == 0
    seen = q > 0
    chi_square = np.sum((counts - n * q)[seen] ** 2 / (n * q[seen]))
    assert chi_square < seen.sum() + 4 * np.sqrt(2 * seen.sum())
    r = q / p
    divergence = np.sum(q[seen] * np.log2(r[seen]))
    log2_k, error = np.log2(indices), np.log2(indices).std() / np.sqrt(n)
    assert divergence - 1.6 <= log2_k.mean() + 4 * error  # not as if the index said nothing
    assert log2_k.mean() - 4 * error <= divergence + 1  # E[log2 K] <= KL + 1
    for token in np.flatnonzero(counts > 300):  # E[K | x] <= 1 + r(x)
        of_token = indices[tokens == token]
        assert of_token.mean() - 4 * of_token.std() / np.sqrt(len(of_token)) <= 1 + r[token]
    delta = elias_delta_bits(indices)
    assert delta.mean() <= divergence + 2 * np.log2(1 + divergence) + 4 + 4 * delta.std() / np.sqrt(n)


def test_a_search_that_is_cut_off_no_longer_has_the_law():
    """The other side of the test above: it would notice."""
    q, p = LAWS[1]
    tokens, _ = coded(q, p, 2000, seed=0)
    rng, biased = np.random.default_rng(1), []
    for _ in range(2000):  # one of the first three proposals
        drawn = rng.choice(4, 3, p=p)
        biased.append(drawn[np.argmin(np.cumsum(rng.standard_exponential(3)) / np.maximum(q / p, 1e-300)[drawn])])
    assert abs(np.mean(tokens == 0) - 0.9) < 0.03
    assert np.mean(np.array(biased) == 0) < 0.5


def test_no_sequence_of_steps_is_longer_than_either_length_says_more_often_than_delta():
    """L <= M + H + fluctuation, and L <= what is known given the draws; and neither is idle."""
    delta, n_runs, n_steps = 0.1, 150, 20
    q, p = LAWS[0]
    r = np.log(q / p)
    kl, variance = float(q @ r), float(q @ r**2 - (q @ r) ** 2)
    tokens, indices = coded(q, p, n_runs * n_steps, seed=7)
    lengths = elias_delta_bits(indices).reshape(n_runs, n_steps).sum(1)
    as_published = expected_length(np.full(n_steps, kl), np.full(n_steps, variance), delta)
    assert np.mean(lengths > as_published.total) <= delta
    ratios = r[tokens].reshape(n_runs, n_steps)
    given = np.array([certain_length(row, delta).total for row in ratios])
    assert np.mean(lengths > given) <= delta
    log2_k = np.log2(indices).reshape(n_runs, n_steps).sum(1)
    needed = np.logaddexp(0, ratios).sum(1) / np.log(2)
    assert np.mean(log2_k > needed - n_steps / 2) > 0  # the statement on log2 K comes near
    assert np.mean(log2_k > needed + np.log2(1 / delta)) <= delta
    assert lengths.mean() > as_published.divergence


def test_deltas_code_is_prefix_free_and_as_long_as_it_says():
    numbers = np.arange(1, 5000)
    assert np.sum(2.0 ** -elias_delta_bits(numbers)) <= 1
    u = np.log2(numbers)
    assert (elias_delta_bits(numbers) <= u + 2 * np.log2(1 + u) + 1 + 1e-9).all()
    assert elias_delta_bits([1, 2, 3, 4, 8, 16]).tolist() == [1, 4, 4, 5, 8, 9]


def test_indices_of_every_size_come_back_from_a_file(tmp_path):
    indices = np.concatenate(
        [np.ones(500, int), np.random.default_rng(0).geometric(0.01, 2000), [2**20 + 7, 2**33 - 1, 2**40]]
    )
    bits = write_file(tmp_path / "a.grq", {"n_steps": 1}, indices)
    facts, found = read_file(tmp_path / "a.grq")
    assert facts == {"n_steps": 1}
    np.testing.assert_array_equal(found, indices)
    assert bits < elias_delta_bits(indices).sum()
    content = (tmp_path / "a.grq").read_bytes()
    (tmp_path / "a.grq").write_bytes(content[:-3] + b"abc")
    with pytest.raises(UserError, match="encode the training again"):
        read_file(tmp_path / "a.grq")


def test_the_decoder_trains_the_same_student_from_the_file_alone(tmp_path):
    sent = encode(Requential(TINY), ROWS, 6, tmp_path / "student.grq", most_proposals=512)
    decoded = decode(tmp_path / "student.grq", TINY)
    for kind in ("model", "average"):
        pairs = zip(getattr(sent.student, kind).parameters(), getattr(decoded, kind).parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    assert sent.n_tokens == 6 * 8 * 16
    assert sent.file_bits == 8 * (tmp_path / "student.grq").stat().st_size
    assert sent.divergence_bits < sent.delta_bits
    facts, indices = read_file(tmp_path / "student.grq")
    write_file(tmp_path / "other.grq", facts, np.where(np.arange(len(indices)) == 20, indices % 5 + 2, indices))
    other = decode(tmp_path / "other.grq", TINY)
    assert any(not torch.equal(a, b) for a, b in zip(other.model.parameters(), decoded.model.parameters(), strict=True))
    with pytest.raises(UserError, match="is measured only"):
        encode(Requential(TINY, "projection"), ROWS, 1, tmp_path / "no.grq")
