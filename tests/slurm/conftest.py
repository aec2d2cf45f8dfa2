import pytest
from one_node import Slurm, obstacle


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A SLURM of one node with two GPUs that are none; gone when the tests end."""
    if reason := obstacle():
        pytest.skip(f"no SLURM for the tests: {reason}")
    with Slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running
