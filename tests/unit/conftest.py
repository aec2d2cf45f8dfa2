"""Fixtures that restore global state, and a tiny SAM."""

import logging
import sys

import pytest


@pytest.fixture(autouse=True)
def denormal_numbers_as_before():
    """Restore denormal numbers, which a job on the CPU disables for the process of all tests."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture
def logging_as_before():
    """Restore the root logger, which a job reconfigures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def sam():
    import torch
    from tiny_sam import tiny_sam

    torch.manual_seed(3)
    return tiny_sam()
