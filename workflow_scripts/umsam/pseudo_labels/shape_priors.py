"""Shape priors (eq. 3): ROIs that are too small, too large, too tall or too wide are not valid.

Beside the paper's two, a bound on the place: scans are centred on the organ they are made for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from umsam.numbers import as_number
from umsam.data.masks import SliceMasks

ROI_TYPES = {
    "case": str,
    "slice": int,
    "index": int,
    "pixels": int,
    "area_ratio": float,
    "aspect_ratio": float,
    "area_mm2": float,
    "x": float,
    "y": float,
    "valid": bool,
    "rejected_by": str,
    "predicted_iou": float,
    "stability_score": float,
}
ROI_COLUMNS = list(ROI_TYPES)
ATTRIBUTE_OF = {
    "v_min": "area_ratio",
    "v_max": "area_ratio",
    "a_min": "aspect_ratio",
    "a_max": "aspect_ratio",
    "x_min": "x",
    "x_max": "x",
    "y_min": "y",
    "y_max": "y",
}
TOLERANCE = 1e-9  # relative: bounds are inclusive although 2/3 is no binary number
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
        return cls(**{key: as_number(value) for key, value in settings.items()})

    def rejected_by(self, **measured: float) -> str:
        """The bounds that an ROI violates, joined by ";" (empty: it is valid).

        Parameters
        ----------
        measured
            area_ratio, aspect_ratio, x and y.
        """
        violated = []
        for bound, attribute in ATTRIBUTE_OF.items():
            sign = 1 if bound.endswith("_max") else -1
            limit = getattr(self, bound)
            if sign * (measured[attribute] - limit) > TOLERANCE * limit:
                violated.append(bound)
        return ";".join(violated)


def aspect_ratios(masks: NDArray[np.bool_], pixel: tuple[float, float]) -> NDArray[np.float64]:
    """A of masks [K, H, W]: width of the bounding box / its height, in mm; NaN if empty.

    `pixel` is its size in mm, (y, x): what is round is round on pixels of any shape.
    """
    columns, rows = _extent(masks.any(axis=1)), _extent(masks.any(axis=2))
    of_pixels = np.divide(columns, rows, out=np.full(len(masks), np.nan), where=rows > 0)
    return of_pixels * (pixel[1] / pixel[0])


def centroids(masks: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of the centroids of masks [K, H, W], as shares of width and height; NaN if empty."""
    places = []
    for axis in (1, 2):
        counts = masks.sum(axis=axis)  # pixels of each column, then of each row
        middles = (np.arange(counts.shape[1]) + 0.5) / counts.shape[1]
        area = counts.sum(axis=1)
        places.append(
            np.divide(counts @ middles, area, out=np.full(len(masks), np.nan), where=area > 0)
        )
    return places[0], places[1]


def roi_table(
    case: str, z: int, m: SliceMasks, pixel: tuple[float, float], priors: ShapePriors
) -> pd.DataFrame:
    """One row (`ROI_COLUMNS`) per ROI of a slice.

    Parameters
    ----------
    pixel
        Size of a pixel in mm, (y, x).
    """
    pixels = m.area
    area_ratio = pixels / (m.masks.shape[1] * m.masks.shape[2])
    aspect_ratio = aspect_ratios(m.masks, pixel)
    x, y = centroids(m.masks)
    measured = {"area_ratio": area_ratio, "aspect_ratio": aspect_ratio, "x": x, "y": y}
    rejected_by = [
        priors.rejected_by(**dict(zip(measured, roi, strict=True)))
        for roi in zip(*measured.values(), strict=True)
    ]
    return pd.DataFrame(
        {
            "case": [case] * len(m),
            "slice": np.full(len(m), z, int),
            "index": np.arange(len(m)),
            "pixels": pixels,
            "area_ratio": area_ratio,
            "aspect_ratio": aspect_ratio,
            "area_mm2": pixels * (pixel[0] * pixel[1]),
            "x": x,
            "y": y,
            "valid": np.array([not bounds for bounds in rejected_by], bool),
            "rejected_by": rejected_by,
            "predicted_iou": m.predicted_iou,
            "stability_score": m.stability_score,
        },
        columns=ROI_COLUMNS,
    )


def read_rois(path: str | Path) -> pd.DataFrame:
    """Read a case's ROI table; a table without rows keeps its columns and their types."""
    # Only a number can be missing: a case may be called NA.
    missing = {name: [""] for name, kind in ROI_TYPES.items() if kind is float}
    return pd.read_csv(path, dtype=ROI_TYPES, keep_default_na=False, na_values=missing)


def rejections(rois: pd.DataFrame) -> str:
    """Why no ROI is valid, for the user: which prior rejects most, and what the ROIs measure."""
    if rois.empty:
        return (
            "everything mode found no ROI at all. Lower sam.pred_iou_thresh or "
            "sam.stability_score_thresh, or raise sam.points_per_side"
        )
    bounds = rois["rejected_by"].str.split(";")
    counts = {bound: sum(bound in found for found in bounds) for bound in ATTRIBUTE_OF}
    most = max(counts, key=counts.__getitem__)
    attribute = ATTRIBUTE_OF[most]
    measured = rois[attribute].quantile(list(QUANTILES))
    quantiles = ", ".join(f"{100 * q:g} %: {value:.3g}" for q, value in measured.items())
    others = ", ".join(f"{bound} {count}" for bound, count in counts.items())
    return (
        f"shape_priors.{most} rejects most, {counts[most]} of {len(rois)} ROIs ({others}). Their "
        f"{attribute} has the quantiles {quantiles}: relax shape_priors.{most} if the target can "
        "be among them"
    )


def _extent(occupied: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Last minus first occupied position plus one, for each row of [K, N]; 0 where none is."""
    first = occupied.argmax(axis=1)
    last = occupied.shape[1] - 1 - occupied[:, ::-1].argmax(axis=1)
    return np.where(occupied.any(axis=1), last - first + 1, 0)
