"""SHA-256 of files, and whether it is the expected one. Standard library only."""

import hashlib
from pathlib import Path

from umsam.errors import InputError


def sha256_of(path: str | Path) -> str:
    """The checksum of a file in hexadecimal, read block by block."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str | None, key: str) -> None:
    """Compare a file's SHA-256 with what the configuration states under `key`; None is not checked.

    Raises
    ------
    InputError
        They differ: names both.
    """
    if expected is None:
        return
    found = sha256_of(path)
    if found != expected:
        raise InputError(
            f"{path}: sha256 is {found}, but {key} states {expected}. The file is another one or "
            f"was cut short: fetch it again, or correct {key}."
        )
