"""The comparison methods of Table 1, the one list of them; its rows and the bars of Fig. 3b.

A new method is an entry of `BASELINES` (or `EXTRA`), a rule that writes ``predictions/{method}``,
and its name in the schema, the SLURM profile and the documentation, which tests compare with this
list.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NETWORKS = {"supervised": "FullySup", "triple": "Ours"}
ABLATION = ("none", "plkd", "plkd_cfkd", "plkd_cckd", "triple")
NO_PROMPT = "/"


@dataclass(frozen=True)
class Baseline:
    """A comparison method.

    Attributes
    ----------
    name, prompt, supervision
        What Table 1 prints: the method, what a user has to give, and which labels the method uses.
    weights
        Models of resources/weights.tsv that it needs besides the data set's own SAM and DINO.
    described
        Whether it searches for texts (``baselines.descriptions``).
    package
        What `pip` installs for it, if requirements.txt does not hold it; its first word is
        imported.
    """

    name: str
    prompt: str
    supervision: str
    weights: tuple[str, ...] = ()
    described: bool = False
    package: str = ""


# The paper's rows, in its order.
BASELINES = {
    "sam_point": Baseline("SAM", "1 fg + 1 bg/slice", "clicks"),
    "sam_box_1.3": Baseline("SAM", "1.3 bbox/slice", "boxes"),
    "sam_box_1.4": Baseline("SAM", "1.4 bbox/slice", "boxes"),
    "sam2_point": Baseline("SAM2", "1 fg/volume", "1 click", weights=("sam2",)),
    "sam2_box": Baseline("SAM2", "1 bbox/volume", "1 box", weights=("sam2",)),
    "cryosam": Baseline("CryoSAM", "1 fg/volume", "1 click"),
    "kmeans_intensity": Baseline("K-means (intensity)", NO_PROMPT, "GT-chosen cluster"),
    "kmeans_dino": Baseline("K-means (DINO)", NO_PROMPT, "GT-chosen cluster"),
    "salip": Baseline("SaLIP", NO_PROMPT, "slice labels", weights=("clip",), described=True),
    "medclip_sam": Baseline(
        "MedCLIP-SAM",
        NO_PROMPT,
        "slice labels",
        weights=("biomedclip", "biomedbert"),
        described=True,
    ),
}
# From outside the paper; shown only if the configuration asks for them.
EXTRA = {
    "nnunet": Baseline(
        "nnU-Net v2",
        NO_PROMPT,
        "dense labels",
        package="nnunetv2==2.7.0 dynamic-network-architectures==0.4.2",
    )
}
SAM_BOX = re.compile(r"sam_box_(\d+(?:\.\d+)?)")


def baseline(method: str) -> Baseline | None:
    """The comparison method of that name, boxes of any scale included; None for a network."""
    scale = SAM_BOX.fullmatch(method)
    other = Baseline("SAM", f"{scale[1]} bbox/slice", "boxes") if scale else None
    return BASELINES.get(method) or EXTRA.get(method) or other


def box_scale(method: str) -> float | None:
    """The factor by which ``sam_box_1.3`` enlarges a box; None for any other method."""
    scale = SAM_BOX.fullmatch(method)
    return float(scale[1]) if scale else None


@dataclass(frozen=True)
class Row:
    """A row of the comparison.

    Attributes
    ----------
    name
        What the table prints.
    method
        The folder below ``predictions/``.
    supervision
        Which labels the method uses.
    prompt
        What a user would have to give.
    skipped
        Why there is nothing to show; empty if there is something.
    """

    name: str
    method: str
    supervision: str
    prompt: str = NO_PROMPT
    skipped: str = ""


def shown_baselines(requested: Sequence[str]) -> list[str]:
    """Methods with a row: the paper's in its order, and the others that are requested.

    Boxes of other scales follow the paper's; methods from outside the paper come last.
    """
    boxes = sorted(
        (m for m in dict.fromkeys(requested) if box_scale(m) is not None and m not in BASELINES),
        key=lambda method: box_scale(method) or 0.0,
    )
    order = list(BASELINES)
    after = order.index("sam_box_1.4") + 1
    return [*order[:after], *boxes, *order[after:], *(m for m in EXTRA if m in requested)]


def comparison_rows(
    requested: Sequence[str],
    missing: Mapping[str, str],
    variants: Sequence[str],
    seeds: Sequence[int],
    labelled: Mapping[str, int],
    chosen_by_labels: bool,
) -> list[Row]:
    """The rows of Table 1 in the paper's order, ours last, with the first of the seeds.

    Parameters
    ----------
    requested, variants
        What the configuration asks for (``baselines.methods``, ``training.variants``).
    seeds
        Of the networks; the table shows the first.
    missing
        Method -> why it cannot run (its weights or its package are missing).
    labelled
        Number of labelled cases in each split; those of train and test matter.
    chosen_by_labels
        Whether validation labels chose the epoch of the networks that are not "(last epoch)".
    """
    no_test = "" if labelled.get("test") else "no test case has a label"
    no_train = "" if labelled.get("train") else "no training case has a label"
    rows = []
    for method in shown_baselines(requested):
        row = baseline(method)
        assert row is not None
        not_requested = "" if method in requested else "not in baselines.methods"
        untrained = no_train if row.supervision == "dense labels" else ""
        skipped = no_test or not_requested or untrained or missing.get(method, "")
        rows.append(Row(row.name, method, row.supervision, row.prompt, skipped))
    by_validation = "none; checkpoint by validation labels" if chosen_by_labels else "none"
    for variant, name in NETWORKS.items():
        dense = variant == "supervised"
        not_requested = "" if variant in variants else f"{variant} is not in training.variants"
        skipped = no_test or not_requested or (no_train if dense else "")
        method = f"{variant}_seed{seeds[0]}"
        for ending, supervision in (("", by_validation), ("_last", "none")):
            rows.append(
                Row(
                    f"{name} (last epoch)" if ending else name,
                    method + ending,
                    "dense labels" if dense else supervision,
                    skipped=skipped,
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
