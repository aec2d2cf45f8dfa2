"""Where a run's results come from: code, software, settings, and checksums of what was read."""

import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from umsam.checksums import sha256_of


def checksums(files: Iterable[str | Path]) -> list[dict[str, Any]]:
    """``file``, ``bytes`` and ``sha256`` of each file, in order."""
    return [
        {"file": str(path), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in map(Path, files)
    ]


def git_state(root: str | Path) -> dict[str, Any] | None:
    """The commit of the checkout at `root` and the files that differ from it; None without git."""
    try:
        commit = _git(root, "rev-parse", "HEAD").strip()
        changed = _git(root, "status", "--porcelain", "--untracked-files=no").splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "changed": [line[3:] for line in changed]}


def _git(root: str | Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def software(environments: Iterable[str | Path]) -> dict[str, Any]:
    """Versions: of Python and every package here, and the packages that the conda files ask for.

    With conda, each stage runs in the environment of its rule, and this job in one of them alone.
    """
    installed = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted(installed.items(), key=lambda item: item[0].lower())),
        "conda": {Path(path).name: _dependencies(path) for path in environments},
    }


def _dependencies(environment: str | Path) -> list[str]:
    lines = (line.strip() for line in Path(environment).read_text().splitlines())
    return [line.removeprefix("- ") for line in lines if line.startswith("- ")]
