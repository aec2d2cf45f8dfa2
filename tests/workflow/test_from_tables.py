"""Tables and figures from the tables of a run alone, in a copy that holds nothing else of it."""

import json
import re

import pandas as pd
from PIL import Image

from umsam.evaluation.case_metrics import METRIC_COLUMNS
from umsam.evaluation.precision import SETS

RUN = ("--cores", "2", "--snakefile", "from_tables.smk", "--forceall")


def write(path):
    """A table of the run; the numbers do not matter here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps({"k": 3, "knee": 3}))
    elif path.name == "sse.csv":
        pd.DataFrame({"k": [2, 3, 4], "sse": [9.0, 3.0, 2.0]}).to_csv(path, index=False)
    elif path.name == "precision.csv":
        rows = [("phantom", name, t, 1 - t, 10) for name in SETS for t in (0.1, 0.5, 0.9)]
        columns = ["dataset", "set", "threshold", "precision", "n_rois"]
        pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    elif path.name == "ablation.csv":
        rows = [("phantom", v, 0, c, 0.5, 2.0) for v in ("plkd", "triple") for c in ("a", "b")]
        columns = ["dataset", "variant", "seed", "case", "dsc", "assd_mm"]
        pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    else:
        text = {"case": "a", "split": "test", "flags": ""}
        row = {name: text.get(name, 0.5) for name in METRIC_COLUMNS}
        pd.DataFrame([row, {**row, "case": "b"}]).to_csv(path, index=False)


def test_missing_tables_are_named_and_enough(checkout):
    (checkout.path / "resources/compact_sam.pt").unlink()
    text = checkout.snakemake(*RUN, check=False)
    missing = set(re.findall(r"results/phantom/[\w/.]+?\.(?:csv|json)", text))
    assert {"results/phantom/tables/precision.csv", "results/phantom/clusters/sse.csv"} < missing
    assert f"{len(missing)} table(s) of the run are not here" in text
    for name in missing:
        write(checkout.path / name)
    stale = checkout.path / "results/phantom/figures/fig3a.png"
    stale.parent.mkdir()
    stale.write_text("of another style")
    checkout.snakemake(*RUN)
    for name in ("fig3a", "fig3b", "sse"):
        Image.open(checkout.path / f"results/phantom/figures/{name}.png").verify()
    table = (checkout.path / "results/phantom/tables/table1.md").read_text()
    assert "| Ours " in table
    folders = {path.name for path in (checkout.path / "results/phantom").iterdir()}
    assert folders == {"benchmarks", "clusters", "figures", "metrics", "tables"}
    assert not (checkout.path / "data").exists()


def test_a_row_whose_metrics_are_here_needs_no_weights(checkout):
    asked = "datasets={phantom: {baselines: {methods: [sam2_point, sam2_box]}}}"
    run = (*RUN, "--config", asked)
    missing = re.findall(
        r"results/phantom/[\w/.]+?\.(?:csv|json)", checkout.snakemake(*run, check=False)
    )
    for name in {*missing, "results/phantom/metrics/sam2_point.csv"}:
        write(checkout.path / name)
    checkout.snakemake(*run)
    table = pd.read_csv(checkout.path / "results/phantom/tables/table1.csv").set_index("row")
    assert table["n"]["sam2_point"] == 2
    assert "weights" in table["not_run"]["sam2_box"]
