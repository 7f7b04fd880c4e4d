"""The one conversion between bits and nats; large numbers in plain words."""

import math

NATS_PER_BIT = math.log(2.0)


def nats_from_bits(bits):
    """Code length or information in nats, given bits (scalar or array)."""
    return bits * NATS_PER_BIT


def bits_from_nats(nats):
    """Code length or information in bits, given nats (scalar or array)."""
    return nats / NATS_PER_BIT


def plain(value: float, _position: object = None) -> str:
    """12,000 as 12k, 3,400,000 as 3.4m: also the formatter of an axis, hence the second argument."""
    for unit, name in ((1e9, "b"), (1e6, "m"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"
