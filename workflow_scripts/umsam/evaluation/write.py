"""A table written as CSV, Markdown and LaTeX."""

from collections.abc import Callable, Sequence
from typing import Protocol

import pandas as pd

from umsam.evaluation.tables import latex, markdown
from umsam.files import atomic_write

Cells = tuple[list[str], list[list[str]]]


class TableFiles(Protocol):
    """Paths of the three forms."""

    csv: str
    md: str
    tex: str


def write_table(
    files: TableFiles,
    table: pd.DataFrame,
    printed: Callable[[pd.DataFrame, str], Cells],
    title: str,
    notes: Sequence[str] = (),
) -> str:
    """Write the three forms and give back the Markdown.

    `printed` turns the table into header and cells, for the style ``md`` or ``tex``.
    """
    with atomic_write(files.csv) as path:
        table.to_csv(path, index=False, float_format="%.6f")
    texts = {
        files.md: markdown(title, *printed(table, "md"), notes),
        files.tex: latex(title, *printed(table, "tex"), notes),
    }
    for file, text in texts.items():
        with atomic_write(file) as path:
            path.write_text(text)
    return texts[files.md]
