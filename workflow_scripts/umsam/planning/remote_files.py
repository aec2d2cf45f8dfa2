"""Tables of files to download: name, address, checksum, size. Standard library only."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umsam.errors import InputError

COLUMNS = ("file", "url", "sha256", "bytes")


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
        The table has other columns, or an impossible checksum or size.
    """
    return {row["file"]: remote_file(path, row, row["url"]) for row in read_rows(path, COLUMNS)}


def read_rows(path: str | Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a TSV that must have exactly these columns."""
    with open(path, newline="", encoding="utf-8") as stream:
        table = csv.DictReader(stream, delimiter="\t")
        if tuple(table.fieldnames or ()) != tuple(columns):
            raise InputError(
                f"{path}: the columns must be {', '.join(columns)}, separated by tabs."
            )
        return list(table)


def remote_file(path: str | Path, row: Mapping[str, str], url: str) -> RemoteFile:
    """The file that a row of the table at `path` describes."""
    sha256, size = row["sha256"] or None, row["bytes"] or None
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise InputError(
            f"{path}: the sha256 of {row['file']}, {sha256!r}, does not have 64 hexadecimal digits."
        )
    if size and not size.isdecimal():
        raise InputError(f"{path}: the size of {row['file']}, {size!r}, is not a number of bytes.")
    return RemoteFile(url, sha256, int(size) if size else None)


def field_of(files: Mapping[str, RemoteFile], name: str) -> Callable[[Any], Any]:
    """A function of the wildcards that gives a field of the wildcard {file}."""
    return lambda wildcards: getattr(files[wildcards.file], name)
