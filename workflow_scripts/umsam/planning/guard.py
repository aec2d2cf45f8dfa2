"""A mistake of the user ends planning with its message, not with a traceback."""

import functools
import sys
from collections.abc import Callable
from typing import Any

from umsam.errors import InputError


class Guard:
    """Passes every call on to a planner and ends the run where one raises an `InputError`.

    Functions that a call returns are guarded in the same way: Snakemake calls them later.
    """

    def __init__(self, planner: Any) -> None:
        self._planner = planner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._planner, name)
        return guard(value) if callable(value) else value


def guard(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which ends the run with the message of an `InputError`."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            result = function(*arguments, **options)
        except InputError as error:
            sys.exit(str(error))
        return guard(result) if callable(result) else result

    return call
