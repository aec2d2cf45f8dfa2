"""The error meant for the person who runs the pipeline."""


class InputError(ValueError):
    """A mistake in the input; the message names the file, the fault and the remedy."""


def one_line(error: Exception) -> str:
    """Return the message of a library's error on one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__
