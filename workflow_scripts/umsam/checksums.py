"""Checksums of files, and whether one is the expected one. Standard library only."""

import hashlib
from pathlib import Path

from umsam.errors import InputError

BLOCK, BLOCKS = 2**16, 64  # bytes; of a fingerprint


def sha256_of(path: str | Path) -> str:
    """The checksum of a file in hexadecimal, read block by block."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: str | Path) -> str:
    """A hash of a file's size and of 64 blocks spread over it: quick, also for gigabytes.

    It says whether a checkpoint is another one, which differs nearly everywhere; a file of up to
    4 MB is read whole. A PyTorch file ends in the checksums of all its parts, and its last block
    counts. A file that is not there has the hash "".
    """
    path = Path(path)
    if not path.is_file():
        return ""
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size} ".encode())
    last = max(0, size - BLOCK)
    with path.open("rb") as file:
        for number in range(BLOCKS):
            file.seek(last * number // (BLOCKS - 1) if size > BLOCK * BLOCKS else number * BLOCK)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()[:16]


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
