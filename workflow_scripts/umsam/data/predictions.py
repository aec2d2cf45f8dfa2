"""The output of every method for a volume: the mask, and a JSON file with the run time."""

import json
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from umsam.data.volumes import Volume, write_volume
from umsam.files import atomic_write


class PredictionFiles(Protocol):
    """Paths of the mask and of its JSON file."""

    mask: str
    time: str


def write_prediction(
    files: PredictionFiles,
    mask: NDArray[np.bool_ | np.uint8],
    like: Volume,
    seconds: float,
    **details: Any,
) -> None:
    """Write a mask and, as JSON, its run time and details.

    Parameters
    ----------
    files
        Paths of both outputs.
    mask
        [Z, Y, X].
    like
        The volume whose geometry the mask gets.
    seconds
        Run time of the method on this volume, without program start, reading of files and loading
        of weights.
    **details
        Further entries of the JSON file.
    """
    with atomic_write(files.time) as path:
        path.write_text(json.dumps({"seconds": round(seconds, 4), **details}) + "\n")
    write_volume(files.mask, mask, like=like)
