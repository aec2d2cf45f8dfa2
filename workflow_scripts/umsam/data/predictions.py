"""What every method leaves of a volume: the mask and, beside it, what it took."""

import json
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from umsam.data.volumes import Volume, write_volume
from umsam.files import atomic_write


class PredictionFiles(Protocol):
    """Paths of the mask and of its JSON."""

    mask: str
    time: str


def write_prediction(
    files: PredictionFiles,
    mask: NDArray[np.bool_],
    like: Volume,
    seconds: float,
    **details: Any,
) -> None:
    """Write a mask [Z, Y, X] with the geometry of `like`, and its seconds and details as JSON.

    `seconds` are those of the method on this volume: without the start of the program, the reading
    of files and the loading of weights.
    """
    with atomic_write(files.time) as path:
        path.write_text(json.dumps({"seconds": round(seconds, 4), **details}) + "\n")
    write_volume(files.mask, mask, like=like)
