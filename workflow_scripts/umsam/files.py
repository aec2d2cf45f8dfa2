"""Outputs that are written whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path


def _beside(path: Path) -> Path:
    """A name in the same folder (same file system) that keeps every suffix: ``.~42~a.nii.gz``.

    What jobs that were killed have left there of the same output is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".~*~{escape(path.name)}"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
    return path.with_name(f".~{os.getpid()}~{path.name}")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` only if the block ends well.

    An interrupted or failed block leaves what was at `path` before untouched.
    """
    path = Path(path)
    temporary = _beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """The same for a folder of files: it appears with all of them, or not."""
    path = Path(path)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
