"""Records with other numbers in some places, and what they then say of themselves."""

import dataclasses


def changed(part, changes):
    """A record with other values at some places, "bounds.nominal.paper.s"; a function is applied to what is there."""
    for place, value in changes.items():
        part = _changed(part, place.split("."), value)
    return part


def _changed(part, place, value):
    if not place:
        return value(part) if callable(value) else value
    first, *rest = place
    if isinstance(part, dict):
        return part | {first: _changed(part[first], rest, value)}
    if isinstance(part, tuple | list):
        return type(part)(_changed(v, rest, value) if i == int(first) else v for i, v in enumerate(part))
    update = {first: _changed(getattr(part, first), rest, value)}
    return dataclasses.replace(part, **update) if dataclasses.is_dataclass(part) else part.model_copy(update=update)


def failing(record, changes=()):
    """ "topic: place" of what does not hold after changes."""
    found = [check for check in changed(record, dict(changes)).checks() if not check.holds]
    assert all(isinstance(check.said, str) and check.said for check in found)
    return {f"{check.topic}: {check.place}" for check in found}


def shift(by):
    return lambda value: value + by


def relative(by):
    """Of numbers below 1, an absolute change, as the checks have it."""
    return lambda value: value + by * max(1.0, abs(value))
