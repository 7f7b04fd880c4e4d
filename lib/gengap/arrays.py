"""Arrays that a caller brings, read once: what comes out is plain numbers, and nothing looks at the original again."""

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

ROUNDING_STEPS = 4  # distances of neighbouring floats near a number that it may be off by rounding


def real_array(values: ArrayLike, name: str = "values", dtype: DTypeLike = None) -> NDArray:
    """`values`, any shape, as a plain array of `dtype` (default: their own type of float, else float64).

    Lists, series and tensors are read like arrays. ValueError, naming them, for what has no real number in each place: masked
    entries, NaN, complex numbers, text, objects, ragged lists, tensors that need a gradient. Infinite values pass.
    """
    array = _read(values, name)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be real numbers, got an array of type {array.dtype}")
    if array.dtype.kind != "f":
        return array.astype(dtype or np.float64)
    if array.size and np.isnan(array.min()):
        raise ValueError(f"{name} hold {int(np.isnan(array).sum())} NaN among {array.size} values")
    return array if dtype is None else array.astype(dtype, copy=False)


def int_array(values: ArrayLike, name: str = "values") -> NDArray[np.int64]:
    """`values`, any shape, as a plain array of integers. ValueError as `real_array`, and for numbers of another type."""
    array = _read(values, name)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, got an array of type {array.dtype}")
    return array.astype(np.int64, copy=False)


def rounding(array: NDArray) -> float:
    """How far floats of this array's type may be off by rounding, relative: a few of the smallest steps that it knows."""
    return ROUNDING_STEPS * float(np.finfo(array.dtype).eps)


def _read(values: ArrayLike, name: str) -> NDArray:
    if _masked(values):
        raise ValueError(f"{name} have a mask: pass those entries alone that count (`compressed()` gives them)")
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists; types and tensors that numpy cannot read
        raise ValueError(f"{name} cannot be read as an array of numbers: {error}") from error


def _masked(values: object) -> bool:
    if isinstance(values, list | tuple):
        return any(_masked(entry) for entry in values if not isinstance(entry, int | float))
    return isinstance(values, np.ma.MaskedArray)
