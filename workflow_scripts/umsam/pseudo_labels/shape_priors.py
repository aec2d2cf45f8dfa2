"""Shape priors (eq. 3): ROIs that are too small, too large, too tall or too wide are invalid.

Bounds on the position are an addition to the paper's two: scans are often centred on the organ.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from umsam.data.masks import SliceMasks
from umsam.numbers import parse_number


def aspect_ratios(masks: NDArray[np.bool_], pixel: tuple[float, float]) -> NDArray[np.float64]:
    """A of masks [K, H, W]: width / height of the bounding box, in mm; NaN if empty.

    `pixel` is the size of a pixel in mm, (y, x), so that pixels need not be square.
    """
    columns, rows = (_extent(np.asarray(masks.any(axis=axis))) for axis in (1, 2))
    of_pixels = np.divide(columns, rows, out=np.full(len(masks), np.nan), where=rows > 0)
    return of_pixels * (pixel[1] / pixel[0])


def centroid(masks: NDArray[np.bool_], axis: str) -> NDArray[np.float64]:
    """Centroids of masks [K, H, W] along x or y, as shares of the width or height; NaN if empty."""
    counts = masks.sum(axis={"x": 1, "y": 2}[axis])  # pixels of each column, or of each row
    middles = (np.arange(counts.shape[1]) + 0.5) / counts.shape[1]
    area = counts.sum(axis=1)
    return np.divide(counts @ middles, area, out=np.full(len(masks), np.nan), where=area > 0)


Measure = Callable[[SliceMasks, tuple[float, float]], NDArray[np.floating]]
"""Masks of a slice and the size of a pixel in mm, (y, x) -> a number per mask, [K]."""

# Attributes of an ROI, columns of its table. A new attribute is a line here; to choose the target
# by it, add its name to `target.attribute` in the schema.
MEASURES: dict[str, Measure] = {
    "area_ratio": lambda m, pixel: m.area / (m.masks.shape[1] * m.masks.shape[2]),
    "aspect_ratio": lambda m, pixel: aspect_ratios(m.masks, pixel),
    "area_mm2": lambda m, pixel: m.area * (pixel[0] * pixel[1]),
    "x": lambda m, pixel: centroid(m.masks, "x"),
    "y": lambda m, pixel: centroid(m.masks, "y"),
}
BOUNDED = {  # bound -> the attribute that it limits
    "v_min": "area_ratio",
    "v_max": "area_ratio",
    "a_min": "aspect_ratio",
    "a_max": "aspect_ratio",
    "x_min": "x",
    "x_max": "x",
    "y_min": "y",
    "y_max": "y",
}
ROI_TYPES: dict[str, type] = {
    "case": str,
    "slice": int,
    "index": int,
    "pixels": int,
    **dict.fromkeys(MEASURES, float),
    "valid": bool,
    "rejected_by": str,
    "predicted_iou": float,
    "stability_score": float,
}
TOLERANCE = 1e-9  # relative: bounds are inclusive although 2/3 is not a binary number
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class ShapePriors:
    """Inclusive bounds of V (share of the slice's pixels), A (box width / height, in mm) and the
    centroid's place (share of the slice's width and height, from the first column and row)."""

    v_min: float
    v_max: float
    a_min: float
    a_max: float
    x_min: float = 0.0
    x_max: float = 1.0
    y_min: float = 0.0
    y_max: float = 1.0

    @classmethod
    def of(cls, settings: Mapping[str, float | str]) -> "ShapePriors":
        """From the `shape_priors` section of the configuration, fractions such as 2/3 included."""
        return cls(**{key: parse_number(value) for key, value in settings.items()})

    def rejected_by(self, measured: Mapping[str, float]) -> str:
        """The bounds that an ROI violates, joined by ";"; empty if it is valid.

        Parameters
        ----------
        measured
            The attributes in `BOUNDED`.
        """
        violated = []
        for bound, attribute in BOUNDED.items():
            sign = 1 if bound.endswith("_max") else -1
            limit = getattr(self, bound)
            if sign * (measured[attribute] - limit) > TOLERANCE * limit:
                violated.append(bound)
        return ";".join(violated)


def roi_table(
    case: str, z: int, m: SliceMasks, pixel: tuple[float, float], priors: ShapePriors
) -> pd.DataFrame:
    """One row (columns `ROI_TYPES`) per ROI of a slice.

    Parameters
    ----------
    case, z
        What the first two columns hold.
    m
        The masks of the slice.
    pixel
        Size of a pixel in mm, (y, x).
    priors
        The bounds.
    """
    measured = {name: measure(m, pixel) for name, measure in MEASURES.items()}
    rejected_by = [
        priors.rejected_by(dict(zip(measured, roi, strict=True)))
        for roi in zip(*measured.values(), strict=True)
    ]
    return pd.DataFrame(
        {
            "case": [case] * len(m),
            "slice": np.full(len(m), z, int),
            "index": np.arange(len(m)),
            "pixels": m.area,
            **measured,
            "valid": np.array([not bounds for bounds in rejected_by], bool),
            "rejected_by": rejected_by,
            "predicted_iou": m.predicted_iou,
            "stability_score": m.stability_score,
        },
        columns=list(ROI_TYPES),
    )


def read_rois(path: str | Path) -> pd.DataFrame:
    """Read the ROI table of a case; a table without rows keeps its columns and their types."""
    # Only numbers can be missing, because a case may be called NA.
    missing = {name: [""] for name, kind in ROI_TYPES.items() if kind is float}
    return pd.read_csv(path, dtype=ROI_TYPES, keep_default_na=False, na_values=missing)


def read_valid_rois(path: str | Path) -> pd.DataFrame:
    """The valid ROIs of a case, sorted by slice and index."""
    rois = read_rois(path)
    return rois[rois["valid"]].sort_values(["slice", "index"], ignore_index=True)


def rejections(rois: pd.DataFrame) -> str:
    """Why no ROI is valid: the prior that rejects most of them, and the range of that attribute."""
    if rois.empty:
        return (
            "everything mode found no ROI. Lower sam.pred_iou_thresh or "
            "sam.stability_score_thresh, or raise sam.points_per_side"
        )
    bounds = rois["rejected_by"].str.split(";")
    counts = {bound: sum(bound in names for names in bounds) for bound in BOUNDED}
    most = max(counts, key=counts.__getitem__)
    attribute = BOUNDED[most]
    measured = rois[attribute].quantile(list(QUANTILES))
    quantiles = ", ".join(f"{100 * q:g} %: {value:.3g}" for q, value in measured.items())
    others = ", ".join(f"{bound} {count}" for bound, count in counts.items())
    return (
        f"shape_priors.{most} rejects most, {counts[most]} of {len(rois)} ROIs ({others}). Their "
        f"{attribute} has the quantiles {quantiles}: relax shape_priors.{most} if the target can "
        "be among them"
    )


def _extent(occupied: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Last minus first occupied position plus one, for each row of [K, N]; 0 for an empty row."""
    first = occupied.argmax(axis=1)
    last = occupied.shape[1] - 1 - occupied[:, ::-1].argmax(axis=1)
    return np.where(occupied.any(axis=1), last - first + 1, 0)
