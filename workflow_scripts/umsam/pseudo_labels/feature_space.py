"""The space K-means measures distances in: pooled features, and what is made of them first."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Batches = Callable[[], Iterable[NDArray[np.floating]]]
"""Gives the features [n, D] of one volume after the other, from the start at each call."""

FEW = 5  # ROIs: the mean of fewer says more of them than of the scanner
SMALLEST_VARIANCE = 1e-10  # of an axis, as a share of the largest: below it is rounding


@dataclass(frozen=True)
class FeatureSpace:
    """Called with a volume's features [N, D] and places [N, 2], gives what K-means sees, [N, d].

    Attributes
    ----------
    l2_normalise
        Features get the length 1.
    position
        Where it is not 0, the place (x and y of the centroid as shares of the slice) is part of the
        feature; to cross the slice along an axis is then this many times a feature's length.
    centre
        The volume's mean feature is subtracted: volumes of other scanners look alike then.
    typical
        [D], what is subtracted of a volume with fewer than `FEW` ROIs: the mean of the training
        volumes' means. Empty: its own mean, however few they are.
    mean, axes
        [D] and [D, d]: features become (feature - mean) @ axes (see `fit_space`); empty: they stay.
    """

    l2_normalise: bool = False
    position: float = 0.0
    centre: bool = False
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    axes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    typical: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __call__(
        self, features: NDArray[np.floating], place: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        features = np.asarray(features, np.float64)
        length = np.linalg.norm(features, axis=1, keepdims=True)
        if self.l2_normalise:
            features = np.divide(features, length, out=np.zeros_like(features), where=length > 0)
            length = np.ones_like(length)
        if self.centre and len(features):
            few = len(features) < FEW and self.typical.size
            features = features - (self.typical if few else features.mean(axis=0))
        if self.axes.size:
            features = (features - self.mean) @ self.axes
            length = np.sqrt(self.axes.shape[1])  # its root mean square over the training ROIs
        if not self.position:
            return features
        return np.hstack([features, self.position * length * (np.asarray(place, float) - 0.5)])


def fit_space(batches: Batches, settings: Mapping[str, Any]) -> FeatureSpace:
    """The space that the settings l2_normalise, position, centre and whiten describe.

    `whiten` is a number of principal components of the batches' features, each scaled to variance 1
    (fewer, where the features do not span so many); None leaves the features as they are. The
    components are those of scikit-learn's ``PCA(whiten=True)`` but for their signs; memory does not
    grow with the number of ROIs.
    """
    plain = FeatureSpace(settings["l2_normalise"], settings["position"], settings["centre"])
    if settings["centre"]:
        plain = replace(plain, typical=_typical(batches, settings["l2_normalise"]))
    wanted = settings["whiten"]
    if wanted is None:
        return plain
    unit = replace(plain, position=0.0)
    count, origin = 0, None
    for batch in batches():
        rows = unit(batch, np.zeros((len(batch), 2)))
        if not len(rows):
            continue
        if origin is None:  # sums of squares about some row lose fewer digits than about 0
            origin = rows[0]
            total, products = np.zeros(len(origin)), np.zeros((len(origin), len(origin)))
        rows = rows - origin
        count += len(rows)
        total += rows.sum(axis=0)
        products += rows.T @ rows
    if count < 2:
        return plain
    mean = total / count
    covariance = (products - count * np.outer(mean, mean)) / (count - 1)
    variances, vectors = np.linalg.eigh(covariance)
    variances, vectors = variances[::-1], vectors[:, ::-1]
    kept = min(wanted, np.count_nonzero(variances > SMALLEST_VARIANCE * variances[0]))
    if not kept:
        return plain
    axes = vectors[:, :kept] / np.sqrt(variances[:kept])
    return replace(plain, mean=origin + mean, axes=axes)


def _typical(batches: Batches, l2_normalise: bool) -> NDArray[np.float64]:
    """The mean of the volumes' mean features; of those with `FEW` ROIs, where there are any."""
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
    """A fitted K-means and the space of its centroids [K, d] as one .npz of plain arrays."""
    np.savez(path, centroids=centroids, k=len(centroids), inertia=inertia, **vars(space))


def read_kmeans(path: str | Path) -> tuple[NDArray[np.float64], FeatureSpace]:
    """Centroids [K, d] and their space, from what `save_kmeans` wrote; never unpickles."""
    with np.load(path, allow_pickle=False) as file:
        space = FeatureSpace(
            bool(file["l2_normalise"]),
            float(file["position"]),
            bool(file["centre"]),
            file["mean"],
            file["axes"],
            file["typical"],
        )
        return file["centroids"], space
