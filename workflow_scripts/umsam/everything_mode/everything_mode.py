"""SAM's everything mode on a volume (eq. 1-2): a grid of points on every slice, every mask that SAM
stands by, and the embedding of the same encoder pass, which the distillation uses later."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from segment_anything.modeling import Sam

from umsam.data.intensity import to_rgb_uint8
from umsam.errors import InputError
from umsam.jobs import progress
from umsam.everything_mode.fast_generator import FastGenerator
from umsam.data.field_of_view import View
from umsam.data.masks import slice_file, write_slice_masks
from umsam.everything_mode.reference_generator import ReferenceGenerator

Generator = FastGenerator | ReferenceGenerator
GENERATORS: dict[str, type[Generator]] = {"fast": FastGenerator, "reference": ReferenceGenerator}


def make_generator(sam: Sam, settings: Mapping[str, Any]) -> Generator:
    """The generator that ``settings["generator"]`` names; see `FastGenerator` for the others.

    Raises
    ------
    InputError
        min_mask_region_area is set, but OpenCV, which Meta's code needs for it, is missing.
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


def everything_mode(
    generator: Generator, volume: NDArray[np.float32], view: View, folder: Path, features: Path
) -> int:
    """Run on every slice of a volume; meanwhile the last is written and the next prepared.

    Parameters
    ----------
    volume
        [Z, H, W], intensities in [0, 1].
    view
        What SAM sees of each slice.
    folder
        Receives a file of masks a slice (`slice_file`).
    features
        Receives SAM's embeddings of the view, a float16 .npy [Z, 256, h, w].

    Returns
    -------
    int
        How many masks there are.
    """
    found, stored, written = 0, None, Future()
    written.set_result(None)

    def prepared(z: int) -> Any:
        return generator.prepare(to_rgb_uint8(volume[z][view.window]))

    with ThreadPoolExecutor(max_workers=1) as reader, ThreadPoolExecutor(max_workers=1) as writer:
        following = reader.submit(prepared, 0)
        for z in progress(range(len(volume)), len(volume), "slices"):
            current = following.result()
            if z + 1 < len(volume):
                following = reader.submit(prepared, z + 1)
            masks, embedding = generator.find(current)
            found += len(masks)
            if stored is None:
                shape = (len(volume), *embedding.shape)
                stored = np.lib.format.open_memmap(features, "w+", np.float16, shape)
            stored[z] = embedding
            written.result()
            written = writer.submit(
                write_slice_masks, slice_file(folder, z), masks.placed(view, volume.shape[1:])
            )
        written.result()
    stored.flush()
    return found
