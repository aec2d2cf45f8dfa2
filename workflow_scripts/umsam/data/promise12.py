"""PROMISE12: unzip its archives, find its cases, and choose the split.

The data set has folders of 50 training, 30 test and 20 live-challenge cases. A case is
``CaseNN.mhd/.raw`` and, if its label is public, ``CaseNN_segmentation.mhd/.raw``.
"""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from umsam.errors import InputError
from umsam.files import atomic_directory, atomic_write

# Folder, prefix of its case names, split in the paper.
PARTS = (
    ("training_data", "training", "train"),
    ("test_data", "test", "val"),
    ("livechallenge_test_data", "live", "test"),
)
FALLBACK_FRACTIONS = (0.7, 0.1, 0.2)  # train, val, test: 35, 5 and 10 of 50
IMAGE = re.compile(r"Case(\d+)\.mhd", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """A case on disk; paths are relative to the root, and `label` is None if there is none."""

    name: str
    image: str
    label: str | None
    split: str


def find_cases(root: str | Path) -> list[Case]:
    """Find the cases under `root` and assign the paper's split.

    Raises
    ------
    InputError
        ``root/training_data`` holds no case.
    """
    root = Path(root)
    cases = []
    for folder, prefix, split in PARTS:
        files = {path.name.lower(): path for path in sorted((root / folder).glob("*.mhd"))}
        for path in files.values():
            match = IMAGE.fullmatch(path.name)
            if match:
                label = files.get(f"{path.stem}_segmentation.mhd".lower())
                cases.append(
                    Case(
                        f"{prefix}-{match[1]}",
                        f"{folder}/{path.name}",
                        f"{folder}/{label.name}" if label else None,
                        split,
                    )
                )
    if not any(case.split == "train" for case in cases):
        raise InputError(
            f"{root}/training_data: no CaseNN.mhd found. PROMISE12 unzips to the folders "
            "training_data, test_data and livechallenge_test_data, each with CaseNN.mhd, "
            "CaseNN.raw and CaseNN_segmentation.mhd/.raw. Set data_root (or UMSAM_DATA_ROOT) to "
            "the folder that holds them, or unset it to download them."
        )
    return cases


def split_cases(cases: Sequence[Case], seed: int = 0) -> tuple[list[Case], str]:
    """Choose the split: the paper's if all its cases are labelled, otherwise a random one.

    The random split divides the labelled training cases into 70 % for training, 10 % for validation
    and 20 % for testing.

    Parameters
    ----------
    cases
        From `find_cases`.
    seed
        Seed of the random split.

    Returns
    -------
    cases, description
        The cases to use with their split, and a sentence that names the split and the reason.
    """
    counts = []
    complete = True
    for _, prefix, split in PARTS[1:]:
        part = [case for case in cases if case.split == split]
        labelled = sum(case.label is not None for case in part)
        complete &= bool(part) and labelled == len(part)
        counts.append(f"{labelled} of {len(part)} {prefix} cases")
    labelled_cases = f"{' and '.join(counts)} have a segmentation"
    if complete:
        sizes = _describe_sizes(cases)
        return list(cases), f"PROMISE12, the paper's split ({labelled_cases}): {sizes}."

    pool = [case for case in cases if case.split == "train" and case.label is not None]
    n_val, n_test = (round(fraction * len(pool)) for fraction in FALLBACK_FRACTIONS[1:])
    splits = ["val"] * n_val + ["test"] * n_test + ["train"] * (len(pool) - n_val - n_test)
    order = np.random.default_rng(seed).permutation(len(pool))
    drawn = {pool[index].name: split for index, split in zip(order, splits, strict=True)}
    used = [Case(case.name, case.image, case.label, drawn[case.name]) for case in pool]
    return used, (
        f"PROMISE12, NOT the paper's split ({labelled_cases}): labelled training cases drawn with "
        f"seed {seed}: {_describe_sizes(used)}. Results are not comparable with the paper's."
    )


def write_sheet(path: str | Path, cases: Sequence[Case]) -> None:
    """Write the sample sheet of the cases, with paths relative to the data root."""
    rows = ["case\timage\tlabel\tsplit"]
    rows += [f"{case.name}\t{case.image}\t{case.label or ''}\t{case.split}" for case in cases]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(rows) + "\n")


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unzip an archive to `folder`, completely or not at all.

    If the archive holds a single top folder, its name is removed from the paths.

    Raises
    ------
    InputError
        The archive is damaged, or the path of a member leads out of the folder.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            files = [info for info in zipped.infolist() if not info.is_dir()]
            files = [info for info in files if not info.filename.startswith("__MACOSX/")]
            for info in files:
                if ".." in Path(info.filename).parts or Path(info.filename).is_absolute():
                    raise InputError(
                        f"{archive}: the path of its member {info.filename!r} leads out of the "
                        "folder. Delete the archive and run the workflow again to download it."
                    )
            tops = {Path(info.filename).parts[0] for info in files}
            nested = all(len(Path(info.filename).parts) > 1 for info in files)
            with atomic_directory(folder) as temporary:
                for info in files:
                    parts = Path(info.filename).parts
                    info.filename = "/".join(parts[1:] if len(tops) == 1 and nested else parts)
                    zipped.extract(info, temporary)
    except (zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"{archive}: not a complete zip file ({error}). Delete it and run the workflow again "
            "to download it."
        ) from None


def _describe_sizes(cases: Sequence[Case]) -> str:
    count = {
        split: sum(case.split == split for case in cases) for split in ("train", "val", "test")
    }
    return ", ".join(f"{number} {split}" for split, number in count.items())
