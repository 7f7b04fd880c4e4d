"""The one exception that a person is meant to read, and the check that raises it most."""

import operator

MAX_SEED = 2**32 - 1  # what every generator and file of ours takes


class UserError(Exception):
    """Input or environment that only the user can mend.

    The message says what is wrong and what to do next; the command line prints it alone, without a traceback,
    and exits with status 1. Programming errors stay ordinary exceptions.
    """


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise `UserError` unless `value` is a whole number between `least` and `most` (None: as large as you like), both included."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise UserError(f"{name} = {value!r}: choose a whole number") from error
    if isinstance(value, bool):
        raise UserError(f"{name} = {value!r}: choose a whole number")
    if number < least:
        raise UserError(f"{name} = {value}: choose at least {least}")
    if most is not None and number > most:
        raise UserError(f"{name} = {value}: choose at most {most}")
