"""The ablation of the distillation losses (Fig. 3b)."""

from collections.abc import Mapping

import pandas as pd

from umsam.evaluation.formatting import format_mean_std, percent_header
from umsam.evaluation.statistics import sample_std
from umsam.planning.baselines import ABLATION

VARIANT_NAMES = {
    "none": "no training",
    "plkd": "PL-KD",
    "plkd_cfkd": "PL-KD + CF-KD",
    "plkd_cckd": "PL-KD + CC-KD",
    "triple": "triple KD",
}


def ablation_table(
    dataset: str,
    methods: Mapping[str, tuple[str, str]],
    metrics: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    """Collect one row per variant, seed and labelled validation case.

    Parameters
    ----------
    dataset
        Name of the data set.
    methods
        Method -> its variant and seed; the variant `none` has no seed.
    metrics
        Method -> its ``metrics/{method}.csv``.
    """
    parts = []
    for method, (variant, seed) in methods.items():
        part = metrics[method].query("split == 'val'")[["case", "dsc", "assd_mm"]].copy()
        part.insert(0, "seed", seed)
        part.insert(0, "variant", variant)
        part.insert(0, "dataset", dataset)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def ablation_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Compute mean and standard deviation of each variant over seeds and cases, in paper order."""
    groups = table.groupby("variant")
    return pd.DataFrame(
        [
            {
                "variant": variant,
                "n": len(group),
                "dsc_mean": group["dsc"].mean(),
                "dsc_std": sample_std(group["dsc"]),
                "assd_mm_mean": group["assd_mm"].mean(),
                "assd_mm_std": sample_std(group["assd_mm"]),
            }
            for variant in ABLATION
            if variant in groups.groups
            for group in [groups.get_group(variant)]
        ]
    )


def format_ablation(table: pd.DataFrame, style: str) -> tuple[list[str], list[list[str]]]:
    """Format header and cells of the ablation in the style ``md`` or ``tex``."""
    cells = [
        [
            VARIANT_NAMES[row["variant"]],
            str(row["n"]),
            format_mean_std(row["dsc_mean"], row["dsc_std"], style, 100),
            format_mean_std(row["assd_mm_mean"], row["assd_mm_std"], style),
        ]
        for row in ablation_summary(table).to_dict("records")
    ]
    return ["Training", "n", percent_header("DSC", style), "ASSD (mm)"], cells
