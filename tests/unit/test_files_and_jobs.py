"""Atomic files, and the frame of every script: threads, log and errors."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from umsam.errors import InputError
from umsam.files import atomic_directory, atomic_write
from umsam.jobs import THREAD_VARIABLES, job, progress


def write_half_a_file(path):
    with atomic_write(path) as temporary:
        temporary.write_text("half of the sec")
        raise RuntimeError


def write_half_a_folder(path):
    with atomic_directory(path) as temporary:
        (temporary / "third").touch()
        raise RuntimeError


def test_a_file_appears_complete_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.nii.gz"
    with atomic_write(path) as temporary:
        assert temporary.suffixes == path.suffixes
        temporary.write_text("first")
        assert not path.exists()
    with pytest.raises(RuntimeError):
        write_half_a_file(path)
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_complete_or_not_at_all(tmp_path):
    path = tmp_path / "slices"
    for content in ("first", "second"):
        with atomic_directory(path) as temporary:
            (temporary / content).touch()
    assert [p.name for p in path.iterdir()] == ["second"]
    with pytest.raises(RuntimeError):
        write_half_a_folder(path)
    assert [p.name for p in path.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_killed_jobs_are_removed_and_other_files_stay(tmp_path):
    folder, file = tmp_path / "slices", tmp_path / "a.npy"
    (tmp_path / f".~{os.getpid()}~slices").mkdir()  # left by a job with the same process id
    (tmp_path / ".~1~slices").mkdir()
    (tmp_path / ".~1~slices/half").touch()
    (tmp_path / ".~1~a.npy").touch()
    others = tmp_path / ".~1~b.npy"
    others.touch()
    with atomic_directory(folder) as temporary:
        (temporary / "first").touch()
    with atomic_write(file) as temporary:
        temporary.touch()
    assert set(tmp_path.iterdir()) == {folder, file, others}


@pytest.fixture
def fake(tmp_path, monkeypatch, logging_as_before):
    for variable in THREAD_VARIABLES:
        monkeypatch.setenv(variable, "1")  # restored after the test
    return SimpleNamespace(
        threads=1, rule="train", wildcards=["mine", "case-1"], log=[str(tmp_path / "l/job.log")]
    )


@pytest.mark.parametrize(("assigned", "stated", "used"), [(1, 3, "3"), (8, 3, "3"), (8, None, "8")])
def test_a_stated_number_of_threads_overrides_the_one_that_snakemake_assigns(
    fake, assigned, stated, used
):
    """``--cores`` reduces the assigned number; a result must not depend on it."""
    fake.threads = assigned
    with job(fake, threads=stated):
        assert {os.environ[variable] for variable in THREAD_VARIABLES} == {used}
    assert f"with {used} thread(s)" in Path(fake.log[0]).read_text()


def test_an_input_error_ends_a_job_with_its_message_alone(fake, capsys):
    with pytest.raises(SystemExit) as stop, job(fake):
        raise InputError("a.tsv: line 3 is wrong; correct it")
    text = Path(fake.log[0]).read_text()
    assert stop.value.code == 1
    assert "[train mine case-1] ERROR: a.tsv: line 3 is wrong; correct it" in text
    assert "Traceback" not in text
    assert "line 3 is wrong" in capsys.readouterr().err


def test_a_bug_writes_its_traceback_to_the_log_and_the_terminal(fake, capsys):
    with pytest.raises(SystemExit), job(fake):
        _ = 1 / 0
    for text in (Path(fake.log[0]).read_text(), capsys.readouterr().err):
        assert "Traceback" in text
        assert "ERROR: ZeroDivisionError: division by zero" in text


def test_progress_yields_every_item_and_logs_the_end(caplog):
    with caplog.at_level(logging.INFO):
        assert list(progress(iter("abc"), 3, "slices")) == ["a", "b", "c"]
    assert "3/3 slices" in caplog.text


# The libraries of the stages use as many threads as they are allowed. The kernel's clock of each
# thread then shows how many threads did the work.
WORK = """
import json, pathlib, sys, types
sys.path.insert(0, sys.argv[1])
from umsam.jobs import job
with job(types.SimpleNamespace(threads=1, rule="r", wildcards=[], log=[])):
    import numpy as np, SimpleITK as sitk, torch
    from sklearn.cluster import KMeans
    a = np.random.default_rng(0).normal(size=(700, 700))
    for _ in range(5):
        a @ a
    torch.nn.functional.conv2d(torch.rand(8, 16, 128, 128), torch.rand(32, 16, 5, 5))
    KMeans(20, n_init=1, random_state=0).fit(a)
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 1
ticks = []
for path in pathlib.Path("/proc/self/task").glob("*/stat"):
    ticks.append(sum(map(int, path.read_text().rsplit(")", 1)[1].split()[11:13])))
print(json.dumps(sorted(ticks)))
"""


def test_the_libraries_of_a_job_use_only_the_threads_of_its_rule(monkeypatch):
    for variable in THREAD_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    scripts = Path(__file__).parents[2] / "workflow_scripts"
    command = [sys.executable, "-c", WORK, str(scripts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ticks = json.loads(done.stdout)
    assert sum(ticks) > 20
    assert sum(tick > 0.04 * sum(ticks) for tick in ticks) == 1
