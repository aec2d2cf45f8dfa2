"""What every script does around its work: threads, a log, progress, errors a person can read."""

import ctypes
import logging
import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from umsam.errors import InputError

T = TypeVar("T")
log = logging.getLogger(__name__)

DONE = "done in"  # of the last line of a job that ended well

# Read at import by OpenMP and torch, the BLAS builds in use, SimpleITK, numexpr, joblib.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "NUMEXPR_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensor instead of handing it back.

    By default each large tensor is mapped and unmapped anew, and the kernel's clearing of fresh
    pages took a third of everything mode's time on a CPU. Elsewhere than on glibc nothing happens.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 64 * 2**20)


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run a script's body with the rule's threads, logging to its log file and the terminal.

    Import numerical libraries inside the block, so that they see the thread limit. An
    `InputError` ends the job with its message alone; any other error also with its traceback, in
    the log and on the terminal.
    """
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(snakemake.threads)
    keep_freed_memory()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if snakemake.log:
        Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(snakemake.log[0], mode="w"))
    name = " ".join([snakemake.rule, *map(str, snakemake.wildcards)])
    logging.basicConfig(
        level=logging.INFO, handlers=handlers, force=True, format=f"[{name}] %(message)s"
    )
    logging.captureWarnings(True)
    start = time.perf_counter()
    submission = os.environ.get("SLURM_JOB_ID")
    host = socket.gethostname() + (f", SLURM job {submission}" if submission else "")
    log.info("starts on %s, with %d thread(s)", host, snakemake.threads)
    try:
        yield
    except InputError as error:
        log.error("ERROR: %s", error)
        sys.exit(1)
    except Exception as error:
        log.error("%s", traceback.format_exc())
        log.error("ERROR: %s: %s", type(error).__name__, error)
        sys.exit(1)
    log.info("%s %.1f s, %d MB at most", DONE, time.perf_counter() - start, peak_megabytes())


def peak_megabytes() -> int:
    """The most memory that this process has had at once: what its `mem_mb` must cover."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def progress(items: Iterable[T], total: int, unit: str, every: float = 5.0) -> Iterator[T]:
    """Pass `items` on, logging "12/40 slices, 3.1/s, 9 s left" now and then and at the end."""
    start = last = time.perf_counter()
    for done, item in enumerate(items, 1):
        yield item
        now = time.perf_counter()
        if now - last >= every or done == total:
            rate = done / max(now - start, 1e-9)
            log.info(
                "%d/%d %s, %.2g/s, %.0f s left", done, total, unit, rate, (total - done) / rate
            )
            last = now
