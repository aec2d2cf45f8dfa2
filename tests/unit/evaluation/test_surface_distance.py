"""ASSD against MedPy, a brute-force reference, and closed forms."""

import numpy as np
import pytest
from medpy.metric.binary import assd as medpy_assd
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from umsam.evaluation.surface_distance import assd, border


def blobs(rng, shape):
    """Draw two smooth random masks, often with several components, often cut by the edge."""
    fields = [gaussian_filter(rng.normal(size=shape), rng.uniform(0.8, 2.5)) for _ in range(2)]
    return [field >= np.quantile(field, rng.uniform(0.6, 0.97)) for field in fields]


@pytest.mark.parametrize("seed", range(30))
def test_assd_equals_medpy_on_random_blobs_with_anisotropic_spacing(seed):
    rng = np.random.default_rng(seed)
    mask, other = blobs(rng, rng.integers([1, 9, 9], [18, 26, 26]))
    spacing = rng.uniform(0.3, 5.0, size=3)
    assert assd(mask, other, spacing) == pytest.approx(medpy_assd(mask, other, spacing), abs=1e-6)
    assert assd(mask, other, spacing) == pytest.approx(assd(other, mask, spacing), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_assd_equals_the_minimum_over_all_pairs_of_border_voxels(seed):
    rng = np.random.default_rng(100 + seed)
    mask, other = blobs(rng, (6, 12, 10))
    spacing = np.array([3.0, 0.7, 1.1])
    pairs = cdist(np.argwhere(border(mask)) * spacing, np.argwhere(border(other)) * spacing)
    expected = np.concatenate([pairs.min(axis=1), pairs.min(axis=0)]).mean()
    assert assd(mask, other, spacing) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_assd_of_two_voxels_is_their_distance_in_mm(axis):
    mask, other = np.zeros((2, 9, 9, 9), bool)
    mask[2, 2, 2] = True
    position = [2, 2, 2]
    position[axis] = 7
    other[tuple(position)] = True
    assert assd(mask, other, (4.0, 1.5, 0.5)) == pytest.approx(5 * (4.0, 1.5, 0.5)[axis])


def test_assd_of_identical_masks_is_zero():
    mask = blobs(np.random.default_rng(1), (5, 20, 20))[0]
    assert assd(mask, mask.copy(), (3, 1, 1)) == 0


def test_all_voxels_of_a_single_slice_are_border():
    disc = np.zeros((1, 11, 11), bool)
    disc[0, 3:8, 3:8] = True
    assert border(disc).sum() == disc.sum()
    moved = np.roll(disc, 2, axis=2)
    assert assd(disc, moved, (8.0, 1.0, 1.0)) == pytest.approx(medpy_assd(disc, moved, (8, 1, 1)))


def test_a_mask_has_a_border_at_the_edge_of_the_image():
    full = np.ones((4, 5, 6), bool)
    inner = np.zeros_like(full)
    inner[1:-1, 1:-1, 1:-1] = True
    assert np.array_equal(border(full), ~inner)


@pytest.mark.parametrize("seed", range(5))
def test_assd_agrees_with_surfel_weighted_distances_to_a_tenth(seed):
    """DeepMind's surface-distance weights surface elements, between the voxels, by their area.

    The two measures agree if the surfaces are several voxels apart, as in nested ellipsoids. For
    distances of one or two voxels they differ by up to a factor of two.
    """
    peer = pytest.importorskip("surface_distance")
    rng = np.random.default_rng(seed)
    spacing = np.array([2.0, 1.0, 1.2])
    grid = np.indices((32, 64, 56)) * spacing.reshape(3, 1, 1, 1)
    centre = np.array([32, 32, 33]) + rng.uniform(-1, 1, size=3)
    inner = rng.uniform(9, 12, size=3)
    masks = [
        sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1
        for radii in (inner, inner + rng.uniform(10, 14, size=3))
    ]
    surfaces = peer.compute_surface_distances(*masks, spacing)
    areas = np.concatenate([surfaces["surfel_areas_gt"], surfaces["surfel_areas_pred"]])
    distances = np.concatenate([surfaces["distances_gt_to_pred"], surfaces["distances_pred_to_gt"]])
    expected = np.average(distances, weights=areas)
    assert assd(*masks, spacing) == pytest.approx(expected, rel=0.1)


def test_empty_masks_and_different_shapes_are_refused():
    mask = np.ones((2, 3, 3), bool)
    with pytest.raises(ValueError, match="empty"):
        assd(mask, np.zeros_like(mask), (1, 1, 1))
    with pytest.raises(ValueError, match="shapes"):
        assd(mask, mask[:1], (1, 1, 1))
