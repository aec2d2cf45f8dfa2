"""Intensities: clip a volume to two percentiles and scale it to [0, 1]."""

import logging

import numpy as np

log = logging.getLogger(__name__)

# Mean and standard deviation of the RGB images in [0, 1] that published transformers expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(array: np.ndarray, lower: float = 1.0, upper: float = 99.0) -> np.ndarray:
    """Clip a volume to its `lower` and `upper` percentile and scale it to [0, 1], float32.

    The percentiles include all voxels of the volume, so the contrast between slices is kept. If
    both percentiles are equal, as in a constant image, the result is 0 everywhere, with a warning.
    """
    low, high = np.percentile(array, [lower, upper])
    if not high > low:
        log.warning(
            "WARNING: percentiles %g and %g of the image are both %g, so it has no contrast and "
            "becomes 0 everywhere. Check the file, or move intensity.lower_percentile and "
            "intensity.upper_percentile apart.",
            lower,
            upper,
            low,
        )
        return np.zeros(array.shape, np.float32)
    scaled = (array.astype(np.float64) - low) / (high - low)
    return np.clip(scaled, 0.0, 1.0).astype(np.float32)


def to_rgb_uint8(image: np.ndarray) -> np.ndarray:
    """Convert a slice [H, W] in [0, 1] to uint8 [H, W, 3] for SAM and DINO, without rescaling."""
    grey = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
