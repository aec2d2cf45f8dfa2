"""The texts that users edit: what ships is complete, and what is said of the rest."""

from pathlib import Path

import pytest

from umsam.errors import InputError
from umsam.planning.descriptions import read_descriptions

SHIPPED = sorted((Path(__file__).parents[3] / "resources/descriptions").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_ships(path):
    organ = path.stem.split("_")[-1]
    several, one = read_descriptions(path, "salip"), read_descriptions(path, "medclip_sam")
    assert len(several) > 3
    assert sum(organ in text.lower() for text in several) > 3
    assert len(one) == 1
    assert organ in one[0]
    assert all("MRI" in text for text in one)


def test_one_text_may_stand_without_a_list_and_lines_may_break(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("salip:\n  - a brain,\n    round\n  - 'T2: bright'\nmedclip_sam: a brain\n")
    assert read_descriptions(path, "salip") == ["a brain, round", "T2: bright"]
    assert read_descriptions(path, "medclip_sam") == ["a brain"]


@pytest.mark.parametrize(
    "content",
    ["", "salip:\n", "salip: []\n", "salip: ['']\n", "salip:\n  - T2: bright\n", "medclip_sam: a\n",
     "- a brain\n", "salip: [a, 3]\n", "salip: [", b"\xff\xfe\x00"],
)  # fmt: skip
def test_a_file_without_texts_is_named(tmp_path, content):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    words = r"mine\.yaml: (needs at least one text.*under 'salip:'|not a YAML file)"
    with pytest.raises(InputError, match=words):
        read_descriptions(path, "salip")


def test_a_missing_file_is_named_with_the_setting(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: no such file.*baselines\.descriptions"):
        read_descriptions(tmp_path / "none.yaml", "salip")
    with pytest.raises(InputError, match=r"baselines\.descriptions is null.*fetal_brain\.yaml"):
        read_descriptions(None, "salip")
