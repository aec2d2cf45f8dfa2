"""Checksums of files. Standard library only."""

import hashlib
from pathlib import Path

from umsam.errors import InputError

# Sampled by `fingerprint`.
BLOCK = 2**16  # bytes
BLOCKS = 64


def sha256_of(path: str | Path) -> str:
    """Compute the SHA-256 of a file in hexadecimal, block by block."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: str | Path) -> str:
    """Hash the size of a file and 64 blocks spread over it; fast even for gigabytes.

    Different checkpoints differ almost everywhere, so the sampled blocks tell them apart. A file
    of up to 4 MB is read completely. The last block is always included because a PyTorch file ends
    with the checksums of all its parts. A missing file has the hash "".
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
    """Compare the SHA-256 of a file with the value that the configuration states under `key`.

    Nothing is checked if `expected` is None.

    Raises
    ------
    InputError
        The checksums differ.
    """
    if expected is None:
        return
    actual = sha256_of(path)
    if actual != expected:
        raise InputError(
            f"{path}: sha256 is {actual}, but {key} states {expected}. The file is a different "
            f"one or incomplete: download it again, or correct {key}."
        )
