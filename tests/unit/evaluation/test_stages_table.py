"""The table of the cost of each stage."""

from umsam.evaluation.stages import STAGE_COLUMNS, stages_table


def test_the_jobs_of_a_stage_are_summed_up(tmp_path):
    for name, seconds, memory in (("a", 1.5, "100"), ("b", 2.5, "300"), ("c", 0.1, "-")):
        path = tmp_path / "train" / "seed0" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t{memory}\n")
    (tmp_path / "sse.tsv").write_text("s\th:m:s\tmax_rss\n9.0\t0:00:09\t50\n")
    table = stages_table("mine", tmp_path)
    assert list(table.columns) == STAGE_COLUMNS
    assert table.values.tolist() == [
        ["mine", "sse", 1, 9.0, 9.0, 50.0],
        ["mine", "train", 3, 4.1, 2.5, 300.0],
    ]
