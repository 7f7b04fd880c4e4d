"""Limits of numeric settings, the same for those who write an archive and those who read it."""

from numbers import Integral

from gengap.errors import UserError

LARGEST_SETTING = 2**35 - 1  # an archive writes numbers in five groups of seven bits


def check_whole(what: str, value: int, least: int, most: int = LARGEST_SETTING) -> None:
    """Raise `UserError` unless a setting is a whole number from `least` to `most`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not least <= value <= most:
        raise UserError(f"{value} {what}: choose {least} to {most}, a whole number")


def check_quantization(bits: int, group_size: int, seed: int, n_calibration_rows: int = 1) -> None:
    """Raise `UserError` for settings that cannot be, or that an archive could not hold."""
    check_whole("bits per weight", bits, 2, 8)
    check_whole("as a group size", group_size, 0)
    check_whole("as a seed", seed, 0, LARGEST_SETTING - 1)  # an archive writes one more
    check_whole("calibration rows", n_calibration_rows, 1)
