"""Atomic outputs: a file or folder appears complete or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path


def _temporary_path(path: Path) -> Path:
    """Return a temporary path in the same folder that keeps every suffix: ``.~42~a.nii.gz``.

    The same folder is on the same file system, so the result can be renamed. Temporary files that
    killed jobs left for the same output are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".~*~{escape(path.name)}"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    return path.with_name(f".~{os.getpid()}~{path.name}")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path and rename it to `path` if the block succeeds.

    If the block fails or is interrupted, an existing file at `path` stays unchanged.
    """
    path = Path(path)
    temporary = _temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder and rename it to `path` if the block succeeds."""
    path = Path(path)
    temporary = _temporary_path(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
