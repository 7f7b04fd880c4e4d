"""Limits of numeric settings, the same for those who write an archive and those who read it."""

from gengap.errors import UserError, check_whole

LARGEST_SETTING = 2**35 - 1  # an archive writes numbers in five groups of seven bits


def check_quantization(bits: int, group_size: int, seed: int, n_calibration_rows: int = 1) -> None:
    """Raise `UserError` for settings that cannot be, or that an archive could not hold."""
    if isinstance(bits, bool) or bits not in range(2, 9):
        raise UserError(f"{bits} bits per weight: choose 2 to 8")
    check_whole("group_size", group_size, 0, LARGEST_SETTING)
    check_whole("seed", seed, 0, LARGEST_SETTING - 1)  # an archive writes one more
    check_whole("n_calibration_rows", n_calibration_rows, 1)
