import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def sam():
    from tiny_sam import tiny_sam

    torch.manual_seed(3)
    return tiny_sam()
