"""The settings of a pretraining run from the configuration."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from umsam.errors import InputError

T = TypeVar("T")


def from_configuration(kind: type[T], values: Mapping[str, Any], section: str) -> T:
    """The defaults of a data class with a section's values over them.

    Raises
    ------
    InputError
        The section, such as pretraining.dino, has a key that the class does not know.
    """
    known = {field.name for field in fields(kind)}
    if unknown := sorted(values.keys() - known):
        raise InputError(
            f"configuration: {section} has no {', '.join(unknown)}; "
            f"it knows {', '.join(sorted(known))}."
        )
    return kind(**values)
