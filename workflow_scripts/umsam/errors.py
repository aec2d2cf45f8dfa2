"""The error meant for the person who runs the pipeline."""


class InputError(ValueError):
    """Something the user gave is wrong: the message names the file, what is wrong and what to do."""
