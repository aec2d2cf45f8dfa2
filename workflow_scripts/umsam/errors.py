"""The error meant for the person who runs the pipeline."""


class InputError(ValueError):
    """A mistake in the input: the message names the file, what is wrong and what to do."""
