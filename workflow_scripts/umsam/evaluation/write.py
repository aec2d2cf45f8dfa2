"""Write a table as CSV, Markdown and LaTeX."""

from collections.abc import Callable, Sequence
from typing import Protocol

import pandas as pd

from umsam.evaluation.formatting import render_latex, render_markdown
from umsam.files import atomic_write

Cells = tuple[list[str], list[list[str]]]
"""Header and printed cells."""


class TableFiles(Protocol):
    """Paths of the three files."""

    csv: str
    md: str
    tex: str


def write_table(
    files: TableFiles,
    table: pd.DataFrame,
    format_cells: Callable[[pd.DataFrame, str], Cells],
    title: str,
    notes: Sequence[str] = (),
) -> str:
    """Write the three files and return the Markdown.

    Parameters
    ----------
    files
        Paths of the files.
    table
        The numbers.
    format_cells
        Formats the table as header and cells in the style ``md`` or ``tex``.
    title
        Title of the printed table.
    notes
        Notes below the printed table.
    """
    with atomic_write(files.csv) as path:
        table.to_csv(path, index=False, float_format="%.6f")
    texts = {
        files.md: render_markdown(title, *format_cells(table, "md"), notes),
        files.tex: render_latex(title, *format_cells(table, "tex"), notes),
    }
    for file, text in texts.items():
        with atomic_write(file) as path:
            path.write_text(text)
    return texts[files.md]
