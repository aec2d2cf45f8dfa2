"""Files of pretrained models: where they come from, where they are, and which one a job uses.

`resources/weights.tsv` is the one table of addresses and checksums. No network is used here: a rule
downloads files, and a job reads them from the disk. Standard library only.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from umsam.checksums import fingerprint
from umsam.errors import InputError
from umsam.planning.configuration import Settings
from umsam.planning.remote_files import RemoteFile, read_rows, remote_file
from umsam.planning.wildcards import Files, Wildcards

HUB = "https://huggingface.co"
FOLDER = Path("weights")
TABLE = "resources/weights.tsv"
COLUMNS = ("model", "hub", "revision", "file", "url", "sha256", "bytes")


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model.

    Attributes
    ----------
    key
        Its name in the table and in ``baselines.weights``.
    hub, revision
        Its name on the hub and the commit (or branch) of its files; empty where it is not on the
        hub.
    files
        File name -> where the file comes from.
    folder
        The user's own copy; None: ``weights/`` or the hub's local cache.
    """

    key: str
    hub: str
    revision: str
    files: Mapping[str, RemoteFile]
    folder: str | None = None

    @property
    def target(self) -> Path:
        """The folder that the files are downloaded to, or copied to by hand."""
        return FOLDER / self.hub.split("/")[-1] if self.hub else FOLDER

    @property
    def source(self) -> str:
        """Address of the folder of the files."""
        return next(iter(self.files.values())).url.rpartition("/")[0]

    @property
    def checksums(self) -> dict[str, str | None]:
        """File name -> SHA-256, or None where it is not known."""
        return {name: file.sha256 for name, file in self.files.items()}

    def override(self, stated: Mapping[str, Any]) -> "Pretrained":
        """The model with what the user states of it in ``baselines.weights``.

        Files in the user's own folder are compared with the user's checksums alone.
        """
        hub = stated.get("hub", self.hub)
        revision = stated.get("revision", self.revision)
        base = stated.get("url") or (f"{HUB}/{hub}/resolve/{revision}" if hub else self.source)
        own = stated.get("sha256", {})
        moved = bool(stated.keys() & {"hub", "revision", "url", "folder"})
        files = {
            name: RemoteFile(
                f"{base.rstrip('/')}/{name}" if moved and not stated.get("folder") else file.url,
                own.get(name, None if moved else file.sha256),
                None if moved else file.bytes,
            )
            for name, file in self.files.items()
        }
        return replace(self, hub=hub, revision=revision, files=files, folder=stated.get("folder"))


def read_registry(path: str | Path) -> dict[str, Pretrained]:
    """Every pretrained model of the table, by its key.

    Raises
    ------
    InputError
        The table has other columns, or an impossible checksum or size.
    """
    models: dict[str, Pretrained] = {}
    for row in read_rows(path, COLUMNS):
        hub, revision, name = row["hub"], row["revision"], row["file"]
        url = row["url"] or f"{HUB}/{hub}/resolve/{revision}/{name}"
        before = models.get(row["model"], Pretrained(row["model"], hub, revision, {}))
        files = {**before.files, name: remote_file(path, row, url)}
        models[row["model"]] = replace(before, files=files)
    return models


def find_folder(model: Pretrained, root: str | Path = ".") -> Path | None:
    """The folder that holds every file of a model; None where there is none.

    The user's own folder, if one is stated, and no other; else ``weights/``, then the hub's cache
    (``HF_HUB_CACHE``, ``HF_HOME``). Relative paths are relative to `root`.
    """
    places = [model.target]
    if model.folder:
        places = [Path(model.folder)]
    elif model.hub:
        places.append(_snapshot(model))
    for place in places:
        folder = Path(root) / place
        if all((folder / file).is_file() for file in model.files):
            return folder
    return None


def explain_missing(model: Pretrained, root: str | Path = ".") -> str:
    """Which file is missing, where it comes from and where it belongs; empty if none is missing."""
    if find_folder(model, root):
        return ""
    place = Path(model.folder) if model.folder else model.target
    absent = [file for file in model.files if not (Path(root) / place / file).is_file()]
    files = ", ".join(absent)
    if model.folder:
        return (
            f"{place} (baselines.weights.{model.key}.folder) lacks {files}: copy from "
            f"{model.source} into it"
        )
    return (
        f"{place} lacks {files}: `snakemake baseline_weights` downloads from {model.source}, or "
        "copy into that folder by hand, or name your folder in "
        f"baselines.weights.{model.key}.folder"
    )


def is_offline() -> bool:
    """Whether the user keeps the hub's clients off the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _snapshot(model: Pretrained) -> Path:
    """Where the hub's own client keeps the files of a revision."""
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()
    repository = cache / f"models--{model.hub.replace('/', '--')}"
    reference = repository / "refs" / model.revision
    commit = reference.read_text().strip() if reference.is_file() else model.revision
    return repository / "snapshots" / commit


class Weights:
    """The checkpoints that the jobs of a run use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = read_registry(settings.root / TABLE)

    def model(self, dataset: str, key: str) -> Pretrained:
        """A pretrained model of the comparison, with the data set's overrides."""
        stated = self.settings.of(dataset)["baselines"]["weights"]
        return self.registry[key].override(stated.get(key) or {})

    # ---- SAM and DINO

    def sam(self, wildcards: Wildcards) -> str:
        """The checkpoint of SAM: the user's file, the shipped one, or the one a rule downloads."""
        sam = self.settings.of(wildcards.dataset)["sam"]
        if sam["checkpoint"]:
            return sam["checkpoint"]
        if sam["model"] == "compact":
            return self.settings.shipped("resources/compact_sam.pt")
        return str(FOLDER / f"sam_{sam['model']}.pth")

    def dino(self, wildcards: Wildcards) -> str | list[str]:
        """The checkpoint of DINO: the user's file, the shipped one, or none (timm's hub)."""
        dino = self.settings.of(wildcards.dataset)["dino"]
        if dino["checkpoint"]:
            return dino["checkpoint"]
        compact = dino["model"] == "compact"
        return self.settings.shipped("resources/compact_dino.pt") if compact else []

    def sam_content(self, wildcards: Wildcards) -> str:
        """Fingerprint of SAM's checkpoint, whose time stamp is no reliable sign of change."""
        return self._content(self.sam(wildcards))

    def sam_identity(self, wildcards: Wildcards) -> dict[str, Any]:
        """Which SAM it is; no threshold of everything mode changes the answer to a prompt."""
        sam = self.settings.of(wildcards.dataset)["sam"]
        chosen = {key: sam[key] for key in ("model", "sha256")}
        return {**chosen, "content": self.sam_content(wildcards)}

    def dino_identity(self, wildcards: Wildcards) -> dict[str, Any]:
        """Which DINO it is, and how it sees a slice."""
        dino = self.settings.of(wildcards.dataset)["dino"]
        keys = ("model", "sha256", "image_size", "batch_size")
        chosen = {key: dino[key] for key in keys}
        return {**chosen, "content": self._content(self.dino(wildcards) or "")}

    def used(self, wildcards: Wildcards) -> list[str]:
        """The checkpoints of SAM and DINO that are files: timm's are named in the settings."""
        dino = self.dino(wildcards)
        return [self.sam(wildcards), *([dino] if isinstance(dino, str) else [])]

    def _content(self, path: str | list[str]) -> str:
        """Fingerprint of a checkpoint of the user's or of ours.

        Empty for one that a rule makes or downloads: it may not exist while the run is planned.
        """
        if not isinstance(path, str) or path.startswith(("weights/sam_", "results/")):
            return ""
        return _fingerprint_once(path)

    def check_files(self) -> None:
        """Raise an `InputError` for a checkpoint of the user's that does not exist."""
        for dataset in self.settings.run:
            for section in ("sam", "dino"):
                own = self.settings.of(dataset)[section]["checkpoint"]
                if own and not own.startswith("results/") and not Path(own).is_file():
                    fault = "is a folder, not a file" if Path(own).is_dir() else "no such file"
                    raise InputError(
                        f"{section}.checkpoint: {own}: {fault}. Correct the path in the "
                        "configuration."
                    )

    # ---- models of the comparison

    def files(self, key: str) -> Files:
        """A function of the wildcards that gives the files of a model."""

        def paths(wildcards: Wildcards) -> list[str]:
            model = self.model(wildcards.dataset, key)
            folder = find_folder(model)
            if folder is None:
                raise InputError(f"{explain_missing(model)}.")
            return [str(folder / file) for file in model.files]

        return paths

    def checksums(self, key: str) -> Callable[[Wildcards], dict[str, str | None]]:
        """The same for file name -> SHA-256."""
        return lambda wildcards: self.model(wildcards.dataset, key).checksums

    def downloads(self, keys: Mapping[str, list[str]]) -> dict[str, RemoteFile]:
        """Path below ``weights/`` -> source, for every SAM and for the models of each data set."""
        models = [model for model in self.registry.values() if not model.hub]
        models += [self.model(dataset, key) for dataset in keys for key in keys[dataset]]
        return {
            str((model.target / name).relative_to(FOLDER)): file
            for model in models
            if not model.folder
            for name, file in model.files.items()
        }


@cache
def _fingerprint_once(path: str) -> str:
    return fingerprint(path)
