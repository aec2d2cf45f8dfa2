"""PROMISE12: its split, on a fake of its folders, and its archives."""

import zipfile
from pathlib import Path

import pytest

from umsam.data.promise12 import find_cases, split_cases, unpack, write_sheet
from umsam.errors import InputError
from umsam.planning.sample_sheet import read_sample_sheet

FOLDERS = {"training_data": 50, "test_data": 30, "livechallenge_test_data": 20}


def fake(root: Path, labelled: tuple[str, ...] = tuple(FOLDERS), leave_out: str = "") -> Path:
    for folder, count in FOLDERS.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            names = [f"Case{number:02d}"]
            if folder in labelled:
                names.append(f"Case{number:02d}_segmentation")
            for name in names:
                for suffix in ("mhd", "raw"):
                    (root / folder / f"{name}.{suffix}").touch()
    if leave_out:
        (root / leave_out).unlink()
    return root


def by_split(cases) -> dict[str, set[str]]:
    return {
        split: {case.name for case in cases if case.split == split}
        for split in ("train", "val", "test")
    }


def test_the_papers_split_is_used_if_all_cases_are_labelled(tmp_path):
    cases, description = split_cases(find_cases(fake(tmp_path)))
    assert by_split(cases) == {
        "train": {f"training-{number:02d}" for number in range(50)},
        "val": {f"test-{number:02d}" for number in range(30)},
        "test": {f"live-{number:02d}" for number in range(20)},
    }
    assert "the paper's split" in description
    assert "NOT" not in description
    assert "50 train, 30 val, 20 test" in description


@pytest.mark.parametrize(
    ("labelled", "leave_out", "counts"),
    [
        (("training_data",), "", "0 of 30 test cases and 0 of 20 live cases"),
        (tuple(FOLDERS), "test_data/Case07_segmentation.mhd", "29 of 30 test cases"),
        (("training_data", "test_data"), "", "30 of 30 test cases and 0 of 20 live cases"),
    ],
)
def test_otherwise_the_labelled_training_cases_are_split_35_5_10(
    tmp_path, labelled, leave_out, counts
):
    cases, description = split_cases(find_cases(fake(tmp_path, labelled, leave_out)), seed=0)
    names = by_split(cases)
    assert {split: len(members) for split, members in names.items()} == {
        "train": 35,
        "val": 5,
        "test": 10,
    }
    assert set.union(*names.values()) == {f"training-{number:02d}" for number in range(50)}
    assert all(case.label for case in cases)
    assert "NOT the paper's split" in description
    assert counts in description


def test_the_seed_determines_the_random_split(tmp_path):
    cases = find_cases(fake(tmp_path, ("training_data",)))
    assert split_cases(cases, seed=1) == split_cases(cases, seed=1)
    assert by_split(split_cases(cases, seed=1)[0]) != by_split(split_cases(cases, seed=2)[0])


def test_missing_test_folders_lead_to_the_random_split(tmp_path):
    fake(tmp_path)
    for folder in ("test_data", "livechallenge_test_data"):
        (tmp_path / folder).rename(tmp_path / f"not_{folder}")
    assert "0 of 0 test cases" in split_cases(find_cases(tmp_path))[1]


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"training_data: no CaseNN\.mhd"):
        find_cases(tmp_path)


def test_the_sheet_survives_a_round_trip(tmp_path):
    root = fake(tmp_path / "root")
    cases, _ = split_cases(find_cases(root))
    write_sheet(tmp_path / "samples.tsv", cases)
    samples = read_sample_sheet(tmp_path / "samples.tsv", data_root=root)
    assert len(samples) == 100
    assert all(sample.image.is_file() and sample.label.is_file() for sample in samples)
    assert samples[0].case == "training-00"
    assert samples[0].label == root / "training_data/Case00_segmentation.mhd"


# ---- archives


def archive(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, text in members.items():
            zipped.writestr(name, text)
    return path


@pytest.mark.parametrize("top", ["", "test_data/", "another name/"])
def test_archives_with_and_without_a_top_folder_unpack_alike(tmp_path, top):
    members = {f"{top}Case00.mhd": "header", f"{top}Case00.raw": "data"}
    unpack(archive(tmp_path / "a.zip", members), tmp_path / "test_data")
    files = {path.name: path.read_text() for path in (tmp_path / "test_data").iterdir()}
    assert files == {"Case00.mhd": "header", "Case00.raw": "data"}


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt"])
def test_a_member_outside_the_folder_is_refused(tmp_path, name):
    path = archive(tmp_path / "a.zip", {"Case00.mhd": "", name: "evil"})
    with pytest.raises(InputError, match="leads out"):
        unpack(path, tmp_path / "out" / "folder")
    assert not list(tmp_path.rglob("evil.txt"))
    assert not (tmp_path / "out" / "folder").exists()


def test_a_damaged_archive_leaves_nothing(tmp_path):
    path = archive(tmp_path / "a.zip", {f"Case{number:02d}.raw": "x" * 1000 for number in range(5)})
    data = bytearray(path.read_bytes())
    data[2500] ^= 0xFF  # a byte of a member, so its checksum does not match
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a complete zip"):
        unpack(path, tmp_path / "folder")
    path.write_bytes(data[:2000])
    with pytest.raises(InputError, match="not a complete zip"):
        unpack(path, tmp_path / "folder")
    assert [item.name for item in tmp_path.iterdir()] == ["a.zip"]
