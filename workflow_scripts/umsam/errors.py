"""The error meant for the person who runs the pipeline."""


class InputError(ValueError):
    """A mistake in the input: the message names the file, what is wrong and what to do."""


def short(error: Exception) -> str:
    """What another library's error says, on one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__
