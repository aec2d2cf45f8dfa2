"""What a run makes of a data set: the one list of its figures, tables and other products.

A new figure is an entry of `PRODUCTS`, a rule in rules/figures.smk with its script, and a caption.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from umsam.planning.sample_sheet import SPLITS

SUFFIXES = {"figures": ("png", "pdf"), "tables": ("csv", "md", "tex")}


@dataclass(frozen=True)
class Product:
    """Files below ``results/{dataset}/`` that belong together.

    Attributes
    ----------
    patterns
        {case}, {ours} and {baseline} are filled in; ``*`` stands for the suffixes of a figure or
        table.
    splits
        One of the cases of these splits must exist, or there is nothing to make.
    labelled
        Whether that case needs a label.
    tables
        What a figure or table is drawn from, where that is tables alone.
    default
        Whether `snakemake` without a target makes it.
    """

    patterns: Sequence[str]
    splits: Sequence[str] = SPLITS
    labelled: bool = False
    tables: Sequence[str] = ()
    default: bool = True


PRODUCTS = {
    "predictions": Product(["predictions/{ours}/{case}.nii.gz"]),
    "pseudo_labels": Product(["pseudo_labels/{case}.nii.gz"]),
    "sse": Product(
        ["figures/sse.*"], ["train"], tables=["clusters/sse.csv", "clusters/target.json"]
    ),
    "clusters": Product(["figures/clusters.*"], ["train"]),
    "overview": Product(["figures/overview.*"]),
    "table1": Product(["tables/table1.*"], ["test"], labelled=True),
    "fig2": Product(["figures/fig2.*"], ["test"]),
    "fig3a": Product(
        ["figures/fig3a.*"], ["train"], labelled=True, tables=["tables/precision.csv"]
    ),
    "fig3b": Product(["figures/fig3b.*"], ["val"], labelled=True, tables=["tables/ablation.csv"]),
    "diagnosis": Product(["tables/diagnosis.*"], ["train"], labelled=True, default=False),
    "baselines": Product(
        ["predictions/{baseline}/{case}.nii.gz", "tables/table1.*"],
        ["test"],
        labelled=True,
        default=False,
    ),
}
