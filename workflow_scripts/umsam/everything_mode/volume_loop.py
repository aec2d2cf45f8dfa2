"""Run everything mode on a volume (eq. 1-2).

A generator prompts SAM with a grid of points on every slice. Each slice yields a file of masks, and
the volume one file of embeddings from the same encoder passes, which the distillation uses.
"""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from segment_anything.modeling import Sam

from umsam.data.field_of_view import View
from umsam.data.intensity import to_rgb_uint8
from umsam.data.masks import slice_file, write_slice_masks
from umsam.errors import InputError
from umsam.everything_mode.fast_generator import FastGenerator
from umsam.everything_mode.reference_generator import ReferenceGenerator
from umsam.jobs import progress

Generator = FastGenerator | ReferenceGenerator
GENERATORS: dict[str, type[Generator]] = {"fast": FastGenerator, "reference": ReferenceGenerator}


def make_generator(sam: Sam, settings: Mapping[str, Any]) -> Generator:
    """Make the generator named by ``settings["generator"]``.

    `FastGenerator` lists the other settings.

    Raises
    ------
    InputError
        min_mask_region_area is positive, but OpenCV, which Meta's code needs for it, is missing.
    """
    if settings["min_mask_region_area"] > 0:
        try:
            import cv2  # noqa: F401
        except ImportError as error:
            raise InputError(
                "sam.min_mask_region_area: removing small regions needs OpenCV. Install "
                "opencv-python-headless, or set the key to 0."
            ) from error
    return GENERATORS[settings["generator"]](sam, settings)


def segment_volume(
    generator: Generator, volume: NDArray[np.float32], view: View, folder: Path, features: Path
) -> int:
    """Segment every slice of a volume.

    While a slice is segmented, a thread prepares the next one and another writes the previous one.

    Parameters
    ----------
    generator
        See `make_generator`.
    volume
        [Z, H, W], intensities in [0, 1].
    view
        The part of each slice that SAM sees.
    folder
        Receives one file of masks per slice (`slice_file`).
    features
        Receives SAM's embeddings of the view, a float16 .npy [Z, 256, h, w].

    Returns
    -------
    int
        The number of masks.
    """
    mask_count = 0
    writing: Future[None] = Future()
    writing.set_result(None)

    def prepare(z: int) -> Any:
        return generator.prepare(to_rgb_uint8(volume[z][view.window]))

    with ThreadPoolExecutor(max_workers=1) as reader, ThreadPoolExecutor(max_workers=1) as writer:
        preparation = reader.submit(prepare, 0)
        for z in progress(range(len(volume)), len(volume), "slices"):
            image = preparation.result()
            if z + 1 < len(volume):
                preparation = reader.submit(prepare, z + 1)
            masks, embedding = generator.segment(image)
            mask_count += len(masks)
            if z == 0:
                shape = (len(volume), *embedding.shape)
                embeddings = np.lib.format.open_memmap(features, "w+", np.float16, shape)
            embeddings[z] = embedding
            writing.result()
            slice_masks = masks.place_in_slice(view, volume.shape[1:])
            writing = writer.submit(write_slice_masks, slice_file(folder, z), slice_masks)
        writing.result()
    embeddings.flush()
    return mask_count
