"""Which jobs of a run failed, and why, from their logs.

A submission to a cluster may hold many jobs, and Snakemake then lists all of them as failed. Which
of them failed, and why, is in the logs of the jobs (see `umsam.jobs`).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from umsam.jobs import DONE

LINE = re.compile(r"\[(?P<name>[^\]]+)\] (?P<text>.*)")
KILLED = "ended without an error message (probably killed: out of memory, time limit, or cancelled)"


@dataclass(frozen=True)
class FailedJob:
    """Rule and wildcards of a job, its error in one line, and its log."""

    name: str
    error: str
    log: Path


def failed_jobs(folder: str | Path, since: float) -> list[FailedJob]:
    """The jobs whose logs below `folder` were written after `since` and report no success.

    Call it after the last job has ended: a job that still runs looks like a killed one.
    """
    found = []
    for path in sorted(Path(folder).rglob("*.log")):
        if path.stat().st_mtime < since:
            continue
        matches = map(LINE.match, path.read_text(errors="replace").splitlines())
        lines = [match for match in matches if match]
        if not lines or any(line["text"].startswith(DONE) for line in lines):
            continue
        errors = [line["text"] for line in lines if line["text"].startswith("ERROR: ")]
        error = errors[-1].removeprefix("ERROR: ") if errors else KILLED
        found.append(FailedJob(lines[0]["name"], error, path))
    return found
