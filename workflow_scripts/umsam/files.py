"""Outputs that are written whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _beside(path: Path) -> Path:
    """A name in the same folder (same file system) that keeps every suffix: ``.~42~a.nii.gz``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".~{os.getpid()}~{path.name}")


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
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
def whole_directory(path: str | Path) -> Iterator[Path]:
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
