"""The cases of a data set and their files."""

import re

import pytest
from study import ROWS, Study, job, write_sheet

from umsam.errors import InputError
from umsam.planning.cases import one_of

PATTERN = "results/{dataset}/volumes/{case}.nii.gz"


@pytest.fixture
def cases(tmp_path):
    write_sheet(tmp_path)
    return Study().cases


def test_names_by_split_and_label(cases):
    assert cases.names("mine") == list("abcde")
    assert cases.names("mine", "train") == ["a", "b"]
    assert cases.names("mine", ("val", "test"), labelled=True) == ["c", "d"]
    assert cases.unlabelled_test_names(job()) == ["e"]
    assert cases.splits(job()) == [split for _, split, _ in ROWS]


def test_files_of_a_case(cases):
    assert cases.image(job(case="a")) == "a.nii"
    assert cases.label(job(case="a")) == "a_mask.nii"
    with pytest.raises(InputError, match=r"mine: case b has no label in samples\.tsv"):
        cases.label(job(case="b"))
    with pytest.raises(InputError, match=r"no case 'z' in samples\.tsv"):
        cases.image(job(case="z"))
    assert len(cases.source_files(job())) == 8


def test_patterns_are_filled_case_by_case(cases):
    files = cases.each(PATTERN, "test")(job())
    assert files == ["results/mine/volumes/d.nii.gz", "results/mine/volumes/e.nii.gz"]
    with_method = cases.each("results/{dataset}/predictions/{method}/{case}.nii", "val")
    assert with_method(job(method="salip")) == ["results/mine/predictions/salip/c.nii"]


def test_a_sheet_without_training_cases_says_what_to_do(tmp_path):
    write_sheet(tmp_path, [("a", "test", False)])
    with pytest.raises(
        InputError, match=r"samples\.tsv: no case has the split train.*at least one"
    ):
        Study().cases.each_training(PATTERN)(job())


def test_an_edited_sheet_is_read_again(tmp_path, cases):
    assert cases.names("mine", "val") == ["c"]
    write_sheet(tmp_path, [*ROWS, ("f", "val", False)])
    import os

    os.utime(tmp_path / "samples.tsv", (1, 1))  # another time stamp, even on a coarse file system
    assert cases.names("mine", "val") == ["c", "f"]


def test_missing_files_are_named_all_at_once(tmp_path, cases):
    cases.check_files()
    (tmp_path / "a.nii").unlink()
    (tmp_path / "d_mask.nii").unlink()
    with pytest.raises(
        InputError, match=r"2 of its 8 files do not exist: a\.nii, d_mask\.nii\. Corr"
    ):
        cases.check_files()


def test_a_wrong_local_copy_is_blamed_on_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("UMSAM_DATA_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"8 of its 8 files do not exist.*UMSAM_DATA_ROOT names"):
        Study(run=["fetal_sample"]).cases.check_files()


def test_notes_on_cases_without_labels(cases):
    assert cases.notes_on_labels() == [
        "mine: train case(s) b have no label: Fig. 3a and FullySup computed without them.",
        "mine: test case(s) e have no label: Table 1 computed without them.",
    ]


def test_a_local_copy_of_downloaded_data(tmp_path, monkeypatch):
    cases = Study(run=["promise12"]).cases
    assert cases.data_root("promise12") == "data/promise12"
    monkeypatch.setenv("UMSAM_DATA_ROOT", str(tmp_path))
    assert cases.data_root("promise12") == str(tmp_path)
    (tmp_path / "promise12/training_data").mkdir(parents=True)
    assert cases.data_root("promise12") == str(tmp_path / "promise12")
    folders = cases.promise12_folders(["training_data.zip", "test_data.zip"])
    assert folders(job()) == [tmp_path / "promise12/training_data"]  # the copy lacks the others


def test_promise12_is_downloaded_to_one_folder():
    cases = Study(run=["promise12", "promise12_laptop"]).cases
    assert cases.promise12_root() == "data/promise12"
    names = [path.name for path in cases.promise12_folders(["a.zip", "b.zip"])(job())]
    assert names == ["a", "b"]
    block = {"samples": "data/promise12/samples.tsv", "data_root": "elsewhere"}
    two = Study(run=["mine", "promise12"], **block).cases
    with pytest.raises(
        InputError, match="have different values of data_root: data/promise12, else"
    ):
        two.promise12_root()


def test_constraints_admit_the_names_alone():
    assert re.fullmatch(one_of(["a.b", "c"]), "a.b")
    assert not re.fullmatch(one_of(["a.b", "c"]), "axb")
    assert not re.fullmatch(one_of([]), "")
