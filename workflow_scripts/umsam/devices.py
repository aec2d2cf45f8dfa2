"""The one place where a device is chosen; everything else takes it as an argument.

Jobs that run side by side on one machine must not meet on one GPU while another is idle, and the
workflow manager hands out no device numbers. So a job takes a GPU by locking a file that stands for
it, and holds it until its process ends. The kernel drops the lock then, however the process ended.
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
    """A GPU that no other job has (``cuda:1``), or ``cpu`` where none is visible.

    Waits while all are taken. The variable UMSAM_DEVICE overrides and takes no lock.
    """
    import torch

    device = os.environ.get("UMSAM_DEVICE")
    if not device and torch.cuda.is_available():
        number, _ = _own_gpu(torch.cuda.device_count())
        torch.cuda.set_device(number)
        return f"cuda:{number}"
    return cpu() if device in (None, "", "cpu") else device


def cpu() -> str:
    """``cpu``, for a stage that needs no GPU: made ready to compute.

    Numbers below the normal range (1e-38) become 0 in this thread and those that it starts: a
    softmax and the gradients of trained weights make many, and processors that compute with them
    in microcode take a hundred times longer for each.
    """
    import torch

    torch.set_flush_denormal(True)
    return "cpu"


def has_bfloat16(kind: str) -> bool:
    """Whether a kind of device computes bfloat16 products; others imitate them, slowly."""
    import torch

    return kind == "cuda" or torch.cpu._is_avx512_bf16_supported()


@cache  # once a process, which keeps the open file, and so the same GPU, to its end
def _own_gpu(count: int) -> tuple[int, IO[str]]:
    names = gpu_names(count)
    number, file = lease(names, lock_folder())
    log.info("has GPU %s", names[number])
    return number, file


def gpu_names(count: int) -> list[str]:
    """What the visible GPUs are called outside this process, in its own order of them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number in range(count)]
    return [name.strip() for name in visible.split(",")][:count]


def alone(device: str) -> dict[str, str]:
    """Environment in which a child process sees the device ``cuda:N`` alone, as ``cuda``."""
    kind, _, number = device.partition(":")
    if kind != "cuda" or not number:
        return {}
    return {"CUDA_VISIBLE_DEVICES": gpu_names(int(number) + 1)[int(number)]}


def lock_folder() -> Path:
    """Where the locks lie: the user's own, and the SLURM job's (each job may number from 0)."""
    scope = [str(os.getuid()), *filter(None, [os.environ.get("SLURM_JOB_ID")])]
    return Path(tempfile.gettempdir()) / f"umsam-gpus-{'-'.join(scope)}"


def lease(names: Sequence[str], folder: Path, every: float = 0.5) -> tuple[int, IO[str]]:
    """Take the first of the named things that no other process holds, waiting until there is one.

    Parameters
    ----------
    folder
        Holds one empty file a name; made where it is missing.
    every
        Seconds between two looks while all are taken.

    Returns
    -------
    The position in `names`, and the open file: the lease ends when it is closed or collected.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        for number, name in enumerate(names):
            file = open(folder / re.sub(r"[^\w-]", "_", name), "a")  # noqa: SIM115 (handed out)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                return number, file
        if not waiting:
            log.info("waiting: other jobs have GPU %s (%s)", ", ".join(names), folder)
            waiting = True
        time.sleep(every)
