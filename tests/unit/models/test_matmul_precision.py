"""Which products are rounded: compared with float64, and with a simulated processor."""

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from umsam.models import matmul_precision as module
from umsam.models.matmul_precision import matmul_precision, onednn_is_exact


def largest_relative_error(rows=300, inner=200, columns=100):
    """Return the largest relative error of a product of positive matrices."""
    a, b = torch.rand(2, rows, inner), torch.rand(2, inner, columns)
    exact = a.double() @ b.double()
    return float(((a @ b - exact).abs() / exact).max())


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_a_cpu_rounds_products_only_in_bf16(precision):
    with matmul_precision(precision, "cpu"):
        assert largest_relative_error() < 1e-5


def test_a_cpu_without_matrix_units_does_not_round_in_bf16():
    flags = Path("/proc/cpuinfo")
    matrix_units = flags.exists() and "amx_bf16" in flags.read_text()
    with matmul_precision("bf16", "cpu"):
        assert largest_relative_error() < (1e-2 if matrix_units else 1e-5)


def test_a_processor_that_rounds_is_detected():
    class Rounding(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            product = function in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)
            if product and args[0].dtype == torch.float32:
                args = [matrix.bfloat16().float() for matrix in args]
            return function(*args, **(kwargs or {}))

    with Rounding():
        assert not onednn_is_exact.__wrapped__()


@pytest.mark.parametrize("exact", [True, False])
def test_fp32_uses_onednn_only_if_it_is_exact(monkeypatch, exact):
    monkeypatch.setattr(module, "onednn_is_exact", lambda: exact)
    with matmul_precision("fp32", "cpu"):
        assert torch.get_float32_matmul_precision() == ("medium" if exact else "highest")


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("before", ["highest", "high"])
def test_the_settings_of_the_process_are_restored(precision, device, before):
    def fail():
        with matmul_precision(precision, device):
            assert torch.backends.cudnn.allow_tf32 == (precision != "fp32")
            raise ZeroDivisionError

    own = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(before)
    torch.backends.cudnn.allow_tf32 = not own[1]
    try:
        with pytest.raises(ZeroDivisionError):
            fail()
        assert torch.get_float32_matmul_precision() == before
        assert torch.backends.cudnn.allow_tf32 != own[1]
    finally:
        torch.set_float32_matmul_precision(own[0])
        torch.backends.cudnn.allow_tf32 = own[1]


def test_fp32_on_a_gpu_does_not_round():
    with matmul_precision("fp32", "cuda"):
        assert torch.get_float32_matmul_precision() == "highest"
