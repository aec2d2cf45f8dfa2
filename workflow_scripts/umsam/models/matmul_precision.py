"""The precision of SAM's and DINO's matrix products, and on a CPU the library that computes them.

On a CPU, PyTorch computes float32 products with MKL, which uses half of the vector units of an AMD
processor. Products that may be rounded go to oneDNN, which uses all of them. oneDNN rounds only on
processors with matrix units for bfloat16 (AMX); on all others it is exact as well.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Number formats of the encoder on a GPU."""


@contextmanager
def matmul_precision(precision: str, device: str) -> Iterator[None]:
    """Set the precision of float32 products on a device, ``cpu`` or a GPU.

    fp32 rounds nothing. On a GPU, the others round to TF32, as PyTorch does in convolutions by
    default. On a CPU, bf16 rounds to bfloat16 if the processor has matrix units for it, and the
    others round nothing. The settings belong to the process and are restored at the end.
    """
    matmul_before = torch.get_float32_matmul_precision()
    convolutions_before = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(_torch_setting(precision, device))
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul_before)
        torch.backends.cudnn.allow_tf32 = convolutions_before


def _torch_setting(precision: str, device: str) -> str:
    if device == "cpu":
        return "medium" if precision == "bf16" or onednn_is_exact() else "highest"
    return {"fp32": "highest", "bf16": "medium"}.get(precision, "high")


@cache
def onednn_is_exact() -> bool:
    """Test whether products that may be rounded keep float32's accuracy on this processor.

    bfloat16 has 8 significant bits, so a product in it has a relative error of about 1e-3.
    """
    generator = torch.Generator().manual_seed(0)
    for *batch, rows, inner, columns in ((256, 256, 256), (4, 56, 112, 1024), (4, 56, 16, 512)):
        a = torch.rand(*batch, rows, inner, generator=generator)
        b = torch.rand(*batch, inner, columns, generator=generator)
        exact = a.double() @ b.double()
        with matmul_precision("bf16", "cpu"):
            product = a @ b
        if ((product - exact).abs() > 1e-5 * exact).any():
            return False
    return True
