"""Units: bits and nats there and back, large numbers in plain words."""

import math

import pytest

from gengap.book.figures import plain
from gengap.units import bits_from_nats, nats_from_bits


def test_a_bit_is_log_two_nats():
    assert nats_from_bits(3) == pytest.approx(3 * math.log(2))
    assert bits_from_nats(nats_from_bits(7.5)) == pytest.approx(7.5)


@pytest.mark.parametrize(
    ("value", "said"), [(12_000, "12k"), (3_400_000, "3.4m"), (22e9, "22b"), (0.25, "0.25"), (52_944, "52.9k")]
)
def test_large_numbers_in_plain_words(value, said):
    assert plain(value, 3) == said
