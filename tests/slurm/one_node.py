"""A real SLURM of one node on the loopback device: munged, slurmctld and slurmd of the tests' own.

Everything lies in a temporary folder, save for /etc/slurm/{slurm,gres}.conf, where jobs look for
their cluster. The GPUs are character devices that stand for nothing: SLURM counts and hands them
out, and sets CUDA_VISIBLE_DEVICES, as it does with real ones.
"""

import ctypes
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

ETC = Path("/etc/slurm")
MARK = "# Written by the tests of UM-SAM; removed when they end."
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue")
GPUS = 2

# Each second SLURM looks at the memory of every job, and kills those over what they asked for.
CONFIGURATION = """{mark}
ClusterName=umsam-tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={folder}/task_starts
TaskEpilog={folder}/task_ends
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
KillWait=2
MinJobAge=600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
GPU_LINE = "NodeName={host} Name=gpu File={folder}/gpu[0-{last}]\n"

# What each task finds in its environment, when it starts and when it ends.
RECORDER = """#!/bin/sh
task="$SLURM_JOB_ID ${{SLURM_STEP_ID:-batch}}"
echo "$task {event} $(date +%s.%N) ${{CUDA_VISIBLE_DEVICES:-none}}" >> {record}
"""


def obstacle() -> str | None:
    """Why no SLURM can be started here, with what to do about it; None where it can."""
    if os.geteuid() != 0:
        return "its daemons start as root only (run `make test-slurm` as root, in a container, say)"
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not found (apt-get install slurm-wlm munge)"
    for name in ("slurm.conf", "gres.conf"):
        if (ETC / name).exists() and MARK not in (ETC / name).read_text():
            return f"{ETC / name} belongs to a cluster of this machine, which is left alone"
    return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(true: Callable[[], object], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.2)


def die_with_parent() -> None:
    """A daemon ends with the tests, even where these are killed (prctl, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Slurm:
    """Starts on entering, stops on leaving; in between `command` runs its programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "tasks.txt"
        self.host = socket.gethostname().split(".")[0]
        self.daemons: list[subprocess.Popen] = []

    def __enter__(self) -> Self:
        try:
            self._configure()
            key, munge = self.folder / "munge.key", self.folder / "munge"
            files = {"key-file": key, "socket": f"{munge}.socket", "pid-file": f"{munge}.pid"}
            files |= {"log-file": f"{munge}.log", "seed-file": f"{munge}.seed"}
            self._start(
                "munged", "-F", "--force", *(f"--{name}={path}" for name, path in files.items())
            )
            wait_until(lambda: Path(files["socket"]).exists(), 60, "munged")
            self._start("slurmctld", "-D", "-c")
            self._start("slurmd", "-D", "-c")
            wait_until(lambda: "idle" in self.command("sinfo", "-h", "-o", "%t"), 60, "slurmd")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.daemons:
            self.command("scancel", "--user=root", "--signal=KILL", "--full")
            self.command("scancel", "--user=root")
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink(missing_ok=True)
        for number in range(GPUS):
            (self.folder / f"gpu{number}").unlink(missing_ok=True)

    def command(self, *words: str) -> str:
        """What a program of SLURM prints; empty where it fails."""
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        return done.stdout if done.returncode == 0 else ""

    def tasks(self) -> dict[tuple[str, str], dict]:
        """(job, step) -> its start, its end (absent where it was killed) and its `gpus`."""
        found: dict[tuple[str, str], dict] = {}
        for line in self.record.read_text().splitlines():
            job, step, event, moment, gpus = line.split()
            found.setdefault((job, step), {"gpus": gpus})[event] = float(moment)
        return found

    def _configure(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o600)
        for number in range(GPUS):
            null = os.makedev(1, 3)
            os.mknod(self.folder / f"gpu{number}", stat.S_IFCHR | 0o666, null)
        self.record.touch()
        for event in ("starts", "ends"):
            script = self.folder / f"task_{event}"
            script.write_text(RECORDER.format(event=event, record=self.record))
            script.chmod(0o755)
        values = {"mark": MARK, "host": self.host, "folder": self.folder, "gpus": GPUS}
        ports = {"controller_port": free_port(), "node_port": free_port()}
        ETC.mkdir(exist_ok=True)
        (ETC / "slurm.conf").write_text(CONFIGURATION.format(**values, **ports))
        gpu_line = GPU_LINE.format(host=self.host, folder=self.folder, last=GPUS - 1)
        (ETC / "gres.conf").write_text(f"{MARK}\n{gpu_line}")

    def _start(self, *words: str) -> None:
        with open(self.folder / f"{words[0]}.out", "w") as out:
            daemon = subprocess.Popen(words, stdout=out, stderr=out, preexec_fn=die_with_parent)
        self.daemons.append(daemon)
