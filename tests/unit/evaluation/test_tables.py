"""The tables: numbers against hand-computed ones, rows that cannot be run, printed forms."""

import pandas as pd
import pytest

from umsam.planning.baselines import (
    BASELINES as ROWS,
)
from umsam.planning.baselines import (
    ablation_methods,
    baseline,
    box_scale,
    comparison_rows,
)
from umsam.evaluation.tables import (
    COMPARISON_COLUMNS,
    ablation_summary,
    ablation_table,
    ablation_text,
    comparison_notes,
    comparison_table,
    comparison_text,
    joint_text,
    latex,
    markdown,
    precision_text,
)

ORDER = [
    *["SAM"] * 3,
    *["SAM2"] * 2,
    "CryoSAM",
    "K-means (intensity)",
    "K-means (DINO)",
    "SaLIP",
    "MedCLIP-SAM",
    "FullySup",
    "FullySup (last epoch)",
    "Ours",
    "Ours (last epoch)",
]
EVERYWHERE = {"train": 3, "val": 1, "test": 2}
BASELINES = list(ROWS)
VARIANTS = ["plkd", "plkd_cfkd", "plkd_cckd", "triple", "supervised"]


def metrics(test, val=(), flags=None):
    """A metrics table with these DSCs; the ASSD in mm is ten times the DSC, in voxels five."""
    rows = [("test", dsc) for dsc in test] + [("val", dsc) for dsc in val]
    table = pd.DataFrame(rows, columns=["split", "dsc"])
    table.insert(0, "case", [f"c{i}" for i in range(len(table))])
    flags = flags or [""] * len(table)
    return table.assign(
        assd_mm=10 * table["dsc"], assd_voxel=5 * table["dsc"], seconds=2.0, flags=flags
    )


def rows_of(**labelled):
    return comparison_rows(BASELINES, {}, VARIANTS, [3, 4], EVERYWHERE | labelled, True)


def test_rows_follow_the_paper_and_name_their_predictions():
    rows = rows_of()
    assert [row.name for row in rows] == ORDER
    assert [row.method for row in rows] == [
        *BASELINES,
        "supervised_seed3",
        "supervised_seed3_last",
        "triple_seed3",
        "triple_seed3_last",
    ]
    assert not any(row.skipped for row in rows)


def test_supervision_is_owned_up_to():
    told = {row.name: row.supervision for row in rows_of()}
    assert told["K-means (DINO)"] == "GT-chosen cluster"
    assert told["FullySup"] == "dense labels"
    assert told["Ours"] == "none; checkpoint by validation labels"
    assert told["Ours (last epoch)"] == "none"
    last = comparison_rows(BASELINES, {}, VARIANTS, [0], EVERYWHERE, chosen_by_labels=False)
    assert {row.name: row.supervision for row in last}["Ours"] == "none"


def test_what_cannot_be_run_says_why():
    skipped = {row.name: row.skipped for row in rows_of(train=0)}
    assert skipped["FullySup"] == "no training case has a label"
    assert skipped["Ours"] == ""
    assert all(row.skipped == "no test case has a label" for row in rows_of(test=0))
    fewer = comparison_rows(
        ["cryosam", "sam2_box"],
        {"sam2_box": "a file is missing"},
        ["triple"],
        [0],
        EVERYWHERE,
        True,
    )
    skipped = {row.method: row.skipped for row in fewer}
    assert "supervised" in skipped["supervised_seed0"]
    assert skipped["kmeans_dino"] == "not in baselines.methods"
    assert skipped["sam2_box"] == "a file is missing"
    assert skipped["cryosam"] == skipped["triple_seed0"] == ""


def test_rows_beyond_the_paper_are_shown_where_they_are_asked_for():
    asked = ["nnunet", "sam_box_2", "sam_box_1.05", "sam_box_1.3"]
    methods = [row.method for row in comparison_rows(asked, {}, VARIANTS, [0], EVERYWHERE, True)]
    at = methods.index("sam_box_1.4")
    assert methods[at : at + 4] == ["sam_box_1.4", "sam_box_1.05", "sam_box_2", "sam2_point"]
    assert methods[methods.index("medclip_sam") + 1] == "nnunet"
    assert methods[-1] == "triple_seed0_last"  # ours last
    assert "nnunet" not in [row.method for row in rows_of()]
    without = comparison_rows(asked, {}, VARIANTS, [0], EVERYWHERE | {"train": 0}, True)
    reasons = {row.method: row.skipped for row in without}
    assert reasons["nnunet"] == "no training case has a label"


def test_methods_by_name():
    assert baseline("sam_box_1.05").prompt == "1.05 bbox/slice"
    assert (box_scale("sam_box_1.05"), box_scale("sam_point")) == (1.05, None)
    assert baseline("triple_seed0") is None


def test_comparison_by_hand():
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


def test_one_volume_has_no_spread():
    rows = rows_of()
    table = comparison_table("d", rows, {row.method: metrics([0.5]) for row in rows})
    assert (table["dsc_std"] == 0).all()


def test_notes_name_what_is_missing():
    rows = rows_of(train=0)
    values = {row.method: metrics([0.8, 0.0], flags=["", "empty prediction"]) for row in rows}
    notes = "\n".join(comparison_notes(rows, values, ["case-9"]))
    told = "FullySup, FullySup (last epoch): not run, no training case has a label."
    assert told in notes  # one note a reason
    assert "SAM (1.3 bbox/slice): empty prediction on 1 of 2 volumes" in notes
    assert "Ours: empty prediction on 1 of 2 volumes" in notes
    assert "case-9" in notes
    assert "SaLIP: seconds leave out everything mode" in notes


def test_printed_like_the_paper():
    rows = [row for row in rows_of() if row.name == "Ours"]
    table = comparison_table("d", rows, {rows[0].method: metrics([0.9015])})
    table[["dsc_std", "assd_mm_mean", "assd_mm_std"]] = [0.0487, 0.76, 0.88]
    for style, sign in (("md", "±"), ("tex", r"$\pm$")):
        _, (cells,) = comparison_text(table, style)
        assert cells[4:6] == [f"90.15 {sign} 4.87", f"0.76 {sign} 0.88"]


def test_every_line_of_a_printed_table_has_the_header_s_cells():
    rows = rows_of(train=0)
    table = comparison_table("d", rows, {row.method: metrics([0.8, 0.6]) for row in rows})
    header, cells = comparison_text(table, "md")
    lines = markdown("a title", header, cells, ["a note"]).splitlines()
    assert {line.count("|") for line in lines if line.startswith("|")} == {len(header) + 1}
    assert "not run" in lines[4 + ORDER.index("FullySup")]
    tex = latex("50 % of a_set", *comparison_text(table, "tex"))
    body = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in body} == {len(header) - 1}
    assert r"50 \% of a\_set" in tex


def joint():
    """Two data sets; the second lacks FullySup, has a row more and another first seed."""
    first = rows_of()
    second = [
        row
        for asked in [[*BASELINES, "sam_box_2"]]
        for row in comparison_rows(asked, {}, VARIANTS, [7], EVERYWHERE | {"train": 0}, True)
    ]
    parts = []
    for name, rows, value in (("a_set", first, 0.9), ("b", second, 0.5)):
        values = {row.method: metrics([value]) for row in rows}
        parts.append(comparison_table(name, rows, values))
    return pd.concat(parts, ignore_index=True)


def test_data_sets_side_by_side():
    table = joint()
    header, cells = joint_text(table, "md")
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
    assert joint_text(table, "tex")[0][3] == r"a\_set: DSC (\%)"


def test_a_joint_table_of_files_read_back(tmp_path):
    """Empty reasons come back from a CSV as missing values; the text is the same."""
    table = joint()
    table.to_csv(tmp_path / "t.csv", index=False)
    again = pd.read_csv(tmp_path / "t.csv", dtype={"not_run": str})
    assert joint_text(again, "md") == joint_text(table, "md")


def test_ablation_keeps_every_seed_and_case():
    methods = ablation_methods(VARIANTS, [0, 1])
    assert list(dict.fromkeys(variant for variant, _ in methods.values())) == [
        "none",
        "plkd",
        "plkd_cfkd",
        "plkd_cckd",
        "triple",
    ]
    values = {method: metrics([0.9], val=[0.2, 0.4]) for method in methods}
    table = ablation_table("d", methods, values)
    assert list(table.columns) == ["dataset", "variant", "seed", "case", "dsc", "assd_mm"]
    assert len(table) == 2 * (1 + 4 * 2)
    assert set(table["dsc"]) == {0.2, 0.4}  # validation alone
    summary = ablation_summary(table).set_index("variant")
    assert summary.loc["triple", "n"] == 4
    assert summary.loc["triple", "dsc_mean"] == pytest.approx(0.3)
    _, cells = ablation_text(table, "md")
    assert cells[0][2].startswith("30.00 ± ")


def test_precision_is_printed_a_row_a_set():
    rows = [
        ("d", name, threshold, share, 7)
        for name, share in (("omega_0", 0.125), ("valid", float("nan")))
        for threshold in (0.1, 0.5)
    ]
    table = pd.DataFrame(rows, columns=["dataset", "set", "threshold", "precision", "n_rois"])
    header, cells = precision_text(table, "tex")
    assert header[2:] == ["IoU $>$ 0.1", "IoU $>$ 0.5"]
    assert cells[0][1:] == ["7", "12.5", "12.5"]
    assert cells[1][2:] == ["-", "-"]
