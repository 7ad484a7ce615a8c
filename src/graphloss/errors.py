"""The one kind of error that is the caller's to mend."""


class InputError(ValueError):
    """Wrong input or usage. Its message is one line that says what was found, where, and what to do; the command line
    prints it and exits with status 2."""
