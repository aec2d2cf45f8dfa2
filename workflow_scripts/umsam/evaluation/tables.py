"""The paper's tables as data frames, and their Markdown and LaTeX forms.

CSV files hold fractions and full columns; the Markdown and LaTeX forms print "mean ± std", DSC in
percent. Every standard deviation is the sample's (n - 1); it is 0 for a single value.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from umsam.planning.baselines import ABLATION, NO_PROMPT, Row

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
SECONDS_LEAVE_OUT = {"salip": "everything mode, whose masks are those of the pseudo-labels"}
SET_NAMES = {"omega_0": "every ROI", "valid": "after shape priors", "target": "pseudo-labels"}
VARIANT_NAMES = {
    "none": "no training",
    "plkd": "PL-KD",
    "plkd_cfkd": "PL-KD + CF-KD",
    "plkd_cckd": "PL-KD + CC-KD",
    "triple": "triple KD",
}


def spread(values: pd.Series) -> float:
    """Sample standard deviation; 0 for a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


# --- Table 1 ---------------------------------------------------------------------------------


def comparison_table(
    dataset: str, rows: Sequence[Row], metrics: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Table 1: mean and spread over the labelled test cases, one row a method.

    A row that is skipped, or whose metrics hold no test case, has n = 0 and empty numbers.

    Parameters
    ----------
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
                    line[f"{metric}_std"] = spread(test[metric])
                line["seconds_per_volume"] = test["seconds"].mean()
        lines.append(line)
    return pd.DataFrame(lines, columns=COMPARISON_COLUMNS)


def comparison_notes(
    rows: Sequence[Row], metrics: Mapping[str, pd.DataFrame], unlabelled: Sequence[str]
) -> list[str]:
    """What a reader of Table 1 has to know: empty masks, rows not run, cases not scored."""
    notes = ["Mean ± sample standard deviation over the volumes (0 for a single one)."]
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.skipped:
            reasons.setdefault(row.skipped, []).append(label(row))
            continue
        test = metrics[row.method].query("split == 'test'")
        for flag, count in test["flags"].replace("", np.nan).value_counts().items():
            penalty = "DSC 1, ASSD 0" if flag == "both empty" else "DSC 0, ASSD = image diagonal"
            notes.append(f"{label(row)}: {flag} on {count} of {len(test)} volumes ({penalty}).")
        if row.method in SECONDS_LEAVE_OUT:
            notes.append(f"{label(row)}: seconds leave out {SECONDS_LEAVE_OUT[row.method]}.")
    notes += [f"{', '.join(names)}: not run, {reason}." for reason, names in reasons.items()]
    if unlabelled:
        notes.append(f"Not scored, for want of a label: {', '.join(unlabelled)}.")
    return notes


def label(row: Row) -> str:
    """A row's name with its prompt, which tells apart the rows of one method."""
    return row.name if row.prompt == NO_PROMPT else f"{row.name} ({row.prompt})"


def comparison_text(table: pd.DataFrame, style: str) -> tuple[list[str], list[list[str]]]:
    """Header and printed cells of Table 1; `style` is ``md`` or ``tex``."""
    header = ["Method", "Prompt type", "Supervision", "n", *numbers_header(style)[:2]]
    header += ["ASSD (voxels)", "s / volume"]
    cells = []
    for row in table.to_dict("records"):
        dsc, assd, seconds = printed_numbers(row, style)
        voxels = (
            plus_minus(row["assd_voxel_mean"], row["assd_voxel_std"], style) if row["n"] else ""
        )
        told = [row["method"], row["prompt"], row["supervision"], str(row["n"])]
        cells.append([*told, dsc, assd, voxels, seconds])
    return header, cells


def numbers_header(style: str) -> list[str]:
    """Of the columns that Table 1 has for each data set."""
    return [percent("DSC", style), "ASSD (mm)", "s / volume"]


def printed_numbers(row: Mapping[str, Any], style: str) -> list[str]:
    """DSC, ASSD in mm and seconds a volume of one line of Table 1, or "not run"."""
    if not row["n"]:
        return ["not run", "", ""]
    return [
        plus_minus(row["dsc_mean"], row["dsc_std"], style, 100),
        plus_minus(row["assd_mm_mean"], row["assd_mm_std"], style),
        number(row["seconds_per_volume"]),
    ]


def joint_text(table: pd.DataFrame, style: str) -> tuple[list[str], list[list[str]]]:
    """Header and printed cells of several data sets' Table 1 side by side, ours last.

    `table` is their concatenation. A row that one of them lacks is "-" there; what a row was told
    is printed as the first data set has it. A network is one row, whichever seed each has first.
    """
    datasets = list(table["dataset"].unique())
    of_any_seed = table["row"].str.replace(r"_seed\d+", "", regex=True)
    table = table.assign(row=of_any_seed)
    header = ["Method", "Prompt type", "Supervision"]
    header += [f"{name}: {column}" for name in datasets for column in numbers_header(style)]
    if style == "tex":
        header = [escaped_name(cell) for cell in header]
    cells = []
    for key in joint_order(table):
        lines = table[table["row"] == key].set_index("dataset", drop=False)
        first = lines.iloc[0]
        cell = [first["method"], first["prompt"], first["supervision"]]
        for name in datasets:
            known = name in lines.index
            cell += printed_numbers(lines.loc[name].to_dict(), style) if known else ["-"] * 3
        cells.append(cell)
    return header, cells


def joint_order(table: pd.DataFrame) -> list[str]:
    """The rows of all data sets, each after the one that it follows where it first appears."""
    order: list[str] = []
    for _, lines in table.groupby("dataset", sort=False):
        at = 0
        for key in lines["row"]:
            if key in order:
                at = order.index(key) + 1
            else:
                order.insert(at, key)
                at += 1
    return order


# --- ablation (Fig. 3b) ----------------------------------------------------------------------


def ablation_table(
    dataset: str,
    methods: Mapping[str, tuple[str, str]],
    metrics: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    """One row per variant, seed and labelled validation case; the bar `none` has no seed."""
    parts = []
    for method, (variant, seed) in methods.items():
        part = metrics[method].query("split == 'val'")[["case", "dsc", "assd_mm"]].copy()
        part.insert(0, "seed", seed)
        part.insert(0, "variant", variant)
        part.insert(0, "dataset", dataset)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def ablation_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread of each variant over its seeds and cases, in the paper's order."""
    groups = table.groupby("variant")
    return pd.DataFrame(
        [
            {
                "variant": variant,
                "n": len(group),
                "dsc_mean": group["dsc"].mean(),
                "dsc_std": spread(group["dsc"]),
                "assd_mm_mean": group["assd_mm"].mean(),
                "assd_mm_std": spread(group["assd_mm"]),
            }
            for variant in ABLATION
            if variant in groups.groups
            for group in [groups.get_group(variant)]
        ]
    )


def ablation_text(table: pd.DataFrame, style: str) -> tuple[list[str], list[list[str]]]:
    """Header and printed cells of the ablation."""
    cells = [
        [
            VARIANT_NAMES[row["variant"]],
            str(row["n"]),
            plus_minus(row["dsc_mean"], row["dsc_std"], style, 100),
            plus_minus(row["assd_mm_mean"], row["assd_mm_std"], style),
        ]
        for row in ablation_summary(table).to_dict("records")
    ]
    return ["Training", "n", percent("DSC", style), "ASSD (mm)"], cells


# --- precision (Fig. 3a) ---------------------------------------------------------------------


def precision_text(table: pd.DataFrame, style: str) -> tuple[list[str], list[list[str]]]:
    """Header and printed cells of the precision table: a row a set, a column a threshold."""
    thresholds = list(table["threshold"].unique())
    more = "$>$" if style == "tex" else ">"
    header = ["Set", "ROIs", *(f"IoU {more} {threshold:g}" for threshold in thresholds)]
    cells = []
    for name, group in table.groupby("set", sort=False):
        shares = group.set_index("threshold")["precision"]
        shown = [number(100 * shares[threshold], 1) for threshold in thresholds]
        cells.append([SET_NAMES[name], str(group["n_rois"].iloc[0]), *shown])
    return header, cells


# --- printing --------------------------------------------------------------------------------


def percent(what: str, style: str) -> str:
    """ "DSC (%)", with LaTeX's escape where it is needed."""
    return f"{what} (\\%)" if style == "tex" else f"{what} (%)"


def number(value: float, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def plus_minus(mean: float, std: float, style: str, factor: float = 1.0) -> str:
    """ "90.15 ± 4.87" (``md``) or "90.15 $\\pm$ 4.87" (``tex``)."""
    sign = r"$\pm$" if style == "tex" else "±"
    return f"{number(factor * mean)} {sign} {number(factor * std)}"


def markdown(
    title: str, header: Sequence[str], cells: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> str:
    """A titled Markdown table, its columns padded to be read as plain text too; notes below."""
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        padded = [value.ljust(width) for value, width in zip(row, widths, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = f"| {' | '.join('-' * width for width in widths)} |"
    table = "\n".join([line(header), rule, *map(line, cells)])
    listed = "".join(f"\n- {note}" for note in notes)
    return f"### {title}\n\n{table}\n" + (f"{listed}\n" if notes else "")


def latex(
    title: str, header: Sequence[str], cells: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> str:
    """A LaTeX table (package booktabs); the notes are comments above it."""
    lines = [*(f"% {note}" for note in notes), r"\begin{table}", r"\centering"]
    lines += [rf"\caption{{{escaped(title)}}}", rf"\begin{{tabular}}{{l{'c' * (len(header) - 1)}}}"]
    lines += [r"\toprule", f"{' & '.join(header)} \\\\", r"\midrule"]
    lines += [f"{' & '.join(row)} \\\\" for row in cells]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def escaped_name(text: str) -> str:
    """A name with underscores made safe for LaTeX; commands in it stay."""
    return text.replace("_", r"\_")


def escaped(text: str) -> str:
    """Text of ours (titles with data set names) made safe for LaTeX."""
    return text.replace("_", r"\_").replace("±", r"$\pm$").replace("%", r"\%")
