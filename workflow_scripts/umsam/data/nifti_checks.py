"""What ITK's NIfTI reader lets pass in silence: files cut short, and values that are not finite.

The reader fills what is missing of a compressed file and turns NaN and infinities into 0. Both are
looked for here, in the bytes.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

FLOATS = {16: "f4", 64: "f8"}  # NIfTI's codes of real floating-point types


def nifti_fault(path: Path) -> str | None:
    """What is wrong with the bytes of a ``.nii`` or ``.nii.gz`` file, in words; None if nothing."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return f"damaged or cut short: {error}"
    if len(data) < 348:
        return f"cut short: {len(data)} bytes are no NIfTI header"
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
        return "not NIfTI: its header has neither known size"

    voxels = int(np.prod([max(size, 1) for size in sizes[1 : 1 + sizes[0]]], dtype=np.int64))
    missing = start + voxels * bits // 8 - len(data)
    if missing > 0:
        return f"cut short: {missing} bytes of its {voxels} voxels are missing"
    if code in FLOATS:
        values = np.frombuffer(data, f"{order}{FLOATS[code]}", voxels, start)
        bad = voxels - int(np.count_nonzero(np.isfinite(values)))
        if bad:
            return f"{bad} of {voxels} voxels are not finite (NaN or infinite)"
    return None
