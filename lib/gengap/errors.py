"""The one exception that a person is meant to read."""


class UserError(Exception):
    """Input or environment that only the user can mend.

    The message says what is wrong and what to do next; the command line prints it alone, without a traceback,
    and exits with status 1. Programming errors stay ordinary exceptions.
    """
