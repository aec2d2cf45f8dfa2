"""The choice of the device; every other module takes the device as an argument.

Jobs that run side by side on one machine must not share a GPU while another one is idle, and
Snakemake does not assign device numbers. A job therefore takes a GPU by locking a file that
represents it and holds the lock until its process ends. The kernel then releases the lock, however
the process ended.
"""

import fcntl
import logging
import os
import re
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)


def default_device() -> str:
    """Take a free GPU (``cuda:1``), or the CPU if no GPU is visible.

    The function waits while all GPUs are in use. The environment variable UMSAM_DEVICE overrides
    the choice and takes no lock.
    """
    import torch

    device = os.environ.get("UMSAM_DEVICE")
    if not device and torch.cuda.is_available():
        number, _ = _lease_gpu(torch.cuda.device_count())
        torch.cuda.set_device(number)
        return f"cuda:{number}"
    return prepare_cpu() if device in (None, "", "cpu") else device


def prepare_cpu() -> str:
    """Set denormal numbers to zero in this thread and its children, and return ``cpu``.

    A softmax and the gradients of trained weights produce many numbers below the normal range
    (1e-38). Processors that handle them in microcode take a hundred times longer for each.
    """
    import torch

    torch.set_flush_denormal(True)
    return "cpu"


def has_bfloat16(kind: str) -> bool:
    """Return whether a kind of device computes bfloat16 products in hardware."""
    import torch

    return kind == "cuda" or torch.cpu._is_avx512_bf16_supported()


@cache  # the process keeps the open file, and so the GPU, until it ends
def _lease_gpu(count: int) -> tuple[int, IO[str]]:
    names = gpu_names(count)
    number, file = lease(names, lock_folder())
    log.info("uses GPU %s", names[number])
    return number, file


def gpu_names(count: int) -> list[str]:
    """Return the names of the visible GPUs outside this process, in the order of this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number in range(count)]
    return [name.strip() for name in visible.split(",")][:count]


def restrict_to_device(device: str) -> dict[str, str]:
    """Return the environment in which a child process sees only ``cuda:N``, as ``cuda``."""
    kind, _, number = device.partition(":")
    if kind != "cuda" or not number:
        return {}
    return {"CUDA_VISIBLE_DEVICES": gpu_names(int(number) + 1)[int(number)]}


def lock_folder() -> Path:
    """Return the folder of the locks: one per user and SLURM job, which may number GPUs from 0."""
    scope = [str(os.getuid()), *filter(None, [os.environ.get("SLURM_JOB_ID")])]
    return Path(tempfile.gettempdir()) / f"umsam-gpus-{'-'.join(scope)}"


def lease(names: Sequence[str], folder: Path, interval: float = 0.5) -> tuple[int, IO[str]]:
    """Take the first of the named resources that no other process holds; wait until one is free.

    Parameters
    ----------
    names
        Names of the resources.
    folder
        Holds one empty lock file per name; created if missing.
    interval
        Seconds between two attempts.

    Returns
    -------
    The position in `names` and the open lock file. Closing or collecting the file ends the lease.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        for number, name in enumerate(names):
            file = open(folder / re.sub(r"[^\w-]", "_", name), "a")  # noqa: SIM115 (returned open)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                return number, file
        if not waiting:
            log.info("waiting: other jobs use GPU %s (%s)", ", ".join(names), folder)
            waiting = True
        time.sleep(interval)
