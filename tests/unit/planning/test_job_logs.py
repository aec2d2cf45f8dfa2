import os
from types import SimpleNamespace

import pytest

from umsam.errors import InputError
from umsam.jobs import job
from umsam.planning.job_logs import KILLED, failed_jobs


def run(folder, case, body):
    """A job's log, written by the very code that scripts run in."""
    log = folder / f"logs/mine/train/{case}.log"
    fake = SimpleNamespace(threads=1, rule="train", wildcards=["mine", case], log=[str(log)])
    try:
        with job(fake):
            body()
    except SystemExit:
        pass
    return log


def wrong_input():
    raise InputError("a.nii.gz: cut short. Copy it again.")


def bug():
    raise ZeroDivisionError("by zero")


def test_the_failed_jobs_of_a_run_and_why(tmp_path):
    logs = {
        case: run(tmp_path, case, body)
        for case, body in {"good": dict, "input": wrong_input, "bug": bug, "killed": dict}.items()
    }
    first_line = logs["killed"].read_text().splitlines()[0]
    logs["killed"].write_text(first_line + "\n")
    found = {failed.log: failed for failed in failed_jobs(tmp_path / "logs", since=0)}
    assert set(found) == {logs[case] for case in ("input", "bug", "killed")}
    assert found[logs["input"]].error == "a.nii.gz: cut short. Copy it again."
    assert found[logs["bug"]].error == "ZeroDivisionError: by zero"
    assert found[logs["killed"]].error == KILLED
    assert found[logs["killed"]].name == "train mine killed"


def test_failures_of_an_earlier_run_are_no_news(tmp_path):
    log = run(tmp_path, "bug", bug)
    os.utime(log, (100, 100))
    assert failed_jobs(tmp_path / "logs", since=200) == []
    assert len(failed_jobs(tmp_path / "logs", since=50)) == 1


@pytest.mark.parametrize("content", ["", "no line of ours\n", "\xff\n"])
def test_other_logs_are_passed_over(tmp_path, content):
    (tmp_path / "other.log").write_text(content)
    assert failed_jobs(tmp_path, since=0) == []
    assert failed_jobs(tmp_path / "none", since=0) == []
