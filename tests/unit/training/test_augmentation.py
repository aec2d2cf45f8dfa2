"""One affine map for image, label and SAM's features: all three show the same place."""

import numpy as np
import pytest
import torch

from umsam.training.augmentation import (
    Affines,
    add_noise,
    change_contrast,
    random_affines,
    sample_images,
    sample_sam_features,
)

SIZES = [(96, 96), (80, 128), (150, 70), (40, 56)]


def identity(size: torch.Tensor, patch_size: int) -> Affines:
    return random_affines(size, patch_size, 0.0, False, np.random.default_rng(0))


def coordinates(height: int, width: int, frame: tuple[int, int] | None = None) -> torch.Tensor:
    """Make an image [1, 2, *frame] whose values are the positions (x, y) of its pixel centres."""
    x = (torch.arange(width) + 0.5).expand(height, width)
    y = (torch.arange(height) + 0.5)[:, None].expand(height, width)
    image = torch.zeros(1, 2, *(frame or (height, width)))
    image[0, :, :height, :width] = torch.stack([x, y])
    return image


def coordinate_features(height: int, width: int, cells: int) -> torch.Tensor:
    """Make SAM features that hold positions; their padding holds wrong values."""
    side = max(height, width)
    centre = (torch.arange(cells) + 0.5) * side / cells
    x, y = centre.expand(cells, cells), centre[:, None].expand(cells, cells)
    features = torch.stack([x, y])[None]
    cell = side / cells
    padding = (x - cell / 2 >= width) | (y - cell / 2 >= height)
    return features.masked_fill(padding, -1e4)


def pixels_at_cells(patch: torch.Tensor) -> torch.Tensor:
    """Return the four pixels [1, N, 4, 2, 4, 2] of a patch [1, N, 64, 64] around each centre."""
    return patch.reshape(1, -1, 4, 16, 4, 16)[:, :, :, 7:9, :, 7:9]


def places_of_cells(size: tuple[int, int], affines: Affines) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the places of the bottleneck's cells, [1, 2, 4, 4], and which are inside, [4, 4].

    The place of a cell is the mean of the augmented coordinates of the four pixels at its centre.
    """
    places = pixels_at_cells(sample_images(coordinates(*size), affines)).mean(dim=(3, 5))
    inside = pixels_at_cells(sample_images(torch.ones(1, 1, *size), affines))[0, 0]
    return places, inside.amin(dim=(1, 3)) > 0.999


@pytest.mark.parametrize("size", [(64, 64), (64, 48), (33, 64), (31, 17)])
def test_the_identity_puts_the_slice_in_the_middle_of_the_patch(size):
    image = torch.rand(1, 1, *size)
    patch = sample_images(image, identity(torch.tensor([size]), 64))
    top, left = ((64 - n) // 2 for n in size)
    expected = torch.zeros(1, 1, 64, 64)
    expected[:, :, top : top + size[0], left : left + size[1]] = image
    torch.testing.assert_close(patch, expected, atol=1e-4, rtol=0)


def test_patches_without_rotation_are_windows():
    image = torch.rand(1, 1, 90, 70)
    affines = random_affines(torch.tensor([[90, 70]]), 64, 0.0, False, np.random.default_rng(3))
    left, top = (affines.centre[0] - 32).int().tolist()
    assert 0 < top <= 26
    assert 0 <= left <= 6
    patch = sample_images(image, affines)
    window = image[:, :, top : top + 64, left : left + 64]
    torch.testing.assert_close(patch, window, atol=1e-4, rtol=0)


def test_quarter_turns_and_mirroring_give_the_eight_symmetries_of_the_square():
    image = torch.rand(1, 1, 32, 32)
    square = [torch.rot90(x, k, (2, 3)) for x in (image, image.flip(-1)) for k in range(4)]
    rng, drawn = np.random.default_rng(0), set()
    for _ in range(60):
        patch = sample_images(image, random_affines(torch.tensor([[32, 32]]), 32, 0.0, True, rng))
        same = [i for i, x in enumerate(square) if torch.allclose(patch, x, atol=1e-4)]
        assert len(same) == 1
        drawn.update(same)
    assert drawn == set(range(8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cells", [24, 64])
def test_image_and_sam_features_show_the_same_place(size, cells):
    """Sampled coordinate features equal the augmented coordinates to half a feature cell."""
    height, width = size
    features = coordinate_features(height, width, cells).half()
    half_cell = max(size) / cells / 2
    for seed in range(10):
        affines = random_affines(torch.tensor([size]), 64, 20.0, True, np.random.default_rng(seed))
        sampled, valid = sample_sam_features(features, affines)
        places, inside = places_of_cells(size, affines)
        inner = (inside & valid[0])[None]
        assert inner.any()
        error = (sampled - places).abs().amax(dim=1)[inner]
        assert error.max() <= half_cell + 0.1  # 0.1: positions of up to 150 in float16
        truth = affines.grid(4)
        on_slice = ((truth >= 0) & (truth <= torch.tensor([width, height]))).all(-1)
        assert torch.equal(valid, on_slice)


@pytest.mark.parametrize(("size", "rows", "columns"), [((64, 32), 4, 2), ((32, 64), 2, 4)])
def test_exactly_the_padding_is_invalid(size, rows, columns):
    affines = Affines(
        matrix=torch.eye(2)[None],
        centre=torch.tensor([[32.0, 32.0]]),
        size=torch.tensor([size]).float(),
        patch_size=64,
    )
    sampled, valid = sample_sam_features(coordinate_features(*size, cells=16), affines)
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[:rows, :columns] = True
    assert torch.equal(valid[0], expected)
    assert sampled.min() > 0  # the wrong values in the padding are never read


def test_a_slice_in_a_batch_is_sampled_as_if_it_were_alone():
    sizes, frame = torch.tensor(SIZES), (150, 128)
    images = torch.cat([coordinates(*size, frame) for size in SIZES])
    features = torch.cat([coordinate_features(*size, cells=24) for size in SIZES])
    together = random_affines(sizes, 64, 20.0, True, np.random.default_rng(5))
    patches, (sampled, valid) = (
        sample_images(images, together),
        sample_sam_features(features, together),
    )
    for i, size in enumerate(SIZES):
        alone = Affines(
            *(getattr(together, f)[i : i + 1] for f in ("matrix", "centre", "size")), 64
        )
        patch = sample_images(coordinates(*size), alone)
        torch.testing.assert_close(patches[i : i + 1], patch, atol=1e-2, rtol=0)
        s, v = sample_sam_features(features[i : i + 1], alone)
        torch.testing.assert_close(sampled[i : i + 1], s)
        assert torch.equal(valid[i : i + 1], v)


@pytest.mark.parametrize("view", [(10, 30, 60, 60), (20, 8, 40, 64)])
def test_features_of_a_view_show_the_same_place_as_the_image(view):
    """Features of a view equal the augmented coordinates of the slice to half a feature cell."""
    size, cells = (96, 120), 24
    y, x, height, width = view
    features = coordinate_features(height, width, cells) + torch.tensor([x, y])[None, :, None, None]
    half_cell, outside = max(height, width) / cells / 2, 0
    for seed in range(10):
        affines = random_affines(torch.tensor([size]), 64, 20.0, True, np.random.default_rng(seed))
        sampled, valid = sample_sam_features(features, affines, torch.tensor([view]))
        places, inside = places_of_cells(size, affines)
        inner = (inside & valid[0])[None]
        assert inner.any()
        assert (sampled - places).abs().amax(dim=1)[inner].max() <= half_cell + 0.1
        truth = affines.grid(4) - torch.tensor([x, y])
        in_view = ((truth >= 0) & (truth <= torch.tensor([width, height]))).all(-1)
        assert torch.equal(valid, in_view)
        outside += int((~valid).sum())
    assert outside


def test_the_label_stays_binary_and_aligned_with_the_image():
    y, x = torch.meshgrid(torch.arange(80.0), torch.arange(100.0), indexing="ij")
    disc = ((x - 55) ** 2 + (y - 40) ** 2 < 20**2).float()[None, None]
    for seed in range(10):
        affines = random_affines(
            torch.tensor([[80, 100]]), 96, 20.0, True, np.random.default_rng(seed)
        )
        label = sample_images(disc, affines, mode="nearest")
        assert set(label.unique().tolist()) == {0.0, 1.0}
        image = sample_images(disc, affines) > 0.5
        assert (image != label.bool()).float().mean() < 0.01


def test_rotation_stays_within_its_bound_and_preserves_areas():
    affines = random_affines(
        torch.tensor([[64, 64]] * 200), 64, 20.0, False, np.random.default_rng(0)
    )
    angle = torch.atan2(affines.matrix[:, 1, 0], affines.matrix[:, 0, 0]).rad2deg()
    assert 18 < angle.abs().max() <= 20
    assert angle.min() < -15
    assert angle.max() > 15
    torch.testing.assert_close(torch.linalg.det(affines.matrix), torch.ones(200))


@pytest.mark.parametrize("zoom", [(2.0, 2.0), (0.5, 1.5)])
def test_zoom_is_the_number_of_slice_pixels_per_patch_pixel(zoom):
    """Neighbours in the patch lie `zoom` pixels apart in the slice and in SAM's features."""
    size = (96, 120)
    affines = random_affines(
        torch.tensor([size]), 32, 0.0, False, np.random.default_rng(1), torch.tensor([zoom])
    )
    inside = sample_images(torch.ones(1, 1, *size), affines)[0, 0] > 0.999
    assert inside.all()
    patch = sample_images(coordinates(*size), affines)[0]
    step_x, step_y = patch[0].diff(dim=1), patch[1].diff(dim=0)
    torch.testing.assert_close(step_x, torch.full_like(step_x, zoom[1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(step_y, torch.full_like(step_y, zoom[0]), atol=1e-3, rtol=0)
    sampled, valid = sample_sam_features(coordinate_features(*size, cells=24), affines)
    assert valid.all()
    places = patch.reshape(2, 2, 16, 2, 16)[:, :, 7:9, :, 7:9].mean(dim=(2, 4))
    assert (sampled[0] - places).abs().max() <= max(size) / 24 / 2


def test_a_zoomed_out_slice_lies_in_the_middle_of_its_patch():
    affines = random_affines(
        torch.tensor([[64, 32]]), 64, 0.0, False, np.random.default_rng(0), torch.full((1, 2), 2.0)
    )
    covered = sample_images(torch.ones(1, 1, 64, 32), affines)[0, 0] > 0.5
    assert torch.nonzero(covered).amin(0).tolist() == [16, 24]
    assert covered.sum() == 32 * 16


def test_scaling_stays_within_its_bounds():
    affines = random_affines(
        torch.tensor([[64, 64]] * 200), 64, 20.0, True, np.random.default_rng(0), None, 0.25
    )
    scale = torch.linalg.det(affines.matrix).abs().sqrt()
    assert 0.8 <= scale.min() < 0.82
    assert 1.22 < scale.max() <= 1.25


def test_the_contrast_changes_by_a_power_within_its_bounds():
    images = torch.full((300, 1, 2, 2), 0.5)
    images[:, :, 0, 0] = -0.1
    changed = change_contrast(images, 0.4, torch.Generator().manual_seed(0))
    assert not changed[:, :, 0, 0].any()
    power = changed[:, 0, 1, 1].log() / np.log(0.5)
    assert np.exp(-0.4) <= power.min() < 0.7
    assert 1.45 < power.max() <= np.exp(0.4) + 1e-5
    assert torch.equal(
        change_contrast(images.clamp(min=0), 0.0, torch.Generator()), images.clamp(min=0)
    )


def test_noise_has_its_standard_deviation_and_probability():
    images = torch.zeros(400, 1, 32, 32)
    noisy = add_noise(images, 0.05, 0.5, torch.Generator().manual_seed(0))
    touched = (noisy != 0).flatten(1).any(dim=1)
    assert 0.4 < touched.float().mean() < 0.6
    assert noisy[touched].std() == pytest.approx(0.05, rel=0.02)
    assert torch.equal(add_noise(images, 0.05, 0.0, torch.Generator()), images)
