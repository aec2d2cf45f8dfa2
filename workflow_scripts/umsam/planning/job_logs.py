"""What the logs of a run say about the jobs that failed.

A submission to a cluster may hold many jobs, and the workflow manager then lists them all. Which of
them failed, and of what, is in the jobs' own logs (see `umsam.jobs`).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from umsam.jobs import DONE

LINE = re.compile(r"\[(?P<name>[^\]]+)\] (?P<text>.*)")
KILLED = "stopped without a word: killed from outside, as for too much memory or time, or cancelled"


@dataclass(frozen=True)
class FailedJob:
    """Rule and wildcards of a job, its error in a line, and the log that tells the rest."""

    name: str
    error: str
    log: Path


def failed_jobs(folder: str | Path, since: float) -> list[FailedJob]:
    """The jobs whose logs below `folder` were written after `since` and do not end well.

    Call it when no job runs any more: one that still does looks like one that was killed.
    """
    found = []
    for path in sorted(Path(folder).rglob("*.log")):
        if path.stat().st_mtime < since:
            continue
        lines = list(map(LINE.match, path.read_text(errors="replace").splitlines()))
        lines = [line for line in lines if line]
        if not lines or any(line["text"].startswith(DONE) for line in lines):
            continue
        errors = [line["text"] for line in lines if line["text"].startswith("ERROR: ")]
        error = errors[-1].removeprefix("ERROR: ") if errors else KILLED
        found.append(FailedJob(lines[0]["name"], error, path))
    return found
