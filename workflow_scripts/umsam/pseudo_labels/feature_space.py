"""The space in which K-means measures distances: pooled features after optional transformations.

The paper clusters the pooled features as they are; every transformation is off by default.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Batches = Callable[[], Iterable[NDArray[Any]]]
"""Each call gives the features [n, D] of one volume after another, from the first."""

FEW = 5  # ROIs: a mean over fewer describes them rather than the scanner
SMALLEST_VARIANCE = 1e-10  # of an axis, relative to the largest: anything below is rounding error


@dataclass(frozen=True)
class FeatureSpace:
    """Maps a volume's features [N, D] and places [N, 2] to the space of K-means, [N, d].

    Attributes
    ----------
    l2_normalise
        Scale features to length 1.
    position_weight
        If not 0, append the place (x and y of the centroid as shares of the slice), scaled so that
        crossing the slice along an axis equals this many feature lengths.
    centre_per_volume
        Subtract the mean feature of the volume, which removes differences between scanners.
    typical
        [D], subtracted instead if a volume has fewer than `FEW` ROIs: the mean of the training
        volumes' means. Empty: subtract the volume's own mean in any case.
    mean, axes
        [D] and [D, d]: features become (feature - mean) @ axes (see `fit_space`). Empty: unchanged.
    """

    l2_normalise: bool = False
    position_weight: float = 0.0
    centre_per_volume: bool = False
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    axes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    typical: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __call__(
        self, features: NDArray[np.floating], place: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        rows: NDArray[np.float64] = np.asarray(features, np.float64)
        length: Any = np.linalg.norm(rows, axis=1, keepdims=True)
        if self.l2_normalise:
            rows = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
            length = np.ones_like(length)
        if self.centre_per_volume and len(rows):
            few = len(rows) < FEW and self.typical.size
            rows = rows - (self.typical if few else rows.mean(axis=0))
        if self.axes.size:
            rows = (rows - self.mean) @ self.axes
            length = np.sqrt(self.axes.shape[1])  # the root mean square over the training ROIs
        if not self.position_weight:
            return rows
        position = self.position_weight * length * (np.asarray(place, float) - 0.5)
        return np.hstack([rows, position])


def fit_space(batches: Batches, settings: Mapping[str, Any]) -> FeatureSpace:
    """The space that l2_normalise, position_weight, centre_per_volume and pca_components describe.

    The principal components are those of scikit-learn's ``PCA(whiten=True)``, except for their
    signs: each is scaled to variance 1, and there are fewer if the features do not span so many.
    Memory does not grow with the number of ROIs.
    """
    plain = FeatureSpace(
        settings["l2_normalise"], settings["position_weight"], settings["centre_per_volume"]
    )
    if settings["centre_per_volume"]:
        plain = replace(plain, typical=_typical_mean(batches, settings["l2_normalise"]))
    if settings["pca_components"] is None:
        return plain
    count, mean, covariance = _moments(batches, replace(plain, position_weight=0.0))
    if count < 2:
        return plain
    variances, vectors = np.linalg.eigh(covariance)
    variances, vectors = variances[::-1], vectors[:, ::-1]
    spanned = np.count_nonzero(variances > SMALLEST_VARIANCE * variances[0])
    kept = min(settings["pca_components"], spanned)
    if not kept:
        return plain
    return replace(plain, mean=mean, axes=vectors[:, :kept] / np.sqrt(variances[:kept]))


def _moments(
    batches: Batches, space: FeatureSpace
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Number of features in the space, their mean and their covariance, in one pass."""
    count = 0
    origin, total, squares = np.zeros(0), np.zeros(0), np.zeros((0, 0))
    for batch in batches():
        rows = space(batch, np.zeros((len(batch), 2)))
        if not len(rows):
            continue
        if not count:  # sums about some row lose fewer digits than sums about 0
            origin = rows[0]
            total, squares = np.zeros(len(origin)), np.zeros((len(origin), len(origin)))
        rows = rows - origin
        count += len(rows)
        total += rows.sum(axis=0)
        squares += rows.T @ rows
    if count < 2:
        return count, origin, squares
    mean = total / count
    covariance = (squares - count * np.outer(mean, mean)) / (count - 1)
    return count, origin + mean, covariance


def _typical_mean(batches: Batches, l2_normalise: bool) -> NDArray[np.float64]:
    """Mean over volumes of their mean features; if possible, of volumes with `FEW` ROIs only."""
    space, means = FeatureSpace(l2_normalise), []
    for batch in batches():
        if len(batch):
            features = space(batch, np.zeros((len(batch), 2)))
            means.append((len(batch) >= FEW, features.mean(axis=0)))
    kept = [mean for enough, mean in means if enough] or [mean for _, mean in means]
    return np.mean(kept, axis=0) if kept else np.zeros(0)


def save_kmeans(
    path: Path, centroids: NDArray[np.float64], inertia: float, space: FeatureSpace
) -> None:
    """Write a fitted K-means, centroids [K, d] and their space, as one .npz of plain arrays."""
    np.savez(path, centroids=centroids, k=len(centroids), inertia=inertia, **vars(space))


def read_kmeans(path: str | Path) -> tuple[NDArray[np.float64], FeatureSpace]:
    """Centroids [K, d] and their space, from what `save_kmeans` wrote; never unpickles."""
    with np.load(path, allow_pickle=False) as file:
        space = FeatureSpace(
            bool(file["l2_normalise"]),
            float(file["position_weight"]),
            bool(file["centre_per_volume"]),
            file["mean"],
            file["axes"],
            file["typical"],
        )
        return file["centroids"], space
