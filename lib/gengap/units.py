"""The one conversion between bits and nats."""

import math

NATS_PER_BIT = math.log(2.0)


def nats_from_bits(bits):
    """Code length or information in nats, given bits (scalar or array)."""
    return bits * NATS_PER_BIT


def bits_from_nats(nats):
    """Code length or information in bits, given nats (scalar or array)."""
    return nats / NATS_PER_BIT
