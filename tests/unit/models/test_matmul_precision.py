"""Which products are rounded: against float64, and with a processor that rounds imitated."""

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from umsam.models import matmul_precision as module
from umsam.models.matmul_precision import onednn_is_exact, matmul_precision


def largest_error(rows=300, inner=200, columns=100):
    """Of a product of positive numbers, as a share of each sum."""
    a, b = torch.rand(2, rows, inner), torch.rand(2, inner, columns)
    exact = a.double() @ b.double()
    return float(((a @ b - exact).abs() / exact).max())


@pytest.mark.parametrize("asked", ["fp32", "tf32", "fp16"])
def test_on_a_cpu_no_product_is_rounded_but_in_bf16(asked):
    with matmul_precision(asked, "cpu"):
        assert largest_error() < 1e-5


def test_bf16_on_a_cpu_rounds_nothing_without_matrix_units():
    flags = Path("/proc/cpuinfo")
    matrix_units = flags.exists() and "amx_bf16" in flags.read_text()
    with matmul_precision("bf16", "cpu"):
        assert largest_error() < (1e-2 if matrix_units else 1e-5)


def test_a_processor_that_rounds_is_found_out():
    class Rounding(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            product = function in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)
            if product and args[0].dtype == torch.float32:
                args = [each.bfloat16().float() for each in args]
            return function(*args, **(kwargs or {}))

    with Rounding():
        assert not onednn_is_exact.__wrapped__()


@pytest.mark.parametrize("exact", [True, False])
def test_rounded_products_are_left_alone_where_they_are_rounded(monkeypatch, exact):
    monkeypatch.setattr(module, "onednn_is_exact", lambda: exact)
    with matmul_precision("fp32", "cpu"):
        assert torch.get_float32_matmul_precision() == ("medium" if exact else "highest")


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("before", ["highest", "high"])
def test_the_process_keeps_its_settings(precision, device, before):
    own = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(before)
    torch.backends.cudnn.allow_tf32 = not own[1]
    try:
        with pytest.raises(ZeroDivisionError), matmul_precision(precision, device):
            assert torch.backends.cudnn.allow_tf32 == (precision != "fp32")
            raise ZeroDivisionError
        assert torch.get_float32_matmul_precision() == before
        assert torch.backends.cudnn.allow_tf32 != own[1]
    finally:
        torch.set_float32_matmul_precision(own[0])
        torch.backends.cudnn.allow_tf32 = own[1]


def test_fp32_on_a_gpu_is_float32():
    with matmul_precision("fp32", "cuda"):
        assert torch.get_float32_matmul_precision() == "highest"
