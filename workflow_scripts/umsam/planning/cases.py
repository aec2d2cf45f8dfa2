"""The cases of a data set: its sample sheet, its splits, and the files of each case."""

import os
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from umsam.errors import InputError
from umsam.planning.configuration import Settings
from umsam.planning.sample_sheet import SPLITS, Sample, read_sample_sheet
from umsam.planning.wildcards import Files, Wildcards

DOWNLOADED = ("data/fetal_sample", "data/promise12")
PROMISE12_HOME = "data/promise12"
PROMISE12_SHEET = f"{PROMISE12_HOME}/samples.tsv"
# What a run leaves out where the cases of a split have no label.
NEEDS_LABELS = {"train": "Fig. 3a and FullySup", "val": "Fig. 3b", "test": "Table 1"}


class Cases:
    """The cases of every data set, as the sample sheets list them.

    Parameters
    ----------
    promise12_sheet
        Gives the path of PROMISE12's sheet once its rule, a checkpoint, has written it.
    """

    def __init__(
        self, settings: Settings, promise12_sheet: Callable[[], str] = lambda: PROMISE12_SHEET
    ) -> None:
        self.settings = settings
        self._promise12_sheet = promise12_sheet

    # ---- the sheet

    def data_root(self, dataset: str) -> str | None:
        """The folder of a data set's files: its own key, or the local copy in UMSAM_DATA_ROOT."""
        own, local = self.settings.of(dataset).get("data_root"), os.environ.get("UMSAM_DATA_ROOT")
        if own in DOWNLOADED and local:
            below = Path(local) / Path(own).name
            return str(below if below.is_dir() else local)
        return own

    def sheet(self, dataset: str) -> str:
        """Path of the sample sheet; PROMISE12's is written once its archives are unpacked."""
        stated = self.settings.of(dataset)["samples"]
        return self._promise12_sheet() if stated == PROMISE12_SHEET else stated

    def samples(self, dataset: str) -> list[Sample]:
        """The rows of the sample sheet."""
        return list(self._by_name(dataset).values())

    def _by_name(self, dataset: str) -> dict[str, Sample]:
        return self._read(dataset, Path(self.sheet(dataset)))

    def _read(self, dataset: str, sheet: Path) -> dict[str, Sample]:
        stamp = sheet.stat().st_mtime_ns if sheet.is_file() else 0
        return _read_once(sheet, self.data_root(dataset), stamp)

    def names(
        self,
        dataset: str,
        split: str | Iterable[str] = SPLITS,
        labelled: bool | None = None,
    ) -> list[str]:
        """Names of the cases of a split (or several), optionally with or without labels only."""
        splits = (split,) if isinstance(split, str) else tuple(split)
        return [
            sample.case
            for sample in self.samples(dataset)
            if sample.split in splits and labelled in (None, sample.label is not None)
        ]

    # ---- what rules ask for

    def all_names(self, wildcards: Wildcards) -> list[str]:
        """Names of all cases, in the order of the sheet."""
        return self.names(wildcards.dataset)

    def splits(self, wildcards: Wildcards) -> list[str]:
        """The split of each case, in the same order."""
        return [sample.split for sample in self.samples(wildcards.dataset)]

    def training_names(self, wildcards: Wildcards) -> list[str]:
        """Names of the training cases."""
        return self.names(wildcards.dataset, "train")

    def labelled_training_names(self, wildcards: Wildcards) -> list[str]:
        """Names of the training cases that have a label."""
        return self.names(wildcards.dataset, "train", labelled=True)

    def unlabelled_test_names(self, wildcards: Wildcards) -> list[str]:
        """Names of the test cases that have no label."""
        return self.names(wildcards.dataset, "test", labelled=False)

    def sample(self, wildcards: Wildcards) -> Sample:
        """The row of the sheet that a job is for."""
        sample = self._by_name(wildcards.dataset).get(wildcards.case)
        if sample is None:
            raise InputError(
                f"{wildcards.dataset}: no case {wildcards.case!r} in "
                f"{self.sheet(wildcards.dataset)}."
            )
        return sample

    def image(self, wildcards: Wildcards) -> str:
        """The image of a case, as the sheet names it."""
        return str(self.sample(wildcards).image)

    def label(self, wildcards: Wildcards) -> str:
        """The label of a case, as the sheet names it."""
        label = self.sample(wildcards).label
        if label is None:
            raise InputError(
                f"{wildcards.dataset}: case {wildcards.case} has no label in "
                f"{self.sheet(wildcards.dataset)}."
            )
        return str(label)

    def source_files(self, wildcards: Wildcards) -> list[str]:
        """The images and labels of all cases."""
        samples = self.samples(wildcards.dataset)
        return [str(file) for sample in samples for file in (sample.image, sample.label) if file]

    def each(
        self, pattern: str, split: str | Iterable[str] = SPLITS, labelled: bool | None = None
    ) -> Files:
        """A function of the wildcards that fills {case} of `pattern` with the cases of a split."""

        def paths(wildcards: Wildcards) -> list[str]:
            names = self.names(wildcards.dataset, split, labelled)
            known = dict(wildcards.items())
            return [pattern.format(**{**known, "case": name}) for name in names]

        return paths

    def each_training(self, pattern: str) -> Files:
        """The same over the training cases; a data set without any is an error."""
        files = self.each(pattern, "train")

        def paths(wildcards: Wildcards) -> list[str]:
            if not (training := files(wildcards)):
                raise InputError(
                    f"{self.sheet(wildcards.dataset)}: no case has the split train. Clusters and "
                    "networks are fitted to the training cases: give at least one case that split. "
                    "Without labels, all cases can be train."
                )
            return training

        return paths

    # ---- PROMISE12

    def promise12_root(self, wildcards: Any = None) -> str:
        """The folder of PROMISE12, which all data sets of the run with its sheet share."""
        users = [
            name
            for name in self.settings.run
            if self.settings.of(name)["samples"] == PROMISE12_SHEET
        ]
        roots = {self.data_root(name) or PROMISE12_HOME for name in users or ["promise12"]}
        if len(roots) > 1:
            raise InputError(
                f"configuration: {', '.join(users)} share the sheet {PROMISE12_SHEET}, but have "
                f"different values of data_root: {', '.join(sorted(roots))}. Give all of them the "
                "same one."
            )
        return roots.pop()

    def promise12_folders(self, archives: Iterable[str]) -> Callable[[Any], list[Path]]:
        """A function that gives the unpacked folders of the archives, or those of a local copy."""
        names = folders_of(archives)

        def folders(wildcards: Any) -> list[Path]:
            root = Path(self.promise12_root())
            own = root != Path(PROMISE12_HOME)
            return [root / name for name in names if not own or (root / name).is_dir()]

        return folders

    def phantoms(self) -> list[str]:
        """The data sets that a rule generates."""
        return [name for name, block in self.settings.datasets.items() if "phantom" in block]

    # ---- checks before anything runs

    def check_files(self) -> None:
        """Raise an `InputError` that names every file of the run's sheets that does not exist.

        Snakemake would take the results of a deleted file for up to date.
        """
        for dataset in self.settings.run:
            chosen = self.settings.of(dataset)
            sheet = Path(chosen["samples"])
            generated = "phantom" in chosen or self.data_root(dataset) in DOWNLOADED
            if generated or not sheet.is_file():
                continue  # rules make the files, or a checkpoint writes the sheet
            samples = self._read(dataset, sheet).values()
            files = [file for sample in samples for file in (sample.image, sample.label) if file]
            missing = [str(file) for file in files if not file.is_file()]
            if missing:
                more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
                remedy = (
                    "Correct the paths (they are relative to the sheet, or to data_root if the "
                    "data set has one), or remove these cases."
                )
                if self.data_root(dataset) != chosen.get("data_root"):
                    remedy = (
                        "UMSAM_DATA_ROOT names the folder to look in: correct it, or unset it to "
                        "have the files downloaded."
                    )
                raise InputError(
                    f"{chosen['samples']}: {len(missing)} of its {len(files)} files do not exist: "
                    f"{', '.join(missing[:5])}{more}. {remedy}"
                )

    def notes_on_labels(self) -> list[str]:
        """What a run leaves out because cases have no label, one line for each split."""
        return [line for dataset in self.settings.run for line in self._notes(dataset)]

    def _notes(self, dataset: str) -> list[str]:
        if not Path(self.settings.of(dataset)["samples"]).is_file():  # a checkpoint will write it
            return []
        lines = []
        for split, products in NEEDS_LABELS.items():
            if names := self.names(dataset, split, labelled=False):
                some = self.names(dataset, split, labelled=True)
                effect = "computed without them" if some else "skipped"
                lines.append(
                    f"{dataset}: {split} case(s) {', '.join(names)} have no label: {products} "
                    f"{effect}."
                )
        return lines


@cache
def _read_once(sheet: Path, root: str | None, stamp: int) -> dict[str, Sample]:
    """The sheet by case; `stamp`, its age, makes an edited sheet a new one."""
    return {sample.case: sample for sample in read_sample_sheet(sheet, root)}


def one_of(names: Iterable[str]) -> str:
    """A wildcard constraint that admits these names only; without names, nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


def folders_of(archives: Iterable[str]) -> list[str]:
    """The folder that each archive unpacks to."""
    return [archive.removesuffix(".zip") for archive in archives]
