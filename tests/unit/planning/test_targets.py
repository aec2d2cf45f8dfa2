"""What targets ask for."""

from pathlib import Path

import pytest
from study import ROWS, Study, job, write_sheet

from umsam.errors import InputError


@pytest.fixture(autouse=True)
def sheet(tmp_path):
    write_sheet(tmp_path)


def test_files_of_products():
    targets = Study().targets
    assert targets.files("mine", "fig3a") == [
        "results/mine/figures/fig3a.png", "results/mine/figures/fig3a.pdf",
    ]  # fmt: skip
    assert targets.files("mine", "predictions") == [
        f"results/mine/predictions/triple_seed0/{case}.nii.gz" for case in "abcde"
    ]
    rows = Study(baselines={"methods": ["sam_point"]}).targets.files("mine", "baselines")
    assert rows[0] == "results/mine/predictions/sam_point/d.nii.gz"  # e has no label
    assert len(rows) == 1 + 3


@pytest.mark.parametrize(
    ("variants", "ours"),
    [(["plkd", "triple"], "triple_seed3"), (["plkd_cfkd", "plkd", "supervised"], "plkd_seed3"),
     (["supervised"], "supervised_seed3")],
)  # fmt: skip
def test_the_network_that_is_the_result(variants, ours):
    training = {"variants": variants, "seeds": [3, 0]}
    assert Study(training=training).targets.ours("mine") == ours


def test_a_product_that_no_case_allows_is_left_out_and_its_target_says_why(tmp_path):
    write_sheet(tmp_path, [("a", "train", False), ("b", "test", False)])
    targets = Study().targets
    assert targets.files("mine", "table1") == []
    assert not [path for path in targets.everything(None) if "fig3" in path]
    with pytest.raises(
        InputError, match="table1 needs a labelled case in the split test, and mine"
    ):
        targets.of_run("table1")(None)


def test_the_joint_table_is_for_several_data_sets():
    assert Study().targets.joint_table(None) == []
    targets = Study(run=["mine", "phantom"]).targets
    assert targets.joint_table(None)[0] == "results/tables/table1.csv"
    assert targets.joined_tables(None) == [
        f"results/{name}/tables/table1.csv" for name in ("mine", "phantom")
    ]


def test_missing_tables_are_named():
    targets = Study(baselines={"methods": ["sam_point"]}, tables_only=True).targets
    with pytest.raises(InputError) as caught:
        targets.from_tables(None)
    for words in ("9 table(s)", "clusters/sse.csv (sse)", "metrics/sam_point.csv (table1)"):
        assert words in str(caught.value)


def test_what_can_be_made_of_tables_alone():
    targets = Study(baselines={"methods": []}, tables_only=True).targets
    tables = ["clusters/sse.csv", "clusters/target.json", "tables/precision.csv",
              "tables/ablation.csv"]  # fmt: skip
    metrics = [f"metrics/{net}_seed0{end}.csv" for net in ("supervised", "triple")
               for end in ("", "_last")]  # fmt: skip
    for name in [*tables, *metrics]:
        path = Path("results/mine") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    made = targets.from_tables(None)
    stems = {Path(path).stem for path in made}
    assert stems == {"table1", "sse", "fig3a", "fig3b"}


def test_the_cases_and_methods_of_fig2():
    targets = Study(figures={"cases": 2}).targets
    assert targets.shown_cases(job()) == ["d", "e"]
    assert list(targets.shown_methods(job()).values()) == [
        "K-means (intensity)", "K-means (DINO)", "Ours", "FullySup",
    ]  # fmt: skip
    unlabelled = [path for path in targets.shown_predictions(job()) if path.endswith("/e.nii.gz")]
    assert not [path for path in unlabelled if "kmeans" in path]
    assert targets.shown_labels(job()) == ["results/mine/labels/d.nii.gz"]


def test_the_overview_shows_a_test_case(tmp_path):
    assert Study().targets.overview_inputs(job())["label"] == "results/mine/labels/d.nii.gz"
    write_sheet(tmp_path, [r for r in ROWS if r[0] == "b"])
    inputs = Study().targets.overview_inputs(job())
    assert inputs["volume"] == "results/mine/volumes/b.nii.gz"
    assert "label" not in inputs
