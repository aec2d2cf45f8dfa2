import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from umsam.errors import InputError
from umsam.files import whole, whole_directory
from umsam.jobs import job, progress


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.nii.gz"
    with whole(path) as temporary:
        assert temporary.suffixes == path.suffixes
        temporary.write_text("first")
        assert not path.exists()
    with pytest.raises(RuntimeError), whole(path) as temporary:
        temporary.write_text("half of the sec")
        raise RuntimeError
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "slices"
    for content in ("first", "second"):
        with whole_directory(path) as temporary:
            (temporary / content).touch()
    assert [p.name for p in path.iterdir()] == ["second"]
    with pytest.raises(RuntimeError), whole_directory(path) as temporary:
        (temporary / "third").touch()
        raise RuntimeError
    assert [p.name for p in path.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def fake(tmp_path):
    return SimpleNamespace(
        threads=1, rule="train", wildcards=["mine", "case-1"], log=[str(tmp_path / "l/job.log")]
    )


def test_a_users_mistake_ends_a_job_with_its_message_alone(fake, capsys):
    with pytest.raises(SystemExit) as stop, job(fake):
        raise InputError("a.tsv: line 3 is wrong; correct it")
    text = Path(fake.log[0]).read_text()
    assert stop.value.code == 1
    assert "[train mine case-1] ERROR: a.tsv: line 3 is wrong; correct it" in text
    assert "Traceback" not in text
    assert "line 3 is wrong" in capsys.readouterr().err


def test_a_bug_leaves_its_traceback_in_the_log_and_on_the_terminal(fake, capsys):
    with pytest.raises(SystemExit), job(fake):
        _ = 1 / 0
    for text in (Path(fake.log[0]).read_text(), capsys.readouterr().err):
        assert "Traceback" in text
        assert "ERROR: ZeroDivisionError: division by zero" in text


def test_progress_passes_everything_on_and_tells_the_end(caplog):
    with caplog.at_level(logging.INFO):
        assert list(progress(iter("abc"), 3, "slices")) == ["a", "b", "c"]
    assert "3/3 slices" in caplog.text
