"""The sample sheet: the cases of a data set, their files and their split.

A TSV with the columns ``case``, ``image``, ``split`` and optionally ``label``. The label column, or
a cell of it, may be omitted: such a case has no label. Standard library only, because every plan
reads the sheet.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from umsam.errors import InputError

REQUIRED = ("case", "image", "split")
COLUMNS = ("case", "image", "label", "split")
SPLITS = ("train", "val", "test")
CASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Sample:
    """One case: its name, its image, its label if it has one, and train, val or test."""

    case: str
    image: Path
    label: Path | None
    split: str


def read_sample_sheet(path: str | Path, data_root: str | Path | None = None) -> list[Sample]:
    """Read a sample sheet, in its order.

    Relative paths are relative to the sheet's folder, or to `data_root` if it is given. The files
    need not exist yet, since rules may make them. A byte-order mark, Windows line ends and blank
    lines are accepted.

    Raises
    ------
    InputError
        Names the sheet, the line, the fault and what is expected.
    """
    path = Path(path)
    base = path.parent if data_root is None else Path(data_root).expanduser()
    rows = _rows(path)
    if not rows:
        raise InputError(f"{path}: the sample sheet is empty. {_expected()}")
    header_line, header = rows[0]
    _check_header(path, header_line, header)

    samples: list[Sample] = []
    first_line: dict[str, int] = {}
    for line, cells in rows[1:]:
        where = f"{path}, line {line}"
        if len(cells) > len(header) or len(cells) < len(header) - 1:
            raise InputError(
                f"{where}: {len(cells)} cell(s), but the header has {len(header)}. {_tabs(cells)}"
            )
        row = dict(zip(header, [*cells, ""], strict=False))
        sample = _sample(where, row, base)
        if sample.case in first_line:
            raise InputError(
                f"{where}: case {sample.case!r} is already on line {first_line[sample.case]}. "
                "Give each case its own name."
            )
        first_line[sample.case] = line
        samples.append(sample)
    if not samples:
        raise InputError(f"{path}: the sample sheet has a header but no case. {_expected()}")
    return samples


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not blank: line number and stripped cells."""
    if not path.is_file():
        raise InputError(
            f"{path}: no such sample sheet. Correct the key `samples` of the data set."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}). Save the sheet as "
            "tab-separated UTF-8, not as a spreadsheet file."
        ) from None
    lines = text.splitlines()
    cells = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    numbered = [(number, [cell.strip() for cell in row]) for number, row in enumerate(cells, 1)]
    return [(number, row) for number, row in numbered if any(row)]


def _check_header(path: Path, line: int, header: list[str]) -> None:
    where = f"{path}, line {line}"
    unknown = [name for name in header if name not in COLUMNS]
    missing = [name for name in REQUIRED if name not in header]
    if len(header) == 1 and missing:
        raise InputError(f"{where}: the header has a single column {header[0]!r}. {_tabs(header)}")
    if unknown:
        names = ", ".join(repr(name) for name in unknown)
        raise InputError(f"{where}: unknown column(s) {names}. {_expected()}")
    if missing:
        raise InputError(f"{where}: missing column(s) {', '.join(missing)}. {_expected()}")
    if len(set(header)) < len(header):
        raise InputError(f"{where}: a column appears twice ({', '.join(header)}). {_expected()}")


def _sample(where: str, row: dict[str, str], base: Path) -> Sample:
    case, image, split = (row.get(name, "") for name in REQUIRED)
    if not CASE_NAME.fullmatch(case):
        raise InputError(
            f"{where}: illegal case name {case!r}. Use letters, digits, dot, underscore and "
            "hyphen, starting with a letter or digit (it becomes a file name)."
        )
    if not image:
        raise InputError(f"{where}: case {case} has no image.")
    if split not in SPLITS:
        raise InputError(
            f"{where}: case {case} has the split {split!r}; it must be one of {', '.join(SPLITS)}."
        )
    label = row.get("label", "")
    if braces := [name for name in (image, label) if "{" in name or "}" in name]:
        raise InputError(
            f"{where}: {braces[0]!r} has a brace, which Snakemake would take for a wildcard. "
            "Rename the file, or link to it by another name."
        )
    return Sample(case, base / image, base / label if label else None, split)


def _expected() -> str:
    return f"Expected tab-separated columns: {', '.join(REQUIRED)} and, optionally, label."


def _tabs(cells: list[str]) -> str:
    if len(cells) == 1 and re.search(r"[ ,;]", cells[0]):
        return "The cells must be separated by tabs, not by spaces, commas or semicolons."
    return _expected()
