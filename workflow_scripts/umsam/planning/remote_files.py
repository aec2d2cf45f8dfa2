"""Tables of files to fetch: name, address, checksum, size. Standard library only."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from umsam.errors import InputError

COLUMNS = ["file", "url", "sha256", "bytes"]


@dataclass(frozen=True)
class RemoteFile:
    """Where a file comes from; `sha256` and `bytes` are None where they are not known."""

    url: str
    sha256: str | None
    bytes: int | None


def read_remote_files(path: str | Path) -> dict[str, RemoteFile]:
    """Read a TSV with the columns file, url, sha256, bytes; the last two may be empty.

    Raises
    ------
    InputError
        The table has other columns, or a checksum or size that cannot be one.
    """
    with open(path, newline="", encoding="utf-8") as stream:
        table = csv.DictReader(stream, delimiter="\t")
        if table.fieldnames != COLUMNS:
            raise InputError(f"{path}: the columns must be {', '.join(COLUMNS)}, by tabs.")
        files = {}
        for row in table:
            sha256, size = row["sha256"] or None, row["bytes"] or None
            if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
                raise InputError(f"{path}: {row['file']} has the sha256 {sha256!r}: not 64 digits.")
            if size and not size.isdecimal():
                raise InputError(f"{path}: {row['file']} has the size {size!r}: not whole bytes.")
            files[row["file"]] = RemoteFile(row["url"], sha256, int(size) if size else None)
    return files
