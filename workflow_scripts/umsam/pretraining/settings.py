"""Settings of a pretraining run, read from the configuration."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from umsam.errors import InputError

T = TypeVar("T")


def from_configuration(kind: type[T], values: Mapping[str, Any], section: str) -> T:
    """An instance of a settings data class: its defaults, overridden by `values`.

    Raises `InputError` if the section, such as pretraining.dino, has an unknown key.
    """
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # T is a data class
    if unknown := sorted(values.keys() - names):
        raise InputError(
            f"configuration: {section} has no key {', '.join(unknown)}. "
            f"Valid keys: {', '.join(sorted(names))}."
        )
    return kind(**values)
