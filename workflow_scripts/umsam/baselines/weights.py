"""Weights of the comparison methods: where they lie, where they come from, whether they are right.

Looking is done while the workflow is planned, so it needs the standard library alone. Nothing is
loaded from a network here: a rule fetches files, and a job reads what is on the disk.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umsam.checksums import check_sha256, sha256_of

log = logging.getLogger(__name__)

HUB = "https://huggingface.co"
FOLDER = Path("weights")


@dataclass(frozen=True)
class Part:
    """One pretrained model: an entry of ``baselines.weights`` in the configuration.

    Attributes
    ----------
    key
        Name of the entry.
    model, revision
        Name on the hub and the commit (or branch) of its files.
    url
        Address of the folder of files, for what is not on the hub; None for the hub's.
    folder
        The user's own copy; None to look in ``weights/`` and in the hub's local cache.
    files
        File name -> SHA-256, or None where it is not known.
    """

    key: str
    model: str
    revision: str
    url: str | None
    folder: str | None
    files: Mapping[str, str | None]

    @property
    def source(self) -> str:
        """Address of the folder that the files come from."""
        return (self.url or f"{HUB}/{self.model}/resolve/{self.revision}").rstrip("/")

    @property
    def target(self) -> Path:
        """The folder that the files are fetched to, or copied to by hand."""
        return FOLDER / self.model.split("/")[-1]


def read_part(weights: Mapping[str, Mapping[str, Any]], key: str) -> Part:
    """An entry of the section ``baselines.weights``."""
    return Part(key=key, **weights[key])


def folder_of(part: Part, root: str | Path = ".") -> Path | None:
    """The folder that holds every file of a model; None where there is none.

    The configured folder alone, where there is one; else ``weights/`` and then the hub's cache
    (``HF_HUB_CACHE``, ``HF_HOME``). Relative paths are relative to `root`.
    """
    places = [Path(part.folder)] if part.folder else [part.target, _snapshot(part)]
    for place in places:
        place = Path(root) / place
        if all((place / file).is_file() for file in part.files):
            return place
    return None


def missing_weights(part: Part, root: str | Path = ".") -> str:
    """Which file is missing, from where, into which folder; empty when all are there."""
    if folder_of(part, root):
        return ""
    place = Path(part.folder) if part.folder else part.target
    absent = [file for file in part.files if not (Path(root) / place / file).is_file()]
    files = ", ".join(absent)
    if part.folder:
        return (
            f"{place} (baselines.weights.{part.key}.folder) lacks {files}: copy from "
            f"{part.source} into it"
        )
    return (
        f"{place} lacks {files}: `snakemake baseline_weights` fetches from {part.source}, or copy "
        f"into that folder by hand, or name yours in baselines.weights.{part.key}.folder"
    )


def check_weights(folder: str | Path, files: Mapping[str, str | None], key: str) -> None:
    """Compare the files of a model with their checksums, before anything is read from them.

    The checksum of a file that has none in the configuration is logged, to be pinned.

    Raises
    ------
    InputError
        A file is another one: names the file and both checksums.
    """
    for name, expected in files.items():
        path, setting = Path(folder) / name, f"baselines.weights.{key}.files[{name}]"
        if expected is None:
            log.info("%s: sha256 %s (not checked: %s is null)", path, sha256_of(path), setting)
        check_sha256(path, expected, setting)


def is_offline() -> bool:
    """Whether the user keeps the hub's clients off the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _snapshot(part: Part) -> Path:
    """Where the hub's own client keeps the files of a revision."""
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()
    repository = cache / f"models--{part.model.replace('/', '--')}"
    reference = repository / "refs" / part.revision
    commit = reference.read_text().strip() if reference.is_file() else part.revision
    return repository / "snapshots" / commit
