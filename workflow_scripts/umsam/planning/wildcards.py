"""What Snakemake hands to the functions of a rule."""

from collections.abc import Callable, Iterable
from typing import Protocol


class Wildcards(Protocol):
    """The wildcards of a job; which exist depends on the rule."""

    @property
    def dataset(self) -> str: ...
    @property
    def case(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def variant(self) -> str: ...
    def items(self) -> Iterable[tuple[str, str]]: ...


Files = Callable[[Wildcards], list[str]]
"""A function of the wildcards that gives the files of an input."""
