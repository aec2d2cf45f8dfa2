"""Numbers as the configuration states them."""

from fractions import Fraction


def parse_number(value: float | str) -> float:
    """Convert a number, or a fraction such as ``2/3``, to a float."""
    return float(Fraction(value)) if isinstance(value, str) else float(value)
