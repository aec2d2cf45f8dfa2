"""The training variants: which labels, loss terms and settings each one uses.

This module does not import torch, because the workflow reads it while it plans the jobs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variant:
    """The labels that a variant learns from and the terms that it adds to eq. 6."""

    supervised: bool = False
    """Learn from the reference labels instead of the pseudo-labels."""
    feature: bool = False
    """Add the class-level feature distillation (eq. 7)."""
    contrastive: bool = False
    """Add the class-level contrastive distillation (eq. 8)."""

    @property
    def distills(self) -> bool:
        """Whether the variant needs SAM's features."""
        return self.feature or self.contrastive


VARIANTS = {
    "plkd": Variant(),
    "plkd_cfkd": Variant(feature=True),
    "plkd_cckd": Variant(contrastive=True),
    "triple": Variant(feature=True, contrastive=True),
    "supervised": Variant(supervised=True),
}


def select_settings(variant: str, training: Mapping[str, Any]) -> dict[str, Any]:
    """Select the keys of the training section that affect `variant`.

    A change of ``lambda_1`` then retrains only the variants with that term. The label source is
    left out because it determines the input files of the training.
    """
    terms = VARIANTS[variant]
    unused = {"variants", "seeds", "label_source"}
    if terms.supervised:  # slices without a reference label really are empty
        unused |= {"empty_slice_fraction"}
    if not terms.feature:
        unused |= {"lambda_1", "feature_scale"}
    if not terms.contrastive:
        unused |= {"lambda_2", "tau"}
    if not terms.distills:
        unused |= {"detach_teacher_weights"}
    return {key: value for key, value in training.items() if key not in unused}
