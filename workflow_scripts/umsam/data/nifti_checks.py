"""Faults of NIfTI files that ITK's reader does not report: truncation and non-finite values.

The reader pads a truncated compressed file and converts NaN and infinities to 0. This module finds
both in the bytes of the file.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

HEADER = 348  # bytes of a NIfTI-1 header

FLOAT_TYPES = {16: "f4", 64: "f8"}  # NIfTI code -> NumPy type


def find_nifti_fault(path: Path) -> str | None:
    """Describe the fault in the bytes of a ``.nii`` or ``.nii.gz`` file; None if there is none."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return f"damaged or cut short: {error}"
    if len(data) < 348:
        return f"cut short: {len(data)} bytes are less than a NIfTI header"
    for order in "<>":
        (header_size,) = struct.unpack_from(f"{order}i", data, 0)
        if header_size == 348:  # NIfTI-1
            sizes = struct.unpack_from(f"{order}8h", data, 40)
            code, bits = struct.unpack_from(f"{order}2h", data, 70)
            start = int(struct.unpack_from(f"{order}f", data, 108)[0])
        elif header_size == 540 and len(data) >= 540:  # NIfTI-2
            code, bits = struct.unpack_from(f"{order}2h", data, 12)
            sizes = struct.unpack_from(f"{order}8q", data, 16)
            (start,) = struct.unpack_from(f"{order}q", data, 168)
        else:
            continue
        break
    else:
        return "not NIfTI: the header size is neither 348 nor 540"

    voxels = int(np.prod([max(size, 1) for size in sizes[1 : 1 + sizes[0]]], dtype=np.int64))
    missing = start + voxels * bits // 8 - len(data)
    if missing > 0:
        return f"cut short: {missing} bytes of its {voxels} voxels are missing"
    if code in FLOAT_TYPES:
        values = np.frombuffer(data, f"{order}{FLOAT_TYPES[code]}", voxels, start)
        count = voxels - int(np.count_nonzero(np.isfinite(values)))
        if count:
            return f"{count} of {voxels} voxels are not finite (NaN or infinite)"
    return None


def is_cut_short(path: Path) -> bool:
    """Whether a ``.nii.gz`` file of the pipeline is cut short, without decompressing its voxels.

    A gzip file ends in the length of its content (RFC 1952), which the NIfTI-1 header states too.
    """
    with path.open("rb") as file:
        try:
            start = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(file.read(65536), HEADER)
        except zlib.error:
            return True
        if len(start) < HEADER or file.seek(0, 2) < HEADER // 8:
            return True
        file.seek(-4, 2)
        (length,) = struct.unpack("<I", file.read(4))
    number, *sizes = struct.unpack_from("<8h", start, 40)
    (bits,) = struct.unpack_from("<h", start, 72)
    (offset,) = struct.unpack_from("<f", start, 108)
    voxels = math.prod(max(size, 1) for size in sizes[:number])
    return length != (int(offset) + voxels * bits // 8) % 2**32
