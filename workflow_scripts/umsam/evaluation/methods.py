"""The rows of Table 1 and the bars of Fig. 3b: which prediction each shows, and why one is missing.

Needed while the workflow is planned, so it imports the standard library alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BASELINES = {"kmeans_intensity": "K-means (intensity)", "kmeans_dino": "K-means (DINO)"}
NETWORKS = {"supervised": "FullySup", "triple": "Ours"}
ABLATION = ("none", "plkd", "plkd_cfkd", "plkd_cckd", "triple")


@dataclass(frozen=True)
class Row:
    """A row of the comparison.

    name: what the table prints; method: the folder under ``predictions/``; supervision: which
    labels it has seen; skipped: why there is nothing to show (empty if there is).
    """

    name: str
    method: str
    supervision: str
    skipped: str = ""


def comparison_rows(
    baselines: Sequence[str],
    variants: Sequence[str],
    seeds: Sequence[int],
    labelled: Mapping[str, int],
) -> list[Row]:
    """The rows of Table 1 in the paper's order, with the first of the seeds.

    Parameters
    ----------
    baselines, variants
        What the configuration asks for (``baselines.methods``, ``training.variants``).
    labelled
        Number of cases with a label in each split (train, val, test).
    """
    no_test = "" if labelled.get("test") else "no test case has a label"
    rows = [
        Row(
            name,
            method,
            "GT-chosen cluster",
            no_test or ("" if method in baselines else f"{method} is not in baselines.methods"),
        )
        for method, name in BASELINES.items()
    ]
    by_validation = "none; checkpoint by validation labels" if labelled.get("val") else "none"
    for variant, name in NETWORKS.items():
        skipped = no_test
        if not skipped and variant not in variants:
            skipped = f"{variant} is not in training.variants"
        if not skipped and variant == "supervised" and not labelled.get("train"):
            skipped = "no training case has a label"
        dense = variant == "supervised"
        method = f"{variant}_seed{seeds[0]}"
        rows.append(Row(name, method, "dense labels" if dense else by_validation, skipped))
        rows.append(
            Row(
                f"{name} (last epoch)",
                f"{method}_last",
                "dense labels" if dense else "none",
                skipped,
            )
        )
    return rows


def ablation_methods(variants: Sequence[str], seeds: Sequence[int]) -> dict[str, tuple[str, str]]:
    """Method -> (variant, seed) of the bars of Fig. 3b; the pseudo-labels themselves are `none`."""
    methods = {"pseudo_labels": ("none", "")}
    for variant in ABLATION[1:]:
        if variant in variants:
            methods |= {f"{variant}_seed{seed}": (variant, str(seed)) for seed in seeds}
    return methods
