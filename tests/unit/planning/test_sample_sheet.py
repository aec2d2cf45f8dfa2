"""Sample sheets: what is accepted, and the message for what is not."""

from pathlib import Path

import pytest

from umsam.errors import InputError
from umsam.planning.sample_sheet import Sample, read_sample_sheet

GOOD = "case\timage\tlabel\tsplit\na-1\ta.nii.gz\ta_mask.nii.gz\ttrain\nb\tsub/b.mhd\t\ttest\n"


def sheet(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "samples.tsv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def message(tmp_path: Path, text: str | bytes) -> str:
    path = sheet(tmp_path, text)
    with pytest.raises(InputError) as error:
        read_sample_sheet(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_paths_are_relative_to_the_sheet(tmp_path):
    assert read_sample_sheet(sheet(tmp_path, GOOD)) == [
        Sample("a-1", tmp_path / "a.nii.gz", tmp_path / "a_mask.nii.gz", "train"),
        Sample("b", tmp_path / "sub/b.mhd", None, "test"),
    ]


def test_or_to_data_root_and_absolute_ones_stay(tmp_path):
    text = "case\timage\tsplit\na\tx.nii\tval\nb\t/else/y.nii\tval\n"
    a, b = read_sample_sheet(sheet(tmp_path, text), data_root="data/here")
    assert a == Sample("a", Path("data/here/x.nii"), None, "val")
    assert b.image == Path("/else/y.nii")


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\n\n\t\t\t\n"),
        GOOD.rstrip("\n"),
        GOOD.replace("\t", " \t "),
        "split\tlabel\timage\tcase\ntrain\ta_mask.nii.gz\ta.nii.gz\ta-1\ntest\t\tsub/b.mhd\tb\n",
    ],
    ids=["Windows", "byte-order mark", "blank lines", "no last line end", "padded", "other order"],
)
def test_variants_of_the_same_sheet_read_the_same(tmp_path, text):
    expected = read_sample_sheet(sheet(tmp_path, GOOD))
    assert read_sample_sheet(sheet(tmp_path, text)) == expected


def test_an_empty_last_cell_may_be_missing(tmp_path):
    text = "case\timage\tsplit\tlabel\na\ta.nii\ttrain\n"
    assert read_sample_sheet(sheet(tmp_path, text))[0].label is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("case\timage\tsplit\n", "no case"),
        ("case\timage\na\ta.nii\n", "line 1: missing column(s) split"),
        ("case\timage\tsplit\tlabels\n", "unknown column(s) 'labels'"),
        ("case\timage\tsplit\tsplit\n", "appears twice"),
        ("case image split\na a.nii train\n", "separated by tabs"),
        ("case,image,split\na,a.nii,train\n", "separated by tabs"),
        ("case\timage\tsplit\na a.nii train\n", "line 2: 1 cell(s)"),
        ("case\timage\tsplit\na\ta.nii\ttrain\tmore\n", "line 2: 4 cell(s)"),
        ("case\timage\tsplit\n\na\ta.nii\ttraining\n", "line 3: case a has the split 'training'"),
        ("case\timage\tsplit\na\t\ttrain\n", "case a has no image"),
        ("case\timage\tsplit\na\tx\ttrain\nb\ty\ttrain\na\tz\ttest\n", "already on line 2"),
        ("case\timage\tsplit\n../a\ta.nii\ttrain\n", "illegal case name '../a'"),
        ("case\timage\tsplit\n-a\ta.nii\ttrain\n", "illegal case name '-a'"),
        ("case\timage\tsplit\na b\ta.nii\ttrain\n", "illegal case name 'a b'"),
        ("case\timage\tsplit\n\ta.nii\ttrain\n", "illegal case name ''"),
        ("case\timage\tsplit\na\ta{1}.nii\ttrain\n", "line 2: 'a{1}.nii' has a brace"),
        (b"PK\x03\x04\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_mistakes_are_named(tmp_path, text, expected):
    assert expected in message(tmp_path, text)


def test_a_missing_sheet_is_named(tmp_path):
    with pytest.raises(InputError, match="no such sample sheet"):
        read_sample_sheet(tmp_path / "none.tsv")
