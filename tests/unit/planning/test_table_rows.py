"""The rows of Table 1: order, supervision, and reasons for rows that cannot run."""

from paper_rows import BASELINES, EVERYWHERE, ORDER, VARIANTS

from umsam.planning.baselines import baseline, box_scale, comparison_rows


def rows_of(**labelled):
    return comparison_rows(BASELINES, {}, VARIANTS, [3, 4], EVERYWHERE | labelled, True)


def test_rows_have_the_order_of_the_paper_and_name_their_predictions():
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


def test_every_row_states_its_supervision():
    supervision = {row.name: row.supervision for row in rows_of()}
    assert supervision["K-means (DINO)"] == "GT-chosen cluster"
    assert supervision["FullySup"] == "dense labels"
    assert supervision["Ours"] == "none; checkpoint by validation labels"
    assert supervision["Ours (last epoch)"] == "none"
    last = comparison_rows(BASELINES, {}, VARIANTS, [0], EVERYWHERE, chosen_by_labels=False)
    assert {row.name: row.supervision for row in last}["Ours"] == "none"


def test_a_row_that_cannot_run_states_the_reason():
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


def test_rows_that_the_paper_lacks_appear_on_request():
    requested = ["nnunet", "sam_box_2", "sam_box_1.05", "sam_box_1.3"]
    methods = [
        row.method for row in comparison_rows(requested, {}, VARIANTS, [0], EVERYWHERE, True)
    ]
    start = methods.index("sam_box_1.4")
    assert methods[start : start + 4] == ["sam_box_1.4", "sam_box_1.05", "sam_box_2", "sam2_point"]
    assert methods[methods.index("medclip_sam") + 1] == "nnunet"
    assert methods[-1] == "triple_seed0_last"  # our rows are last
    assert "nnunet" not in [row.method for row in rows_of()]
    without = comparison_rows(requested, {}, VARIANTS, [0], EVERYWHERE | {"train": 0}, True)
    reasons = {row.method: row.skipped for row in without}
    assert reasons["nnunet"] == "no training case has a label"


def test_methods_are_found_by_name():
    assert baseline("sam_box_1.05").prompt == "1.05 bbox/slice"
    assert (box_scale("sam_box_1.05"), box_scale("sam_point")) == (1.05, None)
    assert baseline("triple_seed0") is None
