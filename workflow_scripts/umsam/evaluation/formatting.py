"""Printed numbers, and Markdown and LaTeX tables.

The printed style is ``md`` or ``tex``.
"""

from collections.abc import Sequence

import numpy as np


def percent_header(name: str, style: str) -> str:
    """Return "DSC (%)", escaped for LaTeX if needed."""
    return f"{name} (\\%)" if style == "tex" else f"{name} (%)"


def format_number(value: float, digits: int = 2) -> str:
    """Format a number, or a dash if it is not finite."""
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def format_mean_std(mean: float, std: float, style: str, factor: float = 1.0) -> str:
    r"""Format "90.15 ± 4.87" (``md``) or "90.15 $\pm$ 4.87" (``tex``)."""
    sign = r"$\pm$" if style == "tex" else "±"
    return f"{format_number(factor * mean)} {sign} {format_number(factor * std)}"


def render_markdown(
    title: str, header: Sequence[str], cells: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> str:
    """Render a titled Markdown table with padded columns, and the notes below it."""
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        padded = [value.ljust(width) for value, width in zip(row, widths, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = f"| {' | '.join('-' * width for width in widths)} |"
    table = "\n".join([line(header), rule, *map(line, cells)])
    listed = "".join(f"\n- {note}" for note in notes)
    return f"### {title}\n\n{table}\n" + (f"{listed}\n" if notes else "")


def render_latex(
    title: str, header: Sequence[str], cells: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> str:
    """Render a LaTeX table (package booktabs), with the notes as comments above it."""
    lines = [*(f"% {note}" for note in notes), r"\begin{table}", r"\centering"]
    lines += [
        rf"\caption{{{escape_latex(title)}}}",
        rf"\begin{{tabular}}{{l{'c' * (len(header) - 1)}}}",
    ]
    lines += [r"\toprule", f"{' & '.join(header)} \\\\", r"\midrule"]
    lines += [f"{' & '.join(row)} \\\\" for row in cells]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def escape_underscores(text: str) -> str:
    """Escape the underscores of a name for LaTeX; LaTeX commands stay."""
    return text.replace("_", r"\_")


def escape_latex(text: str) -> str:
    """Escape a title with data set names for LaTeX."""
    return text.replace("_", r"\_").replace("±", r"$\pm$").replace("%", r"\%")
