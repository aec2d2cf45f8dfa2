"""The origin of a run's results: code, software, and checksums of the input files."""

import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from umsam.checksums import sha256_of


def list_checksums(files: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Return ``file``, ``bytes`` and ``sha256`` of each file, in order."""
    return [
        {"file": str(path), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in map(Path, files)
    ]


def read_git_state(root: str | Path) -> dict[str, Any] | None:
    """Return the commit of the checkout at `root` and its changed files; None without git."""
    try:
        commit = _run_git(root, "rev-parse", "HEAD").strip()
        changed = _run_git(root, "status", "--porcelain", "--untracked-files=no").splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "changed": [line[3:] for line in changed]}


def _run_git(root: str | Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def list_software(environments: Iterable[str | Path]) -> dict[str, Any]:
    """Return the versions of Python, of all installed packages, and of the conda environments.

    With conda, each rule runs in its own environment, and the installed packages are those of the
    environment of this job. The packages that the conda files request are therefore listed too.
    """
    installed = {package.metadata["Name"]: package.version for package in metadata.distributions()}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted(installed.items(), key=lambda item: item[0].lower())),
        "conda": {Path(path).name: _read_dependencies(path) for path in environments},
    }


def _read_dependencies(environment: str | Path) -> list[str]:
    lines = (line.strip() for line in Path(environment).read_text().splitlines())
    return [line.removeprefix("- ") for line in lines if line.startswith("- ")]
