"""What a job requests of its machine: memory (MB) and time (minutes), by the size of its volumes.

The numbers are measured peaks with a margin (each log ends with the peak of its job). They double
with each new attempt; a profile's `set-resources` replaces them.
"""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

from umsam.planning.cases import Cases
from umsam.planning.headers import count_voxels
from umsam.planning.sam_variants import SAM_VARIANTS
from umsam.planning.wildcards import Wildcards

UNKNOWN_SIZE = 10.0  # million voxels of an image that is yet to be written or downloaded
Amount = Callable[[Wildcards, int], int]


class Requests:
    """Functions of the wildcards and the attempt that give an amount of memory or time."""

    def __init__(self, cases: Cases) -> None:
        self.cases = cases

    def by_volume(self, base: float, per_megavoxel: float) -> Amount:
        """`base`, plus an amount per million voxels of the job's case."""
        return self._scaled(base, per_megavoxel, self._own_volume)

    def by_largest_volume(self, base: float, per_megavoxel: float) -> Amount:
        """The same by the largest case, for jobs that read the cases one after another."""
        return self._scaled(base, per_megavoxel, self._largest_volume)

    def by_training_set(self, base: float, per_megavoxel: float) -> Amount:
        """The same by all training cases together."""
        return self._scaled(base, per_megavoxel, self._training_set)

    def sam_memory(self, wildcards: Wildcards, attempt: int) -> int:
        """Memory of everything mode."""
        sam = self.cases.settings.of(wildcards.dataset)["sam"]
        return self.by_volume(SAM_VARIANTS[sam["model"]].memory_mb, 100)(wildcards, attempt)

    def sam_minutes(self, wildcards: Wildcards, attempt: int) -> int:
        """Time of everything mode; it grows with the number of points."""
        sam = self.cases.settings.of(wildcards.dataset)["sam"]
        grid = max(1.0, (sam["points_per_side"] / 16) ** 2)
        return self.by_volume(15, SAM_VARIANTS[sam["model"]].minutes * grid)(wildcards, attempt)

    def _scaled(
        self, base: float, per_megavoxel: float, megavoxels: Callable[[Wildcards], float]
    ) -> Amount:
        def amount(wildcards: Wildcards, attempt: int) -> int:
            return math.ceil((base + per_megavoxel * megavoxels(wildcards)) * 2 ** (attempt - 1))

        return amount

    def _own_volume(self, wildcards: Wildcards) -> float:
        return _megavoxels(self.cases.sample(wildcards).image)

    def _largest_volume(self, wildcards: Wildcards) -> float:
        return max(_megavoxels(sample.image) for sample in self.cases.samples(wildcards.dataset))

    def _training_set(self, wildcards: Wildcards) -> float:
        samples = self.cases.samples(wildcards.dataset)
        return sum(_megavoxels(sample.image) for sample in samples if sample.split == "train")


def _megavoxels(image: Path) -> float:
    """Million voxels of an image, by its header."""
    try:
        return _read_size(image)
    except FileNotFoundError:
        return UNKNOWN_SIZE


@cache
def _read_size(image: Path) -> float:
    voxels = count_voxels(image)
    if voxels is None:
        raise FileNotFoundError(image)  # not kept: it may appear
    return voxels / 1e6
