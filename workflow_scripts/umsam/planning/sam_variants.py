"""The variants of SAM: what each needs, and what its scores and features are scaled to.

A new variant is an entry of `SAM_VARIANTS`, a row of resources/weights.tsv for its checkpoint, a
name in the schema and, where segment-anything cannot build it, a builder in `umsam.models.sam`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SamVariant:
    """Properties of one SAM model.

    Attributes
    ----------
    memory_mb
        Memory of everything mode, besides 100 MB per million voxels.
    minutes
        Time of everything mode per million voxels with a grid of 16 x 16 points, on the device that
        the model is meant for: a CPU for `compact`, a GPU for the others.
    pred_iou_thresh, stability_score_thresh, stability_score_offset
        Thresholds of everything mode that suit the model's scores; the defaults are Meta's.
    feature_scale
        Factor of feature distances in the class-level feature loss (eq. 7). The paper's lambda_1
        suits Meta's embeddings, whose entries are of the order 0.1; those of `compact` are of the
        order 1.
    """

    memory_mb: int
    minutes: float
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    feature_scale: float = 1.0


SAM_VARIANTS = {
    "compact": SamVariant(
        2000, 4, pred_iou_thresh=0.15, stability_score_thresh=0.7, feature_scale=0.1
    ),
    "vit_t": SamVariant(6000, 2),  # MobileSAM; not measured, as vit_b
    "vit_b": SamVariant(6000, 2),
    "vit_l": SamVariant(10000, 2),  # this and the next: by the size of their weights
    "vit_h": SamVariant(16000, 2),
}


def resolve_thresholds(sam: Mapping[str, Any]) -> dict[str, Any]:
    """The `sam` section of the configuration, each null threshold replaced by the model's own."""
    own = vars(SAM_VARIANTS[sam["model"]])
    return {key: own.get(key) if value is None else value for key, value in sam.items()}
