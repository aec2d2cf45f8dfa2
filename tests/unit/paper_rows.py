"""Table 1 as the paper orders it, and a study in which every row can run."""

from umsam.planning.baselines import BASELINES as ROWS

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
