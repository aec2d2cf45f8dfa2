"""The ablation: rows, summary and printed form."""

import pandas as pd
import pytest

from umsam.evaluation.ablation import ablation_summary, ablation_table, format_ablation
from umsam.planning.baselines import ablation_methods

VARIANTS = ["plkd", "plkd_cfkd", "plkd_cckd", "triple", "supervised"]


def metrics(test, val):
    """Make metrics with these DSCs; the ASSD in mm is ten times the DSC."""
    rows = [("test", dsc) for dsc in test] + [("val", dsc) for dsc in val]
    table = pd.DataFrame(rows, columns=["split", "dsc"])
    table.insert(0, "case", [f"c{i}" for i in range(len(table))])
    return table.assign(assd_mm=10 * table["dsc"])


def test_the_ablation_holds_every_seed_and_validation_case():
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
    assert set(table["dsc"]) == {0.2, 0.4}  # only validation cases
    summary = ablation_summary(table).set_index("variant")
    assert summary.loc["triple", "n"] == 4
    assert summary.loc["triple", "dsc_mean"] == pytest.approx(0.3)
    _, cells = format_ablation(table, "md")
    assert cells[0][2].startswith("30.00 ± ")
