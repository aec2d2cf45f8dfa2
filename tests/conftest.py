"""A copy of the repository to run Snakemake in, so that tests can edit it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores; read when torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if not Path("/dev/nvidia0").exists():  # GPU kernels are interpreted; read when Triton is imported
    os.environ["TRITON_INTERPRET"] = "1"

ROOT = Path(__file__).parents[1]
PARTS = (
    "Snakefile",
    "from_tables.smk",
    "config.yaml",
    "rules",
    "envs",
    "schemas",
    "profiles",
    "captions",
    "resources",
    "workflow_scripts",
)


@dataclass
class Checkout:
    """A working copy in which `snakemake` is run as a user would."""

    path: Path

    def snakemake(self, *arguments: str, check: bool = True, **environment: str) -> str:
        """What the command prints, both streams together."""
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.path,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert not check or done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def planned(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule a run would do now, by Snakemake's own dry run."""
        text = self.snakemake("--dry-run", "--quiet", "rules", *arguments)
        if "Nothing to be done" in text:
            return {}
        lines = text.split("Job stats:")[1].split("total")[0].splitlines()
        rows = [line.split() for line in lines]
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def copy_of_the_repository(path: Path) -> Checkout:
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, path / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            path.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, path / part)
    return Checkout(path)


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return copy_of_the_repository(tmp_path / "um-sam")


@pytest.fixture(scope="module")
def shared_checkout(tmp_path_factory) -> Checkout:
    return copy_of_the_repository(tmp_path_factory.mktemp("run") / "um-sam")
