"""Table 1: numbers against calculations by hand, notes, and printed forms."""

import pandas as pd
import pytest
from paper_rows import BASELINES, EVERYWHERE, ORDER, VARIANTS

from umsam.evaluation.comparison import (
    COMPARISON_COLUMNS,
    comparison_notes,
    comparison_table,
    format_comparison,
    format_joint_comparison,
)
from umsam.evaluation.formatting import render_latex, render_markdown
from umsam.planning.baselines import comparison_rows


def metrics(test, val=(), flags=None):
    """Make metrics with these DSCs; the ASSD is 10 times the DSC in mm and 5 times in voxels."""
    rows = [("test", dsc) for dsc in test] + [("val", dsc) for dsc in val]
    table = pd.DataFrame(rows, columns=["split", "dsc"])
    table.insert(0, "case", [f"c{i}" for i in range(len(table))])
    flags = flags or [""] * len(table)
    return table.assign(
        assd_mm=10 * table["dsc"], assd_voxel=5 * table["dsc"], seconds=2.0, flags=flags
    )


def rows_of(**labelled):
    return comparison_rows(BASELINES, {}, VARIANTS, [3, 4], EVERYWHERE | labelled, True)


def test_the_numbers_equal_a_calculation_by_hand():
    rows = rows_of(train=0)
    values = {row.method: metrics([0.8, 0.6], val=[0.1]) for row in rows}
    table = comparison_table("d", rows, values)
    assert list(table.columns) == COMPARISON_COLUMNS
    assert table["method"].tolist() == ORDER
    ours = table.set_index("method").loc["Ours"]
    assert ours["n"] == 2
    assert ours["dsc_mean"] == pytest.approx(0.7)
    assert ours["dsc_std"] == pytest.approx(0.1414213562)  # n - 1
    assert ours["assd_mm_mean"] == pytest.approx(7)
    assert ours["assd_voxel_mean"] == pytest.approx(3.5)
    assert ours["seconds_per_volume"] == 2
    assert (ours["prompt"], ours["row"], ours["not_run"]) == ("/", "triple_seed3", "")
    missing = table.set_index("method").loc["FullySup"]
    assert missing["not_run"] == "no training case has a label"
    assert missing["n"] == 0
    assert pd.isna(missing["dsc_mean"])


def test_the_standard_deviation_of_one_volume_is_zero():
    rows = rows_of()
    table = comparison_table("d", rows, {row.method: metrics([0.5]) for row in rows})
    assert (table["dsc_std"] == 0).all()


def test_the_notes_name_empty_masks_and_missing_rows():
    rows = rows_of(train=0)
    values = {row.method: metrics([0.8, 0.0], flags=["", "empty prediction"]) for row in rows}
    notes = "\n".join(comparison_notes(rows, values, ["case-9"]))
    note = "FullySup, FullySup (last epoch): not run, no training case has a label."
    assert note in notes  # one note per reason
    assert "SAM (1.3 bbox/slice): empty prediction on 1 of 2 volumes" in notes
    assert "Ours: empty prediction on 1 of 2 volumes" in notes
    assert "case-9" in notes
    assert "SaLIP: the seconds exclude everything mode" in notes


def test_numbers_are_printed_as_in_the_paper():
    rows = [row for row in rows_of() if row.name == "Ours"]
    table = comparison_table("d", rows, {rows[0].method: metrics([0.9015])})
    table[["dsc_std", "assd_mm_mean", "assd_mm_std"]] = [0.0487, 0.76, 0.88]
    for style, sign in (("md", "±"), ("tex", r"$\pm$")):
        _, (cells,) = format_comparison(table, style)
        assert cells[4:6] == [f"90.15 {sign} 4.87", f"0.76 {sign} 0.88"]


def test_every_line_of_a_printed_table_has_as_many_cells_as_the_header():
    rows = rows_of(train=0)
    table = comparison_table("d", rows, {row.method: metrics([0.8, 0.6]) for row in rows})
    header, cells = format_comparison(table, "md")
    lines = render_markdown("a title", header, cells, ["a note"]).splitlines()
    assert {line.count("|") for line in lines if line.startswith("|")} == {len(header) + 1}
    assert "not run" in lines[4 + ORDER.index("FullySup")]
    tex = render_latex("50 % of a_set", *format_comparison(table, "tex"))
    body = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in body} == {len(header) - 1}
    assert r"50 \% of a\_set" in tex


def joint_tables():
    """Two data sets; the second lacks FullySup, has an extra row and another first seed."""
    first = rows_of()
    methods = [*BASELINES, "sam_box_2"]
    second = comparison_rows(methods, {}, VARIANTS, [7], EVERYWHERE | {"train": 0}, True)
    parts = []
    for name, rows, value in (("a_set", first, 0.9), ("b", second, 0.5)):
        values = {row.method: metrics([value]) for row in rows}
        parts.append(comparison_table(name, rows, values))
    return pd.concat(parts, ignore_index=True)


def test_the_joint_table_shows_the_data_sets_side_by_side():
    table = joint_tables()
    header, cells = format_joint_comparison(table, "md")
    order = [(method, prompt) for method, prompt, *_ in cells]
    assert len(order) == len(set(order)) == len(ORDER) + 1
    assert order.index(("SAM", "2 bbox/slice")) == order.index(("SAM", "1.4 bbox/slice")) + 1
    assert order[-1] == ("Ours (last epoch)", "/")
    assert header[3:] == [
        f"{name}: {column}"
        for name in ("a_set", "b")
        for column in ("DSC (%)", "ASSD (mm)", "s / volume")
    ]
    printed = dict(zip(order, cells, strict=True))
    assert printed["Ours", "/"][3] == "90.00 ± 0.00"
    assert printed["Ours", "/"][6] == "50.00 ± 0.00"
    assert printed["FullySup", "/"][3] == "90.00 ± 0.00"
    assert printed["FullySup", "/"][6:] == ["not run", "", ""]
    assert printed["SAM", "2 bbox/slice"][3:6] == ["-"] * 3
    assert printed["SAM", "2 bbox/slice"][6] == "50.00 ± 0.00"
    assert format_joint_comparison(table, "tex")[0][3] == r"a\_set: DSC (\%)"


def test_the_joint_table_does_not_change_if_its_tables_are_read_from_files(tmp_path):
    """Empty reasons become missing values in a CSV file."""
    table = joint_tables()
    table.to_csv(tmp_path / "t.csv", index=False)
    again = pd.read_csv(tmp_path / "t.csv", dtype={"not_run": str})
    assert format_joint_comparison(again, "md") == format_joint_comparison(table, "md")
