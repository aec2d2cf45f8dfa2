"""The phantom pipeline through a real SLURM, with everything that goes wrong on a cluster.

One story, told once for all tests: volumes are made on the login node; of three GPU submissions one
is cancelled and one meets a damaged file; the same command, typed again while the node is drained,
finishes the rest once the node is back. Meanwhile a job of another run needs more memory than it
asked for.
"""

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import one_node
import pandas as pd
import pytest
from one_node import GPUS, Slurm, die_with_parent, wait_until

pytestmark = pytest.mark.slurm

CASES = {"site3-02": "val", "site1-01": "train", "site2-02": "test"}
UNHARMED, CANCELLED, DAMAGED = CASES  # without the training case, nothing goes beyond the ROIs
PATIENCE = 900  # seconds for any one thing to happen, on a machine that does much else
GPU_RULES = {"everything_mode", "train", "predict", "predict_last"}
SMALL = """
datasets:
  phantom:
    samples: resources/small.tsv
    sam: {points_per_side: 4}
    clustering: {k: 3, sse_k: [2, 4]}
    training: {variants: [triple], epochs: 1}
    baselines: {methods: []}
"""
TARGETS = ["table1", *(f"results/phantom/pseudo_labels/{case}.nii.gz" for case in CASES)]
COMMAND = ["--profile", "profiles/slurm", "--configfile", "small.yaml"]
# As the profile says of clusters without accounting; and a more impatient look at the queue.
COMMAND += ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"]
COMMAND += ["--latency-wait", "10"]
NEEDY = "\n    burden = bytearray(1300 << 20)\n    import time\n\n    time.sleep(4)\n"


@dataclass
class Login:
    """A checkout on the login node."""

    path: Path
    runs: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen:
        """Begin a run; what it prints goes to `output`."""
        words = [sys.executable, "-m", "snakemake", *arguments]
        with open(self.path / f"run{len(self.runs) + 1}.txt", "w") as out:
            run = subprocess.Popen(
                words, cwd=self.path, stdout=out, stderr=out, preexec_fn=die_with_parent
            )
        self.runs.append(run)
        return run

    def run(self, *arguments: str) -> tuple[int, str]:
        code = self.start(*arguments).wait(PATIENCE)
        return code, self.output.read_text()

    @property
    def output(self) -> Path:
        return self.path / f"run{len(self.runs)}.txt"

    def results(self, pattern: str) -> set[str]:
        return {path.name for path in (self.path / "results/phantom").glob(pattern)}

    def log(self, rule: str, case: str) -> Path:
        return self.path / f"logs/phantom/{rule}/{case}.log"

    def submission(self, log: Path) -> str | None:
        """The number of the SLURM job that wrote a log, by its first line."""
        found = re.search(r"SLURM job (\d+)", log.read_text()) if log.exists() else None
        return found.group(1) if found else None


@dataclass
class Story:
    """What happened."""

    login: Login
    codes: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    requests: list[dict] = field(default_factory=list)  # of the job that needs more memory
    cancelled: tuple[str, float] = ("", 0.0)
    finished_before: set[str] = field(default_factory=set)
    why_pending: str = ""

    def tell(self, name: str, code: int, text: str) -> None:
        self.codes[name], self.texts[name] = code, text


def small(login: Login) -> Login:
    """Three volumes, one epoch, one case a submission; volumes are made without the cluster."""
    rows = [f"{case}\t{case}_T2w.nii.gz\t{case}_mask.nii.gz\t{s}" for case, s in CASES.items()]
    sheet = "\n".join(["case\timage\tlabel\tsplit", *rows, ""])
    (login.path / "resources/small.tsv").write_text(sheet)
    (login.path / "small.yaml").write_text(SMALL)
    profile = login.path / "profiles/slurm/profile.yaml"
    assert "  rois: 4\n" in profile.read_text()
    profile.write_text(profile.read_text().replace("  rois: 4\n", "  rois: 1\n"))
    return login


def request_of(slurm: Slurm, job: str) -> dict:
    """What a job asked for, in SLURM's own words."""
    text = slurm.command("scontrol", "show", "job", job)
    memory = re.search(r"MinMemoryNode=(\d+)M", text).group(1)
    limit = re.search(r"TimeLimit=(\S+)", text).group(1)
    state = re.search(r"JobState=(\S+)", text).group(1)
    return {"mb": int(memory), "time": pd.Timedelta(limit), "state": state}


def reasons(slurm: Slurm, login: Login) -> set[str]:
    """Why the jobs of a checkout wait, in SLURM's words."""
    lines = slurm.command("squeue", "--states=PENDING", "--noheader", "--format=%Z|%r")
    rows = [line.split("|") for line in lines.splitlines()]
    return {reason for folder, reason in rows if folder == str(login.path)}


def needs_more_memory(slurm: Slurm, login: Login, story: Story) -> None:
    script = login.path / "workflow_scripts/preprocess.py"
    text = script.read_text().replace("with job(snakemake):\n", f"with job(snakemake):{NEEDY}")
    script.write_text(text)
    story.tell("needy", *login.run(f"results/phantom/volumes/{UNHARMED}.nii.gz", *COMMAND))
    jobs = re.findall(r"SLURM jobid (\d+)", story.texts["needy"])
    story.requests = [request_of(slurm, job) for job in jobs]


@pytest.fixture(scope="module")
def story(slurm, shared_checkout, tmp_path_factory):
    login = small(Login(shared_checkout.path))
    other = Login(tmp_path_factory.mktemp("other") / "um-sam")
    try:
        yield tell(slurm, login, other)
    finally:
        for run in (*login.runs, *other.runs):
            run.kill()


def tell(slurm: Slurm, login: Login, other: Login) -> Story:
    volumes = [
        f"results/phantom/{kind}/{case}.nii.gz" for kind in ("volumes", "labels") for case in CASES
    ]
    code, text = login.run("--cores", "2", "--configfile", "small.yaml", "--", *volumes)
    assert code == 0, text
    subprocess.run(["cp", "-r", login.path, other.path], check=True)
    subprocess.run(["rm", "-r", other.path / "results"], check=True)
    told = Story(login)
    beside = threading.Thread(target=needs_more_memory, args=(slurm, other, told), daemon=True)
    beside.start()

    damaged = login.path / f"results/phantom/volumes/{DAMAGED}.nii.gz"
    whole, times = damaged.read_bytes(), damaged.stat()
    damaged.write_bytes(whole[: len(whole) // 2])
    run = login.start(*TARGETS, *COMMAND, "--retries", "0")
    log = login.log("everything_mode", CANCELLED)
    wait_until(lambda: login.submission(log) is not None, PATIENCE, "everything mode has started")
    slurm.command("scancel", login.submission(log))
    told.cancelled = (login.submission(log), time.time())
    told.tell("first", run.wait(PATIENCE), login.output.read_text())
    told.finished_before = login.results("roi_features/*")

    damaged.write_bytes(whole)
    os.utime(damaged, ns=(times.st_atime_ns, times.st_mtime_ns))
    node = f"nodename={slurm.host}"
    slurm.command("scontrol", "update", node, "state=drain", "reason=test")
    run = login.start(*TARGETS, *COMMAND)
    wait_until(lambda: reasons(slurm, login) - {"None"}, PATIENCE, "a job waits for the node")
    told.why_pending = " ".join(reasons(slurm, login))
    slurm.command("scontrol", "update", node, "state=resume")
    told.tell("second", run.wait(PATIENCE), login.output.read_text())
    beside.join()
    return told


def ran(text: str) -> list[str]:
    """The rules of the jobs that a run's output says it did, one entry a job."""
    return re.findall(r"^\s*(?:local)?rule (\w+):$", text, flags=re.MULTILINE)


def failed_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("Failed: ")]


def test_a_cancelled_job_ends_in_a_line_that_names_rule_case_and_log(story):
    assert story.codes["first"] != 0
    line = next(li for li in failed_lines(story.texts["first"]) if CANCELLED in li)
    log = story.login.log("everything_mode", CANCELLED).relative_to(story.login.path)
    assert line.startswith(f"Failed: everything_mode phantom {CANCELLED}: ")
    assert "cancelled" in line
    assert str(log) in line


def test_a_job_that_fails_ends_in_a_line_that_names_rule_case_log_and_error(story):
    line = next(li for li in failed_lines(story.texts["first"]) if DAMAGED in li)
    log = story.login.log("everything_mode", DAMAGED).relative_to(story.login.path)
    assert line.startswith(f"Failed: everything_mode phantom {DAMAGED}: ")
    assert "cut short" in line
    assert f"volumes/{DAMAGED}.nii.gz" in line
    assert str(log) in line
    assert len(failed_lines(story.texts["first"])) == 2


def test_the_other_cases_went_on(story):
    assert story.finished_before == {f"{UNHARMED}.npz"}


def test_the_same_command_finishes_only_what_is_missing(story):
    assert story.codes["second"] == 0, story.texts["second"][-3000:]
    jobs = ran(story.texts["second"])
    assert not {"phantom", "preprocess", "preprocess_label"} & set(jobs)
    for rule in ("everything_mode", "shape_priors", "roi_features"):
        assert jobs.count(rule) == len({CANCELLED, DAMAGED})
    table = pd.read_csv(story.login.path / "results/phantom/tables/table1.csv")
    assert set(table["method"]) >= {"Ours", "FullySup"}
    code, text = story.login.run(*TARGETS, *COMMAND, "--dry-run")
    assert code == 0
    assert "Nothing to be done" in text


def test_jobs_wait_for_a_drained_node(story):
    assert re.search("NotAvail|DRAIN", story.why_pending)
    assert story.codes["second"] == 0


def test_small_jobs_share_submissions(story):
    second = story.texts["second"]
    submitted = len(re.findall(r"has been submitted with SLURM jobid", second))
    jobs = [rule for rule in ran(second) if rule != "table1"]
    assert submitted == 7  # two cases, clusters, pseudo-labels, training, predictions, tables
    assert len(jobs) > 2 * submitted


def test_gpu_jobs_never_share_a_device(slurm, story):
    """Each submission's time, from SLURM's record of its tasks, on the GPU that they saw."""
    spans: dict[str, list[tuple[float, float]]] = {}
    tasks = slurm.tasks()
    for job in {job for job, _ in tasks}:
        steps = [task for (other, _), task in tasks.items() if other == job]
        gpus = {task["gpus"] for task in steps} - {"none"}
        if not gpus:
            continue
        (gpu,) = gpus  # one, and the same for all of its tasks
        ends = [task.get("ends", story.cancelled[1]) for task in steps]
        spans.setdefault(gpu, []).append((min(task["starts"] for task in steps), max(ends)))
    assert set(spans) == {str(number) for number in range(GPUS)}
    for jobs in spans.values():
        jobs.sort()
        for (_, end), (start, _) in pairwise(jobs):
            assert end <= start
    first, second = spans.values()
    assert any(a < d and c < b for a, b in first for c, d in second)  # both were in use at once


def test_gpu_stages_have_a_gpu_and_the_others_do_not(slurm, story):
    seen = {}
    for (job, _), task in slurm.tasks().items():
        seen.setdefault(job, set()).add(task["gpus"])
    rules = {}
    for log in (story.login.path / "logs").rglob("*.log"):
        job = story.login.submission(log)
        if job:
            rule = re.match(r"\[(\w+)", log.read_text()).group(1)
            rules.setdefault(rule, set()).update(seen[job] - {"none"})
    assert {rule for rule, gpus in rules.items() if gpus} >= GPU_RULES
    for rule in ("kmeans", "target_cluster", "pseudo_label", "metrics", "comparison_table"):
        assert rules[rule] == set()


def test_a_job_over_its_memory_is_retried_with_twice_as_much(story):
    assert story.codes["needy"] == 0, story.texts["needy"][-3000:]
    first, second = story.requests
    assert first["state"] != "COMPLETED"
    assert second["state"] == "COMPLETED"
    assert second["mb"] == pytest.approx(2 * first["mb"], abs=2)
    assert second["time"] == pytest.approx(2 * first["time"], abs=pd.Timedelta(minutes=1))
    assert "Trying to restart" in story.texts["needy"]


def test_a_cluster_that_the_machine_has_is_left_alone(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(one_node, "ETC", tmp_path)
    assert one_node.obstacle() is None
    (tmp_path / "slurm.conf").write_text("ClusterName=mine\n")
    assert str(tmp_path / "slurm.conf") in one_node.obstacle()
