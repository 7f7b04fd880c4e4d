"""A progress bar where a person watches, silence where a log is kept."""

import sys

from tqdm import tqdm


def bar(*, total: int, desc: str, unit: str, initial: int = 0) -> tqdm:
    """A `tqdm` bar on a terminal; disabled elsewhere, so that notebooks and logs keep one clean line per result."""
    return tqdm(
        total=total,
        desc=desc,
        unit=unit,
        initial=initial,
        unit_scale=True,
        dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
    )
