"""How SAM and DINO multiply: in which precision, and on a CPU by which of PyTorch's libraries.

PyTorch's products of float32 numbers on a CPU are MKL's, which uses half of the vector units of an
AMD processor. Those that it may round are oneDNN's, which uses all of them, and rounds only where a
processor has matrix units for bfloat16 (AMX). On all others that library is exact as well.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}  # numbers of the encoder on a GPU


@contextmanager
def matmul_precision(precision: str, device: str) -> Iterator[None]:
    """Products of float32 numbers are as `precision` asks on this device: cpu, or a GPU.

    fp32 rounds nothing; the others to TF32 on a GPU (where PyTorch by itself rounds in
    convolutions), and bf16 to bfloat16 on a CPU that has matrix units for it. The settings are the
    process's, so they are put back.
    """
    before = torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(_setting(precision, device))
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = convolutions


def _setting(precision: str, device: str) -> str:
    """PyTorch's own word for it."""
    if device == "cpu":
        return "medium" if precision == "bf16" or onednn_is_exact() else "highest"
    return {"fp32": "highest", "bf16": "medium"}.get(precision, "high")


@cache
def onednn_is_exact() -> bool:
    """Whether products that may be rounded keep float32's accuracy on this processor: it is tried.

    bfloat16 has 8 bits: one product in it is wrong by about 1e-3 of its size.
    """
    numbers = torch.Generator().manual_seed(0)
    for *batch, rows, inner, columns in ((256, 256, 256), (4, 56, 112, 1024), (4, 56, 16, 512)):
        a = torch.rand(*batch, rows, inner, generator=numbers)
        b = torch.rand(*batch, inner, columns, generator=numbers)
        exact = a.double() @ b.double()
        with matmul_precision("bf16", "cpu"):
            found = a @ b
        if ((found - exact).abs() > 1e-5 * exact).any():
            return False
    return True
