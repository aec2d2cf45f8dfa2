"""Numbers as people write them in the configuration."""

from fractions import Fraction


def as_number(value: float | str) -> float:
    """0.5 as it is, and a fraction such as ``2/3`` as the float nearest to it."""
    return float(Fraction(value)) if isinstance(value, str) else float(value)
