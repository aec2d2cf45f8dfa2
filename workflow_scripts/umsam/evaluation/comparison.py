"""Table 1: every method on the test volumes.

The CSV file holds fractions and all columns. The printed forms show "mean ± std", with the DSC in
percent. Every standard deviation is that of the sample (n - 1).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from umsam.evaluation.formatting import (
    escape_underscores,
    format_mean_std,
    format_number,
    percent_header,
)
from umsam.evaluation.statistics import sample_std
from umsam.planning.baselines import NO_PROMPT, Row

METRICS = ("dsc", "assd_mm", "assd_voxel")
COMPARISON_COLUMNS = [
    "dataset",
    "method",
    "supervision",
    "n",
    *(f"{metric}_{statistic}" for metric in METRICS for statistic in ("mean", "std")),
    "seconds_per_volume",
    "prompt",
    "row",
    "not_run",
]
NOT_TIMED = {"salip": "everything mode, because it reuses the masks of the pseudo-labels"}


def comparison_table(
    dataset: str, rows: Sequence[Row], metrics: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Compute mean and standard deviation over the labelled test cases, one row per method.

    A row that was not run, or whose metrics hold no test case, has n = 0 and empty numbers.

    Parameters
    ----------
    dataset
        Name of the data set.
    rows
        The methods in the order of the table.
    metrics
        Method -> its ``metrics/{method}.csv``.
    """
    lines = []
    for row in rows:
        line: dict[str, object] = {
            "dataset": dataset,
            "method": row.name,
            "supervision": row.supervision,
            "n": 0,
            "prompt": row.prompt,
            "row": row.method,
            "not_run": row.skipped,
        }
        if not row.skipped:
            test = metrics[row.method].query("split == 'test'")
            line["n"] = len(test)
            if len(test):
                for metric in METRICS:
                    line[f"{metric}_mean"] = test[metric].mean()
                    line[f"{metric}_std"] = sample_std(test[metric])
                line["seconds_per_volume"] = test["seconds"].mean()
        lines.append(line)
    return pd.DataFrame(lines, columns=COMPARISON_COLUMNS)


def comparison_notes(
    rows: Sequence[Row], metrics: Mapping[str, pd.DataFrame], unlabelled: Sequence[str]
) -> list[str]:
    """List what a reader of Table 1 must know: empty masks, rows not run, and cases not scored.

    Parameters
    ----------
    rows, metrics
        See `comparison_table`.
    unlabelled
        Test cases without a label.
    """
    notes = ["Mean ± sample standard deviation over the volumes (0 for a single volume)."]
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.skipped:
            reasons.setdefault(row.skipped, []).append(row_label(row))
            continue
        test = metrics[row.method].query("split == 'test'")
        for flag, count in test["flags"].replace("", np.nan).value_counts().items():
            penalty = "DSC 1, ASSD 0" if flag == "both empty" else "DSC 0, ASSD = image diagonal"
            notes.append(f"{row_label(row)}: {flag} on {count} of {len(test)} volumes ({penalty}).")
        if row.method in NOT_TIMED:
            notes.append(f"{row_label(row)}: the seconds exclude {NOT_TIMED[row.method]}.")
    notes += [f"{', '.join(names)}: not run, {reason}." for reason, names in reasons.items()]
    if unlabelled:
        notes.append(f"Not scored because they have no label: {', '.join(unlabelled)}.")
    return notes


def row_label(row: Row) -> str:
    """Return the name of a row with its prompt, which distinguishes the rows of one method."""
    return row.name if row.prompt == NO_PROMPT else f"{row.name} ({row.prompt})"


def format_comparison(table: pd.DataFrame, style: str) -> tuple[list[str], list[list[str]]]:
    """Format header and cells of Table 1 in the style ``md`` or ``tex``."""
    header = ["Method", "Prompt type", "Supervision", "n", *metric_columns(style)[:2]]
    header += ["ASSD (voxels)", "s / volume"]
    cells = []
    for row in table.to_dict("records"):
        dsc, assd, seconds = format_metrics(row, style)
        voxels = (
            format_mean_std(row["assd_voxel_mean"], row["assd_voxel_std"], style)
            if row["n"]
            else ""
        )
        description = [row["method"], row["prompt"], row["supervision"], str(row["n"])]
        cells.append([*description, dsc, assd, voxels, seconds])
    return header, cells


def metric_columns(style: str) -> list[str]:
    """Return the headers of the columns that each data set has in Table 1."""
    return [percent_header("DSC", style), "ASSD (mm)", "s / volume"]


def format_metrics(row: Mapping[Any, Any], style: str) -> list[str]:
    """Format DSC, ASSD in mm and seconds per volume of one row of Table 1, or "not run"."""
    if not row["n"]:
        return ["not run", "", ""]
    return [
        format_mean_std(row["dsc_mean"], row["dsc_std"], style, 100),
        format_mean_std(row["assd_mm_mean"], row["assd_mm_std"], style),
        format_number(row["seconds_per_volume"]),
    ]


def format_joint_comparison(table: pd.DataFrame, style: str) -> tuple[list[str], list[list[str]]]:
    """Format header and cells of the Table 1 of several data sets side by side.

    A row that a data set lacks is "-" there. Prompt and supervision are those of the first data
    set. A network is one row, whichever seed each data set uses first.

    Parameters
    ----------
    table
        The concatenated tables of `comparison_table`.
    style
        ``md`` or ``tex``.
    """
    datasets = list(table["dataset"].unique())
    table = table.assign(row=table["row"].str.replace(r"_seed\d+", "", regex=True))
    header = ["Method", "Prompt type", "Supervision"]
    header += [f"{name}: {column}" for name in datasets for column in metric_columns(style)]
    if style == "tex":
        header = [escape_underscores(cell) for cell in header]
    cells = []
    for key in merge_row_orders(table):
        lines = table[table["row"] == key].set_index("dataset", drop=False)
        first = lines.iloc[0]
        cell = [first["method"], first["prompt"], first["supervision"]]
        for name in datasets:
            if name in lines.index:
                cell += format_metrics(lines.loc[name].to_dict(), style)
            else:
                cell += ["-"] * 3
        cells.append(cell)
    return header, cells


def merge_row_orders(table: pd.DataFrame) -> list[str]:
    """Merge the rows of all data sets; a new row follows its predecessor in its own data set."""
    order: list[str] = []
    for _, lines in table.groupby("dataset", sort=False):
        position = 0
        for key in lines["row"]:
            if key in order:
                position = order.index(key) + 1
            else:
                order.insert(position, key)
                position += 1
    return order
