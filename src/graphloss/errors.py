"""The kinds of error that are the caller's to mend."""


class InputError(ValueError):
    """Wrong input or usage. Its message is one line that says what was found, where, and what to do; the command line
    prints it and exits with status 2."""


class Unavailable(InputError):
    """What was asked for by name is not on this machine and could not be fetched.

    Args:
        what: "weights" or "data".
        message: one line, as of any `InputError`.
    """

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what
