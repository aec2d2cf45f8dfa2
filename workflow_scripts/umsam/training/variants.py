"""Which targets, losses and settings each training variant uses.

Free of torch, so that the workflow can ask it while it plans the jobs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variant:
    """What a variant learns from: labels or pseudo-labels, and the terms it adds to eq. 6."""

    supervised: bool = False  # the reference labels instead of the pseudo-labels
    feature: bool = False  # class-level feature distillation, eq. 7
    contrastive: bool = False  # class-level contrastive distillation, eq. 8

    @property
    def distills(self) -> bool:
        """Whether SAM's features are needed."""
        return self.feature or self.contrastive


VARIANTS = {
    "plkd": Variant(),
    "plkd_cfkd": Variant(feature=True),
    "plkd_cckd": Variant(contrastive=True),
    "triple": Variant(feature=True, contrastive=True),
    "supervised": Variant(supervised=True),
}


def settings_of(variant: str, training: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the training section that `variant` uses.

    A change of lambda_1 is then none to the variants that have no such term.
    """
    terms = VARIANTS[variant]
    unused = {"variants", "seeds", "targets"}  # the targets are an input
    if terms.supervised:  # its empty slices are known to be empty
        unused |= {"empty_slices"}
    if not terms.feature:
        unused |= {"lambda_1", "feature_unit"}
    if not terms.contrastive:
        unused |= {"lambda_2", "tau"}
    if not terms.distills:
        unused |= {"detach_teacher_weights"}
    return {key: value for key, value in training.items() if key not in unused}
