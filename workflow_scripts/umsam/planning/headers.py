"""The size of a volume, from the first bytes of its file.

Memory and time of a job depend on the size of its volumes. This runs for every job of a plan, on
machines that may lack the packages to read images, so it uses the standard library alone.
"""

import re
import struct
import zlib
from math import prod
from pathlib import Path

START = 65536  # bytes; enough for a text header with comments
TEXT_SIZES = re.compile(rb"^(?:DimSize\s*=|sizes:)\s*([\d \t]+)", re.MULTILINE)


def count_voxels(path: str | Path) -> int | None:
    """Number of voxels of a NIfTI, MetaImage or NRRD file.

    None if the file is missing or its header states no size; `umsam.data.volumes` reports such
    files.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(START)
        if start[:2] == b"\x1f\x8b":
            start = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, 1024)
    except (OSError, zlib.error):
        return None
    if text := TEXT_SIZES.search(start):
        sizes = [int(size) for size in text.group(1).split()]
    else:
        sizes = _nifti_sizes(start)
    return prod(max(size, 1) for size in sizes) if sizes else None


def _nifti_sizes(header: bytes) -> list[int]:
    """The sizes in a NIfTI-1 or NIfTI-2 header of either byte order; empty for other headers."""
    for order in "<>":
        for length, code, offset in ((348, "8h", 40), (540, "8q", 16)):
            if len(header) >= length and struct.unpack_from(f"{order}i", header)[0] == length:
                dimensions, *sizes = struct.unpack_from(order + code, header, offset)
                return list(sizes[: min(max(dimensions, 0), 7)])
    return []
