"""The choice of the device, tested by processes that compete for GPUs that exist only as names."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from umsam.devices import gpu_names, lease, lock_folder, restrict_to_device

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"

# A job as Snakemake starts it: it takes a GPU, works, and exits. Its torch reports two GPUs.
JOB = f"""
import json, sys, time, types
sys.path.insert(0, {str(SCRIPTS)!r})
sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(
    is_available=lambda: True, device_count=lambda: 2, set_device=lambda number: None))
from umsam.devices import default_device
device = default_device()
assert default_device() == device
start = time.time()
print(device, flush=True)
time.sleep(float(sys.argv[1]))
print(json.dumps([start, time.time()]), flush=True)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a job that holds its GPU for some seconds; the fixture ends all jobs after the test."""
    for name in ("UMSAM_DEVICE", "SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    jobs = []

    def run(seconds: float, **environment: str) -> subprocess.Popen:
        words = [sys.executable, "-S", "-c", JOB, str(seconds)]
        env = {**os.environ, "TMPDIR": str(tmp_path), **environment}
        jobs.append(subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True))
        return jobs[-1]

    yield run
    for job in jobs:
        job.kill()
        job.communicate()


def device_of(job: subprocess.Popen) -> str:
    return job.stdout.readline().strip()


def test_concurrent_jobs_never_share_a_gpu_and_use_all_of_them(start):
    jobs = [start(0.3) for _ in range(7)]
    spans: dict[str, list[list[float]]] = {}
    for job in jobs:
        device, span = job.communicate(timeout=60)[0].splitlines()
        spans.setdefault(device, []).append(json.loads(span))
    assert set(spans) == {"cuda:0", "cuda:1"}
    for held in spans.values():
        held.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(held))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_gpu_of_a_killed_job_becomes_free(start, how):
    holders = [start(600), start(600)]
    devices = [device_of(job) for job in holders]
    waiting = start(0)
    time.sleep(0.5)
    assert waiting.poll() is None
    holders[1].send_signal(how)
    assert device_of(waiting) == devices[1]


def test_jobs_of_two_slurm_submissions_do_not_wait_for_each_other(start):
    """SLURM gives each submission its own GPUs and may number both sets from 0."""
    first = [start(600, SLURM_JOB_ID="1", CUDA_VISIBLE_DEVICES="0,1") for _ in range(2)]
    assert {device_of(job) for job in first} == {"cuda:0", "cuda:1"}
    assert device_of(start(600, SLURM_JOB_ID="2", CUDA_VISIBLE_DEVICES="0,1")) == "cuda:0"


def test_one_gpu_in_two_lists_of_visible_gpus_is_the_same_gpu(start):
    assert device_of(start(600, CUDA_VISIBLE_DEVICES="3,5")) == "cuda:0"
    assert device_of(start(600, CUDA_VISIBLE_DEVICES="3,7")) == "cuda:1"
    assert device_of(start(600, CUDA_VISIBLE_DEVICES="5,7,3")) == "cuda:0"


def test_a_lease_ends_when_its_file_is_closed(tmp_path):
    number, file = lease(["GPU-a/b"], tmp_path / "locks")
    assert number == 0
    file.close()
    assert lease(["GPU-a/b"], tmp_path / "locks")[0] == 0


def test_names_and_lock_folder_follow_the_environment(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_names(2) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-f, MIG-9 ,-1")
    assert gpu_names(2) == ["GPU-f", "MIG-9"]
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    without_slurm = lock_folder()
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert lock_folder() != without_slurm


def test_a_child_process_sees_only_the_same_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-f")
    assert restrict_to_device("cuda:1") == {"CUDA_VISIBLE_DEVICES": "GPU-f"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert restrict_to_device("cuda:1") == {"CUDA_VISIBLE_DEVICES": "1"}
    assert restrict_to_device("cuda") == restrict_to_device("cpu") == {}


def test_umsam_device_overrides_the_choice(monkeypatch):
    from umsam.devices import default_device

    monkeypatch.setenv("UMSAM_DEVICE", "cpu")
    assert default_device() == "cpu"


def test_no_thread_computes_with_denormal_numbers_on_the_cpu():
    """Half of the smallest normal number is 0, even in the threads that share a large tensor."""
    lines = f"""
import sys
sys.path.insert(0, {str(SCRIPTS)!r})
import torch
from umsam.devices import default_device
torch.set_num_threads(2)
assert torch.full((1,), 2.0**-126).mul(0.5).count_nonzero() == 1
assert default_device() == "cpu"
print(torch.full((2**20,), 2.0**-126).mul(0.5).count_nonzero().item())
"""
    env = {**os.environ, "UMSAM_DEVICE": "cpu"}
    out = subprocess.run([sys.executable, "-c", lines], env=env, capture_output=True, text=True)
    assert out.stdout.strip() == "0", out.stderr


def test_bfloat16_depends_on_the_processor(monkeypatch):
    import torch

    from umsam.devices import has_bfloat16

    assert has_bfloat16("cuda")
    for supported in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda value=supported: value)
        assert has_bfloat16("cpu") is supported
