"""PROMISE12 as it unzips: which cases are labelled, and the split that follows.

The data set has 50 training, 30 test and 20 live-challenge cases, each a folder of
``CaseNN.mhd/.raw`` and, where it is public, ``CaseNN_segmentation.mhd/.raw``.
"""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from umsam.errors import InputError
from umsam.files import atomic_write, atomic_directory

# Folder, name of its cases, split in the paper.
PARTS = (
    ("training_data", "training", "train"),
    ("test_data", "test", "test"),
    ("livechallenge_test_data", "live", "val"),
)
FALLBACK_SHARES = (0.7, 0.1, 0.2)  # 35 train, 5 val, 10 test of 50
IMAGE = re.compile(r"Case(\d+)\.mhd", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """A case found on disk; paths are relative to the root, `label` is None where there is none."""

    name: str
    image: str
    label: str | None
    split: str


def find_cases(root: str | Path) -> list[Case]:
    """The cases under `root`, with the paper's split.

    Raises
    ------
    InputError
        No case in ``root/training_data``.
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
            f"{root}/training_data: no CaseNN.mhd in it. Expected PROMISE12 as it unzips: the "
            "folders training_data, test_data and livechallenge_test_data, each with CaseNN.mhd, "
            "CaseNN.raw and CaseNN_segmentation.mhd/.raw. Set data_root (or UMSAM_DATA_ROOT) to "
            "the folder that holds them, or unset it to download them."
        )
    return cases


def split_cases(cases: Sequence[Case], seed: int = 0) -> tuple[list[Case], str]:
    """The cases to use with their split, and a sentence that says which split it is and why.

    The paper's (50 train, 30 test, 20 live challenge for validation) where every test and live
    case has its segmentation; else a seeded 70/10/20 % of the labelled training cases.
    """
    counts = []
    complete = True
    for _, prefix, split in PARTS[1:]:
        part = [case for case in cases if case.split == split]
        labelled = sum(case.label is not None for case in part)
        complete &= bool(part) and labelled == len(part)
        counts.append(f"{labelled} of {len(part)} {prefix} cases")
    found = f"{' and '.join(counts)} have a segmentation"
    if complete:
        return list(cases), f"PROMISE12, the paper's split ({found}): {_sizes(cases)}."

    pool = [case for case in cases if case.split == "train" and case.label is not None]
    n_val, n_test = (round(share * len(pool)) for share in FALLBACK_SHARES[1:])
    splits = ["val"] * n_val + ["test"] * n_test + ["train"] * (len(pool) - n_val - n_test)
    order = np.random.default_rng(seed).permutation(len(pool))
    drawn = {pool[index].name: split for index, split in zip(order, splits, strict=True)}
    used = [Case(case.name, case.image, case.label, drawn[case.name]) for case in pool]
    return used, (
        f"PROMISE12, NOT the paper's split ({found}): drawn from the labelled training cases with "
        f"seed {seed}: {_sizes(used)}. Figures on it do not compare with the paper's."
    )


def write_sheet(path: str | Path, cases: Sequence[Case]) -> None:
    """Write the sample sheet of the cases; its paths are relative to the data root."""
    rows = ["case\timage\tlabel\tsplit"]
    rows += [f"{case.name}\t{case.image}\t{case.label or ''}\t{case.split}" for case in cases]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(rows) + "\n")


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unzip an archive to `folder`, all of it or nothing.

    A single folder at the archive's top, whatever its name, is left out of the paths.

    Raises
    ------
    InputError
        The archive is damaged, or a member's path leads out of the folder.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            files = [info for info in zipped.infolist() if not info.is_dir()]
            files = [info for info in files if not info.filename.startswith("__MACOSX/")]
            for info in files:
                if ".." in Path(info.filename).parts or Path(info.filename).is_absolute():
                    raise InputError(f"{archive}: its member {info.filename!r} leads out of it.")
            tops = {Path(info.filename).parts[0] for info in files}
            nested = all(len(Path(info.filename).parts) > 1 for info in files)
            with atomic_directory(folder) as temporary:
                for info in files:
                    parts = Path(info.filename).parts
                    info.filename = "/".join(parts[1:] if len(tops) == 1 and nested else parts)
                    zipped.extract(info, temporary)
    except (zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"{archive}: not a complete zip file ({error}). Delete it and run again."
        ) from None


def _sizes(cases: Sequence[Case]) -> str:
    count = {
        split: sum(case.split == split for case in cases) for split in ("train", "val", "test")
    }
    return ", ".join(f"{number} {split}" for split, number in count.items())
